//! The table of docs/security.md: who may do what to whose device. Every cell is tried against a victim.

use std::collections::BTreeMap;

use entity::{AppId, app, device, registration_token, session};
use poem::http::Method;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};

use crate::support::{Answer, Client, TestApp, TestServer, new_session};

const DOCUMENT: &str = include_str!("../../docs/security.md");
const KECAK: &str = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.RefreshTokenApi/service";
const CHECK: &str = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.CheckTokenApi/service";
const SUBJECTS: [&str; 2] = ["alice", "device:sensor-1"];
const COLUMNS: usize = 8;

/// What was done to the victim, column by column.
type Done = [bool; COLUMNS];

/// The rows of the table, and what each may do.
fn table() -> Vec<(&'static str, Done)> {
    let lines = DOCUMENT
        .lines()
        .skip_while(|line| !line.starts_with("| who |"));
    let rows = lines.skip(2).take_while(|line| line.starts_with("| "));
    rows.map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [who, cells @ ..] = cells.as_slice() else {
            panic!("{line}");
        };
        let may = cells.iter().map(|cell| match &cell[..2] {
            "ye" => true,
            "no" => false,
            _ => panic!("{line}"),
        });
        let may: Vec<_> = may.collect();
        (*who, may.try_into().unwrap())
    })
    .collect()
}

/// What is tried: one request.
struct Try {
    client: Client,
    method: Method,
    path: String,
    body: Value,
}

/// Alice with a phone that has a name and with another device that has none, a sensor that was registered, and Mallory.
struct World {
    server: TestServer,
    app: TestApp,
    phone: String,
    nameless: String,
    sensor: String,
    registration: String,
    before: State,
}

/// All that there is of the victims.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    devices: BTreeMap<String, Row>,
    /// Devices of the victims' subjects.
    count: usize,
    /// Live ones, and what they are on.
    sessions: BTreeMap<String, String>,
    registration: Option<String>,
    /// Whatever else there is of devices.
    others: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    sub: Option<String>,
    client_id: Option<String>,
    is_disabled: bool,
    push_token: Option<String>,
}

impl World {
    /// On an app of its own, which shares nothing with the others of the server.
    async fn new(server: TestServer) -> Self {
        let app = server.app().await;
        let alice = sign(&app, json!({"sub": "alice"})).await.auth_token();
        let report = kecak(&app, &alice, "TA", "phone");
        assert_eq!(send(&report).await.status, 200);
        let phone = device_of(&app, "alice").await;
        let nameless = app.tell("TB", Some("alice")).await;
        sign(&app, json!({"sub": "alice", "device_id": nameless})).await;
        let registration = register(&app, "sensor-1").await;
        let sensor = device_of(&app, "device:sensor-1").await;
        device_session(&app, &registration).await;
        // Mallory's own, and another sensor.
        app.tell("TM", Some("mallory")).await;
        app.tell("TN", None).await;
        // One that was told of in Alice's name, with a push token of Mallory's.
        app.tell("TV", Some("alice")).await;
        let mut world = Self {
            before: State {
                devices: BTreeMap::new(),
                count: 0,
                sessions: BTreeMap::new(),
                registration: None,
                others: Vec::new(),
            },
            server,
            app,
            phone,
            nameless,
            sensor,
            registration,
        };
        world.before = world.state().await;
        assert_eq!(world.before.devices.len(), 3);
        assert_eq!(world.before.sessions.len(), 3);
        world
    }

    fn victims(&self) -> [&str; 3] {
        [&self.phone, &self.nameless, &self.sensor]
    }

