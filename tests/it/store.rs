//! The store: what it keeps, what it never keeps, and what happens when it fails.

use std::{fs, os::unix::fs::PermissionsExt};

use entity::{session, signing_key};
use migration::{Migrator, MigratorTrait};
use renewd::jobs::purge;
use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, PaginatorTrait, QueryFilter, QueryTrait, Statement,
    TransactionTrait, entity::prelude::*,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{ROOT_KEY, TestServer, decode, embedded, engine};

/// A commit that fails hands out nothing and uses up nothing.
#[tokio::test]
async fn nothing_is_answered_before_the_commit() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    engine::poison_commit(&server.app.store.writer).await;

    for _ in 0..3 {
        let failed = app.renew(&first.refresh_token()).await;
        failed.assert_problem(500, "internal");
        assert!(!failed.raw.contains("FOREIGN"), "{}", failed.raw);
    }
    assert_eq!(app.sessions().await[0]["renewals"], 0);

    engine::cure(&server.app.store.writer, "session").await;
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.status, 200, "{}", second.raw);
}

/// A store that does not answer in time is a 503, and nobody is logged out by it.
#[tokio::test]
async fn a_store_that_is_locked_delays_and_loses_nothing() {
    let server = TestServer::start_with(|config| config.database_timeout_ms = 400).await;
    let app = server.app().await;
    let first = app.sign().await;

    let other = sea_orm::Database::connect(server.app.config.database_url())
        .await
        .unwrap();
    let lock = other.begin_with_options(sea_orm::TransactionOptions {
        sqlite_transaction_mode: Some(sea_orm::SqliteTransactionMode::Immediate),
        // Where it locks the gaps, too, in which new rows would lie.
        isolation_level: (engine::backend() == DbBackend::MySql)
            .then_some(sea_orm::IsolationLevel::RepeatableRead),
        ..Default::default()
    });
    let lock = lock.await.unwrap();
    let all = engine::sql(
        "SELECT 1",
        "LOCK TABLE session IN EXCLUSIVE MODE",
        "SELECT * FROM session FOR UPDATE",
    );
    lock.execute_unprepared(all).await.unwrap();
    app.renew(&first.refresh_token())
        .await
        .assert_problem(503, "unavailable");
    app.logout(json!({"sub": "test@test.com"}))
        .await
        .assert_problem(503, "unavailable");
    let body = crate::support::new_session();
    let signed = app.backend().post(&app.path("sign"), body).await;
    signed.assert_problem(503, "unavailable");
    // Reading goes on.
    assert!(app.verifies(&first.auth_token()).await);

    lock.rollback().await.unwrap();
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.status, 200, "{}", second.raw);
}

/// What is on disk opens no session and signs no token.
#[tokio::test]
async fn no_token_and_no_key_is_on_disk_in_clear() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let second = app.renew(&first.refresh_token()).await;
    let create = format!("/workspaces/{}/devices/registration-tokens/create", app.id);
    let device = json!({"deviceId": "a", "allowOnBehalfOfRegistration": false});
    let registered = app.backend().post(&create, device).await;
    let key_id = second.text("key_id");
    let mut bytes = content(&server.app.store.reader).await;
    for entry in fs::read_dir(server.dir.path().join("data")).unwrap() {
        bytes.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    // What stands there, so that the search is seen to work.
    assert!(contains(key_id.as_bytes()));
    assert!(contains(b"test@test.com"));

    for secret in [
        first.refresh_token(),
        first.auth_token(),
        second.refresh_token(),
        second.auth_token(),
        registered.text("registrationToken"),
        app.secret_key.clone(),
        app.publishable_key.clone(),
        ROOT_KEY.to_owned(),
    ] {
        let tail = &secret[secret.len() - 20..];
        assert!(!contains(tail.as_bytes()), "{tail}");
    }
    // What every private key on P-256 begins with: id-ecPublicKey and prime256v1.
    let oids = [
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
        0x3d, 0x03, 0x01, 0x07,
    ];
    assert!(!contains(&oids));
}

