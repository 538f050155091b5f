//! Tokens that are presented: how they are read.

use entity::{SessionId, SigningKeyId, Timestamp, TokenId, app};
use keys::TokenType;
use serde::{Deserialize, de::DeserializeOwned};

use super::mark;
use crate::{apps::LoadedApp, error::Refusal, master::MasterKeys};

/// `type` of a refresh token.
pub const REFRESH: &str = "refresh";

/// Bytes that a refresh token may have: more than any of ours, with the longest issuer and the largest signature. What is
/// longer is not even taken apart.
const LONGEST_REFRESH: usize = 4096;

/// What every token of ours says.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct TokenClaims {
    pub sid: SessionId,
    pub jid: TokenId,
    nbf: i64,
    exp: i64,
}

/// What a refresh token says.
#[derive(Debug, Deserialize)]
struct RefreshClaims {
    sid: SessionId,
    jid: TokenId,
    nbf: i64,
    exp: i64,
    aud: String,
    #[serde(rename = "type")]
    kind: String,
}

/// What a refresh token says that was presented, and whether it bears the mark of this server.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    pub claims: TokenClaims,
    pub is_marked: bool,
}

impl TokenClaims {
    /// `nbf`.
    pub const fn not_before(&self) -> Timestamp {
        Timestamp::from_seconds(self.nbf)
    }

    /// `exp`.
    pub const fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.exp)
    }

    /// Whether `nbf` and `exp` both allow it at `now`, exactly.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.nbf..self.exp).contains(&now.as_seconds())
    }
}

/// The audience of the app's refresh tokens: a resource server that checks its own refuses them.
pub fn renewal_audience(app: &app::Model) -> String {
    format!("urn:renewd:app:{}:renew", app.id)
}

/// Reads a refresh token that one of the app's own keys signed; its dates are not looked at.
///
/// # Errors
/// [`Refusal::Revoked`] when that key was revoked, [`Refusal::Invalid`] when it is anything else.
pub fn read_refresh(loaded: &LoadedApp, token: &str) -> Result<TokenClaims, Refusal> {
    if token.len() > LONGEST_REFRESH {
        return Err(Refusal::Invalid);
    }
    let (token_type, claims) = read::<RefreshClaims>(loaded, token)?;
    if token_type == TokenType::Refresh {
        claims.of(loaded)
    } else {
        Err(Refusal::Invalid)
    }
}

/// Reads a refresh token by its looks: nobody has verified that it is one of ours. If it bears the mark, its key is not revoked.
///
/// # Errors
/// [`Refusal::Revoked`] when that key was revoked, [`Refusal::Invalid`] when it does not look like one of the app.
pub fn read_refresh_unverified(
    loaded: &LoadedApp,
    master: &MasterKeys,
    token: &str,
) -> Result<Presented, Refusal> {
    if token.len() > LONGEST_REFRESH {
        return Err(Refusal::Invalid);
    }
    let (text, key, is_good) = loaded
        .keyring
        .keys()
        .find_map(|(key, is_good)| {
            let claims = keys::claims_unverified(token, key, TokenType::Refresh);
            claims.ok().map(|claims| (claims, key, is_good))
        })
        .ok_or(Refusal::Invalid)?;
    let is_marked = mark::is_on(&text, master, key);
    if is_marked && !is_good {
        return Err(Refusal::Revoked);
    }
    let claims: RefreshClaims = serde_json::from_slice(&text).map_err(|_| Refusal::Invalid)?;
    Ok(Presented {
        claims: claims.of(loaded)?,
        is_marked,
    })
}

impl RefreshClaims {
    fn of(self, loaded: &LoadedApp) -> Result<TokenClaims, Refusal> {
        if self.kind == REFRESH && self.aud == renewal_audience(&loaded.app) {
            Ok(TokenClaims {
                sid: self.sid,
                jid: self.jid,
                nbf: self.nbf,
                exp: self.exp,
            })
        } else {
            Err(Refusal::Invalid)
        }
    }
}

/// Reads a token of either type that one of the app's own keys signed; its dates are not looked at.
///
/// # Errors
/// [`Refusal::Revoked`] when that key was revoked, [`Refusal::Invalid`] when it is anything else.
pub fn read<T: DeserializeOwned>(
    loaded: &LoadedApp,
    token: &str,
) -> Result<(TokenType, T), Refusal> {
    let (kid, token_type) = keys::key_id(token).map_err(|_| Refusal::Invalid)?;
    let (key, is_good) = loaded.keyring.find(&kid).ok_or(Refusal::Invalid)?;
    let claims = keys::verify(token, key).map_err(|_| Refusal::Invalid)?;
    // A thief of the revoked key may have signed this token: it says nothing of any session.
    if is_good {
        Ok((token_type, claims))
    } else {
        Err(Refusal::Revoked)
    }
}

/// The signing key that a token names. Nothing is verified.
pub fn named_key(token: &str) -> Option<SigningKeyId> {
    let (kid, _) = keys::key_id(token).ok()?;
    kid.parse().ok()
}
