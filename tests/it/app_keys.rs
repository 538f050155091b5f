//! App-keys and the root key: made, used, replaced, revoked; shown once.

use std::fs;

use entity::{PlainSecret, app_key};
use poem::http::Method;
use renewd::apps::keys;
use sea_orm::EntityTrait;
use serde_json::{Value, json};

use crate::support::{Answer, Client, ROOT_KEY, TestApp, TestServer};

const DAY: i64 = 86_400;
const NO_SUCH: &str = "01JMWRJEJ71191KP88NDGWVYEW";

/// Makes a further key of the app.
async fn create(server: &TestServer, app: &TestApp, kind: &str, name: &str) -> Answer {
    let body = json!({"kind": kind, "name": name});
    let made = server
        .root()
        .post(&format!("/root/{}/keys", app.id), body)
        .await;
    assert_eq!(made.status, 200, "{}", made.raw);
    made
}

async fn list(server: &TestServer, app: &TestApp) -> Vec<Value> {
    let path = format!("/root/{}/keys?limit=500", app.id);
    let listed = server.root().get(&path).await;
    assert_eq!(listed.status, 200, "{}", listed.raw);
    assert_eq!(listed.body["next_cursor"], Value::Null);
    listed.body["keys"].as_array().unwrap().clone()
}

async fn rotate(server: &TestServer, app: &TestApp, body: Value) -> Answer {
    let path = format!("/root/{}/rotate/key", app.id);
    let made = server.root().post(&path, body).await;
    assert_eq!(made.status, 200, "{}", made.raw);
    made
}

/// Asks for a rotation with all defaults, in one of the ways that there are.
async fn ask(client: &Client, path: &str, how: &str) -> Answer {
    let answer = match how {
        "body" => client.post(path, json!({})).await,
        "no body" => client.send(Method::POST, path, None, Vec::new()).await,
        _ => client.get(path).await,
    };
    assert_eq!(answer.status, 200, "{how}: {}", answer.raw);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer
}

/// Asserts that the key works at what every kind may do, or that it is no key at all.
async fn assert_works(server: &TestServer, app: &TestApp, key: &str, works: bool) {
    assert_opens(server, &app.path("pub-keys"), key, works).await;
}

async fn assert_root_works(server: &TestServer, key: &str, works: bool) {
    assert_opens(server, "/root/list", key, works).await;
}

async fn assert_opens(server: &TestServer, path: &str, key: &str, works: bool) {
    let answer = server.anon().with_key(key).get(path).await;
    if works {
        assert_eq!(answer.status, 200, "{}", answer.raw);
    } else {
        answer.assert_problem(403, "invalid_key");
    }
}

/// An app has as many keys as it has callers, and each may do what its kind may.
#[tokio::test]
async fn each_key_works_as_its_kind() {
    let server = TestServer::start().await;
    let app = server.app().await;
    for (kind, prefix) in [("secret", "rnw_sk_"), ("publishable", "rnw_pk_")] {
        let made = create(&server, &app, kind, "billing").await;
        assert_eq!(made.header("cache-control"), Some("no-store"));
        let key = made.text("app_key");
        let (_, id) = PlainSecret::from_text(&key).parse().unwrap();
        assert!(key.starts_with(prefix), "{kind}");
        let expected = json!({
            "app_key": key, "id": id, "kind": kind, "name": "billing",
            "created_at": "2025-02-24T19:57:29.25Z", "expires_at": null,
            "last_used_at": null, "revoked_at": null,
        });
        assert_eq!(made.body, expected);
        for scheme in ["", "Bearer ", "bearer ", "api_key|"] {
            assert_works(&server, &app, &format!("{scheme}{key}"), true).await;
        }
        let client = server.anon().with_key(&key);
        let body = crate::support::new_session();
        let signed = client.post(&app.path("sign"), body).await;
        if kind == "secret" {
            assert_eq!(signed.status, 200, "{}", signed.raw);
        } else {
            signed.assert_problem(403, "insufficient_key");
        }
        let token = app.sign().await.refresh_token();
        let body = json!({"refresh_token": token, "ip": "2.2.2.2", "useragent": "a"});
        let renewed = client.post(&app.path("renew"), body).await;
        assert_eq!(renewed.status, 200, "{}", renewed.raw);
    }
}

