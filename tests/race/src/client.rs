//! renewd's API as its clients call it; what is asked and answered goes into the history.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    history::{
        Answer, Id, Issued, Logout, Micros, Presentation, Recorder, Refusal, Revocation, Role,
        Session, Span,
    },
    wire::{Addresses, Reply, Wire},
};

#[derive(Debug)]
pub struct Client {
    wire: Wire,
    root_key: String,
    pub history: Arc<Recorder>,
}

#[derive(Clone, Debug)]
pub struct App {
    pub id: String,
    pub secret_key: String,
    pub publishable_key: String,
    pub grace: Micros,
}

/// What a client holds of a session.
#[derive(Clone, Debug)]
pub struct Token {
    pub session: usize,
    pub issued: Issued,
    session_id: Arc<str>,
    refresh: Arc<str>,
    auth: Arc<str>,
}

/// How a session is to be ended.
#[derive(Clone, Copy, Debug)]
pub enum LogoutBy<'a> {
    RefreshToken,
    AuthToken,
    Session,
    Subject(&'a str),
}

impl Client {
    pub fn new(nodes: Addresses, root_key: String, history: Arc<Recorder>) -> Self {
        Self {
            wire: Wire::new(nodes),
            root_key,
            history,
        }
    }

    pub fn nodes(&self) -> usize {
        self.wire.nodes()
    }

    /// Whether the node says that it takes renewals.
    pub async fn is_ready(&self, node: usize) -> bool {
        let reply = self
            .wire
            .request(node, Method::GET, "/readyz", "", None)
            .await;
        matches!(reply, Reply::Answered(200, _))
    }

    pub async fn create_app(&self, name: &str, grace: u64) -> Option<App> {
        let body = json!({
            "name": name, "token_expire": 3600, "refresh_expire": 86400, "refresh_notbefore": 0,
            "key_type": "ECDSA", "algo": "ES256", "rotation_period": 86400, "refresh_grace": grace,
        });
        let reply = self
            .wire
            .request(0, Method::POST, "/root/create", &self.root_key, Some(&body))
            .await;
        let Reply::Answered(200, app) = reply else {
            return None;
        };
        Some(App {
            id: text(&app, "app_id")?.to_owned(),
            secret_key: text(&app, "app_key")?.to_owned(),
            publishable_key: text(&app, "publishable_key")?.to_owned(),
            grace: grace * 1_000_000,
        })
    }

    /// Begins a session; `None` when that did not work, which ends nothing.
    pub async fn sign(&self, node: usize, app: &App, role: Role, sub: &str) -> Option<Token> {
        let body = json!({"sub": sub, "aud": "race", "ip": "192.0.2.1", "useragent": "race"});
        let path = format!("/app/{}/sign", app.id);
        let begin = self.history.now();
        let reply = self
            .wire
            .request(node, Method::POST, &path, &app.secret_key, Some(&body))
            .await;
        let span = self.since(begin);
        let Reply::Answered(200, body) = reply else {
            self.unanswered(&reply, "sign");
            return None;
        };
        let Some(mut token) = read_token(&body, 0) else {
            self.history.complain("sign: 200 without a token");
            return None;
        };
        token.session = self.history.write(|history| {
            history.sessions.push(Session {
                role,
                grace: app.grace,
                first: token.issued,
                span,
            });
            history.sessions.len() - 1
        });
        Some(token)
    }

    /// Presents the refresh token: what was answered, and the successor if it won.
    pub async fn renew(&self, node: usize, app: &App, token: &Token) -> (Answer, Option<Token>) {
        let body = json!({"refresh_token": &*token.refresh});
        let path = format!("/app/{}/renew", app.id);
        let begin = self.history.now();
        let reply = self
            .wire
            .request(node, Method::POST, &path, &app.publishable_key, Some(&body))
            .await;
        let span = self.since(begin);
        let (answer, next) = match reply {
            Reply::Unknown => (Answer::Unknown, None),
            Reply::Unsent => (Answer::Unsent, None),
            Reply::Answered(503, _) => (Answer::Unavailable, None),
            Reply::Answered(status, body) => match read_token(&body, token.session) {
                Some(next) if status == 200 => (Answer::Won(next.issued), Some(next)),
                _ => (read_refusal(status, &body), None),
            },
        };
        let presentation = Presentation {
            session: token.session,
            jid: token.issued.jid,
            node,
            span,
            answer,
        };
        self.history
            .write(|history| history.presentations.push(presentation));
        (answer, next)
    }

