//! The jobs: one process at a time, in batches, and seen from outside.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use ambient::{Clock, Rng};
use entity::{NodeId, SessionId, audit_event, lease, session, signing_key, time::Span};
use rand::{SeedableRng, rngs::ChaCha12Rng};
use renewd::{
    config::Secrets,
    error::Error,
    jobs::{self, Lease, purge, rotate},
    signing, start,
};
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait, Statement};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{TestApp, TestServer, engine};

const DAY: i64 = 86_400;
/// For how long a key is published before it signs.
const LEAD: i64 = 361;
/// For how long a process that died keeps a lease.
const TERM: i64 = 30;

fn never() -> CancellationToken {
    CancellationToken::new()
}

async fn purge(server: &TestServer) -> Option<u64> {
    purge::run(&server.app, &never()).await.unwrap()
}

async fn rotate(server: &TestServer) -> Option<u64> {
    rotate::run(&server.app, &never()).await.unwrap()
}

async fn sessions(server: &TestServer) -> u64 {
    let all = session::Entity::find();
    all.count(&server.app.store.reader).await.unwrap()
}

async fn signing_keys(server: &TestServer) -> u64 {
    let all = signing_key::Entity::find();
    all.count(&server.app.store.reader).await.unwrap()
}

/// Makes that many sessions that are due to be purged.
async fn expired_sessions(server: &TestServer, app: &TestApp, count: u64) {
    let id: SessionId = app.sign().await.text("session_id").parse().unwrap();
    let (reader, writer) = (&server.app.store.reader, &server.app.store.writer);
    let found = session::Entity::find_by_id(id).one(reader).await.unwrap();
    let (row, mut rng) = (found.unwrap(), ChaCha12Rng::seed_from_u64(1));
    let rows = (1..count).map(|_| {
        let id = SessionId::mint(row.issued_at, &mut rng);
        session::Model { id, ..row.clone() }.into_active_model()
    });
    let insert = session::Entity::insert_many(rows);
    insert.exec_without_returning(writer).await.unwrap();
    assert_eq!(sessions(server).await, count);
    server.advance(2 * DAY);
    // The store has seen the time pass: a process that starts now finds that its clock fits.
    assert!(jobs::clock::look(&server.app).await.unwrap().is_some());
}

/// The lease of a job.
async fn lease_of(server: &TestServer, name: &str) -> lease::Model {
    let found = lease::Entity::find_by_id(name);
    found.one(&server.app.store.reader).await.unwrap().unwrap()
}

/// Gives the lease to a process that is not there, which may be done once the one before let it run out.
async fn take_over(server: &TestServer, name: &str) -> NodeId {
    let (node, now) = (NodeId::EXAMPLE, server.app.clock.now());
    let until = now + Span::seconds(TERM);
    let db = &server.app.store.writer;
    assert!(lease::take(db, name, node, now, until).await.unwrap());
    node
}

/// While one process has a job, no other runs it; and not for ever, should that one have died.
#[tokio::test]
async fn a_job_is_run_by_one_process_at_a_time() {
    let server = TestServer::start().await;
    let app = server.app().await;
    expired_sessions(&server, &app, 3).await;
    let other = server.second_process().await;
    other.advance(2 * DAY);
    for name in ["purge", "rotate"] {
        assert!(Lease::take(&server.app, name).await.unwrap().is_some());
        assert!(Lease::take(&other.app, name).await.unwrap().is_none());
    }
    other.advance(TERM - 1);
    assert_eq!(purge(&other).await, None);
    assert_eq!(rotate(&other).await, None);
    assert_eq!(
        (sessions(&server).await, signing_keys(&server).await),
        (3, 1)
    );
    other.advance(1);
    assert_eq!(purge(&other).await, Some(3));
    assert_eq!(rotate(&other).await, Some(1));
    assert_eq!(
        (sessions(&server).await, signing_keys(&server).await),
        (0, 2)
    );
    // Let go of, it is anybody's.
    server.advance(TERM);
    assert_eq!(purge(&server).await, Some(0));
}

