//! Devices: what a backend sees of them, and that what lives on one ends with it.

mod push;

use poem::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestServer, new_session};

const DEVICE: &str = "01JMWRJEJ71191KP88NDGWVYEW";
const ANOTHER: &str = "01JMWRJEJ71191KP88NDGWVYEX";

async fn sign_on(app: &TestApp, device: &str) -> Answer {
    let answer = try_sign_on(app, device).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    answer
}

async fn try_sign_on(app: &TestApp, device: &str) -> Answer {
    let mut session = new_session();
    session["device_id"] = device.into();
    app.backend().post(&app.path("sign"), session).await
}

async fn renew_on(app: &TestApp, session: &Answer, device: &str) -> Answer {
    let body = json!({
        "refresh_token": session.refresh_token(),
        "ip": "2.2.2.2",
        "useragent": "another-agent",
        "device_id": device,
    });
    app.backend().post(&app.path("renew"), body).await
}

async fn show(app: &TestApp, device: &str) -> Answer {
    app.backend()
        .get(&app.path(&format!("devices/{device}")))
        .await
}

async fn patch(app: &TestApp, device: &str, body: Value) -> Answer {
    let path = app.path(&format!("devices/{device}"));
    app.backend().patch(&path, body).await
}

async fn revoke(app: &TestApp, device: &str) -> Answer {
    let path = app.path(&format!("devices/{device}/revoke"));
    app.backend().post(&path, Value::Null).await
}

fn revoked(count: u64) -> Value {
    json!({"status": "ok", "revoked": count})
}

/// What is told of a device that nothing but a session told of.
fn unknown_device(id: &str) -> Value {
    json!({
        "device_id": id,
        "client_device_id": null,
        "sub": "test@test.com",
        "platform": null,
        "push_token_at": null,
        "push_permission": null,
        "timezone": null,
        "language": null,
        "country": null,
        "first_seen_at": "2025-02-24T19:57:29.25Z",
        "last_seen_at": "2025-02-24T19:57:29.25Z",
        "disabled_at": null,
    })
}

#[tokio::test]
async fn a_session_registers_the_device_that_it_is_on() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    let first = sign_on(&app, DEVICE).await;
    assert_eq!(show(&app, DEVICE).await.body, unknown_device(DEVICE));
    assert_eq!(app.sessions().await[0]["device_id"], DEVICE);
    // Another app's device is none of this app's, and its id cannot be had.
    show(&other, DEVICE).await.assert_problem(404, "not_found");
    try_sign_on(&other, DEVICE)
        .await
        .assert_invalid(&["device_id"]);
    let theirs = other.sign().await;
    renew_on(&other, &theirs, DEVICE)
        .await
        .assert_invalid(&["device_id"]);
    assert_eq!(other.renew(&theirs.refresh_token()).await.status, 200);
    assert_eq!(other.devices().await, [] as [Value; 0]);

    // Seen again, to the minute.
    for (after, seen) in [
        (59, "2025-02-24T19:57:29.25Z"),
        (1, "2025-02-24T19:58:29.25Z"),
    ] {
        server.advance(after);
        sign_on(&app, DEVICE).await;
        assert_eq!(app.devices().await[0]["last_seen_at"], seen);
    }
    assert_eq!(revoke(&app, DEVICE).await.body, revoked(3));
    app.renew(&first.refresh_token())
        .await
        .assert_refused("refresh_token_revoked");
}

#[tokio::test]
async fn a_renewal_ties_its_session_to_the_device() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"refresh_grace": 10})).await;
    let first = app.sign().await;
    let second = renew_on(&app, &first, DEVICE).await;
    assert_eq!(second.status, 200, "{}", second.raw);
    assert_eq!(app.sessions().await[0]["device_id"], DEVICE);
    assert_eq!(show(&app, DEVICE).await.body, unknown_device(DEVICE));
    // It stays tied, told again or not; and is seen.
    let third = app.renew(&second.refresh_token()).await;
    assert_eq!(app.sessions().await[0]["device_id"], DEVICE);
    server.advance(60);
    let fourth = renew_on(&app, &third, DEVICE).await;
    let seen = show(&app, DEVICE).await.body["last_seen_at"].take();
    assert_eq!(seen, "2025-02-24T19:58:29.25Z");

    // A token that does not renew ties nothing: of garbage, of one that was forged, of one that is used up.
    let forged = json!({
        "refresh_token": format!("{}x", &fourth.refresh_token()[..fourth.refresh_token().len() - 1]),
        "ip": "::1",
        "useragent": "a",
        "device_id": ANOTHER,
    });
    let answer = app.backend().post(&app.path("renew"), forged).await;
    answer.assert_refused("refresh_token_invalid");
    renew_on(&app, &first, ANOTHER)
        .await
        .assert_refused("refresh_token_used");
    show(&app, ANOTHER).await.assert_problem(404, "not_found");

    // The last device that was told is the one.
    let first = app.sign().await;
    let second = renew_on(&app, &first, DEVICE).await;
    renew_on(&app, &second, ANOTHER).await;
    assert_eq!(revoke(&app, DEVICE).await.body, revoked(0));
    assert_eq!(revoke(&app, ANOTHER).await.body, revoked(1));
}

