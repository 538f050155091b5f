//! Sessions are tied to the device that they are on.

use entity::{AppId, DeviceId, SessionId, Timestamp, TokenId, device, session};
use sea_orm::{ActiveModelTrait, ConnectionTrait, IntoActiveModel};

use super::{commit, end::end, raced, seen};
use crate::{
    app::App,
    error::{Error, Result},
};

/// Sees that a session may begin on the device: that it is none of another app, and not disabled. It may be unknown.
///
/// # Errors
/// When it may not; those of the store.
pub async fn check(app: &App, app_id: AppId, id: DeviceId) -> Result<()> {
    let find = async || Ok(device::find(&app.store.reader, id).await?);
    let found = app.store.retry(find).await?;
    found.map_or(Ok(()), |row| allow(&row, app_id))
}

/// Makes the device of a session that has begun its user's, and registers it if it is not known. After the session is there
/// for all to see: whoever disables the device meanwhile ends the session, or is seen here, and it is ended here.
///
/// # Errors
/// When the session may not be on this device; those of the store.
pub async fn admit(app: &App, session: &session::Model) -> Result<()> {
    let Some(id) = session.device_id else {
        return Ok(());
    };
    let attempt = async || {
        let (now, app_id) = (app.clock.now(), session.app_id);
        let transaction = app.store.begin().await?;
        match take(&transaction, app_id, id, &session.sub, now).await {
            Err(refusal @ (Error::Invalid(_) | Error::DeviceDisabled)) => {
                end(&transaction, app_id, id, now).await?;
                commit(app, transaction).await?;
                Err(refusal)
            }
            taken => {
                taken?;
                commit(app, transaction).await
            }
        }
    };
    app.store.retry(attempt).await
}

/// Ties the session to the device, which becomes its user's, if `presented` is the refresh token that renews it, or was. It
/// is done before the renewal: what fails here has used up nothing.
///
/// # Errors
/// When the session may not be on this device; those of the store.
pub async fn tie(
    app: &App,
    app_id: AppId,
    session_id: SessionId,
    presented: TokenId,
    id: DeviceId,
) -> Result<()> {
    let attempt = async || {
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
            // It was allowed when it was tied: whoever disables the device ends it.
            return see_again(app, id, now).await;
        }
        let transaction = app.store.begin().await?;
        take(&transaction, app_id, id, &session.sub, now).await?;
        // Ended meanwhile: the renewal will tell.
        session::tie(&transaction, app_id, session_id, id).await?;
        commit(app, transaction).await
    };
    app.store.retry(attempt).await
}

/// Takes the row of the device, made if there is none, for the user.
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
        row.into_active_model().insert(db).await.map_err(raced)?;
        return Ok(());
    };
    allow(&read, app_id)?;
    let row = device::Model {
        sub: Some(sub.to_owned()),
        last_seen_at: seen(&read, now),
        ..read.clone()
    };
    if row != read {
        device::save(db, row).await?;
    }
    Ok(())
}

async fn see_again(app: &App, id: DeviceId, now: Timestamp) -> Result<()> {
    let found = device::find(&app.store.reader, id).await?;
    if found.is_some_and(|row| seen(&row, now) > row.last_seen_at) {
        device::seen_at(&app.store.writer, id, now).await?;
    }
    Ok(())
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
