//! Deletes an app.

use entity::{AppId, app, setting};

use crate::{
    app::App,
    error::{Error, Result},
};

/// Deletes the app: from now on its keys and tokens are worth nothing. Its rows are purged later, in
/// batches, so that nobody waits for millions of sessions.
///
/// # Errors
/// When there is no such app; those of the store.
pub async fn delete(app: &App, id: AppId) -> Result<()> {
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    if !app::delete(&transaction, id, now).await? {
        return Err(Error::NotFound("app"));
    }
    setting::advance_epoch(&transaction).await?;
    transaction.commit().await?;
    app.directory.drop_all();
    app.purge.notify_one();
    tracing::info!(app_id = %id, "app deleted");
    Ok(())
}
