//! Spotflow's clients: a backend registers a device, which refreshes its registration token from then on.

mod races;
mod refusals;
mod registrations;
mod sessions;

use entity::{device, registration_token};
use poem::http::Method;
use sea_orm::{EntityTrait, PaginatorTrait};
use serde_json::{Value, json};

use crate::support::{Answer, Client, START_MILLIS, TestApp, TestServer};

const REFRESH: &str = "/devices/registration-tokens/refresh";
const DEVICE: &str = "test-device-01";
/// The subject of its sessions.
const SUBJECT: &str = "device:test-device-01";
/// The token that the vendor's documentation shows.
const EXAMPLE: &str = "rrGhpc19pc19hbl9leGFtcGxlX3Rva2VuX3RoaXNfaXNfYW5fZXhhbXBsZV90b2tlbl90aGlzX2lzX2FuX2V4YW1wbGVfdG9rZW5fdGhpc19pc19hbl9leGFtcGxlX3Rva2VuX3RoaXNfaXNfYW5fZXhhbXBsZV90b2tlbl90aGlzX2lzX2FuX2V4YW1wbGVfdG9rZW4=";
/// A day: the grace of an app that sets none.
const GRACE: i64 = 86_400;

fn create_path(app: &str) -> String {
    format!("/workspaces/{app}/devices/registration-tokens/create")
}

fn registration(device: &str) -> Value {
    json!({"deviceId": device, "allowOnBehalfOfRegistration": true})
}

async fn create_with(app: &TestApp, body: Value) -> Answer {
    app.backend().post(&create_path(&app.id), body).await
}

/// A fresh registration token of the device.
async fn create(app: &TestApp, device: &str) -> String {
    let created = create_with(app, registration(device)).await;
    assert_eq!(created.status, 200, "{}", created.raw);
    created.text("registrationToken")
}

async fn refresh_as(client: &Client, token: &str) -> Answer {
    let body = json!({"registrationToken": token});
    client.send_json(Method::PUT, REFRESH, body).await
}

async fn refresh(server: &TestServer, token: &str) -> Answer {
    refresh_as(&server.anon(), token).await
}

/// The documented answer, and nothing else.
#[track_caller]
fn assert_refreshed(answer: &Answer, status: u16, expiration: impl Into<Value>) -> String {
    assert_eq!(answer.status, status, "{}", answer.raw);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let token = answer.text("registrationToken");
    let expected = json!({"registrationToken": token, "expirationTime": expiration.into()});
    assert_eq!(answer.body, expected);
    assert_eq!(token.len(), 82);
    assert!(token.starts_with("rnw_rt_"), "{token}");
    token
}

/// That it is refused, and why.
#[track_caller]
fn assert_gone(answer: &Answer, why: &str) {
    answer.assert_problem(410, &format!("registration_token_{why}"));
    assert_eq!(answer.body["message"], "invalid registration token");
}

/// When so many seconds have passed since the start of the test.
fn at(seconds: i64) -> String {
    entity::Timestamp::from_millis(START_MILLIS + seconds * 1000).to_rfc3339()
}

/// The documented requests with the documented media types, a token of ours in place of the vendor's.
#[tokio::test]
async fn the_documented_examples() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let body = json!({
        "deviceId": "test-device-01",
        "expirationTime": "2025-11-12T14:00:00+00:00",
        "allowOnBehalfOfRegistration": true,
    });
    let created = create_with(&app, body).await;
    let (id, first) = (
        created.text("registrationTokenId"),
        created.text("registrationToken"),
    );
    let groups: Vec<_> = id.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
    let marks = (&id[14..15], "89ab".contains(&id[19..20]));
    assert_eq!(marks, ("7", true), "{id}");
    let expected = json!({
        "registrationTokenId": id,
        "registrationToken": first,
        "expirationTime": "2025-11-12T14:00:00Z",
        "issuedTime": "2025-02-24T19:57:29.25Z",
        "deviceId": "test-device-01",
        "allowOnBehalfOfRegistration": true,
    });
    assert_eq!((created.status, &created.body), (200, &expected));
    assert_eq!(created.header("cache-control"), Some("no-store"));

    // As the vendor's page has it, but for the token; the vendor's own client sends a key of its own beside it.
    let example = r#"{"registrationToken": "TOKEN"}"#;
    let device = server
        .anon()
        .with_header("authorization", "DeviceToken none");
    let mut token = first.clone();
    for (media, passed) in [
        ("application/json-patch+json", 10),
        ("application/json", 20),
        ("text/json", 30),
        ("application/vnd.spotflow+json", 40),
        ("text/json; charset=utf-8", 50),
    ] {
        server.advance(10);
        let body = example.replace("TOKEN", &token);
        let answer = device.send(Method::PUT, REFRESH, Some(media), body).await;
        // It lives as long as the first one, in whole seconds.
        let end = at(passed + 22_528_951);
        token = assert_refreshed(&answer, 201, end);
    }

    let vendors = device
        .send(
            Method::PUT,
            REFRESH,
            Some("application/json"),
            example.replace("TOKEN", EXAMPLE),
        )
        .await;
    assert_gone(&vendors, "invalid");
    for member in ["type", "title", "status", "detail"] {
        assert!(vendors.body.get(member).is_some(), "{member}");
    }
    let refused = "application/x-www-form-urlencoded|text/plain|text/jsonp|image/svg+xml|";
    for media in refused.split('|') {
        let body = example.replace("TOKEN", &token);
        let answer = device.send(Method::PUT, REFRESH, Some(media), body).await;
        answer.assert_problem(415, "unsupported_media_type");
    }
}