    async fn state(&self) -> State {
        let db = &self.server.app.store.reader;
        let id: AppId = self.app.id.parse().unwrap();
        let policy = app::find(db, id).await.unwrap().unwrap();
        let now = self.server.app.clock.now();
        let all = device::Entity::find()
            .filter(device::Column::AppId.eq(id))
            .all(db)
            .await
            .unwrap();
        let is_of_victim = |sub: &str| SUBJECTS.contains(&sub);
        let of_victim = all
            .iter()
            .filter(|row| row.sub.as_deref().is_some_and(is_of_victim));
        let count = of_victim.count();
        let devices = all
            .iter()
            .filter(|row| self.victims().contains(&row.id.to_string().as_str()))
            .map(|row| {
                let shown = Row {
                    sub: row.sub.clone(),
                    client_id: row.client_id.clone(),
                    is_disabled: row.is_disabled(),
                    push_token: row.push_token_mac.as_ref().map(|mac| format!("{mac:?}")),
                };
                (row.id.to_string(), shown)
            });
        let sessions = session::Entity::find()
            .filter(session::Column::AppId.eq(id))
            .all(db)
            .await
            .unwrap();
        let live = sessions
            .into_iter()
            .filter(|row| is_of_victim(&row.sub) && !row.is_revoked() && row.expires_at > now)
            .filter(|row| row.flush_count == policy.flush_count)
            .map(|row| {
                (
                    row.id.to_string(),
                    format!("{} {:?}", row.sub, row.device_id),
                )
            });
        let token = self.registration[7..33].parse().unwrap();
        let lineage = registration_token::find(db, token).await.unwrap();
        let lineage =
            lineage.filter(|row| row.revoked_at.is_none() && row.flush_count == policy.flush_count);
        let others = all
            .iter()
            .map(|row| format!("{} {:?} {:?}", row.id, row.sub, row.push_token_mac));
        let mut others: Vec<_> = others.collect();
        others.sort();
        State {
            others,
            count,
            devices: devices.collect(),
            sessions: live.collect(),
            registration: lineage.map(|row| {
                format!(
                    "{} {:?} {:?} {:?} {:?}",
                    row.device_id, row.sub, row.claims, row.audiences, row.current_hash
                )
            }),
        }
    }

    /// What the request that got this answer has done to the victims.
    async fn done(&self, answer: &Answer) -> Done {
        let (before, after) = (&self.before, self.state().await);
        let is_shown = self.victims().iter().any(|id| answer.raw.contains(id));
        let rows = || {
            before
                .devices
                .iter()
                .filter_map(|(id, row)| Some((row, after.devices.get(id)?)))
        };
        let is_gone = after.devices.len() < before.devices.len();
        let held = |(id, device): (&String, &String)| after.sessions.get(id) == Some(device);
        [
            answer.status == 200 && is_shown,
            after.count > before.count,
            rows().any(|(before, after)| before.client_id != after.client_id),
            rows().any(|(before, after)| before.push_token != after.push_token),
            rows().any(|(before, after)| before.sub != after.sub),
            !before.sessions.iter().all(held),
            before.registration != after.registration,
            is_gone || rows().any(|(before, after)| before.is_disabled != after.is_disabled),
        ]
    }

    /// Everything that the holder of the credential could think of.
    async fn tries(&self, who: &str) -> Vec<Try> {
        match who {
            "publishable key" => self.of_publishable_key(),
            "publishable key and its push token" => self.of_push_token(),
            "session of another user" => self.of_user(&["TX"]).await,
            "session of another user and its push token" => self.of_user(&["TA", "TB"]).await,
            "session of another device" => self.of_device().await,
            "registration token of another device" => self.of_registration().await,
            "secret key" => self.of_secret_key(),
            "root key" => self.of_root_key(),
            _ => panic!("nobody is {who}"),
        }
    }

    fn of_publishable_key(&self) -> Vec<Try> {
        let mut tries = Vec::new();
        for sub in [
            Some("alice"),
            Some("device:sensor-1"),
            Some("sensor-1"),
            Some("mallory"),
            None,
        ] {
            tries.push(self.event("TX", sub));
            tries.push(self.event("TM", sub));
            tries.push(self.swap("TM", "TX", sub));
            tries.push(self.swap("TX", "TM", sub));
            // Where the store knows them both.
            tries.push(self.swap("TM", "TN", sub));
            tries.push(self.swap("TN", "TM", sub));
        }
        tries.extend(self.administrative(&self.app.front_end()));
        tries
    }

