//! Changes the policy of an app.

use entity::{AppId, app, setting};
use sea_orm::{ActiveModelTrait, IntoActiveModel};

use crate::{
    app::App,
    apps::AppChanges,
    error::{Error, Result},
};

/// Changes the app; what was issued before keeps the dates that it has.
///
/// # Errors
/// When there is no such app, or with every rule that the result breaks.
pub async fn update(app: &App, id: AppId, changes: AppChanges) -> Result<()> {
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    let row = app::find(&transaction, id)
        .await?
        .ok_or(Error::NotFound("app"))?;
    let row = changes.apply(row, now)?;
    row.into_active_model()
        .reset_all()
        .update(&transaction)
        .await?;
    setting::advance_epoch(&transaction).await?;
    transaction.commit().await?;
    app.directory.drop_all();
    tracing::info!(app_id = %id, "app changed");
    Ok(())
}
