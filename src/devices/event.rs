//! Something happened on a device that is known by its push token.

use entity::{AppId, DeviceId, Timestamp, device};

use super::{Sighting, commit, push_token::Presented, see::see};
use crate::{app::App, error::Result};

/// Notes what an event says of its device, which is registered when it is not known; gives its id.
///
/// The push token says which device it is. Where its user is another one than before, messages go to that one from now on;
/// the sessions on it are not touched: who ends sessions must have shown more than a key that everybody has.
///
/// # Errors
/// Those of the store.
pub async fn event(app: &App, app_id: AppId, sighting: &Sighting) -> Result<DeviceId> {
    let attempt = async || {
        let now = app.clock.now();
        // Most events say what is known: that is seen without a lock.
        if let Some(id) = unchanged(app, app_id, sighting, now).await? {
            return Ok(id);
        }
        let transaction = app.store.begin().await?;
        let row = see(app, &transaction, app_id, now, sighting).await?;
        commit(app, transaction).await?;
        Ok(row.id)
    };
    app.store.retry(attempt).await
}

async fn unchanged(
    app: &App,
    app_id: AppId,
    sighting: &Sighting,
    now: Timestamp,
) -> Result<Option<DeviceId>> {
    let Some(token) = &sighting.push_token else {
        return Ok(None);
    };
    let db = &app.store.reader;
    let presented = Presented::new(app, db, app_id, token).await?;
    let found = device::find_by_push_token(db, app_id, &presented.macs).await?;
    Ok(found.and_then(|row| {
        let mut noted = row.clone();
        sighting.note(&mut noted, now);
        (noted == row).then_some(row.id)
    }))
}
