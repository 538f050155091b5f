//! Spotflow's clients: a backend registers a device, which refreshes its registration token from then on.

mod races;

use entity::{device, registration_token};
use poem::http::Method;
use sea_orm::{EntityTrait, PaginatorTrait};
use serde_json::{Value, json};

use crate::support::{Answer, Client, START_MILLIS, TestApp, TestServer};

const REFRESH: &str = "/devices/registration-tokens/refresh";
const DEVICE: &str = "test-device-01";
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

/// 410 for whatever was never a token of ours, or of nobody any more; nobody learns of a device by guessing.
#[tokio::test]
async fn what_is_no_token_is_gone() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = create(&app, DEVICE).await;
    let id: entity::RegistrationTokenId = token[7..33].parse().unwrap();
    let mut rng = rand::SeedableRng::seed_from_u64(1);
    let forged = |id| {
        let rng: &mut rand::rngs::ChaCha12Rng = &mut rng;
        let token = entity::PlainSecret::generate_registration(id, rng);
        token.reveal().to_owned()
    };
    let forged: Vec<_> = [id, id.next()].into_iter().map(forged).collect();
    disable(&server, true).await;
    for garbage in [
        "",
        " ",
        "\0",
        "é",
        "rnw_rt_",
        &token[..81],
        &token.to_lowercase(),
        &format!("{token} "),
        &app.secret_key,
        &app.secret_key.replace("rnw_sk_", "rnw_rt_"),
        &forged[0],
        &forged[1],
        &"x".repeat(60_000),
    ] {
        assert_gone(&refresh(&server, garbage).await, "invalid");
    }
    disable(&server, false).await;
    assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
}

