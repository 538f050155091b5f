//! Changes the policy of an app.

use entity::{AppId, Timestamp, app, signing_key};

use crate::{
    app::App,
    apps::{AppChanges, Revision},
    audit::{Action, Actor, Event},
    error::{Error, Result},
    signing::token_life,
};

/// Changes the app; what was issued before keeps the dates that it has.
///
/// # Errors
/// When there is no such app, or with every rule that the result breaks.
pub async fn update(app: &App, actor: &Actor, id: AppId, changes: AppChanges) -> Result<()> {
    app.retry(|| apply(app, actor, id, changes.clone())).await
}

async fn apply(app: &App, actor: &Actor, id: AppId, changes: AppChanges) -> Result<()> {
    // Of two that change the app at once, the second one changes what the first one left.
    let revision = Revision::begin(app, actor, id).await?;
    let row = app::find(&revision.db, id).await?;
    let mut row = changes.apply(row.ok_or(Error::NotFound("app"))?, revision.now)?;
    // The keys are looked at anew, at once whatever this clock shows: their schedule may have changed with the policy.
    row.next_key_at = Timestamp::from_millis(0);
    row.key_changes += 1;
    signing_key::raise_token_life(&revision.db, id, token_life(&row)).await?;
    entity::replace(&revision.db, row).await?;
    revision
        .commit([Event::of(Action::AppUpdate, id, id)])
        .await
}
