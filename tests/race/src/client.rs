//! renewd's API as its clients call it; what is asked and answered goes into the history.

mod admin;
mod devices;
mod grant;
mod keys;
mod looks;
mod samples;
mod sensors;

use std::sync::Arc;

use hyper::{Method, header::AUTHORIZATION};
use serde_json::{Value, json};

pub use admin::{Policy, Verb};
pub use devices::{Ends, Presenter};
pub use grant::Token;
pub use keys::{Key, Keys, Kind};
pub use samples::Samples;
pub use sensors::Lineage;

use crate::{
    history::{
        Amendment, Answer, Cause, Claims, Ended, Ending, Grace, KeyUse, Micros, Outcome,
        Presentation, Recorder, Refusal, Role, Session, Span,
    },
    wire::{Addresses, Body, Reply, Wire},
};

#[derive(Debug)]
pub struct Client {
    wire: Wire,
    root_key: String,
    pub history: Arc<Recorder>,
    pub samples: Samples,
}

/// An app, as its clients know it.
#[derive(Clone, Debug)]
pub struct App {
    /// A place in the history.
    pub index: usize,
    pub id: Arc<str>,
    /// Those that its clients use: they learn of new ones.
    pub keys: Arc<Keys>,
    pub grace: Grace,
}

/// How a session is to be ended.
#[derive(Clone, Copy, Debug)]
pub enum LogoutBy {
    RefreshToken,
    AuthToken,
    Session,
    Subject,
}

impl Client {
    pub fn new(nodes: Addresses, root_key: String, history: Arc<Recorder>) -> Self {
        Self {
            wire: Wire::new(nodes),
            root_key,
            history,
            samples: Samples::default(),
        }
    }

    pub fn nodes(&self) -> usize {
        self.wire.nodes()
    }

    /// Whether the node says that it takes renewals.
    pub async fn is_ready(&self, node: usize) -> bool {
        let reply = self
            .wire
            .request(node, Method::GET, "/readyz", &[], None)
            .await;
        reply.is_ok()
    }

