//! A key that was revoked at one process does nothing more at another, which has not heard of it: every operation that writes
//! looks at the right again, in the transaction that writes.

use poem::http::Method;
use sea_orm::EntityTrait;
use serde_json::{Value, json};

use crate::support::{Answer, Client, ROOT_KEY, TestApp, TestServer, new_app, new_session};

const DOCUMENT: &str = include_str!("../../openapi.json");
/// What only reads is right within a second.
const READS: [&str; 13] = [
    "audit",
    "get_app",
    "get_session",
    "list_app_keys",
    "list_apps",
    "list_devices",
    "list_devices_of_app",
    "list_signing_keys",
    "pub_keys",
    "push_targets",
    "show_device",
    "stats",
    "verify",
];
/// What takes its app-key in the body.
const BODY_KEYED: [&str; 2] = ["smart_app_push_event", "smart_app_push_refresh_token"];

/// An operation that takes a key.
#[derive(Clone)]
struct Operation {
    id: String,
    method: Method,
    path: String,
}

/// The operations that take a key of these schemes and write.
fn writing(schemes: &[&str]) -> Vec<Operation> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            let security = operation["security"].as_array().into_iter().flatten();
            let mut taken = security.flat_map(|one| one.as_object().unwrap().keys());
            let takes_one = taken.any(|scheme| schemes.contains(&scheme.as_str()))
                || (schemes.contains(&"body") && BODY_KEYED.contains(&id));
            if takes_one && !READS.contains(&id) {
                found.push(Operation {
                    id: id.to_owned(),
                    method: method.to_uppercase().parse().unwrap(),
                    path: path.clone(),
                });
            }
        }
    }
    found
}

/// A server that has heard of everything up to now, and another one.
struct World {
    here: TestServer,
    there: TestServer,
    app: TestApp,
    session: Answer,
    device: String,
    /// A secret key, and the registration token of an application; and their ids.
    keys: [(String, String); 2],
}

impl World {
    async fn start() -> Self {
        let here = TestServer::start().await;
        let there = here.second_process().await;
        let app = here.app().await;
        let path = format!("/root/{}/keys", app.id);
        let body = json!({"kind": "secret", "name": "stolen"});
        let made = here.root().post(&path, body).await;
        let secret = (made.text("app_key"), made.text("id"));
        let body = json!({"project_code": app.id});
        let registered = here.root().post("/v1/auth/register", body).await;
        let token = registered.text("registration_token");
        let (_, id) = entity::PlainSecret::from_text(token.strip_prefix("api_key|").unwrap())
            .parse()
            .unwrap();
        let device = app.tell("push-token", Some("test@test.com")).await;
        let mut session = new_session();
        session["device_id"] = device.clone().into();
        let session = app.sign_with(session).await;
        here.app.directory.follow(&here.app.store).await.unwrap();
        // In memory as it is now.
        app.sign().await;
        assert_eq!(here.root().get("/root/list").await.status, 200);
        Self {
            here,
            there,
            app,
            session,
            device,
            keys: [secret, (token, id.to_string())],
        }
    }

    fn path(&self, operation: &Operation) -> String {
        let other = match operation.id.as_str() {
            "amend_session" => self.session.text("session_id"),
            "revoke_signing_key" => self.session.text("key_id"),
            "revoke_app_key" => self.keys[0].1.clone(),
            _ => self.device.clone(),
        };
        let segments = operation.path.split('/').map(|segment| match segment {
            "{app_id}" => &self.app.id,
            _ if segment.starts_with('{') => &other,
            _ => segment,
        });
        segments.collect::<Vec<_>>().join("/")
    }

    /// A body with which the operation does something.
    fn body(&self, id: &str, key: &str) -> Option<Value> {
        let refresh_token = self.session.refresh_token();
        let push = |body: Value| {
            let mut push = json!({"tenant_id": self.app.id, "api_key": key, "platform": "ios"});
            for (name, value) in body.as_object().unwrap() {
                push[name] = value.clone();
            }
            Some(push)
        };
        match id {
            "sign" => Some(new_session()),
            "renew" => Some(json!({
                "refresh_token": refresh_token, "ip": "2.2.2.2", "useragent": "a",
            })),
            "renew_on_device" => Some(json!({
                "refresh_token": refresh_token, "ip": "2.2.2.2", "useragent": "a",
                "device_id": entity::DeviceId::EXAMPLE,
            })),
            "logout" => Some(json!({"session_id": self.session.text("session_id")})),
            "revoke_token" => Some(json!({"sub": "test@test.com"})),
            "amend_session" => Some(json!({"role": "admin"})),
            "update_device" => Some(json!({"disabled": true})),
            "push_feedback" => Some(json!({"unregistered": ["push-token"]})),
            "spotflow_create" => Some(json!({
                "deviceId": "a", "allowOnBehalfOfRegistration": false,
            })),
            "scaem_register" | "scaem_generate" | "scaem_update" => {
                Some(json!({"project_code": self.app.id}))
            }
            "smart_app_push_event" => {
                let mut event = self.app.event("another-token", Some("a"));
                event["api_key"] = key.into();
                Some(event)
            }
            "smart_app_push_refresh_token" => {
                push(json!({"old_token": "push-token", "new_token": "another-token"}))
            }
            "create_app" => Some(new_app()),
            "update_app" => Some(json!({"description": "a"})),
            "create_app_key" => Some(json!({"kind": "secret", "name": "a"})),
            _ => None,
        }
    }

