//! Kecak Mobile's API, as its documentation has it.

use poem::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, TestApp, TestServer, decode, new_session};

const REFRESH: &str = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.RefreshTokenApi/service";
const CHECK: &str = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.CheckTokenApi/service";
const JSON: Option<&str> = Some("application/json");
const REFERER: &str = "https://kecak.kinnarastudio.com";

/// The body of the documentation, as it stands.
const DOCUMENTED: &str = r#"{
  "fcm_token" : "sdsdugsudgjHIDSASDA",
  "device_id" : "123131231dsafasfa"
}"#;

/// Whoever holds the token, on the documented page.
fn phone(app: &TestApp, token: &str) -> Client {
    app.mobile()
        .with_header("authorization", token)
        .with_header("referer", REFERER)
}

async fn put(client: &Client, body: &str) -> Answer {
    client
        .send(Method::PUT, REFRESH, JSON, body.to_owned())
        .await
}

async fn sign(app: &TestApp) -> Answer {
    let mut session = new_session();
    session["personal"] = json!({"full_name": "Test User", "email": "a@b.c"});
    app.sign_with(session).await
}

#[tokio::test]
async fn the_documented_example_gets_the_documented_answer() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = sign(&app).await;
    let (header, before) = decode(&first.auth_token());
    server.advance(100);

    let answer = put(&phone(&app, &first.auth_token()), DOCUMENTED).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(answer.body, json!({"token": answer.text("token")}));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let updated = answer.text("token");
    let (updated_header, mut after) = decode(&updated);
    assert_eq!(updated_header, header);

    // The same session's, with an identity of its own, and for no longer.
    assert_ne!(after["jid"], before["jid"]);
    assert_eq!(after["jid"], after["jti"]);
    let mut expected = before.clone();
    expected["fcm_token"] = "sdsdugsudgjHIDSASDA".into();
    expected["device_id"] = "123131231dsafasfa".into();
    expected["iat"] = (before["iat"].as_i64().unwrap() + 100).into();
    expected["nbf"] = expected["iat"].clone();
    for name in ["jid", "jti"] {
        expected[name] = Value::Null;
        after[name] = Value::Null;
    }
    assert_eq!(after, expected);
    assert!(app.verifies(&updated).await);
    assert!(app.verifies(&first.auth_token()).await);

    // Registered under its user, and the session is on it.
    let devices = app.devices().await;
    assert_eq!(
        devices,
        [json!({
            "device_id": devices[0]["device_id"],
            "client_device_id": "123131231dsafasfa",
            "sub": "test@test.com",
            "platform": null,
            "push_token_at": "2025-02-24T19:59:09.25Z",
            "push_permission": null,
            "timezone": null,
            "language": null,
            "country": null,
            "first_seen_at": "2025-02-24T19:59:09.25Z",
            "last_seen_at": "2025-02-24T19:59:09.25Z",
            "disabled_at": null,
        })]
    );
    assert_eq!(
        app.sessions().await[0]["device_id"],
        devices[0]["device_id"]
    );
    assert_eq!(
        app.push_tokens("test@test.com").await,
        ["sdsdugsudgjHIDSASDA"]
    );

    // The refresh token was not touched: good once, and renewals carry the claims on.
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.status, 200, "{}", second.raw);
    let (_, renewed) = decode(&second.auth_token());
    for name in ["fcm_token", "device_id", "sid", "personal"] {
        assert_eq!(renewed[name], expected[name], "{name}");
    }
    app.renew(&first.refresh_token())
        .await
        .assert_refused("refresh_token_used");
}

