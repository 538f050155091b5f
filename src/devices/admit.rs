//! Sessions are tied to the device that they are on.

use entity::{AppId, DeviceId, SessionId, Timestamp, TokenId, device, session};
use sea_orm::ConnectionTrait;

use super::{
    end::end,
    rows::{commit, raced, seen},
};
use crate::{
    app::App,
    apps::Caller,
    error::{Error, Result},
};

/// Sees that a session may begin on the device: the device is not one of another app, and not disabled. It may be unknown.
///
/// # Errors
/// When it may not.
pub async fn check(app: &App, app_id: AppId, id: DeviceId) -> Result<()> {
    let find = async || Ok(device::find(&app.store.reader, id).await?);
    let found = app.retry(find).await?;
    found.map_or(Ok(()), |row| allow(&row, app_id))
}

/// Gives the device of a session that has begun to the user of the session, and registers the device if it is not known. This is
/// done after the session is stored: if the device is disabled at the same time, that ends the session, or is seen here, and the
/// session is ended here.
///
/// # Errors
/// When the session may not be on this device.
pub async fn admit(app: &App, session: &session::Model) -> Result<()> {
    let Some(id) = session.device_id else {
        return Ok(());
    };
    let take_or_end = async || {
        let (now, app_id) = (app.clock.now(), session.app_id);
        let transaction = app.store.begin().await?;
        match take(&transaction, app_id, id, &session.sub, now).await {
            Err(refusal @ (Error::Invalid(_) | Error::DeviceDisabled)) => {
                end(&transaction, app_id, session.flush_count, id, now).await?;
                commit(app, transaction).await?;
                Err(refusal)
            }
            taken => {
                taken?;
                commit(app, transaction).await
            }
        }
    };
    app.retry(take_or_end).await
}

/// Who says that a session is on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// A backend, with a secret key: it may name any device.
    Backend,
    /// The holder of the refresh token, with a key that everybody has. It may name devices of the session's own subject and of
    /// nobody, and only while the session is on no device: otherwise a session that is to end with its device could be carried
    /// away.
    Holder,
}

/// Ties the session to the device, and gives the device to the user of the session, if `presented` is the session's current
/// refresh token or its parent. This is done before the renewal: a refusal here uses up no token.
///
/// # Errors
/// When the session may not be on this device.
pub async fn tie(
    app: &App,
    caller: &Caller,
    session_id: SessionId,
    presented: TokenId,
    id: DeviceId,
    telling: Telling,
) -> Result<()> {
    let app_id = caller.app.app.id;
    let tie_once = async |caller: Caller| {
        let now = app.clock.now();
        let find = session::find_in(&app.store.reader, app_id, session_id).await?;
        let live = find.filter(|session| {
            let is_known = session.token_id == presented || session.parent_id == Some(presented);
            is_known && !session.is_revoked() && now < session.expires_at
        });
        // What will not be renewed is not tied.
        let Some(session) = live else {
            return Ok(());
        };
        if session.device_id == Some(id) {
            // This was allowed when the session was tied, and to disable the device ends the session.
            return see_again(app, &caller, id, now).await;
        }
        if !may_move(&session, telling) {
            return refuse_another(app, &session, id).await;
        }
        let transaction = caller.actor.begin(app).await?;
        if telling == Telling::Holder
            && let Some(row) = device::find_for_update(&transaction, id).await?
        {
            allow(&row, app_id)?;
            own(&row, &session.sub)?;
        }
        take(&transaction, app_id, id, &session.sub, now).await?;
        // Ended meanwhile: the renewal will tell.
        session::tie(&transaction, app_id, session_id, id).await?;
        commit(app, transaction).await
    };
    caller.act(app, tie_once).await
}

/// Whether the session may go to another device: a device's own never does.
fn may_move(session: &session::Model, telling: Telling) -> bool {
    !device::is_device(&session.sub) && (telling == Telling::Backend || session.device_id.is_none())
}

/// The session stays on the device that it is on. To name a device of another subject is refused all the same.
async fn refuse_another(app: &App, session: &session::Model, id: DeviceId) -> Result<()> {
    match device::find(&app.store.reader, id).await? {
        Some(row) if row.app_id != session.app_id => allow(&row, session.app_id),
        Some(row) => own(&row, &session.sub),
        None => Ok(()),
    }
}

/// Takes the row of the device, made if there is none, for the user. A registered device stays its own.
async fn take(
    db: &impl ConnectionTrait,
    app_id: AppId,
    id: DeviceId,
    sub: &str,
    now: Timestamp,
) -> Result<()> {
    let Some(read) = device::find_for_update(db, id).await? else {
        let row = device::Model {
            sub: Some(sub.to_owned()),
            ..device::Model::new(id, app_id, now)
        };
        entity::insert(db, row).await.map_err(raced)?;
        return Ok(());
    };
    allow(&read, app_id)?;
    let mut row = device::Model {
        last_seen_at: seen(&read, now),
        ..read.clone()
    };
    if !read.is_registered() && read.sub.as_deref() != Some(sub) {
        row.sub = Some(sub.to_owned());
        // The name was given by the user before.
        row.client_id = None;
    }
    if row != read {
        entity::replace(db, row).await?;
    }
    Ok(())
}

async fn see_again(app: &App, caller: &Caller, id: DeviceId, now: Timestamp) -> Result<()> {
    let found = device::find(&app.store.reader, id).await?;
    if found.is_none_or(|row| seen(&row, now) == row.last_seen_at) {
        return Ok(());
    }
    let transaction = caller.actor.begin(app).await?;
    device::seen_at(&transaction, id, now).await?;
    commit(app, transaction).await
}

fn allow(row: &device::Model, app_id: AppId) -> Result<()> {
    if row.app_id != app_id {
        return Err(Error::invalid("device_id", "is a device of another app"));
    }
    if row.is_disabled() {
        return Err(Error::DeviceDisabled);
    }
    Ok(())
}

/// Sees that the device is the subject's, or nobody's.
fn own(row: &device::Model, sub: &str) -> Result<()> {
    let is_nobodys = row.sub.is_none() && !row.is_registered();
    if is_nobodys || row.sub.as_deref() == Some(sub) {
        Ok(())
    } else {
        Err(Error::DeviceOfAnother)
    }
}
