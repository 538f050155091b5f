//! Ends sessions before their time.

use entity::{
    SessionId,
    session::{self, Revocation, Target},
};

use crate::{
    app::App,
    apps::LoadedApp,
    error::Result,
    sessions::tokens::{TokenClaims, read},
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
/// # Errors
/// Those of the store. A token that is not ours ends nothing, and is no error (RFC 7009 section 2.2).
pub async fn logout(app: &App, loaded: &LoadedApp, target: LogoutTarget) -> Result<u64> {
    let now = app.clock.now();
    let target = match target {
        LogoutTarget::Token(token) => match read::<TokenClaims>(loaded, &token) {
            Ok((_, claims)) => Target::Session(claims.sid),
            Err(_) => return Ok(0),
        },
        LogoutTarget::Session(id) => Target::Session(id),
        LogoutTarget::Subject { sub, except } => Target::Subject(sub, except),
    };
    let app_id = loaded.app.id;
    Ok(session::revoke_in(&app.store.writer, app_id, &target, Revocation::Logout, now).await?)
}
