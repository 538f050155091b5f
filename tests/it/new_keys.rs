//! A key that was made at another process a moment ago: it works here at once, or nobody says that it does not.

use std::sync::Arc;

use entity::{AppKeyId, PlainSecret, SecretKind, app_key, setting, time::Span};
use renewd::apps::{self, PresentedKey};
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Answer, ROOT_KEY, TestApp, TestServer, new_session};

/// A process that knows the app and the root keys as they are, and another one.
async fn start() -> (TestServer, TestServer, TestApp) {
    let here = TestServer::start().await;
    let there = here.second_process().await;
    let app = here.app().await;
    know(&here, &app).await;
    (here, there, app)
}

async fn know(here: &TestServer, app: &TestApp) {
    here.app.directory.follow(&here.app.store).await.unwrap();
    let known = here.app.load(app.id.parse().unwrap()).await.unwrap();
    assert!(known.is_some());
    let garbage = here.anon().with_key("garbage").get("/root/list").await;
    garbage.assert_problem(403, "invalid_key");
}

async fn sign(here: &TestServer, app: &TestApp, key: &str) -> Answer {
    let client = here.anon().with_key(key);
    client.post(&app.path("sign"), new_session()).await
}

/// A key with its id, its checksum and nothing else: everybody can make one up.
fn made_up(here: &TestServer, kind: SecretKind, seconds: i64) -> String {
    let at = here.app.clock.now() + Span::seconds(seconds);
    let key = here.app.rng.with(|rng| {
        let id = AppKeyId::mint(at, rng);
        PlainSecret::generate(kind, id, rng)
    });
    key.reveal().to_owned()
}

/// There is no gap in which no key works, whichever way the new one was made.
#[tokio::test]
async fn a_key_that_was_made_elsewhere_works_at_once() {
    let (here, there, app) = start().await;
    let root = there.root();
    let path = format!("/root/{}", app.id);
    let rotated = root
        .post(&format!("{path}/rotate/key"), json!({"overlap": 0}))
        .await
        .text("app_key");
    let signed = sign(&here, &app, &rotated).await;
    assert_eq!(signed.status, 200, "{}", signed.raw);

    know(&here, &app).await;
    let body = json!({"kind": "publishable", "name": "page"});
    let made = root.post(&format!("{path}/keys"), body).await;
    let client = here.anon().with_key(&made.text("app_key"));
    let listed = client.get(&app.path("pub-keys")).await;
    assert_eq!(listed.status, 200, "{}", listed.raw);

    know(&here, &app).await;
    let body = json!({"project_code": app.id});
    let registered = root.post("/v1/auth/register", body.clone()).await;
    let client = here.anon();
    let client = client.with_key(&registered.text("registration_token"));
    let updated = client.patch("/v1/auth/token/update", body).await;
    assert_eq!(updated.status, 200, "{}", updated.raw);

    know(&here, &app).await;
    let replaced = root.post("/root/rotate", json!({})).await.text("new-key");
    let listed = here.anon().with_key(&replaced).get("/root/list").await;
    assert_eq!(listed.status, 200, "{}", listed.raw);
    // What was heard on the way is true of the old ones, too.
    let refused = here.anon().with_key(ROOT_KEY).get("/root/list").await;
    refused.assert_problem(403, "invalid_key");
    let refused = sign(&here, &app, &app.secret_key).await;
    refused.assert_problem(403, "invalid_key");
}

/// A process of the release before tells of a key otherwise.
#[tokio::test]
async fn a_key_that_the_release_before_made_works_at_once() {
    let (here, _, app) = start().await;
    let db = &here.app.store.writer;
    let key = made_up(&here, SecretKind::Secret, 0);
    let plain = PlainSecret::from_text(&key);
    let rows = app_key::Entity::find().all(db).await.unwrap();
    let mut row = rows.into_iter().find(|row| row.app_id.is_some()).unwrap();
    row.id = plain.parse().unwrap().1;
    row.kind = SecretKind::Secret.into();
    row.name = "of an older process".to_owned();
    row.hash = plain.hash();
    row.into_active_model().insert(db).await.unwrap();
    setting::advance_epoch(db).await.unwrap();
    let signed = sign(&here, &app, &key).await;
    assert_eq!(signed.status, 200, "{}", signed.raw);
}

/// The clocks of two processes differ a little.
#[tokio::test]
async fn the_maker_of_a_key_may_have_another_clock() {
    for seconds in [-4, 4] {
        let (here, there, app) = start().await;
        there.set_clock(seconds);
        let path = format!("/root/{}/rotate/key", app.id);
        let rotated = there.root().post(&path, json!({"overlap": 60})).await;
        let signed = sign(&here, &app, &rotated.text("app_key")).await;
        assert_eq!(signed.status, 200, "{seconds}: {}", signed.raw);
    }
}

