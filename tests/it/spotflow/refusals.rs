//! What is refused, and how a client is told.

use poem::http::Method;
use serde_json::{Value, json};

use super::{
    DEVICE, REFRESH, assert_gone, assert_refreshed, at, count, create, create_path, create_with,
    disable, refresh, registration,
};
use crate::support::{Client, TestServer};

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
    let token = assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
    disable(&app, true).await;
    assert_gone(&refresh(&server, &forged[0]).await, "invalid");
    let refused = refresh(&server, &token).await;
    refused.assert_problem(403, "device_disabled");
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

    let long = "x".repeat(249);
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
    let mut body = registration(&"é".repeat(248));
    body["undocumented"] = json!(true);
    body["expirationTime"] = Value::Null;
    let created = create_with(&app, body).await;
    assert_eq!(created.status, 200, "{}", created.raw);
    assert_eq!(created.body["deviceId"], json!("é".repeat(248)));
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

/// 403 and 423 while the device is disabled, 403 when the app was deleted; to those alone that have a good token.
#[tokio::test]
async fn a_disabled_device_and_a_deleted_app_are_told() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = create(&app, DEVICE).await;
    let second = assert_refreshed(&refresh(&server, &first).await, 201, Value::Null);
    disable(&app, true).await;
    for token in [&first, &second] {
        let refused = refresh(&server, token).await;
        refused.assert_problem(403, "device_disabled");
    }
    let locked = create_with(&app, registration(DEVICE)).await;
    locked.assert_problem(423, "device_disabled");
    disable(&app, false).await;
    // It was ended for good.
    for token in [&first, &second] {
        assert_gone(&refresh(&server, token).await, "revoked");
    }
    let third = create(&app, DEVICE).await;

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
    // Not even by another token family.
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

/// An outage is 503 with Retry-After, whatever the token; it costs a device nothing.
#[tokio::test]
async fn a_store_that_is_down_loses_no_device() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = create(&app, DEVICE).await;
    let store = &server.app.store;
    for connections in [&store.reader, &store.writer, &store.renewing] {
        connections.close().await.unwrap();
    }
    let begin = json!({"registration_token": token});
    for answer in [
        refresh(&server, &token).await,
        create_with(&app, registration(DEVICE)).await,
        server
            .anon()
            .post(&app.path("devices/session"), begin)
            .await,
    ] {
        answer.assert_problem(503, "unavailable");
    }
    // What cannot be one of ours is not looked up.
    assert_gone(&refresh(&server, "garbage").await, "invalid");

    let server = TestServer::start_in(server.stop().await, |_| ()).await;
    assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
}
