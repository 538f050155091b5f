//! What is done with devices and their push tokens.

use hyper::{
    Method,
    header::{AUTHORIZATION, REFERER},
};
use serde_json::{Value, json};

use super::{App, Client, Kind, Token, outcome, text};
use crate::{
    history::{Cause, Ended, Ending, Outcome, Targets},
    wire::Reply,
};

const KECAK: &str = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.RefreshTokenApi/service";

/// What ends the sessions on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    Revoke,
    Disable,
    Delete,
}

/// Who tells of a push token.
#[derive(Clone, Copy, Debug)]
pub struct Presenter<'a> {
    pub sub: &'a str,
    pub push_token: &'a str,
}

impl Client {
    /// Tells of an event on the device that has this push token; its id, if there was an answer.
    pub async fn event(&self, node: usize, app: &App, who: Presenter<'_>) -> Option<String> {
        let key = app.keys.current(Kind::Publishable);
        let body = json!({
            "tenant_id": &*app.id, "api_key": &*key.text, "app_user_id": who.sub, "event_name": "app_open",
            "event_time": "2026-11-20T12:00:00+01:00", "device_token": who.push_token, "platform": "android",
            "push_permission_granted": true, "timezone": "Europe/Berlin", "language": "en", "country": "DE",
            "session_id": "1",
        });
        let (_, reply) = self
            .ask(node, Method::POST, "/events", None, Some(&body))
            .await;
        // Many at once are too many for a device (429).
        if reply.status() != Some(429) {
            self.unanswered(&reply, "event");
        }
        let Reply::Answered(200, body) = reply else {
            return None;
        };
        body.text("fingerprint")
    }

    /// Replaces the push token of the device that has `who`'s.
    pub async fn swap(&self, node: usize, app: &App, who: Presenter<'_>, new: &str) -> Outcome {
        let key = app.keys.current(Kind::Publishable);
        let body = json!({
            "tenant_id": &*app.id, "api_key": &*key.text, "app_user_id": who.sub,
            "old_token": who.push_token, "new_token": new,
        });
        let path = "/devices/refresh-token";
        let (_, reply) = self.ask(node, Method::POST, path, None, Some(&body)).await;
        // It is another user's (409), its device is not known (404), or there are too many at once (429). What is a device's own
        // subject is no user's (400).
        let is_no_user = who.sub.starts_with("device:") && reply.status() == Some(400);
        if !is_no_user && !matches!(reply.status(), Some(404 | 409 | 429)) {
            self.unanswered(&reply, "swap");
        }
        outcome(&reply)
    }

    /// Reports the push token of the device of this name, as Kecak's clients do.
    pub async fn report(&self, node: usize, token: &Token, name: &str, push: &str) -> Outcome {
        let body = json!({"fcm_token": push, "device_id": name});
        let headers = [
            (AUTHORIZATION, &*token.auth),
            (REFERER, "https://race.example"),
        ];
        let reply = self
            .wire
            .request(node, Method::PUT, KECAK, &headers, Some(&body))
            .await;
        // The session was ended (401); its device is disabled, or it is a device's own (403); the device is another's (409).
        if !matches!(reply.status(), Some(401 | 403 | 409)) {
            self.unanswered(&reply, "report");
        }
        outcome(&reply)
    }

    /// The device that the session is on; `None` when that is not known.
    pub async fn device_of(&self, node: usize, app: &App, token: &Token) -> Option<String> {
        let body = json!({"sub": token.claims.sub, "limit": 500});
        let path = format!("/app/{}/get-session", app.id);
        let key = app.keys.current(Kind::Secret);
        let (_, reply) = self
            .ask(node, Method::POST, &path, Some(&key.text), Some(&body))
            .await;
        let Reply::Answered(200, body) = reply else {
            return None;
        };
        let (body, sid) = (body.json(), token.issued.sid.to_string());
        let mut sessions = body.get("sessions")?.as_array()?.iter();
        let found = sessions.find(|one| text(one, "session_id") == Some(&sid))?;
        text(found, "device_id").map(str::to_owned)
    }

    /// Ends what lives on the device: `sure` is on it, and `perhaps` may be. Whether that was acknowledged.
    pub async fn end_device(
        &self,
        node: usize,
        app: &App,
        device: &str,
        how: Ends,
        sure: &[usize],
        perhaps: &[usize],
    ) -> bool {
        let path = format!("/app/{}/devices/{device}", app.id);
        let (method, path, body) = match how {
            Ends::Revoke => (Method::POST, format!("{path}/revoke"), None),
            Ends::Disable => (Method::PATCH, path, Some(json!({"disabled": true}))),
            Ends::Delete => (Method::DELETE, path, None),
        };
        let key = app.keys.current(Kind::Secret);
        let (span, reply) = self
            .ask(node, method, &path, Some(&key.text), body.as_ref())
            .await;
        // Deleted before, by a request without an answer (404).
        if reply.status() != Some(404) {
            self.unanswered(&reply, "end a device");
        }
        let outcome = outcome(&reply);
        let sure = sure.iter().map(|session| (*session, true));
        let all = sure.chain(perhaps.iter().map(|session| (*session, false)));
        self.history.write(|history| {
            history.endings.extend(all.map(|(session, is_sure)| Ending {
                of: Ended::Session(session),
                cause: Cause::Device,
                is_sure,
                node,
                span,
                outcome,
            }));
        });
        outcome == Outcome::Done
    }

    /// Lets sessions begin on the device again; whether that was acknowledged.
    pub async fn enable_device(&self, node: usize, app: &App, device: &str) -> bool {
        let path = format!("/app/{}/devices/{device}", app.id);
        let key = app.keys.current(Kind::Secret);
        let body = json!({"disabled": false});
        let (_, reply) = self
            .ask(node, Method::PATCH, &path, Some(&key.text), Some(&body))
            .await;
        self.unanswered(&reply, "enable a device");
        reply.is_ok()
    }

    /// Notes where messages for the user go, which should be to `expected` where that is known. Whether there was an answer.
    pub async fn targets(
        &self,
        node: usize,
        app: &App,
        sub: &str,
        expected: Option<String>,
    ) -> bool {
        let path = format!("/app/{}/push-targets?sub={sub}&limit=500", app.id);
        let key = app.keys.current(Kind::Secret);
        let (span, reply) = self
            .ask(node, Method::GET, &path, Some(&key.text), None)
            .await;
        self.unanswered(&reply, "push-targets");
        let Reply::Answered(200, body) = reply else {
            return false;
        };
        let body = body.json();
        let all = body.get("push_targets").and_then(Value::as_array);
        let pair = |target| {
            let (device, token) = (text(target, "device_id")?, text(target, "push_token")?);
            Some((device.to_owned(), token.to_owned()))
        };
        let targets = Targets {
            at: span.end,
            app: app.index,
            sub: sub.to_owned(),
            expected,
            seen: all.into_iter().flatten().filter_map(pair).collect(),
        };
        self.history.write(|history| history.targets.push(targets));
        true
    }
}
