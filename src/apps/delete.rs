//! Deletes an app.

use entity::{AppId, app};

use crate::{
    app::App,
    apps::Revision,
    audit::{Action, Actor, Event},
    error::Result,
};

/// Deletes the app: from now on its keys and tokens are worth nothing. Its rows are purged later, in
/// batches, so that nobody waits for millions of sessions.
///
/// # Errors
/// When there is no such app.
pub async fn delete(app: &App, actor: &Actor, id: AppId) -> Result<()> {
    app.retry(|| mark_deleted(app, actor, id)).await
}

async fn mark_deleted(app: &App, actor: &Actor, id: AppId) -> Result<()> {
    let revision = Revision::begin(app, actor, id).await?;
    app::delete(&revision.db, id, revision.now).await?;
    let event = Event::of(Action::AppDelete, id, id);
    revision.commit([event]).await?;
    app.purge.notify_one();
    Ok(())
}
