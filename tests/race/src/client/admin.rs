//! What an administrator does, with the root key.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::Method;
use serde_json::{Value, json};

use super::{App, Client, Key, Keys, Kind, outcome, text};
use crate::{
    history::{
        AppKey, Cause, Change, Ended, Ending, Grace, Id, Micros, Outcome, Revocation, Span, Tenant,
    },
    wire::Reply,
};

/// Bytes of an uncompressed point of P-256, with which the DER of its public key ends.
const POINT: usize = 65;

/// What an app is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    pub name: &'static str,
    /// Whether somebody will change it.
    pub is_changed: bool,
    /// Seconds.
    pub grace: u64,
    /// Sessions of a subject.
    pub limit: Option<u64>,
    /// Seconds for which the parent of a registration token may be presented again.
    pub registration_grace: u64,
}

/// How signing keys are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One of them is revoked.
    Revoke(Id),
    /// All of them are, in an emergency.
    Replace,
}

impl Client {
    /// Makes the app; `None` when that does not work.
    pub async fn create_app(&self, policy: Policy) -> Option<App> {
        let mut body = json!({
            "name": policy.name, "token_expire": 3600, "refresh_expire": 86400, "refresh_notbefore": 0,
            "key_type": "ECDSA", "algo": "ES256", "rotation_period": 86400, "refresh_grace": policy.grace,
            "registration_grace": policy.registration_grace,
        });
        if let Some(limit) = policy.limit {
            body["max_sessions_per_subject"] = limit.into();
        }
        let reply = self.root(0, Method::POST, "create", Some(&body)).await.1;
        let Reply::Answered(200, body) = reply else {
            return None;
        };
        let body = body.json();
        let index = self.history.write(|history| {
            history.tenants.push(Tenant {
                name: policy.name,
                is_changed: policy.is_changed,
            });
            history.tenants.len() - 1
        });
        let key = |kind, member| Some(self.key(kind, "", true, text(&body, member)?));
        Some(App {
            index,
            id: text(&body, "app_id")?.into(),
            keys: Arc::new(Keys::new(
                key(Kind::Secret, "app_key")?,
                key(Kind::Publishable, "publishable_key")?,
            )),
            grace: Grace::of(policy.grace),
        })
    }

    /// Changes what the tokens of the app are like; whether that was acknowledged.
    pub async fn change(&self, node: usize, app: &App, life: i64, grace: u64) -> bool {
        let body = json!({"token_expire": life, "refresh_grace": grace});
        let (span, reply) = self.root(node, Method::PATCH, &app.id, Some(&body)).await;
        let change = Change {
            app: app.index,
            life,
            span,
            outcome: outcome(&reply),
        };
        self.history.write(|history| history.changes.push(change));
        self.unanswered(&reply, "update");
        change.outcome == Outcome::Done
    }

    /// Ends every session of the app; whether that was acknowledged.
    pub async fn flush(&self, node: usize, app: &App) -> bool {
        let path = format!("{}/flush", app.id);
        let (span, reply) = self.root(node, Method::DELETE, &path, None).await;
        let ending = Ending {
            of: Ended::App(app.index),
            cause: Cause::Flush,
            is_sure: true,
            node,
            span,
            outcome: outcome(&reply),
        };
        self.history.write(|history| history.endings.push(ending));
        self.unanswered(&reply, "flush");
        ending.is_done()
    }

    /// Makes a further key of the app.
    pub async fn make_key(&self, node: usize, app: &App, kind: Kind) -> Option<Key> {
        let path = format!("{}/keys", app.id);
        let body = json!({"kind": kind.name(), "name": "race"});
        let reply = self.root(node, Method::POST, &path, Some(&body)).await.1;
        self.unanswered(&reply, "make an app-key");
        let Reply::Answered(200, body) = reply else {
            return None;
        };
        let body = body.json();
        Some(self.key(kind, text(&body, "id")?, false, text(&body, "app_key")?))
    }

    /// Revokes a key that `make_key` made; whether that was acknowledged.
    pub async fn revoke_key(&self, node: usize, app: &App, key: &Key) -> bool {
        let path = format!("{}/keys/{}", app.id, key.id);
        let begin = self.history.now();
        self.history.write(|history| {
            let row = &mut history.keys[key.index];
            row.revoking = row.revoking.or(Some(begin));
        });
        let (span, reply) = self.root(node, Method::DELETE, &path, None).await;
        // It was revoked before, by a request without an answer (404).
        let is_done = matches!(reply.status(), Some(200 | 404));
        if is_done {
            self.revoked(key, span.end);
        } else {
            self.unanswered(&reply, "revoke an app-key");
        }
        is_done
    }

