//! A backend registers devices.

use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel};
use serde_json::{Value, json};

use super::{
    DEVICE, SUBJECT, assert_gone, assert_refreshed, at, count, create, create_with, device_id,
    refresh, registration,
};
use crate::support::{TestServer, decode};

/// A device that is registered again has one token family: the new one.
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

/// A process of the release before, which runs beside this one for a while, gives no subject to what it registers.
#[tokio::test]
async fn what_the_release_before_registered_is_the_same_device() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = create(&app, DEVICE).await;
    let id = device_id(&app).await;
    let db = &server.app.store.writer;
    let mut row = entity::device::Entity::find()
        .one(db)
        .await
        .unwrap()
        .unwrap();
    row.sub = None;
    entity::replace(db, row).await.unwrap();
    let family = entity::registration_token::Entity::find().one(db).await;
    let mut family = family.unwrap().unwrap();
    (family.sub, family.claims, family.audiences) = (None, None, None);
    let family = family.into_active_model().reset_all();
    family.update(db).await.unwrap();

    let path = app.path("devices/session");
    let begun = app
        .mobile()
        .post(&path, json!({"registration_token": token}))
        .await;
    let (_, claims) = decode(&begun.auth_token());
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!(SUBJECT), &json!(app.id))
    );
    // Its backend registers it anew.
    create(&app, DEVICE).await;
    assert_eq!(device_id(&app).await, id);
    let shown = app.backend().get(&app.path(&format!("devices/{id}"))).await;
    assert_eq!(shown.body["sub"], SUBJECT);
    assert_gone(&refresh(&server, &token).await, "invalid");
}