/// Nothing lives on a disabled device, and nothing begins on it.
#[tokio::test]
async fn a_disabled_device() {
    let server = TestServer::start().await;
    let app = server.app().await;
    app.tell("T1", Some("test@test.com")).await;
    let id = app.devices().await[0]["device_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (on, off) = (sign_on(&app, &id).await, app.sign().await);
    let answer = patch(&app, &id, json!({"disabled": true})).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(answer.body["disabled_at"], "2025-02-24T19:57:29.25Z");
    app.renew(&on.refresh_token())
        .await
        .assert_refused("refresh_token_revoked");
    assert!(!app.verifies(&on.auth_token()).await);
    assert_eq!(app.push_tokens("test@test.com").await, [] as [String; 0]);
    try_sign_on(&app, &id)
        .await
        .assert_problem(403, "device_disabled");
    renew_on(&app, &off, &id)
        .await
        .assert_problem(403, "device_disabled");
    // That used up nothing.
    let off = app.renew(&off.refresh_token()).await;
    assert_eq!(off.status, 200);
    // What its app tells of it is kept, and does not enable it.
    assert_eq!(app.tell("T1", None).await, id);
    assert_eq!(app.swap("T1", "T2", None).await.status, 200);
    assert_eq!(app.push_tokens("test@test.com").await, [] as [String; 0]);
    assert_eq!(app.tell("T2", Some("another")).await, id);
    assert_eq!(app.push_tokens("another").await, [] as [String; 0]);
    // Nor does a swap, which ends nothing on the other device either: they stay two.
    let other = app.tell("T3", Some("test@test.com")).await;
    let there = sign_on(&app, &other).await;
    assert_eq!(app.swap("T2", "T3", None).await.status, 200);
    assert_ne!(show(&app, &id).await.body["disabled_at"], Value::Null);
    assert_eq!(show(&app, &other).await.body["disabled_at"], Value::Null);
    assert_eq!(app.renew(&there.refresh_token()).await.status, 200);
    assert_eq!(app.push_tokens("test@test.com").await, ["T3"]);

    let answer = patch(&app, &id, json!({"disabled": false})).await;
    assert_eq!(answer.body["disabled_at"], Value::Null);
    assert_eq!(renew_on(&app, &off, &id).await.status, 200);
}

#[tokio::test]
async fn a_device_is_changed() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let id = app.tell("T1", Some("a")).await;
    let before = show(&app, &id).await.body;
    let changes = json!({
        "platform": "web",
        "push_permission": false,
        "timezone": "America/Argentina/Buenos_Aires",
        "language": "ES",
        "country": "ar",
    });
    let answer = patch(&app, &id, changes).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    let mut expected = before.clone();
    expected["platform"] = "web".into();
    expected["push_permission"] = false.into();
    expected["timezone"] = "America/Argentina/Buenos_Aires".into();
    expected["language"] = "es".into();
    expected["country"] = "AR".into();
    assert_eq!(answer.body, expected);
    assert_eq!(show(&app, &id).await.body, expected);
    // Nothing, and nulls.
    assert_eq!(patch(&app, &id, json!({})).await.body, expected);
    for name in [
        "platform",
        "push_permission",
        "timezone",
        "language",
        "country",
    ] {
        let answer = patch(&app, &id, json!({name: null})).await;
        expected[name] = Value::Null;
        assert_eq!(answer.body, expected);
    }
    for (body, field) in [
        (json!({"platform": "windows"}), "platform"),
        (json!({"push_permission": "yes"}), "push_permission"),
        (json!({"timezone": "?"}), "timezone"),
        (json!({"timezone": "x".repeat(65)}), "timezone"),
        (json!({"language": "e1"}), "language"),
        (json!({"country": "DEU"}), "country"),
        (json!({"disabled": 1}), "disabled"),
        (json!({"sub": "b"}), "sub"),
    ] {
        patch(&app, &id, body).await.assert_invalid(&[field]);
    }
    assert_eq!(show(&app, &id).await.body, expected);
    for answer in [
        patch(&app, ANOTHER, json!({})).await,
        revoke(&app, ANOTHER).await,
        app.backend()
            .delete(&app.path(&format!("devices/{ANOTHER}")))
            .await,
    ] {
        answer.assert_problem(404, "not_found");
    }
    let revokes = app.path(&format!("devices/{id}/revoke"));
    let page = app.front_end().post(&revokes, Value::Null).await;
    page.assert_problem(403, "insufficient_key");
}