/// At once, all of the work is done, and none of it twice.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_work_of_one() {
    let server = TestServer::start().await;
    let app = server.app().await;
    expired_sessions(&server, &app, 1100).await;
    let other = server.second_process().await;
    other.advance(2 * DAY);
    let (one, two) = tokio::join!(purge(&server), purge(&other));
    assert_eq!(one.unwrap_or(0) + two.unwrap_or(0), 1100, "{one:?} {two:?}");
    assert_eq!(sessions(&server).await, 0);
}

/// Whoever slept past its term changes nothing any more, and writes nothing over what its successor notes.
#[tokio::test]
async fn a_lost_lease_ends_the_work() {
    let server = TestServer::start().await;
    let app = server.app().await;
    server.advance(2 * DAY);
    let lease = Lease::take(&server.app, "rotate").await.unwrap().unwrap();
    server.advance(TERM);
    let node = take_over(&server, "rotate").await;
    let held = lease_of(&server, "rotate").await;
    assert_eq!(held.holder, Some(node));
    let fence = async |db: &store::Transaction| lease.hold(db).await;
    let id = app.id.parse().unwrap();
    let result = signing::advance(&server.app, id, server.app.clock.now(), fence).await;
    assert!(matches!(result, Err(Error::LeaseLost)), "{result:?}");
    assert_eq!(signing_keys(&server).await, 1);
    lease.release(&Ok(7)).await.unwrap();
    assert_eq!(lease_of(&server, "rotate").await, held);
}

/// The same in the middle of a run: the batch that was done stays done, the next one is not begun.
#[tokio::test]
async fn a_lease_that_is_lost_between_two_batches_ends_the_run() {
    let server = TestServer::start().await;
    let app = server.app().await;
    expired_sessions(&server, &app, 1100).await;
    let node = NodeId::EXAMPLE;
    let until = server.app.clock.now() + Span::seconds(TERM);
    let (when, takes_over) = (
        "CREATE TRIGGER takes_over AFTER DELETE ON session",
        format!(
            "UPDATE lease SET holder = '{node}', expires_at = {}",
            until.as_millis()
        ),
    );
    let function = format!(
        "CREATE FUNCTION takes_over() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {takes_over}; RETURN OLD; END $$"
    );
    let statements = [
        [
            &format!("{when} BEGIN {takes_over}; END"),
            function.as_str(),
            &format!("{when} FOR EACH ROW {takes_over}"),
        ],
        [
            "",
            &format!("{when} FOR EACH ROW EXECUTE FUNCTION takes_over()"),
            "",
        ],
    ];
    engine::run(&server.app.store.writer, &statements).await;
    let result = purge::run(&server.app, &never()).await;
    assert!(matches!(result, Err(Error::LeaseLost)), "{result:?}");
    assert_eq!(sessions(&server).await, 600);
    let held = lease_of(&server, "purge").await;
    let expected = lease::Model {
        name: "purge".to_owned(),
        holder: Some(node),
        expires_at: until,
        last_run_at: None,
        last_rows: None,
        last_error: None,
    };
    assert_eq!(held, expected);
}

