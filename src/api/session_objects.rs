//! The bodies of the operations on sessions.

use std::net::IpAddr;

use entity::{DeviceId, SessionId, SigningKeyId, TokenId, session};
use keys::TokenType;
use poem_openapi::{Enum, Object, types::MaybeUndefined};
use serde::Serialize;

use crate::{
    api::types::{Audience, Id, JsonObject},
    error::{Error, Result},
    page::Listing,
    sessions::{Grant, LogoutTarget, Verified},
};

/// A session that is to begin.
#[derive(Debug, Object)]
#[oai(example)]
pub struct SignRequest {
    /// The user, by the name that resource servers know. It must not begin with `device:`, as those of registered devices do.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub sub: String,
    pub aud: Audience,
    /// Where the user is.
    pub ip: IpAddr,
    #[oai(validator(max_length = 1024))]
    pub useragent: String,
    /// Any object; it becomes the claim `personal`.
    #[oai(nullable)]
    pub personal: Option<JsonObject>,
    /// The user's device: the session ends with it. It is registered if it is not known.
    #[oai(nullable)]
    pub device_id: Option<Id<DeviceId>>,
    /// Further claims of the auth token.
    #[oai(flatten)]
    pub custom: JsonObject,
}

/// A refresh token that is to be renewed.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RenewRequest {
    #[oai(validator(min_length = 1))]
    pub refresh_token: String,
    /// Where the user is. Required with a secret key; with a publishable key the address of the connection
    /// is taken.
    #[oai(nullable)]
    pub ip: Option<IpAddr>,
    /// Required with a secret key; with a publishable key the `User-Agent` of the request is taken.
    #[oai(nullable, validator(max_length = 1024))]
    pub useragent: Option<String>,
    /// The user's device: the session ends with it from now on. It is registered if it is not known. With a publishable key, a
    /// device of another subject is refused, and a session that is on a device already stays on that.
    #[oai(nullable)]
    pub device_id: Option<Id<DeviceId>>,
}

/// A signed pair of tokens.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub struct GrantResponse {
    /// What resource servers take: a JWT, good until it expires.
    pub auth_token: String,
    /// Good for one renewal.
    pub refresh_token: String,
    /// The key that signed both; `kid` in their headers.
    pub key_id: Id<SigningKeyId>,
    /// Base64 of the PEM of the public key that verifies both.
    pub public_key: String,
    pub session_id: Id<SessionId>,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until the auth token expires.
    pub expires_in: i64,
    /// Seconds until the refresh token expires.
    pub refresh_expires_in: i64,
    /// Seconds after which a client should renew: when 0.7 to 0.9 of what the pair has left to live have passed, at most 24 days.
    /// Spread, so that clients do not come all at once. The pair lives until the first of its tokens expires: where
    /// `refresh_expire` is below `token_expire`, that is earlier in the auth token's life. Where `refresh_notbefore` is near
    /// `token_expire`, it is later, because it is not before the refresh token is valid.
    pub renew_after: i64,
    /// Seconds for which the same refresh token may be tried again, should the answer to its renewal be lost.
    pub refresh_grace: i64,
}

/// A token that is to be verified.
#[derive(Debug, Object)]
#[oai(example)]
pub struct VerifyRequest {
    pub token: String,
}

/// Whether a token is good.
#[derive(Debug, Object)]
#[oai(example, skip_serializing_if_is_none)]
pub struct VerifyResponse {
    pub verified: bool,
    /// The claims of a good token.
    pub claims: Option<JsonObject>,
    #[oai(rename = "type")]
    pub kind: Option<TokenKind>,
    pub session_id: Option<Id<SessionId>>,
}

/// What a token is for.
#[derive(Debug, Enum)]
#[oai(rename_all = "lowercase")]
pub enum TokenKind {
    Auth,
    Refresh,
}

/// The sessions that are to end: exactly one of `token`, `session_id` and `sub`.
#[derive(Debug, Object)]
#[oai(example)]
pub struct LogoutRequest {
    /// An auth or refresh token of the session, expired or not.
    #[oai(nullable)]
    pub token: Option<String>,
    #[oai(nullable)]
    pub session_id: Option<Id<SessionId>>,
    /// All sessions of this subject.
    #[oai(nullable, validator(min_length = 1, max_length = 255))]
    pub sub: Option<String>,
    /// With `sub`: but for this one.
    #[oai(nullable)]
    pub except_session_id: Option<Id<SessionId>>,
}

/// How many sessions were ended.
#[derive(Debug, Object)]
#[oai(example)]
pub struct LogoutResponse {
    /// Always `ok`.
    pub status: String,
    /// Sessions that this ended.
    pub revoked: u64,
}

/// The subject whose sessions are to be listed.
#[derive(Debug, Object)]
#[oai(example)]
pub struct GetSessionRequest {
    #[oai(validator(min_length = 1, max_length = 255))]
    pub sub: String,
    /// `next_cursor` of the page before.
    #[oai(nullable)]
    pub cursor: Option<Id<SessionId>>,
    /// Sessions on a page.
    #[oai(
        default = "crate::api::types::default_limit",
        validator(minimum(value = "1"), maximum(value = "500"))
    )]
    pub limit: u64,
}

