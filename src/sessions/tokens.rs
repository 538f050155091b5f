//! The pair of tokens of a session: what is in them, and how they are signed.

use ambient::Rng;
use entity::{
    SessionId, SigningKeyId, Timestamp, TokenId,
    session::{self, TokenMac},
};
use keys::TokenType;
use serde::Serialize;

use crate::{
    apps::LoadedApp,
    error::{Error, Refusal, Result},
    master::MasterKeys,
    sessions::{
        lifetimes::{Lifetimes, renew_after},
        mark,
        presented::{REFRESH, renewal_audience},
    },
    signing::Entry,
};

/// A signed pair of tokens, and what its holder needs besides.
#[derive(Clone, Debug)]
pub struct Grant {
    pub auth_token: String,
    pub refresh_token: String,
    pub key_id: SigningKeyId,
    /// Base64 of the PEM of the key that verifies both.
    pub public_key: String,
    pub session_id: SessionId,
    /// Seconds until each expires.
    pub expires_in: i64,
    pub refresh_expires_in: i64,
    /// Seconds after which to renew.
    pub renew_after: i64,
    /// Seconds for which the refresh token may be tried again.
    pub refresh_grace: i64,
}

/// A signed refresh token. It may be signed before it is known whether it will be handed out.
#[derive(Clone, Debug)]
pub struct RefreshToken {
    pub token: String,
    pub mac: TokenMac,
    /// Its `exp`.
    pub expires_at: Timestamp,
}

/// The registered claims of an auth token; the session's own claims follow them.
#[derive(Serialize)]
struct AuthHead<'a> {
    iss: &'a str,
    sub: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jid: TokenId,
    jti: TokenId,
    sid: SessionId,
    ip: &'a str,
    useragent: &'a str,
}

#[derive(Serialize)]
struct RefreshBody<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jid: TokenId,
    sid: SessionId,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// Signs the refresh token `jid` of the session `sid`, which is issued at `now`.
///
/// # Errors
/// When the signature cannot be made.
pub fn new_refresh_token(
    loaded: &LoadedApp,
    master: &MasterKeys,
    entry: &Entry,
    sid: SessionId,
    jid: TokenId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<RefreshToken> {
    let nbf = Lifetimes::of(&loaded.app).refresh_not_before(now);
    let body = RefreshBody {
        iss: loaded.app.issuer(),
        aud: &renewal_audience(&loaded.app),
        iat: now.as_seconds(),
        nbf: nbf.as_seconds(),
        exp: expires_at.as_seconds(),
        jid,
        sid,
        kind: REFRESH,
    };
    let token = sign_refresh(master, entry.key(), &body)?;
    let mac = master.token_mac(&token);
    Ok(RefreshToken {
        token,
        mac,
        expires_at,
    })
}

/// Signs the pair that `session` says is the current one; its auth token is dated anew where that would be over soon.
/// If `new` is the refresh token of that pair, it is taken, and not signed again.
///
/// # Errors
/// [`Refusal::Revoked`] when its key was revoked since; when the signature cannot be made.
pub fn issue(
    loaded: &LoadedApp,
    master: &MasterKeys,
    session: &session::Model,
    new: Option<RefreshToken>,
    now: Timestamp,
    rng: &Rng,
) -> Result<Grant> {
    // Its own key: another one's tokens would outlive the revocation of the key that the row names.
    let entry = loaded
        .keyring
        .signing(session.key_id)
        .ok_or(Refusal::Revoked)?;
    let key = entry.key();
    let dates = Lifetimes::of(&loaded.app).auth_dates(session, now);
    let head = AuthHead {
        iss: loaded.app.issuer(),
        sub: &session.sub,
        iat: dates.issued_at.as_seconds(),
        nbf: dates.not_before.as_seconds(),
        exp: dates.expires_at.as_seconds(),
        jid: session.token_id,
        jti: session.token_id,
        sid: session.id,
        ip: &session.ip,
        useragent: &session.user_agent,
    };
    let refresh_token = match new {
        Some(new) if session.refresh_mac.as_ref() == Some(&new.mac) => new.token,
        _ => {
            let body = RefreshBody {
                iss: loaded.app.issuer(),
                aud: &renewal_audience(&loaded.app),
                iat: session.issued_at.as_seconds(),
                nbf: session.not_before.as_seconds(),
                exp: session.expires_at.as_seconds(),
                jid: session.token_id,
                sid: session.id,
                kind: REFRESH,
            };
            sign_refresh(master, key, &body)?
        }
    };
    let auth = join(to_json(&head)?, &session.claims)?;
    let remaining = |end: Timestamp| end.since(now.floor_to_second()).as_seconds_ceil();
    let refresh = (session.not_before, session.expires_at);
    Ok(Grant {
        auth_token: sign(key, TokenType::Auth, &auth)?,
        refresh_token,
        key_id: entry.row.id,
        public_key: key.public().pem_base64.clone(),
        session_id: session.id,
        expires_in: remaining(dates.expires_at),
        refresh_expires_in: remaining(session.expires_at),
        renew_after: rng.with(|rng| renew_after(now, dates.expires_at, refresh, rng)),
        refresh_grace: loaded.app.refresh_grace().as_seconds_ceil(),
    })
}

/// Signs a further auth token of the session as it is, with an identity of its own, that is good until `expires_at`.
///
/// # Errors
/// [`Refusal::Revoked`] when the key of the session was revoked; when the signature cannot be made.
pub fn issue_auth(
    loaded: &LoadedApp,
    session: &session::Model,
    jid: TokenId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<String> {
    let entry = loaded
        .keyring
        .signing(session.key_id)
        .ok_or(Refusal::Revoked)?;
    let head = AuthHead {
        iss: loaded.app.issuer(),
        sub: &session.sub,
        iat: now.as_seconds(),
        nbf: now.as_seconds(),
        exp: expires_at.as_seconds(),
        jid,
        jti: jid,
        sid: session.id,
        ip: &session.ip,
        useragent: &session.user_agent,
    };
    let auth = join(to_json(&head)?, &session.claims)?;
    sign(entry.key(), TokenType::Auth, &auth)
}

fn sign_refresh(
    master: &MasterKeys,
    key: &keys::SigningKey,
    body: &RefreshBody<'_>,
) -> Result<String> {
    let mut claims = to_json(body)?;
    mark::add(&mut claims, master, key.public());
    sign(key, TokenType::Refresh, &claims)
}

fn sign(key: &keys::SigningKey, token_type: TokenType, claims: &[u8]) -> Result<String> {
    keys::sign(key, token_type, claims).map_err(Error::internal)
}

fn to_json(claims: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(claims).map_err(Error::internal)
}

/// Joins two JSON objects that are not empty, without reading either.
fn join(mut head: Vec<u8>, rest: &str) -> Result<Vec<u8>> {
    let (Some(b'}'), Some(rest)) = (head.pop(), rest.strip_prefix('{')) else {
        return Err(Error::internal("claims are not a JSON object"));
    };
    head.push(b',');
    head.extend_from_slice(rest.as_bytes());
    Ok(head)
}