/// A key for a limited time ends by itself, to the second, with nobody awake.
#[tokio::test]
async fn a_key_ends_by_the_clock() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let body = json!({"kind": "secret", "name": "trial", "expires_in": 60});
    let path = format!("/root/{}/keys", app.id);
    let made = server.root().post(&path, body).await;
    assert_eq!(made.body["expires_at"], "2025-02-24T19:58:29.25Z");
    let key = made.text("app_key");
    server.advance(59);
    assert_works(&server, &app, &key, true).await;
    server.advance(1);
    assert_works(&server, &app, &key, false).await;
    assert_works(&server, &app, &app.secret_key, true).await;
}

/// What a key may not be is told by field.
#[tokio::test]
async fn a_bad_key_is_refused_by_field() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let path = format!("/root/{}/keys", app.id);
    let long = "n".repeat(101);
    for (member, value) in [
        ("kind", json!("root")),
        ("kind", Value::Null),
        ("name", json!("")),
        ("name", json!(long)),
        ("name", json!("a\nb")),
        ("expires_in", json!(59)),
        ("expires_in", json!(315_360_001)),
        ("expires", json!(60)),
    ] {
        let mut body = json!({"kind": "secret", "name": "a"});
        body[member] = value;
        let refused = server.root().post(&path, body).await;
        refused.assert_invalid(&[member]);
    }
    let refused = server.root().post(&path, json!({})).await;
    refused.assert_invalid(&["kind", "name"]);
    assert_eq!(list(&server, &app).await.len(), 2);
}

