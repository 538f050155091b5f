//! The audit: who did what, when; and nothing that opens anything.

use std::time::Duration;

use entity::{PlainSecret, app_key, audit_event};
use poem::http::Method;
use sea_orm::EntityTrait;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Client, ROOT_KEY, TestServer, embedded};

const REQUEST: &str = "the-request.1";

/// The events that the query asks for, the newest first.
async fn events(server: &TestServer, query: &str) -> Vec<Value> {
    let answer = server.root().get(&format!("/root/audit?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    answer.body["events"].as_array().unwrap().clone()
}

/// Events of now: their actions with their targets, in the order of the alphabet.
async fn news(server: &TestServer) -> Vec<(String, Value)> {
    let now = server.app.clock.now().to_rfc3339();
    let mut found: Vec<_> = events(server, &format!("since={now}&limit=500"))
        .await
        .into_iter()
        .map(|event| {
            (
                event["action"].as_str().unwrap().to_owned(),
                event["target"].clone(),
            )
        })
        .collect();
    found.sort_by_key(|(action, _)| action.clone());
    found
}

/// The id inside a key.
fn id_of(key: &str) -> String {
    PlainSecret::from_text(key).parse().unwrap().1.to_string()
}

/// The id of the root key, which has none inside.
async fn root_id(server: &TestServer) -> String {
    let keys = app_key::list_root(&server.app.store.reader).await.unwrap();
    keys[0].id.to_string()
}

fn named(client: Client) -> Client {
    client.with_header("x-request-id", REQUEST)
}

/// Asserts that exactly these events were recorded since the clock stood here, each with who and whence.
async fn assert_events(server: &TestServer, app_id: &str, actor: &str, expected: &[(&str, &str)]) {
    let now = server.app.clock.now().to_rfc3339();
    let mut found = events(server, &format!("since={now}")).await;
    found.sort_by_key(|event| event["action"].to_string());
    let whole: Vec<_> = expected
        .iter()
        .zip(&found)
        .map(|((action, target), event)| {
            json!({
                "id": event["id"], "at": now, "app_id": app_id, "actor": actor, "action": action,
                "target": target, "request_id": REQUEST, "ip": "203.0.113.7",
            })
        })
        .collect();
    assert_eq!(found, whole);
    assert_eq!(found.len(), expected.len());
    server.advance(1);
}

/// Each act of an administrator is one event, with the id of the key and never the key.
#[tokio::test]
async fn each_administrative_act_is_recorded() {
    let server = TestServer::start().await;
    let (root, admin) = (named(server.root()), root_id(&server).await);
    server.advance(1);
    let created = root.post("/root/create", crate::support::new_app()).await;
    let id = created.text("app_id");
    let mut found = events(&server, &format!("app_id={id}")).await;
    assert_eq!(found.len(), 1);
    found[0]["id"].take();
    let expected = json!({
        "id": null, "at": "2025-02-24T19:57:30.25Z", "app_id": id, "actor": admin, "action": "app.create",
        "target": id, "request_id": REQUEST, "ip": "203.0.113.7",
    });
    assert_eq!(found[0], expected);

    server.advance(1);
    let path = |rest: &str| format!("/root/{id}{rest}");
    root.patch(&path(""), json!({"description": "a"})).await;
    assert_events(&server, &id, &admin, &[("app.update", &id)]).await;
    root.delete(&path("/flush")).await;
    assert_events(&server, &id, &admin, &[("app.flush", &id)]).await;

    let body = json!({"kind": "secret", "name": "a"});
    let key = root.post(&path("/keys"), body).await.text("id");
    assert_events(&server, &id, &admin, &[("app_key.create", &key)]).await;
    root.delete(&path(&format!("/keys/{key}"))).await;
    assert_events(&server, &id, &admin, &[("app_key.revoke", &key)]).await;
    for method in [Method::POST, Method::GET] {
        let path = path("/rotate/key");
        let key = root.send(method, &path, None, Vec::new()).await.text("id");
        assert_events(&server, &id, &admin, &[("app_key.rotate", &key)]).await;
    }

    let one = created.text("key_id");
    let rotation = path("/rotate/signing-key");
    let two = root.post(&rotation, Value::Null).await.text("key_id");
    assert_events(&server, &id, &admin, &[("signing_key.publish", &two)]).await;
    root.delete(&path(&format!("/revoke/{two}"))).await;
    assert_events(&server, &id, &admin, &[("signing_key.revoke", &two)]).await;
    let three = root
        .post(&path("/rotate/pki"), Value::Null)
        .await
        .text("key_id");
    let expected = [
        ("signing_key.activate", &*three),
        ("signing_key.publish", &*three),
        ("signing_key.revoke", &*one),
    ];
    assert_events(&server, &id, &admin, &expected).await;

    root.delete(&path("")).await;
    assert_events(&server, &id, &admin, &[("app.delete", &id)]).await;
    let made = root.post("/root/rotate", json!({"overlap": 60})).await;
    let new = id_of(&made.text("new-key"));
    let event = &events(&server, "limit=1").await[0];
    let found = [
        &event["action"],
        &event["target"],
        &event["actor"],
        &event["app_id"],
    ];
    let expected = [
        json!("root_key.rotate"),
        json!(new),
        json!(admin),
        Value::Null,
    ];
    assert_eq!(found, expected.each_ref());
}

/// What was refused, or only read, is no event of an administrator.
#[tokio::test]
async fn what_was_not_done_is_not_recorded() {
    let server = TestServer::start().await;
    let app = server.app().await;
    server.advance(1);
    let (root, id) = (server.root(), &app.id);
    root.post("/root/create", json!({}))
        .await
        .assert_problem(400, "invalid_request");
    let none = "01JMWRJEJ71191KP88NDGWVYEW";
    for path in [
        format!("/root/{none}/flush"),
        format!("/root/{id}/keys/{none}"),
        format!("/root/{none}"),
    ] {
        root.delete(&path).await.assert_problem(404, "not_found");
    }
    for rest in [
        "list",
        "stats",
        "audit",
        &format!("{id}/keys"),
        &format!("{id}/signing-keys"),
    ] {
        assert_eq!(
            root.get(&format!("/root/{rest}")).await.status,
            200,
            "{rest}"
        );
    }
    app.renew(&app.sign().await.refresh_token()).await;
    assert_eq!(news(&server).await, []);
}

/// Whoever looks into a theft finds who presented the token, once for a session.
#[tokio::test]
async fn a_reuse_is_recorded() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    app.renew(&first.refresh_token()).await;
    server.advance(1);
    let body = json!({"refresh_token": first.refresh_token(), "ip": "2.2.2.2", "useragent": "a"});
    let path = app.path("renew");
    let client = named(app.front_end());
    client
        .post(&path, body.clone())
        .await
        .assert_refused("refresh_token_used");
    let session = first.text("session_id");
    let again = named(app.backend()).post(&path, body).await;
    again.assert_refused("refresh_token_used");
    let key = id_of(&app.publishable_key);
    assert_events(&server, &app.id, &key, &[("session.reuse", &session)]).await;
}

/// What a backend ends is recorded, without the name of a user; what a user ends is nobody's business.
#[tokio::test]
async fn a_logout_by_a_backend_is_recorded() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let (backend, key) = (named(app.backend()), id_of(&app.secret_key));
    let path = app.path("logout");
    let session = app.sign().await.text("session_id");
    for _ in 0..3 {
        app.sign().await;
    }
    server.advance(1);
    let ended = backend.post(&path, json!({"session_id": session})).await;
    assert_eq!(ended.body["revoked"], 1);
    assert_events(&server, &app.id, &key, &[("session.revoke", &session)]).await;
    let ended = backend.post(&path, json!({"sub": "test@test.com"})).await;
    assert_eq!(ended.body["revoked"], 3);
    assert_events(&server, &app.id, &key, &[("session.revoke", "3 sessions")]).await;

    // Nothing was left to end.
    backend.post(&path, json!({"session_id": session})).await;
    backend.post(&path, json!({"sub": "test@test.com"})).await;
    for client in [app.backend(), app.front_end()] {
        let token = app.sign().await.refresh_token();
        let ended = client.post(&path, json!({"token": token})).await;
        assert_eq!(ended.body["revoked"], 1);
    }
    assert_eq!(news(&server).await, []);
}

