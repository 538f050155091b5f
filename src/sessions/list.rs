//! Lists the sessions of a subject.

use entity::{SessionId, Timestamp, app as apps, session};
use sea_orm::Select;

use crate::{
    app::App,
    apps::LoadedApp,
    error::{Error, Result},
    page::Listing,
    signing::Keyring,
};

/// The sessions of `sub` that can still be renewed, the newest first, at most `limit` of them.
pub async fn list(
    app: &App,
    loaded: &LoadedApp,
    sub: &str,
    before: Option<SessionId>,
    limit: u64,
) -> Result<Listing<session::Model, SessionId>> {
    let now = app.clock.now();
    let read = async || {
        // What was signed after a flush that is not known here yet is listed, too.
        let policy = apps::find(&app.store.reader, loaded.app.id).await?;
        let policy = policy.ok_or(Error::InvalidKey)?;
        let live = renewable(&policy, &loaded.keyring, sub, now);
        let rows = session::page(&app.store.reader, live, before, limit + 1).await?;
        Ok(Listing::cut(rows, limit, |session| session.id))
    };
    app.retry(read).await
}

/// The sessions of `sub` that can be renewed at `now`.
pub fn renewable(
    policy: &apps::Model,
    keyring: &Keyring,
    sub: &str,
    now: Timestamp,
) -> Select<session::Entity> {
    session::renewable_of(policy.id, sub, policy.flush_count, keyring.revoked(), now)
}
