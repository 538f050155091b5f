//! How far sessions have come, and how many there are.

use hyper::Method;
use serde_json::json;

use super::{App, Client, Kind, Token, text};
use crate::{
    history::{Id, Read, Renewed},
    wire::Reply,
};

impl Client {
    /// Looks how far the session has come; `None` when there is no answer.
    pub async fn read(&self, node: usize, app: &App, token: &Token) -> Option<Read> {
        let (session, sid) = (token.session, token.issued.sid);
        self.read_of(node, app, session, sid, &token.claims.sub)
            .await
    }

    /// The same of any session of the user.
    pub async fn read_of(
        &self,
        node: usize,
        app: &App,
        session: usize,
        sid: Id,
        sub: &str,
    ) -> Option<Read> {
        let body = json!({"sub": sub, "limit": 500});
        let path = format!("/app/{}/get-session", app.id);
        let key = app.keys.current(Kind::Secret);
        let (span, reply) = self
            .ask(node, Method::POST, &path, Some(&key.text), Some(&body))
            .await;
        let Reply::Answered(200, body) = &reply else {
            if reply.status() != Some(403) {
                self.unanswered(&reply, "get-session");
            }
            return None;
        };
        let body = body.json();
        let sid = sid.to_string();
        let mut sessions = body.get("sessions")?.as_array()?.iter();
        let found = sessions.find(|one| text(one, "session_id") == Some(&sid));
        let seen = found.and_then(|one| {
            Some(Renewed {
                jid: Id::read(text(one, "token_id")?)?,
                renewals: one.get("renewals")?.as_u64()?,
            })
        });
        let read = Read {
            session,
            span,
            seen,
        };
        self.history.write(|history| history.reads.push(read));
        Some(read)
    }

    /// How many live sessions the user has; `None` when there is no answer.
    pub async fn count(&self, node: usize, app: &App, sub: &str) -> Option<u64> {
        let body = json!({"sub": sub, "limit": 500});
        let path = format!("/app/{}/get-session", app.id);
        let key = app.keys.current(Kind::Secret);
        let (_, reply) = self
            .ask(node, Method::POST, &path, Some(&key.text), Some(&body))
            .await;
        self.unanswered(&reply, "get-session");
        let Reply::Answered(200, body) = reply else {
            return None;
        };
        let count = body.json().get("sessions")?.as_array()?.len();
        u64::try_from(count).ok()
    }
}
