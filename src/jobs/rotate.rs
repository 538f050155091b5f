//! Rotates signing keys by their schedule, and removes those that nothing needs.

use entity::{Timestamp, app};
use tokio_util::sync::CancellationToken;

use super::{clock, leased};
use crate::{
    app::App,
    error::{Error, Result},
    signing,
};

/// Apps that are looked at in one run; the next run takes the rest.
const APPS: u64 = 100;

/// Does what is due; nothing while the clock is not believed: a key that a wrong clock made would sign in its time only, and
/// keep its successor waiting. Gives the number of apps that were looked at; `None` when another process does it.
pub async fn run(app: &App, shutdown: &CancellationToken) -> Result<Option<u64>> {
    // The question alone needs no lease.
    if due(app, app.clock.now(), 1).await?.is_empty() {
        return Ok(Some(0));
    }
    let Some(now) = clock::look(app).await? else {
        return Ok(Some(0));
    };
    leased(app, "rotate", async |lease| {
        let (mut looked_at, mut failure) = (0, None);
        for row in due(app, now, APPS).await? {
            if shutdown.is_cancelled() {
                break;
            }
            let fence = async |db: &store::Transaction| lease.hold(db).await;
            match signing::advance(app, row.id, now, fence).await {
                Ok(()) => looked_at += 1,
                // Somebody rotates by hand, or deleted the app: there is another time.
                Err(Error::Conflict(_) | Error::NotFound(_)) => {}
                // One app's trouble does not keep the others from their turn.
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(looked_at), Err)
    })
    .await
}

async fn due(app: &App, now: Timestamp, limit: u64) -> Result<Vec<app::Model>> {
    Ok(app::list_due(&app.store.reader, now, limit).await?)
}
