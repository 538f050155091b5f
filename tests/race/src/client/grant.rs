//! A pair of tokens, as an answer has it.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    history::{Claims, Id, Issued, Recorder},
    wire::Body,
};

/// What a client holds of a session.
#[derive(Clone, Debug)]
pub struct Token {
    pub session: usize,
    pub issued: Issued,
    /// What the next pair is expected to say, and its place in the history.
    pub claims: Arc<Claims>,
    place: usize,
    pub refresh: Arc<str>,
    pub auth: Arc<str>,
}

#[derive(Deserialize)]
struct Grant<'a> {
    #[serde(borrow)]
    auth_token: Cow<'a, str>,
    #[serde(borrow)]
    refresh_token: Cow<'a, str>,
    #[serde(borrow)]
    session_id: Cow<'a, str>,
    #[serde(borrow)]
    key_id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Header {
    kid: String,
}

#[derive(Deserialize)]
struct Refresh {
    jid: String,
    sid: String,
    iat: i64,
}

#[derive(Deserialize)]
struct Auth {
    sub: String,
    #[serde(default)]
    aud: String,
    jid: String,
    jti: String,
    sid: String,
    iat: i64,
    exp: i64,
    #[serde(default)]
    mark: String,
    #[serde(default)]
    personal: Personal,
}

#[derive(Default, Deserialize)]
struct Personal {
    #[serde(default)]
    note: String,
}

impl Token {
    /// The pairs after this one are expected to say this.
    pub fn expect(&mut self, claims: Arc<Claims>, place: usize) {
        self.claims = claims;
        self.place = place;
    }
}

/// The successor of `before`, of the same session.
pub fn read_next(body: &Body, before: &Token, history: &Recorder) -> Option<Token> {
    let next = read(body, &before.claims, before.place, history)?;
    Some(Token {
        session: before.session,
        ..next
    })
}

/// What the tokens themselves say, not what stands beside them. Claims other than the expected ones get a place of their own in
/// the history.
pub fn read(
    body: &Body,
    expected: &Arc<Claims>,
    place: usize,
    history: &Recorder,
) -> Option<Token> {
    let grant: Grant = serde_json::from_slice(body.bytes()).ok()?;
    let (refresh_header, refresh): (Header, Refresh) = parts(&grant.refresh_token)?;
    let (auth_header, auth): (Header, Auth) = parts(&grant.auth_token)?;
    let agrees = auth.sid == refresh.sid
        && auth.sid == grant.session_id
        && auth.jid == refresh.jid
        && auth.jti == auth.jid
        && auth.iat == refresh.iat
        && auth_header.kid == refresh_header.kid
        && auth_header.kid == grant.key_id;
    let said = Claims {
        sub: auth.sub,
        aud: auth.aud,
        mark: auth.mark,
        note: auth.personal.note,
    };
    let (claims, place) = if said == **expected {
        (expected.clone(), place)
    } else {
        let place = history.write(|history| history.claim(said.clone()));
        (Arc::new(said), place)
    };
    Some(Token {
        session: 0,
        issued: Issued {
            jid: Id::read(&refresh.jid)?,
            key: Id::read(&refresh_header.kid)?,
            sid: Id::read(&refresh.sid)?,
            iat: refresh.iat,
            life: auth.exp - auth.iat,
            claims: place,
            agrees,
        },
        claims,
        place,
        refresh: (*grant.refresh_token).into(),
        auth: (*grant.auth_token).into(),
    })
}

fn parts<H: DeserializeOwned, C: DeserializeOwned>(token: &str) -> Option<(H, C)> {
    let mut parts = token.split('.');
    Some((part(parts.next()?)?, part(parts.next()?)?))
}

fn part<T: DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}