/// Whoever knocks at a store that takes no writes is refused all the same, and recorded when it does again.
#[tokio::test]
async fn a_refusal_does_not_wait_for_its_record() {
    let server = TestServer::start_embedded().await;
    // In memory from here on, as they are in a server that is used.
    assert_eq!(server.root().get("/root/list").await.status, 200);
    server.advance(1);
    let writing = server.app.store.begin().await.unwrap();
    let client = named(server.anon().with_key(&"k".repeat(32)));
    let within = Duration::from_secs(3);
    let answer = timeout(within, client.get("/root/list")).await;
    let answer = answer.expect("it waits for the store");
    answer.assert_problem(403, "invalid_key");
    drop(writing);
    // What is under way is done before the store is closed.
    let dir = server.stop().await;
    let server = TestServer::start_in(dir, embedded).await;
    let event = events(&server, "limit=1").await.remove(0);
    let found = (&event["action"], &event["request_id"]);
    assert_eq!(found, (&json!("root.refused"), &json!(REQUEST)));
}

/// What can be no root key is refused without the store, whatever has become of that.
#[tokio::test]
async fn garbage_is_no_matter_of_the_store() {
    let server = TestServer::start().await;
    assert_eq!(server.root().get("/root/list").await.status, 200);
    let store = &server.app.store;
    for connections in [&store.reader, &store.writer, &store.watching] {
        connections.close().await.unwrap();
    }
    server.app.directory.drop_all();
    let anon = server.anon();
    let (short, long) = ("k".repeat(31), "k".repeat(257));
    for client in [
        anon.clone(),
        anon.clone().with_key(&short),
        anon.clone().with_key(&long),
        anon.clone().with_key(&format!("{short} {short}")),
    ] {
        let answer = client.get("/root/list").await;
        answer.assert_problem(403, "invalid_key");
    }
    for key in [ROOT_KEY.to_owned(), "k".repeat(32), "k".repeat(256)] {
        let answer = anon.clone().with_key(&key).get("/root/list").await;
        answer.assert_problem(503, "unavailable");
    }
}

