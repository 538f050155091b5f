//! Lists the devices of an app, or of a user of it.

use entity::{AppId, DeviceId, app as apps, device};

use crate::{
    app::App,
    error::{Error, Result},
    page::Listing,
};

/// The devices, the newest first, at most `limit` of them.
///
/// # Errors
/// When there is no such app.
pub async fn list(
    app: &App,
    app_id: AppId,
    sub: Option<&str>,
    before: Option<DeviceId>,
    limit: u64,
) -> Result<Listing<device::Model, DeviceId>> {
    let read = async || {
        let db = &app.store.reader;
        let found = apps::find(db, app_id).await?;
        found.ok_or(Error::NotFound("app"))?;
        let rows = device::page(db, device::of(app_id, sub), before, limit + 1).await?;
        Ok(Listing::cut(rows, limit, |device| device.id))
    };
    app.retry(read).await
}

/// One device of the app.
///
/// # Errors
/// When there is none.
pub async fn show(app: &App, app_id: AppId, id: DeviceId) -> Result<device::Model> {
    let find = async || {
        let found = device::find_in(&app.store.reader, app_id, id).await?;
        found.ok_or(Error::NotFound("device"))
    };
    app.retry(find).await
}
