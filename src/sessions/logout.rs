//! Ends sessions before their time.

use std::borrow::Cow;

use entity::{
    SessionId, Timestamp,
    session::{self, Revocation, Target},
};
use store::CommitError;

use crate::{
    app::App,
    apps::Caller,
    audit::{Action, Event, record},
    error::{Error, Result},
    sessions::{
        presented::{TokenClaims, named_key, read},
        work::{Ended, Ending},
    },
};

/// Which sessions to end.
#[derive(Clone, Debug)]
pub enum LogoutTarget {
    /// The session of a token, auth or refresh, expired or not.
    Token(String),
    Session(SessionId),
    /// All of a subject, but for one.
    Subject {
        sub: String,
        except: Option<SessionId>,
    },
}

/// Ends the sessions, and tells how many this ended. After this has answered, none of them renews.
///
/// What a backend ends is audited; a user who signs out, by a token, is no event.
///
/// # Errors
/// None for a token that is not ours: it ends nothing (RFC 7009 section 2.2).
pub async fn logout(app: &App, caller: &Caller, target: LogoutTarget) -> Result<u64> {
    let now = app.clock.now();
    match target {
        LogoutTarget::Token(token) => {
            let newer = match named_key(&token) {
                Some(key) => Box::pin(caller.again_for_key(app, key)).await?,
                None => None,
            };
            let caller = newer.as_ref().unwrap_or(caller);
            match read::<TokenClaims>(&caller.app, &token) {
                Ok((_, claims)) => end(app, caller, claims.sid, now, false).await,
                Err(_) => Ok(0),
            }
        }
        LogoutTarget::Session(id) => end(app, caller, id, now, true).await,
        LogoutTarget::Subject { sub, except } => {
            end_all(app, caller, Target::Subject(sub, except), now).await
        }
    }
}

async fn end(
    app: &App,
    caller: &Caller,
    session_id: SessionId,
    now: Timestamp,
    is_event: bool,
) -> Result<u64> {
    let app_id = caller.app.app.id;
    let event = is_event.then(|| {
        let event = Event::of(Action::SessionRevoke, app_id, session_id);
        Box::new(event.row(&caller.actor, now, &app.rng))
    });
    let mut ending = Ending {
        app_id,
        session_id,
        epoch: caller.app.epoch(),
        flush_count: caller.app.app.flush_count,
        now,
        event,
        in_doubt: false,
    };
    let mut caller = Cow::Borrowed(caller);
    let (mut tries, mut turn) = (app.store.tries(), None);
    while tries.again() {
        match app.write_path.end(ending.clone()).await? {
            Ended::Now => return Ok(1),
            Ended::Nothing => return Ok(0),
            Ended::Stale { in_doubt } => {
                if turn.is_none() {
                    turn = Some(app.turns.shared(&app.store, app_id).await?);
                }
                caller = Cow::Owned(Box::pin(caller.again(app)).await?);
                ending.epoch = caller.app.epoch();
                ending.flush_count = caller.app.app.flush_count;
                ending.in_doubt = in_doubt;
            }
        }
    }
    Err(Error::too_many_changes())
}

async fn end_all(app: &App, caller: &Caller, target: Target, now: Timestamp) -> Result<u64> {
    let (app_id, flush_count) = (caller.app.app.id, caller.app.app.flush_count);
    let reason = Revocation::Logout;
    let end_them = async |caller: Caller| {
        let transaction = caller.actor.begin(app).await?;
        let ended =
            session::revoke_in(&transaction, app_id, flush_count, &target, reason, now).await?;
        if ended > 0 {
            // A subject is personal: the audit does not name it.
            let event = Event::of(
                Action::SessionRevoke,
                app_id,
                format_args!("{ended} sessions"),
            );
            record(&transaction, &app.rng, now, &caller.actor, [event]).await?;
        }
        match app.store.commit(transaction).await {
            // What is ended already is not ended again: it can be done twice.
            Err(CommitError::Unconfirmed(error)) => Err(Error::Unavailable(error)),
            committed => Ok(committed.map(|()| ended)?),
        }
    };
    caller.act(app, end_them).await
}