#[tokio::test]
async fn devices_are_listed_the_newest_first() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    let mut ids = Vec::new();
    for index in 0..5 {
        let sub = ["a", "b"][index % 2];
        ids.insert(0, app.tell(&format!("T{index}"), Some(sub)).await);
        server.advance(1);
    }
    other.tell("T1", Some("a")).await;
    let names = |answer: &Answer| -> Vec<String> {
        assert_eq!(answer.status, 200, "{}", answer.raw);
        let devices = answer.body["devices"].as_array().unwrap();
        let id = |device: &Value| device["device_id"].as_str().unwrap().to_owned();
        devices.iter().map(id).collect()
    };
    let root = format!("/root/{}/devices", app.id);
    for (client, path) in [(app.backend(), app.path("devices")), (server.root(), root)] {
        let all = client.get(&path).await;
        assert_eq!(names(&all), ids);
        assert_eq!(all.body["next_cursor"], Value::Null);
        let first = client.get(&format!("{path}?limit=2")).await;
        assert_eq!(names(&first), ids[..2]);
        let cursor = first.text("next_cursor");
        let rest = client.get(&format!("{path}?limit=3&cursor={cursor}")).await;
        assert_eq!(names(&rest), ids[2..]);
        assert_eq!(rest.body["next_cursor"], Value::Null);
    }
    let of_b = app.backend().get(&app.path("devices?sub=b")).await;
    assert_eq!(names(&of_b), [&*ids[1], &*ids[3]]);
    let nobody = app.backend().get(&app.path("devices?sub=nobody")).await;
    assert_eq!(nobody.body, json!({"devices": [], "next_cursor": null}));
    let path = format!("/root/{ANOTHER}/devices");
    let missing = server.root().get(&path).await;
    missing.assert_problem(404, "not_found");

    let path = app.path("push-targets?sub=a&limit=2");
    let page = app.backend().get(&path).await;
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let target = |index: usize, token: &str| {
        json!({"device_id": ids[index], "push_token": token, "platform": "android", "push_permission": true,
            "timezone": "Europe/Berlin", "language": "en"})
    };
    assert_eq!(
        page.body,
        json!({"push_targets": [target(0, "T4"), target(2, "T2")], "next_cursor": ids[2]})
    );
    let page = app
        .backend()
        .get(&format!("{path}&cursor={}", ids[2]))
        .await;
    assert_eq!(
        page.body,
        json!({"push_targets": [target(4, "T0")], "next_cursor": null})
    );
    let answer = app.backend().get(&app.path("push-targets")).await;
    answer.assert_invalid(&["sub"]);
}

/// Its sessions and its push token end together; the audit says who did it.
#[tokio::test]
async fn a_device_is_revoked_and_forgotten() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let id = app.tell("T1", Some("test@test.com")).await;
    let (first, elsewhere) = (sign_on(&app, &id).await, app.sign().await);
    // Of another user, on the same device.
    let mut session = new_session();
    session["device_id"] = id.clone().into();
    session["sub"] = "another".into();
    let another = app.sign_with(session).await;

    assert_eq!(revoke(&app, &id).await.body, revoked(2));
    for ended in [&first, &another] {
        let answer = app.renew(&ended.refresh_token()).await;
        answer.assert_refused("refresh_token_revoked");
    }
    assert_eq!(app.push_tokens("another").await, [] as [String; 0]);
    assert_eq!(app.devices().await[0]["push_token_at"], Value::Null);
    server.advance(1);
    assert_eq!(revoke(&app, &id).await.body, revoked(0));
    // Its user may sign in on it again, and it may tell its token again.
    let again = sign_on(&app, &id).await;
    assert_eq!(app.renew(&elsewhere.refresh_token()).await.status, 200);

    server.advance(1);
    let path = app.path(&format!("devices/{id}"));
    assert_eq!(app.backend().delete(&path).await.body, revoked(1));
    app.renew(&again.refresh_token())
        .await
        .assert_refused("refresh_token_revoked");
    assert_eq!(app.devices().await, [] as [Value; 0]);
    patch(&app, &id, json!({"disabled": true}))
        .await
        .assert_problem(404, "not_found");
    assert_ne!(app.tell("T1", None).await, id);
    server.advance(1);
    sign_on(&app, &id).await;
    patch(&app, &id, json!({"language": "de"})).await;

    let path = format!("/root/audit?app_id={}&limit=5", app.id);
    let audit = server.root().get(&path).await;
    let events: Vec<_> = audit.body["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["action"].clone(), event["target"].clone()))
        .filter(|(action, _)| action.as_str().unwrap().starts_with("device"))
        .collect();
    let actions = [
        "device.update",
        "device.delete",
        "device.revoke",
        "device.revoke",
    ];
    assert_eq!(
        events,
        actions.map(|action| (action.into(), id.clone().into()))
    );
}

/// `devices` of one method is not the path of another.
#[tokio::test]
async fn methods_that_there_are_not() {
    let server = TestServer::start().await;
    let app = server.app().await;
    for (method, path, allowed) in [
        (Method::PUT, app.path("devices"), "GET, HEAD"),
        (
            Method::POST,
            app.path(&format!("devices/{DEVICE}")),
            "DELETE, GET, HEAD, PATCH",
        ),
        (Method::GET, "/events".to_owned(), "POST"),
        (Method::GET, "/devices/refresh-token".to_owned(), "POST"),
    ] {
        let answer = app.backend().send(method, &path, None, "").await;
        answer.assert_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allowed), "{path}");
    }
}
