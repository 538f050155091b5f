//! Deletes an app.

use entity::{AppId, app, setting};

use crate::{
    app::App,
    audit::{Action, Actor, Event, record},
    error::{Error, Result},
};

/// Deletes the app: from now on its keys and tokens are worth nothing. Its rows are purged later, in
/// batches, so that nobody waits for millions of sessions.
///
/// # Errors
/// When there is no such app; those of the store.
pub async fn delete(app: &App, actor: &Actor, id: AppId) -> Result<()> {
    app.store.retry(|| attempt(app, actor, id)).await
}

async fn attempt(app: &App, actor: &Actor, id: AppId) -> Result<()> {
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    if !app::delete(&transaction, id, now).await? {
        return Err(Error::NotFound("app"));
    }
    let event = Event::of(Action::AppDelete, id, id);
    record(&transaction, &app.rng, now, actor, [event]).await?;
    setting::advance_epoch(&transaction).await?;
    app.store.commit(transaction).await?;
    app.directory.drop_all();
    app.purge.notify_one();
    Ok(())
}