/// The names of the tables.
async fn tables(db: &impl ConnectionTrait) -> Vec<String> {
    let sql = engine::sql(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = current_schema()",
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()",
    );
    let statement = Statement::from_string(engine::backend(), sql);
    let rows = db.query_all_raw(statement).await.unwrap();
    let names = rows.iter().map(|row| row.try_get("", "name").unwrap());
    names.collect()
}

/// All that stands in the tables, one value after the other.
async fn content(db: &impl ConnectionTrait) -> Vec<u8> {
    let mut content = Vec::new();
    for table in tables(db).await {
        let all = Statement::from_string(engine::backend(), format!("SELECT * FROM {table}"));
        for row in db.query_all_raw(all).await.unwrap() {
            for column in row.column_names() {
                let text = row.try_get::<Option<String>>("", &column);
                let bytes = || row.try_get::<Option<Vec<u8>>>("", &column);
                let value = text
                    .map(|text| text.map(String::into_bytes))
                    .or_else(|_| bytes());
                content.extend(value.ok().flatten().unwrap_or_default());
            }
        }
    }
    content
}

/// Every look-up on the way of a request goes by an index.
#[tokio::test]
async fn no_request_scans_the_sessions() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let session: entity::SessionId = app.sign().await.text("session_id").parse().unwrap();
    let id = app.id.parse().unwrap();
    let now = server.app.clock.now();
    let by_id = session::Entity::find().filter(session::Column::Id.is_in([session, session]));
    let by_subject = session::renewable_of(id, "test@test.com", 0, [], now);
    let by_end = session::Entity::find().filter(session::Column::PurgeAt.lte(now));
    let device = entity::DeviceId::EXAMPLE;
    let by_device = session::Entity::find().filter(session::Column::DeviceId.eq(device));
    let primary = engine::sql("sqlite_autoindex_session_1", "session_pkey", "PRIMARY");
    let db = engine::connect(&server.app.config.data_dir).await;
    // A table of one row is sooner read than its index.
    let insist = ["SELECT 1", "SET enable_seqscan = off", "SELECT 1"];
    engine::run(&db, &[insist]).await;
    for (query, index) in [
        (by_id, primary),
        (by_subject, "ix_session_app_id_sub"),
        (by_end, "ix_session_purge_at"),
        (by_device, "ix_session_device_id"),
    ] {
        let mut statement = query.build(engine::backend());
        let explain = engine::sql("EXPLAIN QUERY PLAN", "EXPLAIN", "EXPLAIN");
        statement.sql = format!("{explain} {}", statement.sql);
        let plan = db.query_all_raw(statement).await.unwrap();
        let column = engine::sql("detail", "QUERY PLAN", "key");
        let rows = plan
            .iter()
            .map(|row| row.try_get::<String>("", column).unwrap());
        let plan = rows.collect::<Vec<_>>().join("\n");
        let expected = engine::sql("USING INDEX {}", "{}", "{}").replace("{}", index);
        assert!(plan.contains(&expected), "{plan}");
    }
}

/// Listed while it can be renewed, whatever became of its auth token.
#[tokio::test]
async fn a_session_is_listed_while_it_can_be_renewed() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    server.advance(7199);
    let listed = app.sessions().await;
    assert_eq!(
        listed,
        [json!({
            "token_id": decode(&first.auth_token()).1["jid"],
            "key_id": first.body["key_id"],
            "auth_token_iat": 1_740_427_049,
            "auth_token_nbf": 1_740_427_049,
            "auth_token_exp": 1_740_430_649,
            "refresh_token_iat": 1_740_427_049,
            "refresh_token_nbf": 1_740_427_049,
            "refresh_token_exp": 1_740_434_249,
            "ip_address": "1.1.1.1",
            "user_agent": "my-user-agent",
            "session_id": first.body["session_id"],
            "created_at": "2025-02-24T19:57:29.25Z",
            "renewed_at": null,
            "renewals": 0,
            "device_id": null,
        })]
    );
    server.advance(1);
    assert!(app.sessions().await.is_empty());
}