/// 400 names what is wrong with a body; what is not documented is ignored.
#[tokio::test]
async fn bodies_are_checked() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = create(&app, DEVICE).await;
    let put = async |body: &str| {
        let json = Some("application/json");
        let body = body.to_owned();
        server.anon().send(Method::PUT, REFRESH, json, body).await
    };
    for (body, fields) in [
        ("{}", "registrationToken"),
        (r#"{"registrationToken":null}"#, "registrationToken"),
        (r#"{"registrationToken":1}"#, "registrationToken"),
        (r#"{"registrationToken":["a"]}"#, "registrationToken"),
        (r#"{"registration_token":"a"}"#, "registrationToken"),
        ("[]", ""),
        ("null", ""),
    ] {
        put(body).await.assert_invalid(&[fields]);
    }
    for body in ["", "{", "{]"] {
        put(body).await.assert_problem(400, "malformed_json");
    }
    let large = json!({"registrationToken": "x".repeat(65_536)});
    let large = put(&large.to_string()).await;
    large.assert_problem(413, "body_too_large");

    let long = "x".repeat(256);
    for (change, fields) in [
        (json!({"deviceId": null}), "deviceId"),
        (json!({"deviceId": ""}), "deviceId"),
        (json!({"deviceId": long}), "deviceId"),
        (json!({"deviceId": "a\0"}), "deviceId"),
        (json!({"deviceId": 1}), "deviceId"),
        (
            json!({"allowOnBehalfOfRegistration": null}),
            "allowOnBehalfOfRegistration",
        ),
        (
            json!({"allowOnBehalfOfRegistration": "true"}),
            "allowOnBehalfOfRegistration",
        ),
        (json!({"expirationTime": 1}), "expirationTime"),
        (json!({"expirationTime": ""}), "expirationTime"),
        (json!({"expirationTime": "2030-01-01"}), "expirationTime"),
        (
            json!({"expirationTime": "2030-01-01T00:00:00"}),
            "expirationTime",
        ),
        (json!({"expirationTime": at(0)}), "expirationTime"),
        (
            json!({"expirationTime": "2021-11-12T14:00:00+00:00"}),
            "expirationTime",
        ),
        (
            json!({"expirationTime": "9999-12-31T23:59:59-01:00"}),
            "expirationTime",
        ),
    ] {
        let mut body = registration(DEVICE);
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        create_with(&app, body).await.assert_invalid(&[fields]);
    }
    create_with(&app, json!({}))
        .await
        .assert_invalid(&["deviceId", "allowOnBehalfOfRegistration"]);
    // None of these has cost the device its token.
    let body = json!({"registrationToken": token, "undocumented": {"a": null}});
    let answer = put(&body.to_string()).await;
    let token = assert_refreshed(&answer, 201, Value::Null);
    let mut body = registration(&"é".repeat(255));
    body["undocumented"] = json!(true);
    body["expirationTime"] = Value::Null;
    let created = create_with(&app, body).await;
    assert_eq!(created.status, 200, "{}", created.raw);
    assert_eq!(created.body["deviceId"], json!("é".repeat(255)));
    assert_eq!(created.body["expirationTime"], Value::Null);
    assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
}

/// 404 for a workspace that is not there, 403 for a key that is not its own.
#[tokio::test]
async fn only_the_secret_key_of_the_workspace_registers() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    let (path, body) = (create_path(&app.id), registration(DEVICE));
    let post = async |client: &Client, path: &str| client.post(path, body.clone()).await;
    for path in ["01JMWRJEJ71191KP88NDGWVYEW", "garbage", "%00", ""].map(create_path) {
        let answer = post(&app.backend(), &path).await;
        answer.assert_problem(404, "not_found");
    }
    for (client, code) in [
        (server.anon(), "invalid_key"),
        (server.root(), "invalid_key"),
        (other.backend(), "invalid_key"),
        (server.anon().with_key("garbage"), "invalid_key"),
        (app.front_end(), "insufficient_key"),
    ] {
        post(&client, &path).await.assert_problem(403, code);
    }
    assert_eq!(count(&server).await, (0, 0));
    let bearer = format!("Bearer {}", app.secret_key);
    let answer = post(&server.anon().with_key(&bearer), &path).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(count(&server).await, (1, 1));
}

/// A device that is registered again has one lineage: the new one.
#[tokio::test]
async fn a_second_registration_takes_the_place_of_the_first() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    let first = create_with(&app, registration(DEVICE)).await;
    let token = first.text("registrationToken");
    let child = assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
    // The same name in another app is another device.
    let foreign = create(&other, DEVICE).await;
    server.advance(1);
    let mut body = registration(DEVICE);
    body["allowOnBehalfOfRegistration"] = json!(false);
    let second = create_with(&app, body).await;
    assert_eq!(second.body["issuedTime"], at(1));
    assert_eq!(second.body["allowOnBehalfOfRegistration"], false);
    let ids = [&first, &second].map(|answer| answer.text("registrationTokenId"));
    assert_ne!(ids[0], ids[1]);
    for dead in [&token, &child] {
        assert_gone(&refresh(&server, dead).await, "invalid");
    }
    let fresh = second.text("registrationToken");
    assert_refreshed(&refresh(&server, &fresh).await, 201, Value::Null);
    assert_refreshed(&refresh(&server, &foreign).await, 201, Value::Null);
    assert_eq!(count(&server).await, (2, 2));
}

/// 403 and 423 while the device is disabled, 403 when the app was deleted; to those alone that have a good token.
#[tokio::test]
async fn a_disabled_device_and_a_deleted_app_are_told() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = create(&app, DEVICE).await;
    let second = assert_refreshed(&refresh(&server, &first).await, 201, Value::Null);
    disable(&server, true).await;
    for token in [&first, &second] {
        let refused = refresh(&server, token).await;
        refused.assert_problem(403, "device_disabled");
    }
    let locked = create_with(&app, registration(DEVICE)).await;
    locked.assert_problem(423, "device_disabled");
    disable(&server, false).await;
    let third = assert_refreshed(&refresh(&server, &second).await, 201, Value::Null);

    let path = format!("/root/{}", app.id);
    assert_eq!(server.root().delete(&path).await.status, 200);
    let never = tokio_util::sync::CancellationToken::new();
    for _ in 0..2 {
        let refused = refresh(&server, &third).await;
        refused.assert_problem(403, "app_disabled");
        assert_gone(&refresh(&server, &first).await, "invalid");
        let none = create_with(&app, registration(DEVICE)).await;
        none.assert_problem(404, "not_found");
        // Also after its rows were purged, for a month.
        renewd::jobs::purge::run(&server.app, &never).await.unwrap();
    }
    assert_eq!(count(&server).await, (0, 1));
    server.advance(30 * 86_400);
    renewd::jobs::purge::run(&server.app, &never).await.unwrap();
    assert_gone(&refresh(&server, &third).await, "invalid");
    assert_eq!(count(&server).await, (0, 0));
}