    fn of_push_token(&self) -> Vec<Try> {
        let mut tries = Vec::new();
        for theirs in ["TA", "TB"] {
            for sub in [
                None,
                Some("alice"),
                Some("mallory"),
                Some("device:sensor-1"),
            ] {
                tries.push(self.event(theirs, sub));
                tries.push(self.event("TX", sub));
                for own in ["TM", "TN", "TV", "TX"] {
                    tries.push(self.swap(theirs, own, sub));
                    tries.push(self.swap(own, theirs, sub));
                }
                tries.push(self.swap("TA", "TB", sub));
            }
        }
        tries
    }

    async fn of_user(&self, push_tokens: &[&str]) -> Vec<Try> {
        let mut tries = Vec::new();
        let names = ["phone", "sensor-1", "alice", "device:sensor-1"];
        for sub in ["mallory", "sensor-1"] {
            for push_token in push_tokens {
                for name in names.into_iter().chain(self.victims()) {
                    let session = sign(&self.app, json!({"sub": sub})).await;
                    tries.push(kecak(&self.app, &session.auth_token(), push_token, name));
                }
            }
            for device in self.victims() {
                let session = sign(&self.app, json!({"sub": sub})).await;
                tries.push(self.renew(&session, device));
            }
            let session = sign(&self.app, json!({"sub": sub})).await;
            tries.extend(self.with_session(&session));
        }
        tries
    }

    async fn of_device(&self) -> Vec<Try> {
        let registration = register(&self.app, "sensor-2").await;
        let mut tries = Vec::new();
        for name in ["phone", "sensor-1", "sensor-2", "alice"] {
            for push_token in ["TX", "TA", "TB"] {
                let session = device_session(&self.app, &registration).await;
                tries.push(kecak(&self.app, &session.auth_token(), push_token, name));
            }
        }
        for device in self.victims() {
            let session = device_session(&self.app, &registration).await;
            tries.push(self.renew(&session, device));
        }
        let session = device_session(&self.app, &registration).await;
        tries.extend(self.with_session(&session));
        tries
    }

    async fn of_registration(&self) -> Vec<Try> {
        let token = register(&self.app, "sensor-2").await;
        let path = self.app.path("devices/session");
        let mut tries = Vec::new();
        for body in [
            json!({"registration_token": token}),
            json!({"registration_token": token, "aud": "alice"}),
            json!({"registration_token": token, "sub": "device:sensor-1"}),
            json!({"registration_token": token, "device_id": self.sensor}),
        ] {
            tries.push(post(&self.app.mobile(), &path, body));
        }
        tries.push(Try {
            client: self.app.mobile(),
            method: Method::PUT,
            path: "/devices/registration-tokens/refresh".to_owned(),
            body: json!({"registrationToken": token, "deviceId": "sensor-1"}),
        });
        for key in [format!("Bearer {token}"), format!("DeviceToken {token}")] {
            tries
                .extend(self.administrative(&self.app.mobile().with_header("authorization", &key)));
        }
        tries
    }

    fn of_secret_key(&self) -> Vec<Try> {
        let backend = self.app.backend();
        let mut tries = self.administrative(&backend);
        let mut event = self.event("TX", Some("alice"));
        event.body["api_key"] = self.app.secret_key.clone().into();
        tries.push(event);
        tries
    }

    fn of_root_key(&self) -> Vec<Try> {
        let root = self.server.root();
        let mut tries = self.administrative(&root);
        for (method, path) in [
            (Method::GET, format!("/root/{}/devices", self.app.id)),
            (Method::DELETE, format!("/root/{}/flush", self.app.id)),
            (
                Method::POST,
                format!("/root/{}/rotate/signing-key", self.app.id),
            ),
        ] {
            let (client, body) = (root.clone(), json!({}));
            tries.push(Try {
                client,
                method,
                path,
                body,
            });
        }
        tries
    }

