//! Changes the claims that the next renewal of a session carries.

use entity::{SessionId, session};
use serde_json::{Map, Value};

use crate::{
    app::App,
    apps::Caller,
    error::{Error, Result},
    sessions::{claims::Claims, renewal::family},
};

/// Lays `changes` over the claims of the session: a member replaces its namesake, `null` removes it.
///
/// # Errors
/// When the session is not one of the app, was ended, or the changes are not allowed.
pub async fn amend(
    app: &App,
    caller: &Caller,
    id: SessionId,
    changes: Map<String, Value>,
) -> Result<()> {
    let replace = async |caller: Caller| replace_claims(app, &caller, id, changes.clone()).await;
    Box::pin(caller.act(app, replace)).await
}

async fn replace_claims(
    app: &App,
    caller: &Caller,
    id: SessionId,
    changes: Map<String, Value>,
) -> Result<()> {
    let now = app.clock.now();
    let transaction = caller.actor.begin(app).await?;
    // Nobody flushed the app since: the transaction would be stale.
    let (app_id, flush_count) = (caller.app.app.id, caller.app.app.flush_count);
    let session = session::find_in(&transaction, app_id, id)
        .await?
        .filter(|session| !family(session, flush_count).ended && now < session.expires_at)
        .ok_or(Error::NotFound("session"))?;
    let claims = Claims::amend(&session.claims, changes)?.to_json();
    if !session::replace_claims(&transaction, &session, claims).await? {
        return Err(Error::Contended(
            "the claims of the session were changed meanwhile",
        ));
    }
    Ok(app.store.commit(transaction).await?)
}