/// A flush ends every token of the app that was issued before.
#[tokio::test]
async fn a_flush_ends_registrations() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = create(&app, DEVICE).await;
    let path = format!("/root/{}/flush", app.id);
    assert_eq!(server.root().delete(&path).await.status, 200);
    assert_gone(&refresh(&server, &token).await, "revoked");
    let token = create(&app, DEVICE).await;
    assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
}

/// 412, for the device alone and for the hour alone; nothing is lost by it.
#[tokio::test]
async fn a_device_that_loops_is_slowed_down() {
    let server = TestServer::start_with(|config| config.registration_refreshes_per_hour = 3).await;
    let app = server.app().await;
    let other = create(&app, "test-device-02").await;
    let first = create(&app, DEVICE).await;
    server.advance(10);
    let mut token = first;
    for _ in 0..2 {
        token = assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
    }
    let parent = token.clone();
    token = assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
    let limited = async |token: &str, seconds: &str| {
        let refused = refresh(&server, token).await;
        refused.assert_problem(412, "too_many_refreshes");
        assert_eq!(refused.header("retry-after"), Some(seconds));
    };
    limited(&token, "3590").await;
    limited(&parent, "3590").await;
    assert_gone(&refresh(&server, "garbage").await, "invalid");
    assert_refreshed(&refresh(&server, &other).await, 201, Value::Null);
    // Not even by another lineage.
    let again = create(&app, DEVICE).await;
    limited(&again, "3590").await;
    assert_gone(&refresh(&server, &token).await, "invalid");
    server.advance(3589);
    limited(&again, "1").await;
    server.advance(1);
    let mut token = assert_refreshed(&refresh(&server, &again).await, 201, Value::Null);
    for _ in 0..2 {
        token = assert_refreshed(&refresh(&server, &again).await, 200, Value::Null);
    }
    limited(&token, "3600").await;
    limited(&again, "3600").await;
}

/// Who registers a device is recorded; that a device refreshes its token is nobody's business.
#[tokio::test]
async fn registrations_are_audited() {
    let server = TestServer::start().await;
    let app = server.app().await;
    server.advance(1);
    let created = create_with(&app, registration(DEVICE)).await;
    refresh(&server, &created.text("registrationToken")).await;
    let path = format!("/root/audit?app_id={}&since={}", app.id, at(1));
    let events = server.root().get(&path).await;
    let events = events.body["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["action"], "registration.create");
    let id: entity::AppKeyId = app.secret_key[7..33].parse().unwrap();
    assert_eq!(events[0]["actor"], id.to_string());
    let token = &created.text("registrationToken")[7..33];
    assert_eq!(events[0]["target"], token);
    let metrics = server.app.metrics.exposition();
    let line = "renewd_registration_refreshes_total{result=\"refreshed\"} 1\n";
    assert!(metrics.contains(line), "{metrics}");
}

/// What ended is purged in its time, and what lives stays.
#[tokio::test]
async fn ended_registrations_are_purged() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"registration_expire": 60})).await;
    create(&app, "short").await;
    let path = format!("/root/{}", app.id);
    let policy = json!({"registration_expire": null});
    server.root().patch(&path, policy).await;
    let long = create(&app, "long").await;
    let never = tokio_util::sync::CancellationToken::new();
    server.advance(30 * 86_400 + 59);
    assert_eq!(
        renewd::jobs::purge::run(&server.app, &never).await.unwrap(),
        Some(0)
    );
    server.advance(1);
    assert_eq!(
        renewd::jobs::purge::run(&server.app, &never).await.unwrap(),
        Some(1)
    );
    assert_refreshed(&refresh(&server, &long).await, 201, Value::Null);
    assert_eq!(count(&server).await, (2, 1));
}

/// How many devices and lineages there are.
async fn count(server: &TestServer) -> (u64, u64) {
    let db = &server.app.store.reader;
    let devices = device::Entity::find().count(db).await.unwrap();
    let lineages = registration_token::Entity::find().count(db).await.unwrap();
    (devices, lineages)
}

/// Disables every device, or enables it again.
async fn disable(server: &TestServer, disabled: bool) {
    use sea_orm::{ActiveValue::Set, QueryFilter, entity::prelude::*};
    let now = server.app.clock.now();
    device::Entity::update_many()
        .set(device::ActiveModel {
            disabled_at: Set(disabled.then_some(now)),
            ..Default::default()
        })
        .filter(device::Column::ClientId.eq(DEVICE))
        .exec(&server.app.store.writer)
        .await
        .unwrap();
}
