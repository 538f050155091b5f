//! Tells whether a token is good at this moment, its session included.

use std::sync::Arc;

use entity::{SessionId, Timestamp, TokenId, session, time::Span};
use keys::TokenType;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    app::App,
    apps::LoadedApp,
    error::{Error, Result},
    rotation::{Decision, RetryPolicy},
    sessions::{
        presented::{TokenClaims, named_key, read, read_refresh},
        renewal::family,
    },
};

/// A token that is good.
#[derive(Clone, Debug)]
pub struct Verified {
    pub claims: Map<String, Value>,
    pub token_type: TokenType,
    pub session_id: SessionId,
}

/// Verifies signature, dates, key and session. An auth token is good until it expires or its
/// session is revoked; a refresh token, while it would renew.
///
/// # Errors
/// None for a token that is not good: the answer is `None` then.
pub async fn verify(app: &App, loaded: &Arc<LoadedApp>, token: &str) -> Result<Option<Verified>> {
    let now = app.clock.now();
    let newer = match named_key(token) {
        Some(key) => app.load_for_key(loaded, key).await?,
        None => None,
    };
    let loaded = newer.as_ref().unwrap_or(loaded);
    let Ok((token_type, claims)) = read::<Map<String, Value>>(loaded, token) else {
        return Ok(None);
    };
    let Ok(own) = TokenClaims::deserialize(Value::Object(claims.clone())) else {
        return Ok(None);
    };
    if !own.is_valid_at(now) {
        return Ok(None);
    }
    let find = async || Ok(session::find_in(&app.store.reader, loaded.app.id, own.sid).await?);
    let found = app.retry(find).await?;
    if let Some(session) = &found
        && session.flush_count > loaded.app.flush_count
    {
        // It began after a flush that is not known here yet.
        return match app.reload(loaded).await {
            Ok(newer) => Box::pin(verify(app, &newer, token)).await,
            // The app is no more.
            Err(Error::InvalidKey) => Ok(None),
            Err(error) => Err(error),
        };
    }
    let is_good = found.is_some_and(|session| match token_type {
        TokenType::Auth => !family(&session, loaded.app.flush_count).ended,
        TokenType::Refresh => {
            read_refresh(loaded, token).is_ok() && would_renew(loaded, &session, own.jid, now)
        }
    });
    Ok(is_good.then_some(Verified {
        claims,
        token_type,
        session_id: own.sid,
    }))
}

fn would_renew(
    loaded: &LoadedApp,
    session: &session::Model,
    presented: TokenId,
    now: Timestamp,
) -> bool {
    let decision = family(session, loaded.app.flush_count).present(
        presented,
        now,
        Span::ZERO,
        RetryPolicy::Repeat,
        presented,
    );
    matches!(decision, Decision::Advance(_) | Decision::Repeat)
}
