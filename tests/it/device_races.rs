//! Many at once, by way of two servers: a device is never two, a push token is of one device, and nothing lives on a device
//! that was ended.

use std::sync::Arc;

use poem::http::Method;
use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng, seq::IndexedRandom};
use renewd::config::Config;
use sea_orm::EntityTrait;
use serde_json::{Value, json};
use tokio::{sync::Barrier, task::JoinSet};

use crate::support::{Answer, TestApp, TestServer, new_session};

const REPORT: &str = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.RefreshTokenApi/service";

/// An app, as two servers on one store have it.
struct World {
    servers: [TestServer; 2],
    apps: [TestApp; 2],
}

impl World {
    async fn start() -> Self {
        let first = TestServer::start_with(patient).await;
        let second = first.second_process_with(patient).await;
        let app = first.app().await;
        let apps = [second.known_app(&app), app];
        Self {
            servers: [first, second],
            apps,
        }
    }

    fn app(&self) -> &TestApp {
        &self.apps[0]
    }

    /// Calls `count` times at once, one server after the other.
    async fn at_once<F>(&self, count: usize, call: impl Fn(TestApp, usize) -> F) -> Vec<Answer>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let start = Arc::new(Barrier::new(count));
        let mut tasks = JoinSet::new();
        for index in 0..count {
            let (call, start) = (call(self.apps[index % 2].clone(), index), start.clone());
            tasks.spawn(async move {
                start.wait().await;
                call.await
            });
        }
        tasks.join_all().await
    }

    async fn rows(&self) -> Vec<entity::device::Model> {
        let find = entity::device::Entity::find();
        find.all(&self.servers[0].app.store.writer).await.unwrap()
    }

    /// What is true at any time.
    async fn check(&self) {
        let devices = self.app().devices().await;
        assert_eq!(devices.len(), self.rows().await.len());
        let mut names: Vec<_> = devices
            .iter()
            .filter(|device| !device["client_device_id"].is_null())
            .map(|device| (device["sub"].as_str(), device["client_device_id"].as_str()))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a user has one device of a name");
        assert!(names.iter().all(|(sub, _)| sub.is_some()), "{names:?}");

        let mut tokens = Vec::new();
        for user in USERS {
            tokens.extend(self.app().push_tokens(user).await);
        }
        let count = tokens.len();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), count, "a push token is of one device");

        let disabled: Vec<_> = devices
            .iter()
            .filter(|device| !device["disabled_at"].is_null())
            .map(|device| device["device_id"].as_str().unwrap())
            .collect();
        for user in USERS {
            let body = json!({"sub": user, "limit": 500});
            let path = self.app().path("get-session");
            let live = self.app().backend().post(&path, body).await;
            for session in live.body["sessions"].as_array().unwrap() {
                let device = session["device_id"].as_str().unwrap_or_default();
                assert!(!disabled.contains(&device), "{session} on a disabled one");
            }
        }
    }
}

/// All ask for the same few rows at once: on a busy machine the last one waits for long, and that is not what is asked here.
fn patient(config: &mut Config) {
    config.database_timeout_ms = 60_000;
    config.database_statement_timeout_ms = 50_000;
}

const USERS: [&str; 3] = ["alice", "bob", "carol"];

#[tokio::test(flavor = "multi_thread")]
async fn many_first_events_make_one_device() {
    let world = World::start().await;
    for round in 0..5 {
        let token = format!("T{round}");
        let answers = world
            .at_once(40, |app, index| {
                let user = USERS[index % 3];
                let event = app.event(&token, Some(user));
                async move { app.mobile().post("/events", event).await }
            })
            .await;
        let first = answers[0].text("fingerprint");
        for answer in answers {
            assert_eq!(answer.status, 200, "{}", answer.raw);
            assert_eq!(answer.text("fingerprint"), first);
        }
        assert_eq!(world.rows().await.len(), round + 1);
    }
    world.check().await;
}