/// How the jobs did is seen by whoever watches the server, without anything that only the log should have.
#[tokio::test]
async fn the_last_run_is_shown() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let stats = async || {
        let answer = server.root().get("/root/stats").await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        let mut body = answer.body;
        assert_eq!(body["version"].take(), env!("CARGO_PKG_VERSION"));
        assert_eq!(body["node"].take(), server.app.node.to_string());
        assert_eq!(body["clock_believed"], true);
        assert_eq!(body.as_object().unwrap().len(), 4);
        body["jobs"].take()
    };
    let job = |name, at, rows, error: Option<&str>, by: Option<NodeId>| {
        let last = json!({"last_run_at": at, "last_rows": rows, "last_error": error});
        let mut job = json!({"name": name, "held_by": by});
        let members = job.as_object_mut().unwrap();
        members.extend(last.as_object().unwrap().clone());
        job
    };
    assert_eq!(stats().await, json!([]));
    expired_sessions(&server, &app, 3).await;
    purge(&server).await;
    rotate(&server).await;
    let first = "2025-02-26T19:57:29.25Z";
    let rotated = job("rotate", first, 1, None, None);
    assert_eq!(
        stats().await,
        json!([job("purge", first, 3, None, None), rotated])
    );

    app.sign().await;
    server.advance(2 * DAY);
    let writer = &server.app.store.writer;
    engine::poison(writer, "BEFORE DELETE", "session", "the cause").await;
    let result = purge::run(&server.app, &never()).await;
    assert!(matches!(result, Err(Error::Internal(_))), "{result:?}");
    let second = "2025-02-28T19:57:29.25Z";
    let failed = job("purge", second, 3, Some("internal error"), None);
    assert_eq!(stats().await, json!([failed, rotated]));

    engine::cure(writer, "session").await;
    let lease = Lease::take(&server.app, "purge").await.unwrap().unwrap();
    let held = job(
        "purge",
        second,
        3,
        Some("internal error"),
        Some(server.app.node),
    );
    assert_eq!(stats().await, json!([held, rotated]));
    lease.release(&Ok(0)).await.unwrap();
    assert_eq!(purge(&server).await, Some(1), "not lost by the failure");
    assert_eq!(
        stats().await,
        json!([job("purge", second, 1, None, None), rotated])
    );
    // A process that died holds it no longer than its term.
    take_over(&server, "purge").await;
    assert_eq!(stats().await[0]["held_by"], NodeId::EXAMPLE.to_string());
    server.advance(TERM);
    assert_eq!(stats().await[0]["held_by"], Value::Null);
}

/// Renewals wait for one batch at most, whatever the number of rows.
#[tokio::test]
async fn sessions_are_purged_in_batches() {
    let server = TestServer::start().await;
    let app = server.app().await;
    expired_sessions(&server, &app, 1100).await;
    let live = app.sign().await;
    // Each batch sees to the lease first.
    let statements = [
        [
            "CREATE TABLE batch (id INTEGER PRIMARY KEY, removed BIGINT)",
            "CREATE TABLE batch (id BIGSERIAL PRIMARY KEY, removed BIGINT)",
            "CREATE TABLE batch (id BIGINT AUTO_INCREMENT PRIMARY KEY, removed BIGINT)",
        ],
        [
            "CREATE TRIGGER begins AFTER UPDATE ON lease BEGIN INSERT INTO batch (removed) VALUES (0); END",
            "CREATE FUNCTION begins() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO batch (removed) VALUES (0); RETURN NEW; END'",
            "CREATE TRIGGER begins AFTER UPDATE ON lease FOR EACH ROW INSERT INTO batch (removed) VALUES (0)",
        ],
        [
            "CREATE TRIGGER removes AFTER DELETE ON session BEGIN UPDATE batch SET removed = removed + 1 \
             WHERE id = (SELECT max(id) FROM batch); END",
            "CREATE FUNCTION removes() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN UPDATE batch SET removed = removed + 1 WHERE id = (SELECT max(id) FROM batch); RETURN OLD; END'",
            "CREATE TRIGGER removes AFTER DELETE ON session FOR EACH ROW UPDATE batch SET removed = removed + 1 \
             ORDER BY id DESC LIMIT 1",
        ],
        [
            "",
            "CREATE TRIGGER begins AFTER UPDATE ON lease FOR EACH ROW EXECUTE FUNCTION begins()",
            "",
        ],
        [
            "",
            "CREATE TRIGGER removes AFTER DELETE ON session FOR EACH ROW EXECUTE FUNCTION removes()",
            "",
        ],
    ];
    engine::run(&server.app.store.writer, &statements).await;
    assert_eq!(purge(&server).await, Some(1100));
    let sql = "SELECT removed FROM batch WHERE removed > 0 ORDER BY id";
    let statement = Statement::from_string(engine::backend(), sql);
    let rows = server
        .app
        .store
        .reader
        .query_all_raw(statement)
        .await
        .unwrap();
    let removed: Vec<i64> = rows
        .iter()
        .map(|row| row.try_get("", "removed").unwrap())
        .collect();
    assert_eq!(removed, [500, 500, 100]);
    assert_eq!(app.renew(&live.refresh_token()).await.status, 200);
}