    /// Replaces the main key of the app at once: nothing of the one before is good after this has answered.
    pub async fn rotate_key(&self, node: usize, app: &App, old: &Key) -> Option<Key> {
        let path = format!("{}/rotate/key", app.id);
        let body = json!({"kind": old.kind.name(), "overlap": 0});
        let begin = self.history.now();
        self.history.write(|history| {
            let row = &mut history.keys[old.index];
            row.revoking = row.revoking.or(Some(begin));
        });
        let (span, reply) = self.root(node, Method::POST, &path, Some(&body)).await;
        self.unanswered(&reply, "rotate an app-key");
        let Reply::Answered(200, body) = reply else {
            return None;
        };
        self.revoked(old, span.end);
        Some(self.key(old.kind, &body.text("id")?, true, &body.text("app_key")?))
    }

    fn revoked(&self, key: &Key, at: Micros) {
        self.history.write(|history| {
            let row = &mut history.keys[key.index];
            row.revoked = row.revoked.or(Some(at));
        });
    }

    /// Replaces signing keys at once: `keys` are those that are known to be dead then. Whether that was acknowledged.
    pub async fn revoke(&self, node: usize, app: &App, verb: Verb, keys: Vec<Id>) -> bool {
        let (method, path) = match verb {
            Verb::Revoke(key) => (Method::DELETE, format!("{}/revoke/{key}", app.id)),
            Verb::Replace => (Method::POST, format!("{}/rotate/pki", app.id)),
        };
        let (span, reply) = self.root(node, method, &path, None).await;
        let revocation = Revocation {
            keys,
            span,
            outcome: outcome(&reply),
        };
        let is_done = revocation.outcome == Outcome::Done;
        self.history
            .write(|history| history.revocations.push(revocation));
        // Documented: the key is revoked already (404), or another change came between (409).
        if !matches!(reply.status(), Some(404 | 409)) {
            self.unanswered(&reply, "revoke a signing key");
        }
        is_done
    }

    /// Publishes the next signing key: what the present one signed lives on.
    pub async fn rotate_signing_key(&self, node: usize, app: &App) {
        let path = format!("{}/rotate/signing-key", app.id);
        let reply = self.root(node, Method::POST, &path, None).await.1;
        if reply.status() != Some(409) {
            self.unanswered(&reply, "rotate a signing key");
        }
    }

    /// Notes the public keys that the app has. Of those that are gone, renewd lists only so many: who makes and revokes keys
    /// asks in time.
    pub async fn note_public_keys(&self, node: usize, app: &App) {
        let key = app.keys.current(Kind::Secret);
        let path = format!("/app/{}/pub-keys", app.id);
        let (_, reply) = self
            .ask(node, Method::GET, &path, Some(&key.text), None)
            .await;
        self.unanswered(&reply, "pub-keys");
        let Reply::Answered(200, body) = reply else {
            return;
        };
        let body = body.json();
        let keys = body.get("keys").and_then(Value::as_array);
        let keys = keys.into_iter().flatten().filter_map(public_key);
        self.samples.note_keys(app.index, keys);
    }

    /// Notes which signing keys the apps have had, and verifies the signatures that were put aside.
    pub async fn verify_samples(&self, apps: &[&App]) {
        for app in apps {
            self.note_public_keys(0, app).await;
        }
        let (signatures, signing_keys) = self.samples.verify();
        self.history.write(|history| {
            history.signatures = signatures;
            history.signing_keys = signing_keys;
        });
    }

    async fn root(
        &self,
        node: usize,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (Span, Reply) {
        let path = format!("/root/{path}");
        self.ask(node, method, &path, Some(&self.root_key), body)
            .await
    }

    fn key(&self, kind: Kind, id: &str, is_main: bool, text: &str) -> Key {
        let made = self.history.now();
        let index = self.history.write(|history| {
            history.keys.push(AppKey {
                made,
                ..AppKey::default()
            });
            history.keys.len() - 1
        });
        Key {
            index,
            kind,
            id: id.into(),
            is_main,
            text: text.into(),
        }
    }
}

/// Base64 of a PEM, of the DER.
fn public_key(key: &Value) -> Option<(Id, Vec<u8>)> {
    let id = Id::read(text(key, "key_id")?)?;
    let pem = BASE64_STANDARD.decode(text(key, "public_key")?).ok()?;
    let pem = String::from_utf8(pem).ok()?;
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    let der = BASE64_STANDARD.decode(lines.collect::<String>()).ok()?;
    let at = der.len().checked_sub(POINT)?;
    Some((id, der[at..].to_vec()))
}