    /// Asks with a key, or without one.
    async fn ask(
        &self,
        node: usize,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> (Span, Reply) {
        let begin = self.history.now();
        let headers = key.map(|key| (AUTHORIZATION, key));
        let reply = self
            .wire
            .request(node, method, path, headers.as_slice(), body)
            .await;
        (self.history.since(begin), reply)
    }

    /// Begins a session of this user; `None` when that did not work, which ends nothing.
    pub async fn sign(
        &self,
        node: usize,
        app: &App,
        role: Role,
        sub: &str,
        device: Option<&str>,
    ) -> Option<Token> {
        let key = app.keys.current(Kind::Secret);
        self.sign_with(node, app, &key, role, sub, device).await
    }

    /// The same with a key that the app may not have any more.
    pub async fn sign_with(
        &self,
        node: usize,
        app: &App,
        key: &Key,
        role: Role,
        sub: &str,
        device: Option<&str>,
    ) -> Option<Token> {
        let claims = Claims {
            sub: sub.to_owned(),
            aud: "race".to_owned(),
            mark: format!("mark of {sub}"),
            note: format!("note of {sub}"),
        };
        let mut body = json!({
            "sub": claims.sub, "aud": claims.aud, "ip": "192.0.2.1", "useragent": "race",
            "mark": claims.mark, "personal": {"note": claims.note},
        });
        if let Some(device) = device {
            body["device_id"] = device.into();
        }
        let path = format!("/app/{}/sign", app.id);
        let (span, reply) = self
            .ask(node, Method::POST, &path, Some(&key.text), Some(&body))
            .await;
        self.used(key, "sign", span, &reply);
        let Reply::Answered(200, body) = reply else {
            // A device that is disabled, or a key that was revoked: both are expected, and the checker looks at the latter.
            if reply.status() != Some(403) {
                self.unanswered(&reply, "sign");
            }
            return None;
        };
        self.began(app, role, &body, span, claims, "sign")
    }

    /// Notes a session that began, which should have these claims.
    fn began(
        &self,
        app: &App,
        role: Role,
        body: &Body,
        span: Span,
        claims: Claims,
        verb: &str,
    ) -> Option<Token> {
        let place = self.history.write(|history| history.claim(claims.clone()));
        let Some(mut token) = grant::read(body, &Arc::new(claims), place, &self.history) else {
            self.history.complain(format!("{verb}: 200 without tokens"));
            return None;
        };
        token.session = self.history.write(|history| {
            history.sessions.push(Session {
                role,
                app: app.index,
                grace: app.grace,
                asked: place,
                first: token.issued,
                span,
            });
            history.sessions.len() - 1
        });
        self.samples.take(app.index, span.end, &token);
        Some(token)
    }

    /// Presents the refresh token: what was answered, and the successor if it won.
    pub async fn renew(&self, node: usize, app: &App, token: &Token) -> (Answer, Option<Token>) {
        let key = app.keys.current(Kind::Publishable);
        self.renew_with(node, app, &key, token).await
    }

    /// The same with a key that the app may not have any more.
    pub async fn renew_with(
        &self,
        node: usize,
        app: &App,
        key: &Key,
        token: &Token,
    ) -> (Answer, Option<Token>) {
        let mut body = json!({"refresh_token": &*token.refresh});
        if key.kind == Kind::Secret {
            body["ip"] = "192.0.2.2".into();
            body["useragent"] = "race".into();
        }
        let path = format!("/app/{}/renew", app.id);
        let (span, reply) = self
            .ask(node, Method::POST, &path, Some(&key.text), Some(&body))
            .await;
        let (answer, next) = match &reply {
            Reply::Unknown => (Answer::Unknown, None),
            Reply::Unsent => (Answer::Unsent, None),
            Reply::Answered(503, _) => (Answer::Unavailable, None),
            Reply::Answered(200, body) => match grant::read_next(body, token, &self.history) {
                Some(next) => (Answer::Won(next.issued), Some(next)),
                None => (Answer::Undocumented(200), None),
            },
            Reply::Answered(status, body) => (read_refusal(*status, body), None),
        };
        let presentation = Presentation {
            session: token.session,
            jid: token.issued.jid,
            key: key.index,
            node,
            span,
            answer,
        };
        self.history
            .write(|history| history.presentations.push(presentation));
        if let Some(next) = &next {
            self.samples.take(app.index, span.end, next);
        }
        (answer, next)
    }

    /// Ends the session of the token; whether that was acknowledged.
    pub async fn logout(&self, node: usize, app: &App, token: &Token, by: LogoutBy) -> bool {
        let (kind, body) = match by {
            LogoutBy::RefreshToken => (Kind::Publishable, json!({"token": &*token.refresh})),
            LogoutBy::AuthToken => (Kind::Publishable, json!({"token": &*token.auth})),
            LogoutBy::Session => (
                Kind::Secret,
                json!({"session_id": token.issued.sid.to_string()}),
            ),
            LogoutBy::Subject => (Kind::Secret, json!({"sub": token.claims.sub})),
        };
        let path = format!("/app/{}/logout", app.id);
        let key = app.keys.current(kind);
        let (span, reply) = self
            .ask(node, Method::POST, &path, Some(&key.text), Some(&body))
            .await;
        let ending = Ending {
            of: Ended::Session(token.session),
            cause: Cause::Logout,
            is_sure: true,
            node,
            span,
            outcome: outcome(&reply),
        };
        self.history.write(|history| history.endings.push(ending));
        self.unanswered(&reply, "logout");
        ending.is_done()
    }

    /// Gives the session another note; the token that follows is expected to have it.
    pub async fn amend(&self, node: usize, app: &App, token: &mut Token, note: &str) -> Outcome {
        let body = json!({"personal": {"note": note}});
        let path = format!("/app/{}/sessions/{}", app.id, token.issued.sid);
        let key = app.keys.current(Kind::Secret);
        let (span, reply) = self
            .ask(node, Method::PATCH, &path, Some(&key.text), Some(&body))
            .await;
        let outcome = outcome(&reply);
        // The session may have been ended (404).
        if !matches!(reply.status(), Some(403 | 404)) {
            self.unanswered(&reply, "amend");
        }
        let claims = Claims {
            note: note.to_owned(),
            ..Claims::clone(&token.claims)
        };
        let place = self.history.write(|history| {
            let place = history.claim(claims.clone());
            history.amendments.push(Amendment {
                session: token.session,
                claims: place,
                span,
                outcome,
            });
            place
        });
        if outcome == Outcome::Done {
            token.expect(Arc::new(claims), place);
        }
        outcome
    }

    /// Whether the app takes the key is looked at by the checker.
    fn used(&self, key: &Key, verb: &'static str, span: Span, reply: &Reply) {
        let is_refused = match reply {
            Reply::Answered(200, _) => false,
            Reply::Answered(403, body) if body.text("code").as_deref() == Some("invalid_key") => {
                true
            }
            _ => return,
        };
        let key_use = KeyUse {
            key: key.index,
            verb,
            span,
            is_refused,
        };
        self.history.write(|history| history.key_uses.push(key_use));
    }

    fn unanswered(&self, reply: &Reply, what: &str) {
        match reply {
            Reply::Answered(200 | 201, _) => {}
            Reply::Answered(503, _) | Reply::Unknown | Reply::Unsent => {
                self.history.write(|history| history.other_unanswered += 1);
            }
            Reply::Answered(status, body) => {
                let code = body.text("code").unwrap_or_default();
                self.history.complain(format!("{what}: {status} {code}"));
            }
        }
    }
}

fn outcome(reply: &Reply) -> Outcome {
    match reply {
        Reply::Answered(200 | 201, _) => Outcome::Done,
        Reply::Answered(503, _) => Outcome::Unavailable,
        Reply::Unknown => Outcome::Unknown,
        Reply::Answered(..) | Reply::Unsent => Outcome::Refused,
    }
}

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name)?.as_str()
}

fn read_refusal(status: u16, body: &Body) -> Answer {
    let refusal = match (status, body.text("code").unwrap_or_default().as_str()) {
        (400, "refresh_token_used") => Refusal::Used,
        (400, "refresh_token_revoked") => Refusal::Revoked,
        (400, "refresh_token_expired") => Refusal::Expired,
        (400, "refresh_token_not_yet_valid") => Refusal::NotYetValid,
        (400, "refresh_token_invalid") => Refusal::Invalid,
        (403, "invalid_key") => return Answer::Forbidden,
        _ => return Answer::Undocumented(status),
    };
    Answer::Refused(refusal)
}

/// After this, a request without an answer is surely over, should nothing stall.
pub const SURELY_OVER: Micros = crate::check::HORIZON;