/// Who knocks is seen, and fills nothing by knocking.
#[tokio::test]
async fn refused_administration_is_recorded_sixty_times_a_minute() {
    let server = TestServer::start().await;
    let app = server.app().await;
    server.advance(1);
    let refused = async |count| {
        for _ in 0..count {
            let answer = named(app.backend()).get("/root/list").await;
            answer.assert_problem(403, "invalid_key");
        }
    };
    refused(1).await;
    let mut event = events(&server, "limit=1").await.remove(0);
    event["id"].take();
    let expected = json!({
        "id": null, "at": "2025-02-24T19:57:30.25Z", "app_id": null, "actor": "anonymous",
        "action": "root.refused", "target": null, "request_id": REQUEST, "ip": "203.0.113.7",
    });
    assert_eq!(event, expected);
    refused(58).await;
    server
        .anon()
        .get("/root/stats")
        .await
        .assert_problem(403, "invalid_key");
    assert_eq!(news(&server).await.len(), 60);
    refused(5).await;
    server.advance(59);
    refused(5).await;
    let all = "since=2025-02-24T19:57:30Z&limit=500";
    assert_eq!(events(&server, all).await.len(), 60);
    server.advance(1);
    refused(61).await;
    assert_eq!(events(&server, all).await.len(), 120);
    // A refused app-key is the app's affair.
    server.advance(60);
    server
        .anon()
        .with_key(ROOT_KEY)
        .get(&app.path("pub-keys"))
        .await
        .assert_problem(403, "invalid_key");
    assert_eq!(news(&server).await, []);
}

/// Wherever the root key is asked for, a wrong one is recorded and counted, and so is none; a key that is good for something
/// else is counted as a refused key.
#[tokio::test]
async fn a_wrong_root_key_is_recorded_wherever_it_is_presented() {
    let server = TestServer::start().await;
    let app = server.app().await;
    server.advance(1);
    let counted = |name: &str| {
        let text = server.app.metrics.exposition();
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap().trim().parse::<usize>().unwrap()
    };
    let document: Value = serde_json::from_str(&renewd::api::openapi()).unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let schemes = operation["security"].as_array();
            let root = |scheme: &Value| scheme.get("root_key").is_some();
            if !schemes.is_some_and(|schemes| schemes.iter().any(root)) {
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            for client in [server.anon(), app.backend()] {
                let answer = client.send(method.clone(), path, None, Vec::new()).await;
                assert_eq!(answer.status, 403, "{method} {path}: {}", answer.raw);
                asked += 1;
            }
        }
    }
    assert!(asked > 30, "{asked}");
    assert_eq!(counted("renewd_administration_refused_total"), asked);
    assert_eq!(counted("renewd_keys_refused_total"), asked);
    assert_eq!(news(&server).await.len(), asked.min(60));

    let event = app.event("T1", None);
    let mut wrong = event.clone();
    wrong["api_key"] = json!("wrong");
    let mut stranger = event;
    stranger["tenant_id"] = json!("wrong");
    for event in [wrong, stranger] {
        let answer = server.anon().post("/events", event).await;
        assert_eq!(answer.status, 401, "{}", answer.raw);
    }
    let project = json!({"project_code": app.id});
    let scaem = server.anon().with_key("wrong");
    let answer = scaem.post("/v1/auth/token/generate", project).await;
    answer.assert_problem(403, "invalid_key");
    let answer = server.anon().get(&app.path("pub-keys")).await;
    answer.assert_problem(403, "invalid_key");
    assert_eq!(counted("renewd_administration_refused_total"), asked);
    assert_eq!(counted("renewd_keys_refused_total"), asked + 4);
}