#[tokio::test]
async fn a_token_is_checked() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = sign(&app).await;
    let answer = phone(&app, &first.auth_token()).get(CHECK).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    let mut expected = json!({
        "valid": true,
        "full_name": "Test User",
        "fcm_token": null,
        "email": "a@b.c",
        "username": "test@test.com",
    });
    assert_eq!(answer.body, expected);
    let updated = put(&phone(&app, &first.auth_token()), DOCUMENTED).await;
    let bearer = format!("Bearer {}", updated.text("token"));
    let answer = phone(&app, &bearer).get(CHECK).await;
    expected["fcm_token"] = "sdsdugsudgjHIDSASDA".into();
    assert_eq!(answer.body, expected);
    // Of claims that are not there, nothing is told.
    let mut session = new_session();
    session["personal"] = json!({"full_name": 5});
    let token = app.sign_with(session).await.auth_token();
    let answer = phone(&app, &token).get(CHECK).await;
    assert_eq!(
        answer.body,
        json!({"valid": true, "full_name": null, "fcm_token": null, "email": null, "username": "test@test.com"})
    );
}

#[tokio::test]
async fn who_is_not_signed_in_is_told_401() {
    let server = TestServer::start().await;
    let (app, deleted) = (server.app().await, server.app().await);
    let first = sign(&app).await;
    let good = first.auth_token();
    let forged = format!("{}x", &good[..good.len() - 1]);
    let ended = sign(&app).await;
    app.logout(json!({"session_id": ended.text("session_id")}))
        .await;
    let gone = sign(&deleted).await.auth_token();
    server.root().delete(&format!("/root/{}", deleted.id)).await;
    let check = async |client: &Client, case: &str| {
        for answer in [client.get(CHECK).await, put(client, DOCUMENTED).await] {
            assert_eq!(answer.status, 401, "{case}: {}", answer.raw);
            answer.assert_problem(401, "invalid_token");
            let challenge = "Bearer error=\"invalid_token\"";
            assert_eq!(answer.header("www-authenticate"), Some(challenge));
        }
    };
    for (case, token) in [
        ("empty", ""),
        ("garbage", "garbage"),
        ("a key", &*app.secret_key),
        ("a refresh token", &first.refresh_token()),
        ("a forged token", &forged),
        ("of a session that ended", &ended.auth_token()),
        ("of an app that was deleted", &gone),
    ] {
        check(&phone(&app, token), case).await;
    }
    check(&app.mobile().with_header("referer", REFERER), "none").await;
    check(
        &phone(&app, &good).with_header("authorization", "\u{e9}"),
        "no text",
    )
    .await;
    assert_eq!(phone(&app, &good).get(CHECK).await.status, 200);
    server.advance(3600);
    check(&phone(&app, &good), "expired").await;
    assert_eq!(app.devices().await, [] as [Value; 0]);

    // Its signing key was revoked.
    let token = sign(&app).await.auth_token();
    let path = format!("/root/{}/rotate/pki", app.id);
    let rotated = server.root().post(&path, json!({})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.raw);
    check(&phone(&app, &token), "of a revoked key").await;
}

#[tokio::test]
async fn the_referer_is_required_and_one_of_the_apps_own() {
    let server = TestServer::start().await;
    let own = "https://app.example.com";
    let (open, bound) = (
        server.app().await,
        server.app_with(json!({"allowed_origins": [own]})).await,
    );
    let token = sign(&open).await.auth_token();
    let nowhere = open.mobile().with_header("authorization", &token);
    for client in [nowhere.clone(), nowhere.clone().with_header("referer", "")] {
        client.get(CHECK).await.assert_invalid(&["Referer"]);
        put(&client, DOCUMENTED).await.assert_invalid(&["Referer"]);
    }
    for host in ["kecak.kinnarastudio.com", REFERER] {
        let client = nowhere.clone().with_header("referer", host);
        assert_eq!(client.get(CHECK).await.status, 200, "{host}");
    }
    let token = sign(&bound).await.auth_token();
    for (referer, status) in [
        ("https://app.example.com", 200),
        ("https://App.example.com:443/page?a=b", 200),
        ("https://app.example.com.evil.example/", 403),
        ("https://app.example.com@evil.example/", 403),
        ("http://app.example.com/", 403),
        ("app.example.com", 403),
        (REFERER, 403),
    ] {
        let client = phone(&bound, &token).with_header("referer", referer);
        for answer in [client.get(CHECK).await, put(&client, DOCUMENTED).await] {
            assert_eq!(answer.status, status, "{referer}: {}", answer.raw);
            if status == 403 {
                answer.assert_problem(403, "origin_not_allowed");
            }
        }
    }
}

