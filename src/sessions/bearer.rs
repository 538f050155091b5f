//! Whoever presents an auth token, where no app is named beside it.

use std::sync::Arc;

use entity::{SessionId, SigningKeyId, Timestamp, signing_key};
use keys::TokenType;
use serde_json::{Map, Value};

use super::verify;
use crate::{
    app::App,
    apps::LoadedApp,
    error::{Error, Result},
};

/// Whoever presented a good auth token.
#[derive(Clone, Debug)]
pub struct Bearer {
    pub app: Arc<LoadedApp>,
    pub session_id: SessionId,
    pub claims: Map<String, Value>,
    /// `exp` of the token.
    pub expires_at: Timestamp,
}

/// The bearer of an auth token, of the app that its key belongs to. The token is verified with its session.
///
/// # Errors
/// [`Error::InvalidToken`] when it is not good at this moment, or no auth token; those of the store.
pub async fn bearer(app: &App, token: &str) -> Result<Bearer> {
    let key_id: Option<SigningKeyId> = match keys::key_id(token) {
        Ok((kid, TokenType::Auth)) => kid.parse().ok(),
        _ => None,
    };
    let key_id = key_id.ok_or(Error::InvalidToken)?;
    let find = async || Ok(signing_key::app_of(&app.store.reader, key_id).await?);
    let app_id = app.store.retry(find).await?.ok_or(Error::InvalidToken)?;
    let loaded = app.load(app_id).await?.ok_or(Error::InvalidToken)?;
    let verified = verify(app, &loaded, token).await?;
    let verified = verified.ok_or(Error::InvalidToken)?;
    let expires_at = verified.claims.get("exp").and_then(Value::as_i64);
    Ok(Bearer {
        app: loaded,
        session_id: verified.session_id,
        expires_at: expires_at
            .map(Timestamp::from_seconds)
            .ok_or(Error::InvalidToken)?,
        claims: verified.claims,
    })
}
