//! A backend registers devices.

use serde_json::{Value, json};

use super::{
    DEVICE, assert_gone, assert_refreshed, at, count, create, create_with, refresh, registration,
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