/// Acknowledged renewals outlive the process, used tokens stay used, and keys keep working.
#[tokio::test]
async fn a_restart_loses_nothing() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"refresh_grace": 10})).await;
    let first = app.sign().await;
    let second = app.renew(&first.refresh_token()).await;
    let dir = server.stop().await;

    let server = TestServer::start_in(dir, |_| ()).await;
    let app = server.known_app(&app);
    // The window of the grace is in the store, too.
    let again = app.renew(&first.refresh_token()).await;
    assert_eq!(
        decode(&again.auth_token()).1,
        decode(&second.auth_token()).1
    );
    let third = app.renew(&second.refresh_token()).await;
    assert_eq!(third.status, 200, "{}", third.raw);
    assert_eq!(third.body["key_id"], first.body["key_id"]);
    app.renew(&first.refresh_token())
        .await
        .assert_refused("refresh_token_used");
}

/// Another process changed something: its followers see it with the next look at the epoch, and a session begins by
/// the new policy at once.
#[tokio::test]
async fn changes_of_another_process_are_followed() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let other = server.second_process().await;
    let shown = async || {
        let shown = app.backend().get(&format!("/app/{}", app.id)).await;
        shown.body["app"]["token_expiry"].clone()
    };
    server
        .app
        .directory
        .follow(&server.app.store)
        .await
        .unwrap();
    assert_eq!(shown().await, 3600);

    let body = json!({"token_expire": 60});
    let changed = other.root().patch(&format!("/root/{}", app.id), body).await;
    assert_eq!(changed.body, json!({"status": "ok"}));
    assert_eq!(shown().await, 3600);
    server
        .app
        .directory
        .follow(&server.app.store)
        .await
        .unwrap();
    assert_eq!(shown().await, 60);

    let body = json!({"token_expire": 120});
    other.root().patch(&format!("/root/{}", app.id), body).await;
    assert_eq!(app.sign().await.body["expires_in"], 120);

    other.root().delete(&format!("/root/{}", app.id)).await;
    assert_eq!(shown().await, 120);
    server
        .app
        .directory
        .follow(&server.app.store)
        .await
        .unwrap();
    app.renew("any").await.assert_problem(403, "invalid_key");
}

/// What ended is purged in its time, and what lives stays.
#[tokio::test]
async fn ended_sessions_and_deleted_apps_are_purged() {
    let server = TestServer::start().await;
    let (kept, deleted) = (server.app().await, server.app().await);
    let reader = &server.app.store.reader;
    let never = CancellationToken::new();
    for _ in 0..3 {
        deleted.sign().await;
        kept.sign().await;
    }
    server.root().delete(&format!("/root/{}", deleted.id)).await;
    assert_eq!(purge::run(&server.app, &never).await.unwrap(), Some(3));
    assert_eq!(session::Entity::find().count(reader).await.unwrap(), 3);
    assert_eq!(entity::app::Entity::find().count(reader).await.unwrap(), 1);
    assert_eq!(signing_key::Entity::find().count(reader).await.unwrap(), 1);

    // Two hours of life, then until the end of the next day.
    server.advance(100_950);
    assert_eq!(purge::run(&server.app, &never).await.unwrap(), Some(0));
    server.advance(1);
    let live = kept.sign().await;
    assert_eq!(purge::run(&server.app, &never).await.unwrap(), Some(3));
    assert_eq!(kept.renew(&live.refresh_token()).await.status, 200);
}

