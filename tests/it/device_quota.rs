//! What comes with a key that everybody has is counted, and past the count refused without any harm.

use poem::http::Method;
use serde_json::json;

use crate::support::{Answer, TestApp, TestServer, new_session};

async fn tell(app: &TestApp, key: &str, push_token: &str, sub: Option<&str>) -> Answer {
    let mut event = app.event(push_token, sub);
    event["api_key"] = key.into();
    app.mobile().post("/events", event).await
}

#[track_caller]
fn assert_too_many(answer: &Answer, wait: &str) {
    answer.assert_problem(429, "too_many_requests");
    assert_eq!(answer.header("retry-after"), Some(wait));
}

#[tokio::test]
async fn the_events_of_a_device_are_counted() {
    let server = TestServer::start_with(|config| config.device_events_per_minute = 3).await;
    let (app, other) = (server.app().await, server.app().await);
    let key = app.publishable_key.clone();
    let id = tell(&app, &key, "T1", Some("a")).await.text("fingerprint");
    let mut session = new_session();
    session["device_id"] = id.clone().into();
    session["sub"] = "a".into();
    let session = app.sign_with(session).await;
    for _ in 0..3 {
        assert_eq!(tell(&app, &key, "T1", Some("a")).await.status, 200);
    }
    server.advance(20);
    let before = app.devices().await;
    for sub in [Some("a"), Some("b"), None] {
        assert_too_many(&tell(&app, &key, "T1", sub).await, "40");
    }
    // It costs nobody anything: neither this device, nor another one, nor another app, nor a backend.
    assert_eq!(app.devices().await, before);
    assert_eq!(app.push_tokens("a").await, ["T1"]);
    assert_eq!(app.renew(&session.refresh_token()).await.status, 200);
    assert_eq!(tell(&app, &key, "T2", Some("a")).await.status, 200);
    assert_eq!(
        tell(&other, &other.publishable_key, "T1", None)
            .await
            .status,
        200
    );
    let secret = app.secret_key.clone();
    for _ in 0..5 {
        assert_eq!(tell(&app, &secret, "T1", None).await.status, 200);
    }
    // A swap is no event, and what was counted is the device, whatever push token it has.
    assert_eq!(app.swap("T1", "T3", None).await.status, 200);
    assert_too_many(&tell(&app, &key, "T3", None).await, "40");
    server.advance(40);
    assert_eq!(
        tell(&app, &key, "T3", Some("a")).await.text("fingerprint"),
        id
    );
}

#[tokio::test]
async fn the_new_devices_of_an_app_are_counted() {
    let server = TestServer::start_with(|config| config.new_devices_per_hour = 2).await;
    let (app, other) = (server.app().await, server.app().await);
    let key = app.publishable_key.clone();
    for (token, sub) in [("T1", Some("a")), ("T2", None)] {
        for _ in 0..3 {
            assert_eq!(tell(&app, &key, token, sub).await.status, 200);
        }
    }
    server.advance(600);
    for index in 0..3 {
        assert_too_many(
            &tell(&app, &key, &format!("N{index}"), Some("a")).await,
            "3000",
        );
    }
    assert_eq!(app.devices().await.len(), 2);
    // Those that are known are told of all the same, also late; and another app has a count of its own.
    let device = tell(&app, &key, "T2", Some("b")).await.text("fingerprint");
    assert_eq!(app.swap("T1", "T3", None).await.status, 200);
    assert_eq!(tell(&app, &key, "T1", Some("a")).await.status, 200);
    assert_eq!(
        tell(&other, &other.publishable_key, "N", None).await.status,
        200
    );
    // A device that is in use stays its user's: the token would need a new record.
    let mut session = new_session();
    (session["device_id"], session["sub"]) = (device.into(), "b".into());
    app.sign_with(session).await;
    assert_too_many(&tell(&app, &key, "T2", Some("c")).await, "3000");
    assert_eq!(app.push_tokens("b").await, ["T2"]);
    // A backend is not counted, and an hour ends.
    assert_eq!(tell(&app, &app.secret_key, "S", None).await.status, 200);
    server.advance(3000);
    assert_eq!(tell(&app, &key, "N", Some("a")).await.status, 200);
}

/// A user who is signed in tells that the push token is the one of the device of this name.
async fn report(app: &TestApp, auth_token: &str, name: &str, push_token: &str) -> Answer {
    let path = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.RefreshTokenApi/service";
    let client = app.mobile().with_header("authorization", auth_token);
    let client = client.with_header("referer", "https://app.example.com");
    let body = json!({"fcm_token": push_token, "device_id": name});
    client.send_json(Method::PUT, path, body).await
}

/// Whoever has an auth token has one user's devices to fill, and does not fill them without end.
#[tokio::test]
async fn the_new_devices_of_a_user_are_counted() {
    let server = TestServer::start_with(|config| {
        config.new_devices_of_subject_per_hour = 2;
        config.new_devices_per_hour = 1;
    })
    .await;
    let (app, other) = (server.app().await, server.app().await);
    let (session, again) = (app.sign().await, app.sign().await);
    let token = session.auth_token();
    for (name, push_token) in [("n1", "T1"), ("n2", "T2"), ("n1", "T3")] {
        let answer = report(&app, &token, name, push_token).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
    }
    server.advance(600);
    let before = (app.devices().await, app.sessions().await);
    for (token, name) in [(&token, "n3"), (&token, "n4"), (&again.auth_token(), "n3")] {
        assert_too_many(&report(&app, token, name, "N").await, "3000");
    }
    // It costs nobody anything: not the session, nor the devices that are known, nor another user, nor another app.
    assert_eq!((app.devices().await, app.sessions().await), before);
    assert!(app.verifies(&token).await);
    assert_eq!(report(&app, &token, "n2", "T4").await.status, 200);
    let mut body = new_session();
    body["sub"] = "b".into();
    let stranger = app.sign_with(body).await.auth_token();
    assert_eq!(report(&app, &stranger, "n3", "S1").await.status, 200);
    let elsewhere = other.sign().await.auth_token();
    assert_eq!(report(&other, &elsewhere, "n3", "S1").await.status, 200);
    // What everybody may tell of is counted apart, so that strangers do not keep out who is signed in; a device that an
    // event has told of is not new.
    let event = app.event("T5", None);
    assert_eq!(app.mobile().post("/events", event).await.status, 200);
    assert_eq!(report(&app, &token, "n5", "T5").await.status, 200);
    // An hour ends.
    let renewed = app.renew(&session.refresh_token()).await;
    server.advance(3000);
    let answer = report(&app, &renewed.auth_token(), "n3", "N").await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
}