/// A server that is told to stop does so before the next batch, and keeps what it did.
#[tokio::test]
async fn a_run_ends_before_the_next_batch() {
    let mut removed = Vec::new();
    // Told at one point of the run after the other: each time that it asks for the time.
    for moment in 1..=7 {
        let server = TestServer::start().await;
        let app = server.app().await;
        expired_sessions(&server, &app, 1100).await;
        let (stop, left) = (never(), Arc::new(AtomicUsize::new(usize::MAX)));
        let (told, count, now) = (stop.clone(), left.clone(), server.app.clock.now());
        let clock = Clock::from_fn(move || {
            if count.fetch_sub(1, Ordering::SeqCst) == 1 {
                told.cancel();
            }
            now
        });
        let rng = Rng::new(ChaCha12Rng::seed_from_u64(8));
        let config = server.app.config.clone();
        let opened = start::open(config, Secrets::default(), clock, rng).await;
        let app = opened.unwrap().app;
        left.store(moment, Ordering::SeqCst);
        let rows = purge::run(&app, &stop).await.unwrap().unwrap();
        assert_eq!(sessions(&server).await, 1100 - rows);
        assert_eq!(
            lease_of(&server, "purge").await.last_rows,
            i64::try_from(rows).ok()
        );
        removed.push(rows);
    }
    assert!(removed.is_sorted(), "{removed:?}");
    for rows in [0, 500, 1000, 1100] {
        assert!(removed.contains(&rows), "{removed:?}");
    }
}

/// Neither is an app looked at after that.
#[tokio::test]
async fn a_stopped_server_rotates_nothing() {
    let server = TestServer::start().await;
    server.app().await;
    server.advance(DAY);
    let stop = never();
    stop.cancel();
    let looked_at = rotate::run(&server.app, &stop).await.unwrap();
    assert_eq!((looked_at, signing_keys(&server).await), (Some(0), 1));
    assert_eq!(rotate(&server).await, Some(1));
    assert_eq!(signing_keys(&server).await, 2);
}

/// Events of the audit are kept for `audit_retention_days`, to the millisecond.
#[tokio::test]
async fn old_events_are_purged() {
    let server = TestServer::start().await;
    server.app().await;
    let reader = &server.app.store.reader;
    let events = async || audit_event::Entity::find().all(reader).await.unwrap();
    server.advance(400 * DAY);
    let kept = server.app().await;
    assert_eq!(purge(&server).await, Some(0));
    assert_eq!(events().await.len(), 3);
    server.advance(1);
    assert_eq!(purge(&server).await, Some(2));
    let left = events().await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].target, Some(kept.id));
}

/// What the server does by itself stands in the audit beside what people do.
#[tokio::test]
async fn the_life_of_a_key_is_recorded() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let reader = &server.app.store.reader;
    // What the job does now.
    let done = async || {
        rotate(&server).await;
        let (all, now) = (
            audit_event::Entity::find().all(reader).await.unwrap(),
            server.app.clock.now(),
        );
        let mut done = Vec::new();
        for event in all.into_iter().filter(|event| event.at == now) {
            assert_eq!(
                (&*event.actor, event.request_id, event.ip),
                ("job", None, None)
            );
            assert_eq!(event.app_id, app.id.parse().ok());
            done.push((event.action, event.target.unwrap()));
        }
        done.sort();
        done
    };
    let event = |action: &str, target: &str| (action.to_owned(), target.to_owned());
    let one = app.sign().await.text("key_id");
    server.advance(DAY - LEAD);
    let published = done().await;
    let (_, two) = &published[0];
    assert_eq!(published, [event("signing_key.publish", two)]);
    assert_ne!(*two, one);
    server.advance(LEAD);
    let expected = [
        event("signing_key.activate", two),
        event("signing_key.retire", &one),
    ];
    assert_eq!(done().await, expected);
    assert_eq!(app.sign().await.text("key_id"), *two);
    server.advance(1 + 7200 + 60);
    assert_eq!(done().await, []);
    server.advance(DAY - 1);
    assert!(!done().await.contains(&event("signing_key.remove", &one)));
    server.advance(1);
    assert!(done().await.contains(&event("signing_key.remove", &one)));
}
