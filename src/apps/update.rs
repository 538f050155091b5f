//! Changes the policy of an app.

use entity::{AppId, app, setting, signing_key};
use sea_orm::{ActiveModelTrait, ActiveValue::NotSet, IntoActiveModel};

use crate::{
    app::App,
    apps::AppChanges,
    audit::{Action, Actor, Event, record},
    error::{Error, Result},
    signing::token_life,
};

/// Changes the app; what was issued before keeps the dates that it has.
///
/// # Errors
/// When there is no such app, or with every rule that the result breaks.
pub async fn update(app: &App, actor: &Actor, id: AppId, changes: AppChanges) -> Result<()> {
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    let row = app::find(&transaction, id)
        .await?
        .ok_or(Error::NotFound("app"))?;
    let mut row = changes.apply(row, now)?;
    // The keys are looked at anew: their schedule may have changed with the policy.
    row.next_key_at = now;
    signing_key::raise_token_life(&transaction, id, token_life(&row)).await?;
    let mut changed = row.into_active_model().reset_all();
    // Changed by others, who do not wait for this: never written back.
    changed.flush_count = NotSet;
    changed.key_changes = NotSet;
    changed.last_key_rotate = NotSet;
    changed.deleted_at = NotSet;
    changed.update(&transaction).await?;
    let event = Event::of(Action::AppUpdate, id, id);
    record(&transaction, &app.rng, now, actor, [event]).await?;
    setting::advance_epoch(&transaction).await?;
    transaction.commit().await?;
    app.directory.drop_all();
    Ok(())
}
