//! The holder of an auth token, where the request names no app beside it.

use std::sync::Arc;

use entity::{PlainSecret, SessionId, SigningKeyId, Timestamp, device, signing_key};
use keys::TokenType;
use serde_json::{Map, Value};

use super::verify;
use crate::{
    app::App,
    apps::LoadedApp,
    error::{Error, Result},
};

/// The holder of a good auth token, which was presented.
#[derive(Clone, Debug)]
pub struct Bearer {
    pub app: Arc<LoadedApp>,
    pub session_id: SessionId,
    pub claims: Map<String, Value>,
    /// `exp` of the token.
    pub expires_at: Timestamp,
    token: PlainSecret,
}

impl Bearer {
    /// Whether it is a registered device, no user.
    pub fn is_device(&self) -> bool {
        let sub = self.claims.get("sub").and_then(Value::as_str);
        sub.is_some_and(device::is_device)
    }

    /// The same bearer, whose token is verified again by the app as it is now, after somebody changed it.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] when the token is not good any more.
    pub async fn again(&self, app: &App) -> Result<Self> {
        let loaded = match app.reload(&self.app).await {
            // The app is no more.
            Err(Error::InvalidKey) => return Err(Error::InvalidToken),
            loaded => loaded?,
        };
        of(app, loaded, self.token.reveal()).await
    }
}

/// The bearer of an auth token, of the app that its key belongs to. The token is verified with its session.
///
/// # Errors
/// [`Error::InvalidToken`] when it is not good at this moment, or no auth token.
pub async fn bearer(app: &App, token: &str) -> Result<Bearer> {
    let key_id: Option<SigningKeyId> = match keys::key_id(token) {
        Ok((kid, TokenType::Auth)) => kid.parse().ok(),
        _ => None,
    };
    let key_id = key_id.ok_or(Error::InvalidToken)?;
    let find = async || Ok(signing_key::app_of(&app.store.reader, key_id).await?);
    let app_id = app.retry(find).await?.ok_or(Error::InvalidToken)?;
    let loaded = app.load(app_id).await?.ok_or(Error::InvalidToken)?;
    of(app, loaded, token).await
}

async fn of(app: &App, loaded: Arc<LoadedApp>, token: &str) -> Result<Bearer> {
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
        token: PlainSecret::from_text(token),
    })
}
