//! Ends everything of a device at once.

use entity::DeviceId;

use super::{
    end::end_all,
    rows::{commit, require},
};
use crate::{
    app::App,
    apps::Caller,
    audit::{Action, Event, record},
    error::Result,
};

/// Ends what lives on the device, and forgets its push token; gives the number of sessions that this ended. The device stays
/// known: its user may sign in on it again.
///
/// # Errors
/// When there is no such device.
pub async fn revoke(app: &App, caller: &Caller, id: DeviceId) -> Result<u64> {
    let end_all_on = async |caller: Caller| {
        let (now, app_id) = (app.clock.now(), caller.app.app.id);
        let transaction = caller.actor.begin(app).await?;
        let mut row = require(&transaction, app_id, id).await?;
        row.drop_push_token();
        entity::replace(&transaction, row).await?;
        let ended = end_all(&transaction, app_id, caller.app.app.flush_count, id, now).await?;
        let event = Event::of(Action::DeviceRevoke, app_id, id);
        record(&transaction, &app.rng, now, &caller.actor, [event]).await?;
        commit(app, transaction).await?;
        Ok(ended)
    };
    Box::pin(caller.act(app, end_all_on)).await
}