    /// What a secret key does.
    fn administrative(&self, client: &Client) -> Vec<Try> {
        let mut tries = Vec::new();
        for (method, path, body) in [
            (Method::GET, "devices".to_owned(), Value::Null),
            (
                Method::GET,
                "push-targets?sub=alice".to_owned(),
                Value::Null,
            ),
            (
                Method::POST,
                "push-feedback".to_owned(),
                json!({"unregistered": ["TA", "TB"]}),
            ),
            (Method::POST, "logout".to_owned(), json!({"sub": "alice"})),
            (
                Method::POST,
                "logout".to_owned(),
                json!({"sub": "device:sensor-1"}),
            ),
            (
                Method::POST,
                "sign".to_owned(),
                session_of(&json!({"sub": "alice", "device_id": "01JMWRJEJ71191KP88NDGWVYEX"})),
            ),
            (
                Method::POST,
                "sign".to_owned(),
                session_of(&json!({"sub": "device:sensor-1"})),
            ),
        ] {
            let (client, path) = (client.clone(), self.app.path(&path));
            tries.push(Try {
                client,
                method,
                path,
                body,
            });
        }
        for device in self.victims() {
            let path = self.app.path(&format!("devices/{device}"));
            let on_it = session_of(&json!({"sub": "mallory", "device_id": device}));
            tries.push(post(client, &self.app.path("sign"), on_it));
            tries.push(post(client, &format!("{path}/revoke"), Value::Null));
            for (method, body) in [
                (Method::GET, Value::Null),
                (Method::PATCH, json!({"disabled": true})),
                (Method::DELETE, Value::Null),
            ] {
                let (client, path) = (client.clone(), path.clone());
                tries.push(Try {
                    client,
                    method,
                    path,
                    body,
                });
            }
        }
        let path = format!(
            "/workspaces/{}/devices/registration-tokens/create",
            self.app.id
        );
        let body = json!({"deviceId": "sensor-1", "allowOnBehalfOfRegistration": true});
        tries.push(post(client, &path, body));
        tries
    }

    /// What the tokens of a session are good for beside a renewal.
    fn with_session(&self, session: &Answer) -> Vec<Try> {
        let token = session.auth_token();
        let bearer = self.app.mobile().with_header("authorization", &token);
        let mut tries = self.administrative(&bearer);
        let client = bearer.with_header("referer", "https://app.example.com");
        let (method, path) = (Method::GET, CHECK.to_owned());
        tries.push(Try {
            client,
            method,
            path,
            body: Value::Null,
        });
        for body in [
            json!({"token": token, "sub": "alice"}),
            json!({"sub": "alice"}),
            json!({"token": token}),
        ] {
            tries.push(post(&self.app.front_end(), &self.app.path("logout"), body));
        }
        tries
    }

    fn event(&self, push_token: &str, sub: Option<&str>) -> Try {
        post(
            &self.app.mobile(),
            "/events",
            self.app.event(push_token, sub),
        )
    }

    fn swap(&self, old: &str, new: &str, sub: Option<&str>) -> Try {
        let body = json!({
            "tenant_id": self.app.id,
            "api_key": self.app.publishable_key,
            "old_token": old,
            "new_token": new,
            "app_user_id": sub,
        });
        post(&self.app.mobile(), "/devices/refresh-token", body)
    }

    fn renew(&self, session: &Answer, device: &str) -> Try {
        let body = json!({"refresh_token": session.refresh_token(), "device_id": device});
        post(&self.app.front_end(), &self.app.path("renew"), body)
    }
}

fn post(client: &Client, path: &str, body: Value) -> Try {
    Try {
        client: client.clone(),
        method: Method::POST,
        path: path.to_owned(),
        body,
    }
}

fn kecak(app: &TestApp, auth: &str, push_token: &str, name: &str) -> Try {
    let client = app.mobile().with_header("authorization", auth);
    Try {
        client: client.with_header("referer", "https://app.example.com"),
        method: Method::PUT,
        path: KECAK.to_owned(),
        body: json!({"fcm_token": push_token, "device_id": name}),
    }
}

