//! Ends sessions before their time.

use entity::{
    SessionId, Timestamp,
    session::{self, Revocation, Target},
};

use crate::{
    app::App,
    apps::Caller,
    audit::{Action, Event, record},
    error::{Error, Result},
    sessions::tokens::{TokenClaims, read},
    store::{CommitError, Ending},
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
/// Those of the store. A token that is not ours ends nothing, and is no error (RFC 7009 section 2.2).
pub async fn logout(app: &App, caller: &Caller, target: LogoutTarget) -> Result<u64> {
    let now = app.clock.now();
    let loaded = &caller.app;
    match target {
        LogoutTarget::Token(token) => match read::<TokenClaims>(loaded, &token) {
            Ok((_, claims)) => end(app, caller, claims.sid, now, false).await,
            Err(_) => Ok(0),
        },
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
        event.row(&caller.actor, now, &app.rng)
    });
    let ending = Ending {
        app_id,
        session_id,
        now,
        event,
    };
    Ok(u64::from(app.store.sessions.end(ending).await?))
}

async fn end_all(app: &App, caller: &Caller, target: Target, now: Timestamp) -> Result<u64> {
    let app_id = caller.app.app.id;
    let attempt = async || {
        let transaction = app.store.begin().await?;
        let reason = Revocation::Logout;
        let ended = session::revoke_in(&transaction, app_id, &target, reason, now).await?;
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
    app.store.retry(attempt).await
}