/// Of many tokens that follow one, one does; and to ask for the same many times is to ask once.
#[tokio::test(flavor = "multi_thread")]
async fn many_swaps_of_one_token() {
    let world = World::start().await;
    let app = world.app();
    let id = app.tell("T", Some("alice")).await;
    let answers = world
        .at_once(40, |app, index| async move {
            app.swap("T", &format!("T{}", index % 20), None).await
        })
        .await;
    let winner = app.push_tokens("alice").await.remove(0);
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    // It was asked for twice.
    assert_eq!(won, 2);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.assert_problem(404, "not_found");
    }
    let answers = world
        .at_once(40, |app, _| {
            let winner = winner.clone();
            async move { app.swap(&winner, "next", None).await }
        })
        .await;
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.raw);
    }
    assert_eq!(app.push_tokens("alice").await, ["next"]);
    assert_eq!(app.devices().await.len(), 1);
    assert_eq!(app.devices().await[0]["device_id"], *id);
}

/// The event with the new token and the swap to it come at once: whoever is first, one device is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_and_an_event_with_the_new_token() {
    let world = World::start().await;
    let app = world.app();
    for round in 0..15 {
        let (old, new) = (format!("O{round}"), format!("N{round}"));
        app.tell(&old, Some("alice")).await;
        let answers = world
            .at_once(8, |app, index| {
                let (old, new) = (old.clone(), new.clone());
                async move {
                    if index % 4 < 2 {
                        app.swap(&old, &new, Some("alice")).await
                    } else {
                        let event = app.event(&new, Some("alice"));
                        app.mobile().post("/events", event).await
                    }
                }
            })
            .await;
        for answer in answers {
            assert_eq!(answer.status, 200, "{}", answer.raw);
        }
        assert_eq!(app.devices().await.len(), round + 1);
    }
    world.check().await;
}

/// After a device was disabled or revoked, no session lives on it that began or was tied before.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_lives_on_a_device_that_was_ended() {
    let world = World::start().await;
    let [app, other] = &world.apps;
    let id = app.tell("T", Some("alice")).await;
    let path = app.path(&format!("devices/{id}"));
    for round in 0..24 {
        let mut session = new_session();
        session["sub"] = "alice".into();
        let loose = app.sign_with(session.clone()).await;
        session["device_id"] = id.clone().into();
        let tied = app.sign_with(session.clone()).await;
        let renew = |app: &TestApp, token: &Answer, device: Option<&str>| {
            let body = json!({"refresh_token": token.refresh_token(), "ip": "::1", "useragent": "a",
                "device_id": device});
            let (client, path) = (app.backend(), app.path("renew"));
            tokio::spawn(async move { client.post(&path, body).await })
        };
        let begun = tokio::spawn({
            let (client, path) = (other.backend(), other.path("sign"));
            async move { client.post(&path, session).await }
        });
        let renewed = renew(other, &tied, None);
        let moved = renew(app, &loose, Some(&id));
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let is_revoked = round % 3 == 0;
        let ended = if is_revoked {
            let path = format!("{path}/revoke");
            app.backend().post(&path, Value::Null).await
        } else {
            let disable = json!({"disabled": true});
            other.backend().patch(&path, disable).await
        };
        assert_eq!(ended.status, 200, "{}", ended.raw);
        let [begun, renewed, moved] = [
            begun.await.unwrap(),
            renewed.await.unwrap(),
            moved.await.unwrap(),
        ];
        let refused = |answer: &Answer, codes: &[&str]| {
            answer.status != 200 && codes.contains(&&*answer.text("code"))
        };
        assert!(begun.status == 200 || refused(&begun, &["device_disabled"]));
        let codes = ["device_disabled", "refresh_token_revoked"];
        assert!(renewed.status == 200 || refused(&renewed, &codes[1..]));
        assert!(moved.status == 200 || refused(&moved, &codes));
        if renewed.status == 200 {
            let late = app.renew(&renewed.refresh_token()).await;
            late.assert_refused("refresh_token_revoked");
        }
        if !is_revoked {
            for answer in [&begun, &moved] {
                if answer.status == 200 {
                    let late = app.renew(&answer.refresh_token()).await;
                    late.assert_refused("refresh_token_revoked");
                }
            }
            world.check().await;
            let enable = json!({"disabled": false});
            assert_eq!(app.backend().patch(&path, enable).await.status, 200);
        }
    }
}

