//! Ends every session of an app at once.

use entity::{AppId, app, setting};

use crate::{
    app::App,
    audit::{Action, Actor, Event, record},
    error::{Error, Result},
};

/// Declares every token of the app dead that was issued until now: one number, however many there are. The rows are
/// purged when they expire.
///
/// # Errors
/// When there is no such app; those of the store.
pub async fn flush(app: &App, actor: &Actor, id: AppId) -> Result<()> {
    app.store.retry(|| attempt(app, actor, id)).await
}

async fn attempt(app: &App, actor: &Actor, id: AppId) -> Result<()> {
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    if !app::flush(&transaction, id).await? {
        return Err(Error::NotFound("app"));
    }
    let event = Event::of(Action::AppFlush, id, id);
    record(&transaction, &app.rng, now, actor, [event]).await?;
    setting::advance_epoch(&transaction).await?;
    app.store.commit(transaction).await?;
    app.directory.drop_all();
    Ok(())
}