#[tokio::test]
async fn bad_input_changes_nothing() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = sign(&app).await.auth_token();
    let client = phone(&app, &token);
    for (name, other) in [("fcm_token", "device_id"), ("device_id", "fcm_token")] {
        for wrong in [
            json!(""),
            json!(5),
            json!("\0"),
            json!("x".repeat(5000)),
            Value::Null,
        ] {
            let body = json!({name: wrong, other: "a"}).to_string();
            put(&client, &body).await.assert_invalid(&[name]);
        }
    }
    put(&client, "{")
        .await
        .assert_problem(400, "malformed_json");
    let answer = client.send(Method::PUT, REFRESH, Some("text/plain"), DOCUMENTED);
    answer.await.assert_problem(415, "unsupported_media_type");
    let large = json!({"fcm_token": "x", "device_id": "x".repeat(70_000)}).to_string();
    put(&client, &large)
        .await
        .assert_problem(413, "body_too_large");
    // The claims of a session have a limit, whoever adds to them.
    let mut session = new_session();
    session["personal"] = json!({"a": "x".repeat(16_000)});
    let full = app.sign_with(session).await.auth_token();
    let long = json!({"fcm_token": "x".repeat(4096), "device_id": "a"}).to_string();
    let answer = put(&phone(&app, &full), &long).await;
    answer.assert_invalid(&[""]);
    assert_eq!(app.devices().await, [] as [Value; 0]);
    // What nobody documented is ignored.
    let more = DOCUMENTED.replace('{', r#"{"app_version": 7,"#);
    assert_eq!(put(&client, &more).await.status, 200);
}

/// One phone, whatever it is known by first, and whoever uses it.
#[tokio::test]
async fn a_device_is_one() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let user = async |sub: &str| {
        let mut session = new_session();
        session["sub"] = sub.into();
        app.sign_with(session).await.auth_token()
    };
    let report = async |token: &str, fcm: &str, name: &str| {
        let body = json!({"fcm_token": fcm, "device_id": name}).to_string();
        let answer = put(&phone(&app, token), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
    };
    let (alice, bob) = (user("alice").await, user("bob").await);
    // First seen by an event, then named.
    let id = app.tell("T1", Some("alice")).await;
    report(&alice, "T1", "phone").await;
    // With a new token, told by either side first.
    report(&alice, "T2", "phone").await;
    let seen = app.tell("T3", Some("alice")).await;
    assert_ne!(seen, id);
    report(&alice, "T3", "phone").await;
    let devices = app.devices().await;
    assert_eq!(devices.len(), 1, "{devices:?}");
    assert_eq!(devices[0]["device_id"], *id);
    assert_eq!(app.push_tokens("alice").await, ["T3"]);

    // The phone changed hands: it is another user's, who calls it the same. The push token goes with it, the rest stays.
    report(&bob, "T3", "phone").await;
    assert_eq!(app.push_tokens("alice").await, [] as [String; 0]);
    assert_eq!(app.push_tokens("bob").await, ["T3"]);
    assert_eq!(app.devices().await.len(), 2);

    // Another phone presents the token: it has it now, and the first one none.
    report(&alice, "T3", "another phone").await;
    assert_eq!(app.push_tokens("alice").await, ["T3"]);
    assert_eq!(app.push_tokens("bob").await, [] as [String; 0]);
    assert_eq!(app.devices().await.len(), 3);
}

