//! Ends every session of an app at once.

use entity::{AppId, app};

use crate::{
    app::App,
    apps::Revision,
    audit::{Action, Actor, Event},
    error::Result,
};

/// Declares every token of the app dead that was issued until now: one number, however many there are. The rows are
/// purged when they expire.
///
/// # Errors
/// When there is no such app.
pub async fn flush(app: &App, actor: &Actor, id: AppId) -> Result<()> {
    app.retry(|| count_up(app, actor, id)).await
}

async fn count_up(app: &App, actor: &Actor, id: AppId) -> Result<()> {
    let revision = Revision::begin(app, actor, id).await?;
    app::flush(&revision.db, id).await?;
    revision.commit([Event::of(Action::AppFlush, id, id)]).await
}
