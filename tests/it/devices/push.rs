//! Push tokens: dropped, sealed, found, and gone in their time.

use entity::{AppId, DeviceId, Timestamp, device, session::TokenMac};
use rand::SeedableRng;
use renewd::{audit::Actor, jobs::purge, rekey};
use sea_orm::{
    ConnectionTrait, EntityTrait, ExprTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
    QueryTrait, entity::prelude::*,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::sign_on;
use crate::support::{TestServer, engine};

/// What `push_binding` is for: whoever removed the app is signed out on that device.
#[tokio::test]
async fn tokens_that_are_unregistered_are_dropped() {
    let server = TestServer::start().await;
    for (binding, ended) in [(false, 0), (true, 1)] {
        let app = server.app_with(json!({"push_binding": binding})).await;
        let other = server.app().await;
        other.tell("T1", Some("a")).await;
        let id = app.tell("T1", Some("test@test.com")).await;
        app.tell("T2", Some("test@test.com")).await;
        let (on, off) = (sign_on(&app, &id).await, app.sign().await);
        let path = app.path("push-feedback");
        let body = json!({"unregistered": ["T1", "unknown", "T1"]});
        for (dropped, ended) in [(1, ended), (0, 0)] {
            let answer = app.backend().post(&path, body.clone()).await;
            assert_eq!(
                answer.body,
                json!({"status": "ok", "dropped": dropped, "revoked": ended})
            );
        }
        assert_eq!(app.push_tokens("test@test.com").await, ["T2"]);
        assert_eq!(other.push_tokens("a").await, ["T1"]);
        let renewed = app.renew(&on.refresh_token()).await;
        assert_eq!(renewed.status, if binding { 400 } else { 200 });
        assert_eq!(app.renew(&off.refresh_token()).await.status, 200);
        // One that was swapped meanwhile is not the device's any more.
        app.swap("T2", "T3", None).await;
        let body = json!({"unregistered": ["T2"]});
        let answer = app.backend().post(&path, body).await;
        assert_eq!(answer.body["dropped"], 0);
        for (body, field) in [
            (json!({"unregistered": "T1"}), "unregistered"),
            (json!({"unregistered": vec!["a"; 501]}), "unregistered"),
            (json!({"unregistered": [5]}), "unregistered[0]"),
            (json!({}), "unregistered"),
        ] {
            let answer = app.backend().post(&path, body).await;
            answer.assert_invalid(&[field]);
        }
    }
}

/// The store has no push token that can be read or guessed, and another master key opens what there is.
#[tokio::test]
async fn push_tokens_are_sealed_and_outlive_a_new_master_key() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = "a-token-that-is-nowhere-in-clear";
    let id = app.tell(token, Some("a")).await;
    let stored = async || {
        let rows = device::Entity::find().all(&server.app.store.reader);
        rows.await.unwrap().remove(0)
    };
    let before = stored().await;
    let sealed = before.push_token.clone().unwrap();
    assert!(
        !sealed
            .windows(7)
            .any(|window| window == &token.as_bytes()[..7])
    );
    assert!(!format!("{before:?}").contains("a-token"));

    rekey::rekey(&server.app, &Actor::cli()).await.unwrap();
    let after = stored().await;
    assert_ne!(after.push_token, before.push_token);
    assert!(after.push_token_mac != before.push_token_mac);
    assert_eq!(app.push_tokens("a").await, [token]);
    assert_eq!(app.tell(token, None).await, id);
    assert_eq!(app.swap(token, "T2", None).await.status, 200);
    // A server that has the new key only finds and opens them, too.
    let dir = server.stop().await;
    let server = TestServer::start_in(dir, |_| ()).await;
    let app = server.known_app(&app);
    assert_eq!(app.push_tokens("a").await, ["T2"]);
    assert_eq!(app.tell("T2", None).await, id);
    // One that is damaged keeps no other from being found.
    app.tell("T3", Some("a")).await;
    let mut row = device::Entity::find_by_id(id.parse::<DeviceId>().unwrap())
        .one(&server.app.store.reader)
        .await
        .unwrap()
        .unwrap();
    row.push_token = Some(vec![1, 2, 3]);
    entity::replace(&server.app.store.writer, row)
        .await
        .unwrap();
    assert_eq!(app.push_tokens("a").await, ["T3"]);
    rekey::rekey(&server.app, &Actor::cli()).await.unwrap();
    assert_eq!(app.push_tokens("a").await, ["T3"]);
}