/// The device that a session began on is the one that the phone names.
#[tokio::test]
async fn the_device_of_the_session_gets_its_name() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let mut session = new_session();
    let id = "01JMWRJEJ71191KP88NDGWVYEW";
    session["device_id"] = id.into();
    let token = app.sign_with(session).await.auth_token();
    assert_eq!(put(&phone(&app, &token), DOCUMENTED).await.status, 200);
    let devices = app.devices().await;
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0]["device_id"], id);
    assert_eq!(devices[0]["client_device_id"], "123131231dsafasfa");

    // Where the session is on a device that has the token and no name, and another one has the name, both are one.
    let nameless = app.tell("T", Some("test@test.com")).await;
    let mut session = new_session();
    session["device_id"] = nameless.into();
    let token = app.sign_with(session).await.auth_token();
    let body = DOCUMENTED.replace("sdsdugsudgjHIDSASDA", "T");
    assert_eq!(put(&phone(&app, &token), &body).await.status, 200);
    let devices = app.devices().await;
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0]["device_id"], id);
    assert_eq!(app.push_tokens("test@test.com").await, ["T"]);
    for session in app.sessions().await {
        assert_eq!(session["device_id"], id);
    }

    let disable = json!({"disabled": true});
    let path = app.path(&format!("devices/{id}"));
    assert_eq!(app.backend().patch(&path, disable).await.status, 200);
    let another = sign(&app).await.auth_token();
    let answer = put(&phone(&app, &another), DOCUMENTED).await;
    answer.assert_problem(403, "device_disabled");
    assert!(app.verifies(&another).await);
}

/// What another process has ended is ended here at once, though this one has not heard of it: no token is signed, nothing is
/// written.
#[tokio::test]
async fn what_ended_elsewhere_gets_no_token() {
    for ended in ["flush", "rotate/pki", "revoke", "delete"] {
        let server = TestServer::start().await;
        let other = server.second_process().await;
        let app = server.app().await;
        let first = sign(&app).await;
        let client = phone(&app, &first.auth_token());
        let store = &server.app.store;
        server.app.directory.follow(store).await.unwrap();
        assert_eq!(client.get(CHECK).await.status, 200, "it is in memory");
        let (root, path) = (other.root(), format!("/root/{}", app.id));
        let done = match ended {
            "flush" => root.delete(&format!("{path}/flush")).await,
            "rotate/pki" => root.post(&format!("{path}/rotate/pki"), json!({})).await,
            "revoke" => {
                let key = first.text("key_id");
                root.delete(&format!("{path}/revoke/{key}")).await
            }
            _ => root.delete(&path).await,
        };
        assert_eq!(done.status, 200, "{ended}: {}", done.raw);
        let before = stored(&server).await;
        let refused = put(&client, DOCUMENTED).await;
        assert_eq!(refused.status, 401, "{ended}: {}", refused.raw);
        refused.assert_problem(401, "invalid_token");
        assert_eq!(stored(&server).await, before, "{ended}");
    }
}

/// What another process has changed is no reason to refuse what it allows, and reason enough for what it does not.
#[tokio::test]
async fn what_was_changed_elsewhere_is_decided_anew() {
    let server = TestServer::start().await;
    let other = server.second_process().await;
    let app = server.app().await;
    let client = phone(&app, &sign(&app).await.auth_token());
    let store = &server.app.store;
    server.app.directory.follow(store).await.unwrap();
    let change = async |changes: Value| {
        assert_eq!(client.get(CHECK).await.status, 200, "it is in memory");
        let path = format!("/root/{}", app.id);
        let changed = other.root().patch(&path, changes).await;
        assert_eq!(changed.status, 200, "{}", changed.raw);
    };
    change(json!({"issuer": "another"})).await;
    let answer = put(&client, DOCUMENTED).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    let (_, claims) = decode(&answer.text("token"));
    assert_eq!(claims["iss"], "another");
    change(json!({"allowed_origins": ["https://app.example.com"]})).await;
    let before = stored(&server).await;
    let refused = put(&client, DOCUMENTED).await;
    refused.assert_problem(403, "origin_not_allowed");
    assert_eq!(stored(&server).await, before);
}

/// The sessions and devices.
async fn stored(server: &TestServer) -> String {
    use sea_orm::EntityTrait;
    let db = &server.app.store.reader;
    let sessions = entity::session::Entity::find().all(db).await.unwrap();
    let devices = entity::device::Entity::find().all(db).await.unwrap();
    format!("{sessions:?} {devices:?}")
}