    async fn call(&self, client: &Client, operation: &Operation, key: &str) -> Answer {
        let body = self.body(&operation.id, key);
        let json = body.as_ref().map(|_| "application/json");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let path = self.path(operation);
        client
            .send(operation.method.clone(), &path, json, body)
            .await
    }

    /// Everything that is stored, but for what a refusal notes.
    async fn contents(&self) -> String {
        let db = &self.here.app.store.reader;
        let apps = entity::app::Entity::find().all(db).await.unwrap();
        let keys = entity::app_key::Entity::find().all(db).await.unwrap();
        let signing = entity::signing_key::Entity::find().all(db).await.unwrap();
        let sessions = entity::session::Entity::find().all(db).await.unwrap();
        let live: Vec<_> = sessions
            .iter()
            .map(|row| {
                (
                    row.id,
                    row.token_id,
                    row.device_id,
                    row.revoked_at,
                    &row.claims,
                )
            })
            .collect();
        let devices = entity::device::Entity::find().all(db).await.unwrap();
        let devices: Vec<_> = devices
            .iter()
            .map(|row| {
                (
                    row.id,
                    &row.client_id,
                    &row.sub,
                    &row.push_token,
                    row.disabled_at,
                )
            })
            .collect();
        let registrations = entity::registration_token::Entity::find();
        let registrations = registrations.all(db).await.unwrap();
        format!("{apps:?} {keys:?} {signing:?} {live:?} {devices:?} {registrations:?}")
    }
}

/// Whatever an app-key may write: once it was revoked at another process, it writes nothing, at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_revoked_elsewhere_writes_nothing() {
    let operations = writing(&[
        "secret_key",
        "publishable_key",
        "registration_token",
        "body",
    ]);
    assert_eq!(operations.len(), 14, "each has a row in `World::body`");
    let renew = operations.iter().find(|one| one.id == "renew").unwrap();
    // The device is tied before the renewal.
    let tied = Operation {
        id: "renew_on_device".to_owned(),
        ..renew.clone()
    };
    for operation in operations.into_iter().chain([tied]) {
        let world = World::start().await;
        let enrolled = operation.id.starts_with("scaem_");
        let (key, id) = &world.keys[usize::from(enrolled)];
        let client = world.here.anon().with_key(key);
        let path = format!("/root/{}/keys/{id}", world.app.id);
        assert_eq!(world.there.root().delete(&path).await.status, 200);
        let before = world.contents().await;
        let refused = world.call(&client, &operation, key).await;
        let in_body = BODY_KEYED.contains(&operation.id.as_str());
        let expected = if in_body { 401 } else { 403 };
        let case = format!("{}: {} {}", operation.id, refused.status, refused.raw);
        assert_eq!(
            (refused.status, refused.text("code")),
            (expected, "invalid_key".to_owned()),
            "{case}"
        );
        assert_eq!(world.contents().await, before, "{}", operation.id);

        // It was the key: another one does it at once.
        if !enrolled {
            let good = &world.app.secret_key;
            let client = world.here.anon().with_key(good);
            let done = world.call(&client, &operation, good).await;
            assert_eq!(done.status, 200, "{}: {}", operation.id, done.raw);
            assert_ne!(world.contents().await, before, "{}", operation.id);
        }
    }
}

/// The same of the root key.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_key_that_was_replaced_elsewhere_writes_nothing() {
    let operations = writing(&["root_key"]);
    assert_eq!(operations.len(), 15, "each has a row in `World::body`");
    for operation in operations {
        let world = World::start().await;
        let replaced = world
            .there
            .root()
            .post("/root/rotate", json!({"overlap": 0}))
            .await;
        let before = world.contents().await;
        let refused = world.call(&world.here.root(), &operation, ROOT_KEY).await;
        let case = format!("{}: {} {}", operation.id, refused.status, refused.raw);
        assert_eq!(
            (refused.status, refused.text("code")),
            (403, "invalid_key".to_owned()),
            "{case}"
        );
        assert_eq!(world.contents().await, before, "{}", operation.id);

        let good = replaced.text("new-key");
        world.here.app.directory.drop_all();
        let client = world.here.anon().with_key(&good);
        let done = world.call(&client, &operation, &good).await;
        assert_eq!(done.status, 200, "{}: {}", operation.id, done.raw);
        assert_ne!(world.contents().await, before, "{}", operation.id);
    }
}