/// Newest first, page by page, each key once.
#[tokio::test]
async fn keys_are_listed_in_pages() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let mut newest = Vec::new();
    for name in ["a", "b", "c"] {
        server.advance(1);
        newest.insert(0, create(&server, &app, "secret", name).await.text("id"));
    }
    let (mut seen, mut sizes, mut query) = (Vec::new(), Vec::new(), "limit=2".to_owned());
    loop {
        let path = format!("/root/{}/keys?{query}", app.id);
        let page = server.root().get(&path).await;
        let keys = page.body["keys"].as_array().unwrap();
        sizes.push(keys.len());
        seen.extend(
            keys.iter()
                .map(|key| key["id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            break;
        };
        assert_eq!(Some(cursor), seen.last().map(String::as_str));
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(sizes, [2, 2, 1]);
    assert_eq!(seen[..3], newest);
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first");
    for query in ["limit=0", "limit=501", "cursor=x"] {
        let path = format!("/root/{}/keys?{query}", app.id);
        let field = query.split('=').next().unwrap();
        server.root().get(&path).await.assert_invalid(&[field]);
    }
}

/// Which keys are still in use is seen before one is ended, and no request waits for the note.
#[tokio::test]
async fn the_last_use_is_written_beside_the_requests() {
    let server = TestServer::start().await;
    let (app, usage) = (server.app().await, &server.app.usage);
    let last_used = async || {
        let mut used = Vec::new();
        for key in list(&server, &app).await {
            used.push((key["kind"].clone(), key["last_used_at"].clone()));
        }
        used.sort_by_key(|(kind, _)| kind.to_string());
        used
    };
    server.advance(10);
    app.sign().await;
    let unused = [
        (json!("publishable"), Value::Null),
        (json!("secret"), Value::Null),
    ];
    assert_eq!(last_used().await, unused);
    usage.write(&server.app.store.writer).await.unwrap();
    let mut used = unused;
    used[1].1 = json!("2025-02-24T19:57:39.25Z");
    assert_eq!(last_used().await, used);

    // A refused key was not used.
    server.advance(10);
    let wrong = app.front_end().post(&app.path("sign"), json!({})).await;
    wrong.assert_problem(403, "insufficient_key");
    let tampered = format!("{}x", app.secret_key);
    assert_works(&server, &app, &tampered, false).await;
    app.sign().await;
    usage.write(&server.app.store.writer).await.unwrap();
    used[1].1 = json!("2025-02-24T19:57:49.25Z");
    assert_eq!(last_used().await[1], used[1]);
}

/// A leaked key ends with the answer, once, and nothing else ends with it.
#[tokio::test]
async fn a_revoked_key_ends_at_once() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    let root = server.root();
    let made = create(&server, &app, "secret", "leaked").await;
    let (key, id) = (made.text("app_key"), made.text("id"));
    let path = format!("/root/{}/keys/{id}", app.id);

    for (app, id) in [(&other, &*id), (&app, NO_SUCH), (&app, "garbage")] {
        let path = format!("/root/{}/keys/{id}", app.id);
        root.delete(&path).await.assert_problem(404, "not_found");
    }
    assert_works(&server, &app, &key, true).await;

    server.advance(5);
    let revoked = root.delete(&path).await;
    assert_eq!(
        (revoked.status, revoked.body),
        (200, json!({"status": "ok"}))
    );
    assert_works(&server, &app, &key, false).await;
    root.delete(&path).await.assert_problem(404, "not_found");
    for key in list(&server, &app).await {
        let at = (key["id"] == id).then_some("2025-02-24T19:57:34.25Z");
        assert_eq!(key["revoked_at"], json!(at));
    }
    for app in [&app, &other] {
        assert_works(&server, app, &app.secret_key, true).await;
        assert_works(&server, app, &app.publishable_key, true).await;
    }
}

/// An app that is not there has no keys, whatever is asked of them.
#[tokio::test]
async fn an_unknown_app_has_no_keys() {
    let server = TestServer::start().await;
    let root = server.root();
    for id in [NO_SUCH, "garbage"] {
        let keys = format!("/root/{id}/keys");
        let body = json!({"kind": "secret", "name": "a"});
        let rotate = format!("/root/{id}/rotate/key");
        for answer in [
            root.get(&keys).await,
            root.post(&keys, body).await,
            root.delete(&format!("{keys}/{NO_SUCH}")).await,
            root.post(&rotate, json!({})).await,
            root.get(&rotate).await,
        ] {
            answer.assert_problem(404, "not_found");
        }
    }
}

/// The old key works for a day beside the new one, then dies by itself; JWTPlus's way of asking, too.
#[tokio::test]
async fn a_replaced_key_works_until_its_deadline() {
    for how in ["body", "no body", "GET"] {
        let server = TestServer::start().await;
        let app = server.app().await;
        let named = create(&server, &app, "secret", "named").await;
        let path = format!("/root/{}/rotate/key", app.id);
        let made = ask(&server.root(), &path, how).await;
        let key = made.text("app_key");
        let (_, id) = PlainSecret::from_text(&key).parse().unwrap();
        assert_eq!(
            made.body,
            json!({"app_id": app.id, "app_key": key, "id": id, "kind": "secret"})
        );
        server.advance(DAY - 1);
        assert_works(&server, &app, &app.secret_key, true).await;
        server.advance(1);
        assert_works(&server, &app, &app.secret_key, false).await;
        // The new one, the other kind, and what has a name go on.
        for key in [&key, &app.publishable_key, &named.text("app_key")] {
            assert_works(&server, &app, key, true).await;
        }
    }
}

/// The overlap is what was asked for, of the kind that was asked for, and never longer than it was.
#[tokio::test]
async fn an_overlap_is_kept_to_the_second() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let body = json!({"overlap": 0, "kind": "publishable"});
    let made = rotate(&server, &app, body).await;
    assert_eq!(made.body["kind"], "publishable");
    assert_works(&server, &app, &app.publishable_key, false).await;
    assert_works(&server, &app, &made.text("app_key"), true).await;
    assert_works(&server, &app, &app.secret_key, true).await;

    let second = rotate(&server, &app, json!({"overlap": 100})).await;
    server.advance(50);
    // A later and longer overlap does not give the first one more time.
    let third = rotate(&server, &app, json!({"overlap": 2_592_000})).await;
    server.advance(49);
    assert_works(&server, &app, &app.secret_key, true).await;
    server.advance(1);
    assert_works(&server, &app, &app.secret_key, false).await;
    assert_works(&server, &app, &second.text("app_key"), true).await;
    let last = rotate(&server, &app, json!({"overlap": 0})).await;
    for (made, works) in [(second, false), (third, false), (last, true)] {
        assert_works(&server, &app, &made.text("app_key"), works).await;
    }

    for body in [json!({"overlap": -1}), json!({"overlap": 2_592_001})] {
        let path = format!("/root/{}/rotate/key", app.id);
        let refused = server.root().post(&path, body.clone()).await;
        refused.assert_invalid(&["overlap"]);
        let refused = server.root().post("/root/rotate", body).await;
        refused.assert_invalid(&["overlap"]);
    }
    assert_root_works(&server, ROOT_KEY, true).await;
}

/// Whoever replaces the root key for a leak wants it dead; whoever asks for an overlap has both.
#[tokio::test]
async fn the_root_key_is_replaced() {
    let server = TestServer::start().await;
    let mut old = ROOT_KEY.to_owned();
    for how in ["body", "no body", "GET"] {
        let root = server.anon().with_key(&old);
        let made = ask(&root, "/root/rotate", how).await;
        let new = made.text("new-key");
        assert_eq!(made.body, json!({"new-key": new}));
        assert!(new.starts_with("rnw_root_"));
        assert_root_works(&server, &old, false).await;
        assert_root_works(&server, &new, true).await;
        old = new;
    }
    let root = server.anon().with_key(&old);
    let made = root.post("/root/rotate", json!({"overlap": 60})).await;
    let new = made.text("new-key");
    server.advance(59);
    assert_root_works(&server, &old, true).await;
    assert_root_works(&server, &new, true).await;
    server.advance(1);
    assert_root_works(&server, &old, false).await;
    assert_root_works(&server, &new, true).await;
}

