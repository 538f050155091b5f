//! A user who is signed in reports the push token of the device.

use entity::{PlainSecret, TokenId, session};
use sea_orm::DbErr;

use super::{Details, Sighting, commit, see::see};
use crate::{
    app::App,
    error::{Error, Result},
    sessions::{Bearer, Claims, issue_auth},
};

/// Registers the device under the user of the token, ties the session to it, and signs an auth token that tells of both: of
/// the same session, which keeps its refresh token, and good for no longer than the one that was presented. Whoever renews
/// an auth token has to show the refresh token.
///
/// # Errors
/// [`Error::InvalidToken`] when the session was ended meanwhile; when the device is disabled; those of the store.
pub async fn report(
    app: &App,
    bearer: &Bearer,
    client_id: &str,
    push_token: &PlainSecret,
) -> Result<String> {
    let attempt = || attempt(app, bearer, client_id, push_token);
    let session = app.store.retry(attempt).await?;
    let now = app.clock.now();
    let jid = app.rng.with(|rng| TokenId::mint(now, rng));
    match issue_auth(&bearer.app, &session, jid, now, bearer.expires_at) {
        Err(Error::RefreshToken(_)) => Err(Error::InvalidToken),
        issued => issued,
    }
}

async fn attempt(
    app: &App,
    bearer: &Bearer,
    client_id: &str,
    push_token: &PlainSecret,
) -> Result<session::Model> {
    let (now, app_id) = (app.clock.now(), bearer.app.app.id);
    let transaction = app.store.begin().await?;
    let mut session = session::find_in(&transaction, app_id, bearer.session_id)
        .await?
        .filter(|session| !session.is_revoked())
        .ok_or(Error::InvalidToken)?;
    let sighting = Sighting {
        id: session.device_id,
        client_id: Some(client_id.to_owned()),
        push_token: Some(push_token.clone()),
        sub: Some(session.sub.clone()),
        details: Details::default(),
    };
    let device = see(app, &transaction, app_id, now, &sighting).await?;
    if device.is_disabled() {
        return Err(Error::DeviceDisabled);
    }
    let told = [("fcm_token", push_token.reveal()), ("device_id", client_id)];
    let claims = Claims::set(&session.claims, told)?.to_json();
    let written = session::replace_claims(&transaction, &session, claims.clone()).await?
        && session::tie(&transaction, app_id, session.id, device.id).await?;
    if !written {
        let message = "the session was changed meanwhile";
        return Err(Error::Unavailable(DbErr::Custom(message.to_owned())));
    }
    commit(app, transaction).await?;
    session.claims = claims;
    Ok(session)
}
