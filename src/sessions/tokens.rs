//! The pair of tokens of a session: what is in them, and how they are read back.

use ambient::Rng;
use entity::{
    SessionId, SigningKeyId, Timestamp, TokenId, app,
    session::{self, TokenMac},
};
use keys::TokenType;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    apps::LoadedApp,
    error::{Error, Refusal, Result},
    master::MasterKeys,
    sessions::{
        lifetimes::{Lifetimes, renew_after},
        mark,
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

/// A refresh token that was signed before it is known whether it will be handed out.
#[derive(Clone, Debug)]
pub struct Prepared {
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

const REFRESH: &str = "refresh";

/// Bytes that a refresh token may have: more than any of ours, with the longest issuer and the largest signature. What is
/// longer is not even taken apart.
const LONGEST_REFRESH: usize = 4096;

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

/// Signs the refresh token `jid` of the session `sid`, which is issued at `now`.
///
/// # Errors
/// When the signature cannot be made.
pub fn prepare_refresh(
    loaded: &LoadedApp,
    master: &MasterKeys,
    entry: &Entry,
    sid: SessionId,
    jid: TokenId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Prepared> {
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
    Ok(Prepared {
        token,
        mac,
        expires_at,
    })
}

/// Signs the pair that `session` says is the current one; its auth token is dated anew where that would be over soon.
/// `prepared` is taken for its refresh token, if it is that.
///
/// # Errors
/// [`Refusal::Revoked`] when its key was revoked since; when the signature cannot be made.
pub fn issue(
    loaded: &LoadedApp,
    master: &MasterKeys,
    session: &session::Model,
    prepared: Option<Prepared>,
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
    let refresh_token = match prepared {
        Some(prepared) if session.refresh_mac.as_ref() == Some(&prepared.mac) => prepared.token,
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
    // Whoever has a revoked key may have signed this: it says nothing of any session.
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