/// FCM's own rule: a token that was not used for 270 days is dead. A device goes with it, unless somebody is signed in on it.
#[tokio::test]
async fn devices_that_nobody_saw_for_long_are_purged() {
    const DAY: i64 = 86_400;
    let server = TestServer::start().await;
    let (app, deleted) = (
        server
            .app_with(json!({"refresh_expire": 300 * DAY, "token_expire": 3600}))
            .await,
        server.app().await,
    );
    let never = CancellationToken::new();
    let run = async || purge::run(&server.app, &never).await.unwrap();
    let stale = app.tell("T1", Some("a")).await;
    let (used, ended) = (
        app.tell("T2", Some("a")).await,
        app.tell("T3", Some("a")).await,
    );
    sign_on(&app, &used).await;
    sign_on(&app, &ended).await;
    app.logout(
        json!({"sub": "test@test.com", "except_session_id": app.sessions().await[1]["session_id"]}),
    )
    .await;
    for index in 0..3 {
        deleted.tell(&format!("T{index}"), None).await;
    }
    server.root().delete(&format!("/root/{}", deleted.id)).await;
    assert_eq!(run().await, Some(3));

    server.advance(100 * DAY);
    let seen = app.tell("T4", Some("a")).await;
    server.advance(170 * DAY);
    assert_eq!(run().await, Some(0));
    server.advance(1);
    // Two devices, and the token of the one that is in use.
    assert_eq!(run().await, Some(3));
    let left = app.devices().await;
    let ids: Vec<_> = left.iter().map(|device| &device["device_id"]).collect();
    assert_eq!(ids, [&*seen, &*used], "{stale} {ended}");
    assert_eq!(left[1]["push_token_at"], Value::Null);
    let devices = device::Entity::find();
    assert_eq!(devices.count(&server.app.store.reader).await.unwrap(), 2);
    assert_eq!(run().await, Some(0));
}

/// Every look-up of a device on the way of a request goes by an index.
#[tokio::test]
async fn no_request_scans_the_devices() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let id: AppId = app.id.parse().unwrap();
    let mac = |index: u8| TokenMac::new([index; 16]);
    let rows = (0..=255).map(|index| {
        let millis = 1_740_427_049_000 + i64::from(index);
        let now = Timestamp::from_millis(millis);
        let mut draw = rand::rngs::ChaCha12Rng::seed_from_u64(u64::from(index));
        device::Model {
            client_id: Some(format!("name {index}")),
            sub: Some(format!("user {}", index % 16)),
            push_token_mac: Some(mac(index)),
            push_parent_mac: Some(mac(!index)),
            ..device::Model::new(DeviceId::mint(now, &mut draw), id, now)
        }
        .into_active_model()
    });
    let writer = &server.app.store.writer;
    let insert = device::Entity::insert_many(rows);
    insert.exec_without_returning(writer).await.unwrap();
    let db = engine::connect(&server.app.config.data_dir).await;
    let insist = ["SELECT 1", "SET enable_seqscan = off", "SELECT 1"];
    let learn = ["ANALYZE", "ANALYZE device", "ANALYZE TABLE device"];
    engine::run(&db, &[insist, learn]).await;

    let of_app = || device::of(id, None);
    let tokens = device::Column::PushTokenMac.is_in([mac(1), mac(2)]);
    let parents = device::Column::PushParentMac.is_in([mac(1), mac(2)]);
    let now = Timestamp::from_millis(1_740_427_049_002);
    for (query, index) in [
        (of_app().filter(tokens), "ux_device_push_token"),
        (of_app().filter(parents), "ix_device_push_parent"),
        (
            of_app()
                .filter(device::Column::ClientId.eq("name 7"))
                .filter(device::Column::Sub.eq("user 7")),
            "ux_device_client_id_sub",
        ),
        // As a registered device is looked for.
        (
            of_app()
                .filter(device::Column::ClientId.eq("name 7"))
                .filter(
                    device::Column::Sub
                        .eq("user 7")
                        .or(device::Column::Sub.is_null()),
                ),
            "ux_device_client_id_sub",
        ),
        (device::of(id, Some("user 7")), "ix_device_sub"),
        (
            device::Entity::find().filter(device::Column::LastSeenAt.lt(now)),
            "ix_device_last_seen_at",
        ),
    ] {
        let mut statement = query.build(engine::backend());
        let explain = engine::sql("EXPLAIN QUERY PLAN", "EXPLAIN", "EXPLAIN");
        statement.sql = format!("{explain} {}", statement.sql);
        let plan = db.query_all_raw(statement).await.unwrap();
        let column = engine::sql("detail", "QUERY PLAN", "key");
        let lines = plan
            .iter()
            .map(|row| row.try_get::<String>("", column).unwrap());
        let plan = lines.collect::<Vec<_>>().join("\n");
        assert!(plan.contains(index), "{index}: {plan}");
    }
}
