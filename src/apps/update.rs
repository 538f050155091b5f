//! Changes the policy of an app.

use entity::{AppId, app, setting, signing_key};
use sea_orm::{ActiveModelTrait, IntoActiveModel};

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
    app.store
        .retry(|| attempt(app, actor, id, changes.clone()))
        .await
}

async fn attempt(app: &App, actor: &Actor, id: AppId, changes: AppChanges) -> Result<()> {
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    // Of two that change the app at once, the second one changes what the first one left.
    let row = app::find_for_update(&transaction, id)
        .await?
        .ok_or(Error::NotFound("app"))?;
    let mut row = changes.apply(row, now)?;
    // The keys are looked at anew: their schedule may have changed with the policy.
    row.next_key_at = now;
    row.key_changes += 1;
    signing_key::raise_token_life(&transaction, id, token_life(&row)).await?;
    row.into_active_model()
        .reset_all()
        .update(&transaction)
        .await?;
    let event = Event::of(Action::AppUpdate, id, id);
    record(&transaction, &app.rng, now, actor, [event]).await?;
    setting::advance_epoch(&transaction).await?;
    app.store.commit(transaction).await?;
    app.directory.drop_all();
    Ok(())
}