/// Two users call their phones the same, at once and again and again: each has one, and the sessions are on their own.
#[tokio::test(flavor = "multi_thread")]
async fn two_users_of_one_name() {
    let world = World::start().await;
    let app = world.app();
    let mut sessions = Vec::new();
    for index in 0..24 {
        let mut session = new_session();
        session["sub"] = USERS[index % 2].into();
        sessions.push(app.sign_with(session).await.auth_token());
    }
    let answers = world
        .at_once(24, |app, index| {
            let client = app
                .mobile()
                .with_header("authorization", &sessions[index])
                .with_header("referer", "https://app.example.com");
            // The phone changes hands now and then.
            let push_token = format!("T{}", index % 3);
            let body = json!({"fcm_token": push_token, "device_id": "phone"});
            async move { client.send_json(Method::PUT, REPORT, body).await }
        })
        .await;
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.raw);
    }
    let devices = app.devices().await;
    assert_eq!(devices.len(), 2, "{devices:?}");
    for device in devices {
        let body = json!({"sub": device["sub"]});
        let live = app.backend().post(&app.path("get-session"), body).await;
        let live = live.body["sessions"].as_array().unwrap();
        assert_eq!(live.len(), 12);
        for session in live {
            assert_eq!(session["device_id"], device["device_id"]);
        }
    }
    world.check().await;
}

/// Whatever comes in whatever order: every answer is a documented one, and the store is right afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn anything_at_once() {
    for seed in 0..4 {
        let world = World::start().await;
        let mut tokens = Vec::new();
        for user in USERS {
            let mut session = new_session();
            session["sub"] = user.into();
            tokens.push(world.app().sign_with(session).await.auth_token());
        }
        let tokens = Arc::new(tokens);
        let callers = 16;
        let mut tasks = JoinSet::new();
        for caller in 0..callers {
            let app = world.apps[caller % 2].clone();
            let tokens = tokens.clone();
            let mut rng = ChaCha12Rng::seed_from_u64(seed * 100 + caller as u64);
            tasks.spawn(async move {
                for _ in 0..12 {
                    let answer = anything(&app, &tokens, &mut rng).await;
                    let codes = ["not_found", "conflict", "device_disabled"];
                    let is_documented = answer.status == 200
                        || answer.body["code"]
                            .as_str()
                            .is_some_and(|code| codes.contains(&code));
                    assert!(is_documented, "{}", answer.raw);
                }
            });
        }
        tasks.join_all().await;
        world.check().await;
    }
}

async fn anything(app: &TestApp, tokens: &[String], rng: &mut ChaCha12Rng) -> Answer {
    let mut push_token = || format!("T{}", rng.random_range(0..6));
    let (one, two) = (push_token(), push_token());
    let user = *USERS.choose(rng).unwrap();
    let some_user = Some(user).filter(|_| rng.random_bool(0.7));
    let devices = app.devices().await;
    let id = devices.choose(rng).map_or_else(
        || "01JMWRJEJ71191KP88NDGWVYEW".to_owned(),
        |device| device["device_id"].as_str().unwrap().to_owned(),
    );
    let path = app.path(&format!("devices/{id}"));
    match rng.random_range(0..12) {
        0..3 => {
            let event = app.event(&one, some_user);
            app.mobile().post("/events", event).await
        }
        3..6 if one != two => app.swap(&one, &two, some_user).await,
        3..8 => {
            let name = format!("phone {}", rng.random_range(0..3));
            let body = json!({"fcm_token": one, "device_id": name});
            let client = app
                .mobile()
                .with_header("authorization", tokens.choose(rng).unwrap())
                .with_header("referer", "https://app.example.com");
            let answer = client.send_json(Method::PUT, REPORT, body).await;
            // Its session went with a device.
            if answer.status == 401 {
                answer.assert_problem(401, "invalid_token");
                app.backend().get(&app.path("devices")).await
            } else {
                answer
            }
        }
        8 => {
            let disable = json!({"disabled": rng.random_bool(0.5)});
            app.backend().patch(&path, disable).await
        }
        9 => {
            let body = json!({"unregistered": [one, two]});
            app.backend().post(&app.path("push-feedback"), body).await
        }
        10 => {
            let mut session = new_session();
            session["sub"] = user.into();
            session["device_id"] = id.into();
            app.backend().post(&app.path("sign"), session).await
        }
        _ if rng.random_bool(0.5) => app.backend().delete(&path).await,
        _ => {
            let path = format!("{path}/revoke");
            app.backend().post(&path, Value::Null).await
        }
    }
}