async fn send(request: &Try) -> Answer {
    let Try {
        client,
        method,
        path,
        body,
    } = request;
    if method == Method::GET {
        client.get(path).await
    } else {
        client.send_json(method.clone(), path, body.clone()).await
    }
}

fn session_of(changes: &Value) -> Value {
    let mut session = new_session();
    for (name, value) in changes.as_object().unwrap() {
        session[name] = value.clone();
    }
    session
}

async fn sign(app: &TestApp, changes: Value) -> Answer {
    app.sign_with(session_of(&changes)).await
}

async fn register(app: &TestApp, device: &str) -> String {
    let path = format!("/workspaces/{}/devices/registration-tokens/create", app.id);
    let body = json!({"deviceId": device, "allowOnBehalfOfRegistration": true});
    let created = app.backend().post(&path, body).await;
    assert_eq!(created.status, 200, "{}", created.raw);
    created.text("registrationToken")
}

async fn device_session(app: &TestApp, token: &str) -> Answer {
    let body = json!({"registration_token": token});
    let begun = app.mobile().post(&app.path("devices/session"), body).await;
    assert_eq!(begun.status, 200, "{}", begun.raw);
    begun
}

/// The device of the subject, which has one.
async fn device_of(app: &TestApp, sub: &str) -> String {
    let devices = app.devices().await;
    let mut found = devices.iter().filter(|device| device["sub"] == sub);
    let id = found.next().unwrap()["device_id"].as_str().unwrap();
    assert!(found.next().is_none());
    id.to_owned()
}

/// What the table says may not be done is not done by anything that was thought of; what it says may be done is done by
/// something.
async fn check(who: &'static str, may: Done) {
    let mut found = [false; COLUMNS];
    let mut world = World::new(TestServer::start().await).await;
    let mut tries = world.tries(who).await;
    for index in 0..tries.len() {
        let answer = send(&tries[index]).await;
        let done = world.done(&answer).await;
        let Try {
            method, path, body, ..
        } = &tries[index];
        let case = format!(
            "{who}: {method} {path} {body}: {} {}",
            answer.status, answer.raw
        );
        for (column, (may, done)) in may.iter().zip(done).enumerate() {
            assert!(*may || !done, "column {column} of {case}");
            found[column] |= done;
        }
        // The next one has a victim that nothing was done to.
        if done != [false; COLUMNS] || world.state().await != world.before {
            world = World::new(world.server).await;
            tries = world.tries(who).await;
        }
    }
    assert_eq!(found, may, "{who}");
    // What lives is more than a row that looks alive.
    let path = "/devices/registration-tokens/refresh";
    let body = json!({"registrationToken": world.registration});
    let refreshed = world.app.mobile().send_json(Method::PUT, path, body).await;
    assert_eq!(refreshed.status, 201, "{who}: {}", refreshed.raw);
}

macro_rules! rows {
    ($($test:ident: $who:literal,)*) => {
        const ROWS: &[&str] = &[$($who),*];
        $(
            #[tokio::test]
            async fn $test() {
                let row = table().into_iter().find(|(who, _)| *who == $who);
                let (who, may) = row.unwrap();
                check(who, may).await;
            }
        )*
    };
}

rows! {
    a_publishable_key: "publishable key",
    a_publishable_key_and_a_push_token: "publishable key and its push token",
    a_session_of_another_user: "session of another user",
    a_session_of_another_user_and_a_push_token: "session of another user and its push token",
    a_session_of_another_device: "session of another device",
    a_registration_token_of_another_device: "registration token of another device",
    a_secret_key: "secret key",
    a_root_key: "root key",
}

#[test]
fn every_row_of_the_table_is_tried() {
    let documented: Vec<_> = table().into_iter().map(|(who, _)| who).collect();
    assert_eq!(documented, ROWS);
}
