//! A backend registers devices.

use serde_json::{Value, json};

use super::{
    DEVICE, assert_gone, assert_refreshed, at, count, create, create_with, device_id, refresh,
    registration,
};
use crate::support::TestServer;

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

/// Whatever ends a device ends its registration.
#[tokio::test]
async fn a_registration_ends_with_its_device() {
    let server = TestServer::start().await;
    let app = server.app().await;
    for end in ["revoke", "delete"] {
        let first = create(&app, DEVICE).await;
        let second = assert_refreshed(&refresh(&server, &first).await, 201, Value::Null);
        let path = app.path(&format!("devices/{}", device_id(&app).await));
        let ended = match end {
            "delete" => app.backend().delete(&path).await,
            _ => {
                app.backend()
                    .post(&format!("{path}/revoke"), Value::Null)
                    .await
            }
        };
        assert_eq!(ended.status, 200, "{}", ended.raw);
        for token in [&first, &second] {
            assert_gone(&refresh(&server, token).await, "revoked");
        }
    }
    assert_eq!(count(&server).await, (0, 1));
    let token = create(&app, DEVICE).await;
    assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
    assert_eq!(count(&server).await, (1, 2));
}

/// A device that is registered is not forgotten, however long it is away; one whose registration has ended is.
#[tokio::test]
async fn a_registered_device_may_be_away_for_long() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = create(&app, DEVICE).await;
    let mut short = registration("short");
    short["expirationTime"] = json!(at(60));
    create_with(&app, short).await;
    let never = tokio_util::sync::CancellationToken::new();
    server.advance(271 * 86_400);
    renewd::jobs::purge::run(&server.app, &never).await.unwrap();
    assert_eq!(count(&server).await, (1, 1));
    assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
}

/// Two records turn out to be of one device: it goes on with the registration that there is.
#[tokio::test]
async fn a_registration_outlives_a_merge() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = create(&app, DEVICE).await;
    // It was known by its push token alone until it tells its name, by way of an app that is signed in.
    let mut event = json!({
        "tenant_id": app.id, "api_key": app.publishable_key, "event_name": "open",
        "event_time": at(0), "device_token": "T1", "platform": "android",
        "push_permission_granted": true, "timezone": "Europe/Berlin", "language": "en",
        "country": "DE", "session_id": "s",
    });
    let seen = server.anon().post("/events", event.clone()).await;
    assert_eq!(seen.status, 200, "{}", seen.raw);
    assert_eq!(count(&server).await, (2, 1));
    let auth = format!("Bearer {}", app.sign().await.auth_token());
    let told = server
        .anon()
        .with_header("authorization", &auth)
        .with_header("referer", "https://app.example.com")
        .send_json(
            poem::http::Method::PUT,
            "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.RefreshTokenApi/service",
            json!({"fcm_token": "T1", "device_id": DEVICE}),
        )
        .await;
    assert_eq!(told.status, 200, "{}", told.raw);
    assert_eq!(count(&server).await, (1, 1));
    let token = assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);

    // The older record goes, which is the one that was registered.
    server.advance(60);
    event["device_token"] = json!("T2");
    event["app_user_id"] = json!("test@test.com");
    let seen = server.anon().post("/events", event).await;
    assert_eq!(seen.status, 200, "{}", seen.raw);
    let swap = json!({
        "tenant_id": app.id, "api_key": app.publishable_key, "old_token": "T1", "new_token": "T2",
        "app_user_id": "test@test.com",
    });
    let before = device_id(&app).await;
    let swapped = server.anon().post("/devices/refresh-token", swap).await;
    assert_eq!(swapped.body, json!({"success": true}));
    assert_ne!(device_id(&app).await, before);
    assert_eq!(count(&server).await, (1, 1));
    assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
}
