//! Ends sessions before their time.

use entity::{
    SessionId,
    session::{self, Revocation, Target},
};

use crate::{
    app::App,
    apps::Caller,
    audit::{Action, Event, record},
    error::{Error, Result},
    sessions::tokens::{TokenClaims, read},
    store::CommitError,
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
    let app_id = loaded.app.id;
    let (target, event) = match target {
        LogoutTarget::Token(token) => match read::<TokenClaims>(loaded, &token) {
            Ok((_, claims)) => (Target::Session(claims.sid), None),
            Err(_) => return Ok(0),
        },
        LogoutTarget::Session(id) => (Target::Session(id), Some(id.to_string())),
        // A subject is personal: the audit does not name it.
        LogoutTarget::Subject { sub, except } => {
            (Target::Subject(sub, except), Some(String::new()))
        }
    };
    let attempt = async || {
        let transaction = app.store.begin().await?;
        let reason = Revocation::Logout;
        let ended = session::revoke_in(&transaction, app_id, &target, reason, now).await?;
        if let Some(target) = &event
            && ended > 0
        {
            let target = if target.is_empty() {
                format!("{ended} sessions")
            } else {
                target.clone()
            };
            let event = Event::of(Action::SessionRevoke, app_id, target);
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