/// A page of sessions.
#[derive(Debug, Object)]
#[oai(example)]
pub struct GetSessionResponse {
    pub sessions: Vec<SessionObject>,
    /// Where the next page begins; null on the last.
    #[oai(nullable)]
    pub next_cursor: Option<Id<SessionId>>,
}

/// A session that can be renewed. Times of tokens in seconds of the Unix epoch.
#[derive(Debug, Object)]
pub struct SessionObject {
    pub token_id: Id<TokenId>,
    pub key_id: Id<SigningKeyId>,
    pub auth_token_iat: i64,
    pub auth_token_nbf: i64,
    pub auth_token_exp: i64,
    pub refresh_token_iat: i64,
    pub refresh_token_nbf: i64,
    pub refresh_token_exp: i64,
    pub ip_address: String,
    pub user_agent: String,
    pub session_id: Id<SessionId>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; null before the first renewal.
    #[oai(nullable)]
    pub renewed_at: Option<String>,
    pub renewals: i64,
    #[oai(nullable)]
    pub device_id: Option<Id<DeviceId>>,
}

/// Claims that the next renewal is to carry.
#[derive(Debug, Object)]
#[oai(example)]
pub struct AmendRequest {
    /// Takes the place of the claim `personal`; `null` removes it.
    #[oai(nullable)]
    pub personal: MaybeUndefined<JsonObject>,
    /// Further claims; `null` removes one.
    #[oai(flatten)]
    pub custom: JsonObject,
}

impl From<Grant> for GrantResponse {
    fn from(grant: Grant) -> Self {
        Self {
            auth_token: grant.auth_token,
            refresh_token: grant.refresh_token,
            key_id: Id(grant.key_id),
            public_key: grant.public_key,
            session_id: Id(grant.session_id),
            token_type: "Bearer".to_owned(),
            expires_in: grant.expires_in,
            refresh_expires_in: grant.refresh_expires_in,
            renew_after: grant.renew_after,
            refresh_grace: grant.refresh_grace,
        }
    }
}

impl From<Option<Verified>> for VerifyResponse {
    fn from(verified: Option<Verified>) -> Self {
        let Some(verified) = verified else {
            return Self {
                verified: false,
                claims: None,
                kind: None,
                session_id: None,
            };
        };
        Self {
            verified: true,
            claims: Some(JsonObject(verified.claims)),
            kind: Some(match verified.token_type {
                TokenType::Auth => TokenKind::Auth,
                TokenType::Refresh => TokenKind::Refresh,
            }),
            session_id: Some(Id(verified.session_id)),
        }
    }
}

impl LogoutRequest {
    /// What is to end.
    ///
    /// # Errors
    /// When it is not exactly one thing.
    pub fn target(self) -> Result<LogoutTarget> {
        let except = self.except_session_id.map(|Id(id)| id);
        match (self.token, self.session_id, self.sub, except) {
            (Some(token), None, None, None) => Ok(LogoutTarget::Token(token)),
            (None, Some(Id(id)), None, None) => Ok(LogoutTarget::Session(id)),
            (None, None, Some(sub), except) => Ok(LogoutTarget::Subject { sub, except }),
            (None, None, None, _) => Err(Error::invalid(
                "token",
                "one of token, session_id and sub is required",
            )),
            (_, _, None, Some(_)) => Err(Error::invalid("except_session_id", "goes with sub only")),
            _ => Err(Error::invalid(
                "token",
                "only one of token, session_id and sub may be given",
            )),
        }
    }
}

impl LogoutResponse {
    /// That so many sessions were ended.
    pub fn of(revoked: u64) -> Self {
        Self {
            status: "ok".to_owned(),
            revoked,
        }
    }
}

impl From<Listing<session::Model, SessionId>> for GetSessionResponse {
    fn from(page: Listing<session::Model, SessionId>) -> Self {
        Self {
            sessions: page.items.into_iter().map(SessionObject::from).collect(),
            next_cursor: page.next.map(Id),
        }
    }
}

impl From<session::Model> for SessionObject {
    fn from(session: session::Model) -> Self {
        let iat = session.issued_at.as_seconds();
        let renewals = session.renewals();
        Self {
            token_id: Id(session.token_id),
            key_id: Id(session.key_id),
            auth_token_iat: iat,
            auth_token_nbf: session.auth_not_before.as_seconds(),
            auth_token_exp: session.auth_expires_at.as_seconds(),
            refresh_token_iat: iat,
            refresh_token_nbf: session.not_before.as_seconds(),
            refresh_token_exp: session.expires_at.as_seconds(),
            ip_address: session.ip,
            user_agent: session.user_agent,
            session_id: Id(session.id),
            created_at: session.id.minted_at().to_rfc3339(),
            renewed_at: (renewals > 0).then(|| session.issued_at.to_rfc3339()),
            renewals,
            device_id: session.device_id.map(Id),
        }
    }
}