/// Only its owner reads the store and the master key; both and their folder are made.
#[tokio::test]
async fn files_are_private() {
    let start = TestServer::start_with(|config| {
        config.data_dir.push("deeper/still");
        embedded(config);
    });
    let server = start.await;
    server.app().await;
    let folder = server.dir.path().join("data/deeper/still");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(
        names,
        ["master.key", "renewd.db", "renewd.db-shm", "renewd.db-wal"]
    );
}

/// Durable, and with references that hold.
#[tokio::test]
async fn sqlite_is_set_up_for_durability() {
    let server = TestServer::start_embedded().await;
    for db in [&server.app.store.writer, &server.app.store.reader] {
        for (pragma, expected) in [
            ("synchronous", "2"),
            ("foreign_keys", "1"),
            ("journal_mode", "wal"),
        ] {
            let sql = format!("SELECT CAST({pragma} AS TEXT) AS value FROM pragma_{pragma}");
            let row = db
                .query_one_raw(Statement::from_string(DbBackend::Sqlite, sql))
                .await;
            let value: String = row.unwrap().unwrap().try_get("", "value").unwrap();
            assert_eq!(value, expected, "{pragma}");
        }
    }
}

/// Brings the tables of the store to this release. Where a migration is not one transaction, each is interrupted as late as
/// can be: all of its steps are taken, and none is known of.
async fn up_and_interrupted(db: &DatabaseConnection) {
    while let Some(next) = Migrator::get_pending_migrations(db).await.unwrap().first() {
        Migrator::up(db, Some(1)).await.unwrap();
        if engine::backend() == DbBackend::MySql {
            let name = next.name();
            let forget = format!("DELETE FROM seaql_migrations WHERE version = '{name}'");
            db.execute_unprepared(&forget).await.unwrap();
            Migrator::up(db, Some(1)).await.unwrap();
        }
    }
}

/// Each migration can be undone, and done again, also when it was interrupted.
#[tokio::test]
async fn migrations_go_down_and_up() {
    let server = TestServer::start().await;
    let db = &engine::connect(&server.app.config.data_dir).await;
    Migrator::down(db, None).await.unwrap();
    assert_eq!(tables(db).await, ["seaql_migrations"]);
    up_and_interrupted(db).await;
    let dir = server.stop().await;
    let server = TestServer::start_in(dir, |_| ()).await;
    server.app().await.sign().await;
}