    /// Ends the session of the token; whether that was acknowledged.
    pub async fn logout(&self, node: usize, app: &App, token: &Token, by: LogoutBy<'_>) -> bool {
        let (key, body) = match by {
            LogoutBy::RefreshToken => (&app.publishable_key, json!({"token": &*token.refresh})),
            LogoutBy::AuthToken => (&app.publishable_key, json!({"token": &*token.auth})),
            LogoutBy::Session => (&app.secret_key, json!({"session_id": &*token.session_id})),
            LogoutBy::Subject(sub) => (&app.secret_key, json!({"sub": sub})),
        };
        let path = format!("/app/{}/logout", app.id);
        let begin = self.history.now();
        let reply = self
            .wire
            .request(node, Method::POST, &path, key, Some(&body))
            .await;
        let logout = Logout {
            session: token.session,
            node,
            span: self.since(begin),
            acknowledged: matches!(reply, Reply::Answered(200, _)),
        };
        self.history.write(|history| history.logouts.push(logout));
        self.unanswered(&reply, "logout");
        logout.acknowledged
    }

    /// Revokes one signing key of the app, or all of them: `keys` are those that are known to be dead then.
    pub async fn revoke(&self, node: usize, app: &App, one: Option<Id>, keys: Vec<Id>) -> bool {
        let (method, path, what) = match one {
            Some(key) => (
                Method::DELETE,
                format!("/root/{}/revoke/{key}", app.id),
                "revoke",
            ),
            None => (
                Method::POST,
                format!("/root/{}/rotate/pki", app.id),
                "rotate/pki",
            ),
        };
        let begin = self.history.now();
        let reply = self
            .wire
            .request(node, method, &path, &self.root_key, None)
            .await;
        let acknowledged = matches!(reply, Reply::Answered(200, _));
        let revocation = Revocation {
            keys,
            span: self.since(begin),
            acknowledged,
        };
        self.history
            .write(|history| history.revocations.push(revocation));
        // Documented: the key is revoked already (404), or another change came between (409).
        if !matches!(reply, Reply::Answered(404 | 409, _)) {
            self.unanswered(&reply, what);
        }
        acknowledged
    }

    fn since(&self, begin: Micros) -> Span {
        let end = self.history.now();
        Span { begin, end }
    }

    fn unanswered(&self, reply: &Reply, what: &str) {
        match reply {
            Reply::Answered(200, _) => {}
            Reply::Answered(503, _) | Reply::Unknown | Reply::Unsent => {
                self.history.write(|history| history.other_unanswered += 1);
            }
            Reply::Answered(status, body) => {
                let code = text(body, "code").unwrap_or_default();
                self.history.complain(format!("{what}: {status} {code}"));
            }
        }
    }
}

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name)?.as_str()
}

/// What the tokens themselves say, not what stands beside them.
fn read_token(body: &Value, session: usize) -> Option<Token> {
    let refresh = text(body, "refresh_token")?;
    let mut parts = refresh.split('.').map(|part| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    let (header, claims) = (parts.next()??, parts.next()??);
    Some(Token {
        session,
        issued: Issued {
            jid: Id::read(text(&claims, "jid")?)?,
            key: Id::read(text(&header, "kid")?)?,
        },
        session_id: text(&claims, "sid")?.into(),
        refresh: refresh.into(),
        auth: text(body, "auth_token")?.into(),
    })
}

fn read_refusal(status: u16, body: &Value) -> Answer {
    let refusal = match (status, text(body, "code").unwrap_or_default()) {
        (400, "refresh_token_used") => Refusal::Used,
        (400, "refresh_token_revoked") => Refusal::Revoked,
        (400, "refresh_token_expired") => Refusal::Expired,
        (400, "refresh_token_not_yet_valid") => Refusal::NotYetValid,
        (400, "refresh_token_invalid") => Refusal::Invalid,
        _ => return Answer::Undocumented(status),
    };
    Answer::Refused(refusal)
}