/// 201: the parent is in its grace. 200: it is presented again, and the child that was returned before is dead.
#[tokio::test]
async fn a_parent_may_come_again_until_its_grace_is_over() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = create(&app, DEVICE).await;
    let second = assert_refreshed(&refresh(&server, &first).await, 201, Value::Null);

    // The answer was lost, twice.
    server.advance(GRACE / 2);
    let third = assert_refreshed(&refresh(&server, &first).await, 200, Value::Null);
    assert_gone(&refresh(&server, &second).await, "invalid");
    let fourth = assert_refreshed(&refresh(&server, &first).await, 200, Value::Null);
    assert_gone(&refresh(&server, &third).await, "invalid");

    // The grace was fixed when it began.
    server.advance(GRACE / 2 - 1);
    let fifth = assert_refreshed(&refresh(&server, &first).await, 200, Value::Null);
    server.advance(1);
    assert_gone(&refresh(&server, &first).await, "invalid");
    assert_gone(&refresh(&server, &fourth).await, "invalid");

    // The successor's use makes it the parent: the grandparent dies at once.
    let sixth = assert_refreshed(&refresh(&server, &fifth).await, 201, Value::Null);
    let seventh = assert_refreshed(&refresh(&server, &sixth).await, 201, Value::Null);
    assert_gone(&refresh(&server, &fifth).await, "invalid");
    let eighth = assert_refreshed(&refresh(&server, &sixth).await, 200, Value::Null);
    assert_gone(&refresh(&server, &seventh).await, "invalid");
    assert_refreshed(&refresh(&server, &eighth).await, 201, Value::Null);
}

/// Without a grace a token is good once; the policy is the one at the time of the refresh.
#[tokio::test]
async fn the_grace_and_the_life_are_those_of_the_app() {
    let server = TestServer::start().await;
    let policy = json!({"registration_grace": 0, "registration_expire": 600});
    let app = server.app_with(policy).await;
    let created = create_with(&app, registration(DEVICE)).await;
    assert_eq!(created.body["expirationTime"], at(600));
    let first = created.text("registrationToken");
    server.advance(599);
    let second = assert_refreshed(&refresh(&server, &first).await, 201, at(1199));
    assert_gone(&refresh(&server, &first).await, "invalid");
    server.advance(600);
    assert_gone(&refresh(&server, &second).await, "expired");
    assert_gone(&refresh(&server, &second).await, "expired");

    let first = create(&app, DEVICE).await;
    let policy = json!({"registration_grace": 60, "registration_expire": null});
    let path = format!("/root/{}", app.id);
    assert_eq!(server.root().patch(&path, policy).await.status, 200);
    let second = assert_refreshed(&refresh(&server, &first).await, 201, Value::Null);
    server.advance(59);
    let third = assert_refreshed(&refresh(&server, &first).await, 200, Value::Null);
    server.advance(1);
    assert_gone(&refresh(&server, &first).await, "invalid");
    assert_gone(&refresh(&server, &second).await, "invalid");
    server.advance(10 * 365 * 86_400);
    assert_refreshed(&refresh(&server, &third).await, 201, Value::Null);
}

/// A token does not outlive its own end, not even as a parent.
#[tokio::test]
async fn an_end_of_its_own_is_that_of_the_grace_too() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"registration_expire": 60})).await;
    let mut body = registration(DEVICE);
    body["expirationTime"] = json!(at(100));
    let first = create_with(&app, body).await.text("registrationToken");
    server.advance(40);
    let second = assert_refreshed(&refresh(&server, &first).await, 201, at(140));
    server.advance(59);
    let third = assert_refreshed(&refresh(&server, &first).await, 200, at(199));
    assert_gone(&refresh(&server, &second).await, "invalid");
    server.advance(1);
    assert_gone(&refresh(&server, &first).await, "invalid");
    assert_refreshed(&refresh(&server, &third).await, 201, at(200));
}

/// How many devices and token families there are.
async fn count(server: &TestServer) -> (u64, u64) {
    let db = &server.app.store.reader;
    let devices = device::Entity::find().count(db).await.unwrap();
    let families = registration_token::Entity::find().count(db).await.unwrap();
    (devices, families)
}

/// The id of the device.
async fn device_id(app: &TestApp) -> String {
    let listed = app.backend().get(&app.path("devices")).await;
    let devices = listed.body["devices"].as_array().unwrap();
    let mut found = devices
        .iter()
        .filter(|device| device["client_device_id"] == DEVICE);
    found.next().unwrap()["device_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Disables the device, or enables it again.
async fn disable(app: &TestApp, disabled: bool) {
    let path = app.path(&format!("devices/{}", device_id(app).await));
    let changed = app
        .backend()
        .patch(&path, json!({"disabled": disabled}))
        .await;
    assert_eq!(changed.status, 200, "{}", changed.raw);
}
