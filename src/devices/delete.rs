//! Forgets a device.

use entity::DeviceId;

use super::{
    end::{end_all, remove},
    rows::require,
};
use crate::{
    app::App,
    apps::Caller,
    audit::{Action, Event, record},
    error::Result,
};

/// Ends what lives on the device, and removes it; gives the number of sessions that this ended.
///
/// # Errors
/// When there is no such device.
pub async fn delete(app: &App, caller: &Caller, id: DeviceId) -> Result<u64> {
    let end_and_remove = async |caller: Caller| {
        let (now, app_id) = (app.clock.now(), caller.app.app.id);
        let transaction = caller.actor.begin(app).await?;
        require(&transaction, app_id, id).await?;
        let ended = end_all(&transaction, app_id, caller.app.app.flush_count, id, now).await?;
        remove(&transaction, app_id, id).await?;
        let event = Event::of(Action::DeviceDelete, app_id, id);
        record(&transaction, &app.rng, now, &caller.actor, [event]).await?;
        app.store.commit(transaction).await?;
        Ok(ended)
    };
    Box::pin(caller.act(app, end_and_remove)).await
}