/// Filters and pages, each event once, the newest first.
#[tokio::test]
async fn the_audit_is_filtered_and_paged() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    for _ in 0..5 {
        server.advance(1);
        for app in [&app, &other] {
            server
                .root()
                .delete(&format!("/root/{}/flush", app.id))
                .await;
        }
    }
    let own = events(&server, &format!("app_id={}", app.id)).await;
    assert_eq!(own.len(), 6);
    assert!(own.iter().all(|event| event["app_id"] == app.id));
    assert!(own.is_sorted_by(|a, b| a["at"].as_str() >= b["at"].as_str()));
    // The root key, two apps, ten flushes.
    assert_eq!(events(&server, "").await.len(), 13);
    for (since, count) in [
        ("2025-02-24T19:57:33.25Z", 4),
        ("2025-02-24T20:57:33.25%2B01:00", 4),
        ("2025-02-24T19:57:33.251Z", 2),
        ("2025-02-24T19:57:34.251Z", 0),
    ] {
        assert_eq!(
            events(&server, &format!("since={since}")).await.len(),
            count,
            "{since}"
        );
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let query = format!("app_id={}&limit=2{cursor}", app.id);
        let page = server.root().get(&format!("/root/audit?{query}")).await;
        seen.extend(page.body["events"].as_array().unwrap().clone());
        assert!(page.body["events"].as_array().unwrap().len() == 2);
        let Some(next) = page.body["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, own);
    for (name, value) in [
        ("app_id", "x"),
        ("since", "yesterday"),
        ("since", "2025-02-24"),
        ("since", "1740427049"),
        ("cursor", "x"),
        ("limit", "0"),
        ("limit", "501"),
    ] {
        let refused = server
            .root()
            .get(&format!("/root/audit?{name}={value}"))
            .await;
        refused.assert_invalid(&[name]);
    }
}

/// Whoever reads the audit can do nothing with it, and learns of no user.
#[tokio::test]
async fn no_secret_and_no_claim_is_in_the_audit() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let second = app.renew(&first.refresh_token()).await;
    app.renew(&first.refresh_token()).await;
    app.sign().await;
    app.logout(json!({"sub": "test@test.com"})).await;
    let leaked = format!("{}x", app.secret_key);
    server.anon().with_key(&leaked).get("/root/list").await;
    let path = format!("/root/{}/rotate/key", app.id);
    let key = server.root().get(&path).await.text("app_key");
    let root = server.root().get("/root/rotate").await.text("new-key");

    let rows = audit_event::Entity::find()
        .all(&server.app.store.reader)
        .await
        .unwrap();
    let actions: Vec<_> = rows.iter().map(|row| &*row.action).collect();
    for action in [
        "session.reuse",
        "session.revoke",
        "root.refused",
        "root_key.rotate",
    ] {
        assert!(actions.contains(&action), "{actions:?}");
    }
    let text = format!("{rows:?}");
    assert!(text.contains(&id_of(&key)));
    let tokens = [&first, &second].map(|answer| [answer.auth_token(), answer.refresh_token()]);
    let keys = [
        key,
        root,
        app.secret_key.clone(),
        app.publishable_key.clone(),
        ROOT_KEY.to_owned(),
    ];
    for secret in tokens.into_iter().flatten().chain(keys) {
        let tail = &secret[secret.len() - 20..];
        assert!(!text.contains(tail), "{text}");
    }
    for claim in [
        "test@test.com",
        "test-user",
        "web-app",
        "my-user-agent",
        "1.1.1.1",
        "2.2.2.2",
    ] {
        assert!(!text.contains(claim), "{claim} in {text}");
    }
}