/// Shown once: afterwards neither the API nor the store has more than a hash.
#[tokio::test]
async fn a_key_is_never_shown_again() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let made = [
        create(&server, &app, "secret", "a").await,
        create(&server, &app, "publishable", "b").await,
        rotate(&server, &app, json!({})).await,
    ];
    let mut keys = made.map(|made| made.text("app_key")).to_vec();
    keys.extend([app.secret_key.clone(), app.publishable_key.clone()]);
    let listed = server.root().get(&format!("/root/{}/keys", app.id)).await;
    let rows = app_key::Entity::find().all(&server.app.store.reader).await;
    let rows = rows.unwrap();
    let mut bytes = Vec::new();
    for entry in fs::read_dir(server.dir.path().join("data")).unwrap() {
        bytes.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    for key in keys {
        let plain = PlainSecret::from_text(&key);
        let (_, id) = plain.parse().unwrap();
        assert!(listed.raw.contains(&id.to_string()));
        let row = rows.iter().find(|row| row.id == id).unwrap();
        assert!(row.hash == plain.hash());
        let random = &key[33..];
        assert!(!listed.raw.contains(random));
        let on_disk = bytes
            .windows(random.len())
            .any(|part| part == random.as_bytes());
        assert!(!on_disk, "{id}");
    }
}

/// An app has so many live keys and no more. What has ended makes room, and a rotation without an overlap needs none.
#[tokio::test]
async fn an_app_has_an_end_of_keys() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    // Its main keys are two of them.
    let mut last = create(&server, &app, "secret", "k").await;
    for _ in 3..keys::MOST {
        last = create(&server, &app, "secret", "k").await;
    }
    let path = format!("/root/{}/keys", app.id);
    let rotation = format!("/root/{}/rotate/key", app.id);
    let before = list(&server, &app).await;
    let further = json!({"kind": "secret", "name": "one more"});
    for full in [
        server.root().post(&path, further).await,
        server.root().post(&rotation, json!({})).await,
        server.root().get(&rotation).await,
    ] {
        full.assert_problem(409, "limit_reached");
        assert!(full.text("detail").contains("100"), "{}", full.raw);
    }
    assert_eq!(list(&server, &app).await, before);
    create(&server, &other, "secret", "of another app").await;

    rotate(&server, &app, json!({"overlap": 0})).await;
    let path = format!("{path}/{}", last.text("id"));
    assert_eq!(server.root().delete(&path).await.status, 200);
    create(&server, &app, "publishable", "k").await;
}

/// The same of root keys; a rotation without an overlap always is the way out.
#[tokio::test]
async fn there_is_an_end_of_root_keys() {
    let server = TestServer::start().await;
    let root = server.root();
    let long = json!({"overlap": 2_592_000});
    for _ in 1..keys::MOST {
        let made = root.post("/root/rotate", long.clone()).await;
        assert_eq!(made.status, 200, "{}", made.raw);
    }
    let full = root.post("/root/rotate", long).await;
    full.assert_problem(409, "limit_reached");
    assert!(full.text("detail").contains("100"), "{}", full.raw);
    assert_root_works(&server, ROOT_KEY, true).await;
    let made = root.post("/root/rotate", json!({})).await;
    assert_root_works(&server, &made.text("new-key"), true).await;
    assert_root_works(&server, ROOT_KEY, false).await;
}

/// However often a key is replaced, what there is to read stays as small, and the latest are listed.
#[tokio::test]
async fn keys_that_ended_do_not_pile_up() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let mut made = Vec::new();
    for _ in 0..110 {
        server.advance(1);
        made.push(
            rotate(&server, &app, json!({"overlap": 0}))
                .await
                .text("id"),
        );
    }
    let listed = list_all(&server, &app).await;
    assert_eq!(
        listed.len(),
        102,
        "a hundred that ended, and one of each kind"
    );
    for id in &made[10..] {
        assert!(listed.contains(id));
    }
}

async fn list_all(server: &TestServer, app: &TestApp) -> Vec<String> {
    let path = format!("/root/{}/keys?limit=500", app.id);
    let listed = server.root().get(&path).await;
    let keys = listed.body["keys"].as_array().unwrap().iter();
    keys.map(|key| key["id"].as_str().unwrap().to_owned())
        .collect()
}