/// The devices, registrations and sessions of the release before are brought along: what was registered is a subject of its
/// own, users keep their devices, and nobody is signed out.
#[tokio::test]
async fn devices_of_the_release_before_are_brought_along() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let long = "x".repeat(255);
    let [fresh, used, ended, named, lost, wordy] =
        ["1", "2", "3", "4", "5", "6"].map(|last| format!("01JMWRJEJ71191KP88NDGWVYE{last}"));
    let create = format!("/workspaces/{}/devices/registration-tokens/create", app.id);
    let body = json!({"deviceId": "tank", "allowOnBehalfOfRegistration": false});
    let registered = app
        .backend()
        .post(&create, body)
        .await
        .text("registrationToken");
    let own = app.devices().await[0]["device_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = app.path("devices/session");
    let begin = async |token: &str| {
        let body = json!({"registration_token": token});
        app.mobile().post(&path, body).await
    };
    let first = begin(&registered).await;
    let mut of_user = crate::support::new_session();
    of_user["device_id"] = own.clone().into();
    let of_user = app.sign_with(of_user).await;

    // As it was before.
    let db = &engine::connect(&server.app.config.data_dir).await;
    let migrations = Migrator::migrations();
    let name = "m20261125_000008_device_subjects";
    let at = migrations
        .iter()
        .position(|migration| migration.name() == name);
    let steps = u32::try_from(migrations.len() - at.unwrap()).unwrap();
    Migrator::down(db, Some(steps)).await.unwrap();
    let mut statements =
        vec!["UPDATE session SET sub = 'tank' WHERE sub = 'device:tank'".to_owned()];
    for (id, client_id, sub) in [
        (&fresh, "sensor", "NULL"),
        (&used, "gate", "'carol'"),
        (&ended, "door", "'dave'"),
        (&named, "phone", "'alice'"),
        (&lost, "old", "NULL"),
        (&wordy, long.as_str(), "NULL"),
    ] {
        statements.push(format!(
            "INSERT INTO device (id, app_id, client_id, sub, first_seen_at, last_seen_at) \
             VALUES ('{id}', '{}', '{client_id}', {sub}, 1, 1)",
            app.id
        ));
    }
    for (id, revoked_at) in [
        (&fresh, "NULL"),
        (&used, "NULL"),
        (&ended, "1"),
        (&wordy, "NULL"),
    ] {
        statements.push(format!(
            "INSERT INTO registration_token (id, app_id, device_id, current_hash, generation, flush_count, began_at, \
             issued_at, allow_on_behalf_of_registration, window_started_at, window_count, revoked_at) \
             SELECT '{id}', app_id, '{id}', current_hash, generation, flush_count, began_at, issued_at, \
             allow_on_behalf_of_registration, window_started_at, window_count, {revoked_at} \
             FROM registration_token WHERE device_id = '{own}'"
        ));
    }
    for statement in statements {
        db.execute_unprepared(&statement).await.unwrap();
    }
    up_and_interrupted(db).await;

    let dir = server.stop().await;
    let server = TestServer::start_in(dir, |_| ()).await;
    let app = server.known_app(&app);
    let mut found = Vec::new();
    for device in app.devices().await {
        found.push((device["device_id"].clone(), device["sub"].clone()));
    }
    let mut expected = vec![
        (json!(own), json!("device:tank")),
        (json!(wordy), json!(format!("device:{wordy}"))),
        (json!(lost), json!("device:old")),
        (json!(named), json!("alice")),
        (json!(ended), json!("dave")),
        (json!(used), json!("device:gate")),
        (json!(fresh), json!("device:sensor")),
    ];
    found.sort_by_key(|(id, _)| id.to_string());
    expected.sort_by_key(|(id, _)| id.to_string());
    assert_eq!(found, expected);
    let rows = entity::registration_token::Entity::find();
    let mut subjects: Vec<_> = rows.all(&server.app.store.reader).await.unwrap();
    subjects.sort_by_key(|row| row.device_id);
    let subjects: Vec<_> = subjects.into_iter().map(|row| row.sub.unwrap()).collect();
    let mut all = [
        "device:tank".to_owned(),
        "device:sensor".to_owned(),
        "device:gate".to_owned(),
        "device:door".to_owned(),
        format!("device:{wordy}"),
    ];
    let mut found = subjects;
    all.sort();
    found.sort();
    assert_eq!(found, all);

    // Everybody goes on, the device as itself.
    for (session, sub) in [(&first, "device:tank"), (&of_user, "test@test.com")] {
        let renewed = app.renew(&session.refresh_token()).await;
        assert_eq!(renewed.status, 200, "{}", renewed.raw);
        assert_eq!(decode(&renewed.auth_token()).1["sub"], sub);
    }
    let body = json!({"registrationToken": registered});
    let path = "/devices/registration-tokens/refresh";
    let refreshed = app
        .mobile()
        .send_json(poem::http::Method::PUT, path, body)
        .await;
    assert_eq!(refreshed.status, 201, "{}", refreshed.raw);
    let path = app.path("devices/session");
    let body = json!({"registration_token": refreshed.text("registrationToken")});
    let begun = app.mobile().post(&path, body).await;
    assert_eq!(decode(&begun.auth_token()).1["sub"], "device:tank");
    // Its backend makes it anew, and meets the same device.
    let body = json!({"deviceId": "tank", "allowOnBehalfOfRegistration": false});
    assert_eq!(app.backend().post(&create, body).await.status, 200);
    assert_eq!(app.devices().await.len(), 7);
}