/// A token that another process signed, with a signing key that it made a moment ago, is no unknown one: a client is sent from
/// node to node.
#[tokio::test]
async fn a_token_of_a_signing_key_that_was_made_elsewhere_is_known_at_once() {
    for how in ["renew", "device", "verify", "logout"] {
        let (here, there, app) = start().await;
        let device = app.tell("push-token", None).await;
        know(&here, &app).await;
        let path = format!("/root/{}/rotate/pki", app.id);
        there.root().post(&path, json!({})).await;
        let signed = sign(&there, &app, &app.secret_key).await;
        let (auth, refresh) = (signed.auth_token(), signed.refresh_token());
        let mut renew = json!({"refresh_token": refresh, "ip": "1.1.1.1", "useragent": "x"});
        if how == "device" {
            renew["device_id"] = json!(device);
        }
        let (verb, body) = match how {
            "verify" => ("verify", json!({"token": auth})),
            "logout" => ("logout", json!({"token": auth})),
            _ => ("renew", renew),
        };
        let answer = app.backend().post(&app.path(verb), body).await;
        assert_eq!(answer.status, 200, "{how}: {}", answer.raw);
        match how {
            "verify" => assert_eq!(answer.body["verified"], true),
            "logout" => assert_eq!(answer.body["revoked"], 1, "{}", answer.raw),
            _ => assert_eq!(answer.text("key_id"), signed.text("key_id")),
        }
    }
}

/// A commit whose answer was lost may come through long after: the key is old by its id, and new to everybody.
#[tokio::test]
async fn a_signing_key_may_be_committed_long_after_it_was_made() {
    for seconds in [-600, 600] {
        let (_here, there, app) = start().await;
        there.set_clock(seconds);
        let path = format!("/root/{}/rotate/pki", app.id);
        there.root().post(&path, json!({})).await;
        there.set_clock(-seconds);
        let signed = sign(&there, &app, &app.secret_key).await;
        let renewed = app.renew(&signed.refresh_token()).await;
        assert_eq!(renewed.status, 200, "{seconds}: {}", renewed.raw);
    }
}

/// Many that come with it at once are answered by one look.
#[tokio::test(flavor = "multi_thread")]
async fn the_app_is_read_once_for_many() {
    let (here, there, app) = start().await;
    let path = format!("/root/{}/rotate/key", app.id);
    let rotated = there.root().post(&path, json!({})).await;
    let key = rotated.text("app_key");
    let start = Arc::new(tokio::sync::Barrier::new(32));
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let (server, start) = (here.app.clone(), start.clone());
        let (id, key) = (app.id.parse().unwrap(), PlainSecret::from_text(&key));
        callers.spawn(async move {
            let presented = PresentedKey {
                key,
                origin: None,
                request_id: None,
                ip: None,
            };
            start.wait().await;
            let caller = apps::authenticate(&server, id, presented).await;
            caller.unwrap().app
        });
    }
    let loaded = callers.join_all().await;
    for other in &loaded[1..] {
        assert!(Arc::ptr_eq(&loaded[0], other), "it was read again");
    }
}

/// While the store does not tell, a key that may be new is no wrong key: 503. What cannot be new is refused from memory, and
/// costs the store nothing.
#[tokio::test]
async fn what_the_store_does_not_tell_is_no_refusal() {
    let (here, there, app) = start().await;
    let path = format!("/root/{}/keys", app.id);
    let body = json!({"kind": "secret", "name": "ended"});
    let made = there.root().post(&path, body).await;
    let revoked = format!("{path}/{}", made.text("id"));
    assert_eq!(there.root().delete(&revoked).await.status, 200);
    let ended = made.text("app_key");
    for server in [&here, &there] {
        server.advance(60);
    }
    know(&here, &app).await;
    let rotate = format!("/root/{}/rotate/key", app.id);
    let rotated = there.root().post(&rotate, json!({})).await;
    let pki = format!("/root/{}/rotate/pki", app.id);
    there.root().post(&pki, json!({})).await;
    let signed = sign(&there, &app, &rotated.text("app_key")).await;
    let body = json!({"overlap": 60});
    let replaced = there.root().post("/root/rotate", body).await;
    let (reader, watching) = (&here.app.store.reader, &here.app.store.watching);
    reader.close().await.unwrap();
    // On the embedded store it is the same.
    let _ = watching.close().await;

    let keys = app.path("pub-keys");
    let ask = async |path: &str, key: &str| here.anon().with_key(key).get(path).await;
    let known = ask(&keys, &app.secret_key).await;
    assert_eq!(known.status, 200, "{}", known.raw);
    for (path, key) in [
        (&*keys, rotated.text("app_key")),
        (&keys, made_up(&here, SecretKind::Secret, 0)),
        ("/root/list", replaced.text("new-key")),
    ] {
        let answer = ask(path, &key).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.raw);
        assert!(answer.headers.contains_key("retry-after"));
    }
    for (verb, body) in [
        (
            "renew",
            json!({"refresh_token": signed.refresh_token(), "ip": "1.1.1.1", "useragent": "x"}),
        ),
        ("verify", json!({"token": signed.auth_token()})),
        ("logout", json!({"token": signed.auth_token()})),
    ] {
        let answer = app.backend().post(&app.path(verb), body).await;
        assert_eq!(answer.status, 503, "{verb}: {}", answer.raw);
    }
    for (path, key) in [
        (&*keys, ended),
        (&keys, made_up(&here, SecretKind::Secret, -60)),
        (&keys, made_up(&here, SecretKind::Publishable, 60)),
        (&keys, "garbage".to_owned()),
        ("/root/list", made_up(&here, SecretKind::Root, -60)),
        ("/root/list", made_up(&here, SecretKind::Root, 60)),
        ("/root/list", made_up(&here, SecretKind::Secret, 0)),
    ] {
        let refused = ask(path, &key).await;
        refused.assert_problem(403, "invalid_key");
    }
}
