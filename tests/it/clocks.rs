//! A clock that is wrong removes nothing, and leaves nothing behind that a right one would trip over.

use std::sync::atomic::{AtomicI64, Ordering};

use ambient::Clock;
use entity::{Timestamp, app, audit_event, lease, session, setting, signing_key, time::Span};
use renewd::{
    config::Secrets,
    jobs::{self, Lease},
    start,
};
use sea_orm::{ConnectionTrait, EntityTrait};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{START_MILLIS, TestApp, TestServer};

const DAY: i64 = 86_400;

/// Every run of a job that a server makes in its first seconds; gives what they removed.
async fn run_jobs(server: &TestServer) -> Option<u64> {
    let never = CancellationToken::new();
    let purged = jobs::purge::run(&server.app, &never).await.unwrap();
    jobs::rotate::run(&server.app, &never).await.unwrap();
    purged
}

/// What the jobs remove or change.
#[derive(Debug, PartialEq)]
struct Content {
    sessions: Vec<session::Model>,
    keys: Vec<signing_key::Model>,
    events: Vec<audit_event::Model>,
    leases: Vec<lease::Model>,
    apps: Vec<app::Model>,
}

async fn content(server: &TestServer) -> Content {
    let db = &server.app.store.reader;
    Content {
        sessions: session::Entity::find().all(db).await.unwrap(),
        keys: signing_key::Entity::find().all(db).await.unwrap(),
        events: audit_event::Entity::find().all(db).await.unwrap(),
        leases: lease::list(db).await.unwrap(),
        apps: app::Entity::find().all(db).await.unwrap(),
    }
}

/// Another process on the store, whose clock is off by so many seconds from when the first one started.
async fn start_off(server: &TestServer, seconds: i64) -> TestServer {
    let data = server.app.config.data_dir.clone();
    let dir = tempfile::tempdir().unwrap();
    let at = START_MILLIS + seconds * 1000;
    TestServer::start_at(at, dir, |config| config.data_dir = data).await
}

async fn is_believed(server: &TestServer) -> bool {
    let shown = jobs::clock::look(&server.app).await.unwrap();
    let believed = shown.is_some();
    let stats = server.root().get("/root/stats").await;
    assert_eq!(stats.body["clock_believed"], believed);
    let line = format!("renewd_clock_disbelieved {}", u8::from(!believed));
    let metrics = server.app.metrics.exposition();
    assert!(metrics.lines().any(|one| one == line), "{line}");
    believed
}

/// A store with a session whose tokens a retired key signed.
async fn busy(server: &TestServer) -> (TestApp, String) {
    let app = server.app_with(json!({"refresh_expire": 14 * DAY})).await;
    let token = app.sign().await.refresh_token();
    server.advance(DAY - 361);
    run_jobs(server).await;
    server.advance(361);
    run_jobs(server).await;
    assert_eq!(content(server).await.keys.len(), 2);
    (app, token)
}

/// Ahead by years or days, or behind: eight seconds of it change nothing, and the session lives.
#[tokio::test]
async fn a_start_with_a_wrong_clock_removes_nothing() {
    for days in [500, 20, 3, -3, -500] {
        let server = TestServer::start().await;
        let (app, token) = busy(&server).await;
        assert!(is_believed(&server).await);
        let before = content(&server).await;
        let wrong = start_off(&server, (days + 1) * DAY).await;
        for _ in 0..8 {
            assert_eq!(run_jobs(&wrong).await, Some(0), "{days}");
            assert!(!is_believed(&wrong).await, "{days}");
            wrong.advance(1);
        }
        assert_eq!(content(&server).await, before, "{days}");
        // The right ones go on, one that starts now included.
        let next = start_off(&server, DAY + 60).await;
        for right in [&server, &next] {
            assert!(is_believed(right).await, "{days}");
        }
        let renewed = next.known_app(&app).renew(&token).await;
        assert_eq!(renewed.status, 200, "{days}: {}", renewed.raw);
        server.advance(14 * DAY);
        run_jobs(&server).await;
        assert_eq!(content(&server).await.leases.len(), 2, "{days}");
    }
}

/// A store of an earlier release has no note of the time, but traces of it.
#[tokio::test]
async fn a_store_of_an_earlier_release_knows_the_time_by_its_traces() {
    let server = TestServer::start().await;
    busy(&server).await;
    let forget = "DELETE FROM setting WHERE name LIKE 'clock%'";
    server
        .app
        .store
        .writer
        .execute_unprepared(forget)
        .await
        .unwrap();
    let before = content(&server).await;
    let wrong = start_off(&server, 500 * DAY).await;
    assert_eq!(run_jobs(&wrong).await, Some(0));
    // What it leaves in the audit does not speak for it.
    wrong.app().await;
    let again = start_off(&server, 500 * DAY).await;
    assert_eq!(run_jobs(&again).await, Some(0));
    assert_eq!(content(&server).await.sessions, before.sessions);
    let known = setting::clock(&server.app.store.reader).await.unwrap();
    assert_eq!(
        known.newest,
        Some(Timestamp::from_millis(START_MILLIS + DAY * 1000))
    );
    assert!(is_believed(&server).await);
}

/// A clock that is set while the server runs: by more than a day it is no longer believed, until it is set right.
#[tokio::test]
async fn a_clock_that_is_set_meanwhile_removes_nothing() {
    let server = TestServer::start().await;
    busy(&server).await;
    let before = content(&server).await;
    for days in [2, 500, -2] {
        server.set_clock(days * DAY);
        assert_eq!(run_jobs(&server).await, Some(0));
        assert!(!is_believed(&server).await);
        assert_eq!(content(&server).await, before);
        server.set_clock(-days * DAY);
        assert!(is_believed(&server).await);
    }
    // By less, it removes nothing that is needed: neither the session nor the key that signed it.
    server.set_clock(DAY - 60);
    run_jobs(&server).await;
    let after = content(&server).await;
    assert_eq!((after.sessions, after.keys.len()), (before.sessions, 3));
}

/// A server that was off for a month is believed when it has run for a day, over however many starts; and a clock that was
/// wrong when the store was made is set right in the same way.
#[tokio::test]
async fn a_clock_is_believed_by_which_servers_have_run_for_a_day() {
    for days in [30, -30] {
        let server = TestServer::start().await;
        let app = server.app().await;
        app.sign().await;
        let mut now = days * DAY;
        // Three days of eight hours.
        for _ in 0..3 {
            let server = start_off(&server, now).await;
            for _ in 0..8 {
                assert!(!is_believed(&server).await, "{days}: {now}");
                server.advance(3600);
                now += 3600;
            }
            jobs::clock::look(&server.app).await.unwrap();
            now += 16 * 3600;
        }
        let server = start_off(&server, now).await;
        assert!(is_believed(&server).await, "{days}");
        let known = setting::clock(&server.app.store.reader).await.unwrap();
        assert_eq!(known.claim, None);
        run_jobs(&server).await;
        let left = content(&server).await.sessions.len();
        assert_eq!(left, usize::from(days < 0), "{days}");
    }
}

/// Time that passes between two looks is no time in which the clock was right, if it was set in between.
#[tokio::test]
async fn a_clock_that_is_set_again_and_again_is_not_believed() {
    let server = TestServer::start().await;
    let wrong = start_off(&server, 100 * DAY).await;
    for _ in 0..40 {
        wrong.advance(3600);
        wrong.set_clock(2 * DAY);
        assert!(!is_believed(&wrong).await);
    }
}

/// A lease that was let go of is free, whatever the clock showed; and so is one that ends later than any could.
#[tokio::test]
async fn a_lease_of_a_wrong_clock_is_free() {
    let server = TestServer::start().await;
    let ahead = start_off(&server, 500 * DAY).await;
    let lease = Lease::take(&ahead.app, "purge").await.unwrap().unwrap();
    lease.release(&Ok(0)).await.unwrap();
    let lease = Lease::take(&server.app, "purge").await.unwrap().unwrap();
    // Held now.
    let other = server.second_process().await;
    assert!(Lease::take(&other.app, "purge").await.unwrap().is_none());
    lease.release(&Ok(0)).await.unwrap();

    // Killed while it held it.
    Lease::take(&ahead.app, "purge").await.unwrap().unwrap();
    let stats = server.root().get("/root/stats").await;
    assert_eq!(stats.body["jobs"][0]["held_by"], json!(null));
    assert!(Lease::take(&server.app, "purge").await.unwrap().is_some());
    // By a clock that differs as clocks do, it is held.
    let (db, now) = (&server.app.store.writer, server.app.clock.now());
    let until = now + Span::seconds(60);
    let (one, two) = (ahead.app.node, server.app.node);
    assert!(lease::take(db, "rotate", one, now, until).await.unwrap());
    assert!(!lease::take(db, "rotate", two, now, until).await.unwrap());
}

/// A policy that is changed by a wrong clock does not keep the next signing key waiting.
#[tokio::test]
async fn keys_are_rotated_in_time_after_a_wrong_clock() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let wrong = start_off(&server, 500 * DAY).await;
    let path = format!("/root/{}", app.id);
    let answer = wrong.root().patch(&path, json!({"name": "shop"})).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    run_jobs(&wrong).await;
    run_jobs(&server).await;
    server.advance(DAY - 361);
    run_jobs(&server).await;
    assert_eq!(content(&server).await.keys.len(), 2);
}

/// A clock may be set at any moment of a run, above all while an attempt is made anew because the store did not answer: what
/// was looked at before is what counts.
#[tokio::test]
async fn a_clock_that_jumps_within_a_run_removes_nothing() {
    for moment in 1..=16 {
        let server = TestServer::start().await;
        let policy = json!({"refresh_expire": 14 * DAY});
        let app = server.app_with(policy).await;
        let signed = app.sign().await;
        let path = format!("/root/{}/rotate/signing-key", app.id);
        let rotated = server.root().post(&path, json!({})).await;
        assert_eq!(rotated.status, 200, "{}", rotated.raw);
        server.advance(DAY);
        assert_eq!(run_jobs(&server).await, Some(0));
        server.advance(DAY);
        let before = content(&server).await;

        let (right, asked) = (server.app.clock.now(), AtomicI64::new(0));
        let now = move || {
            let is_set = asked.fetch_add(1, Ordering::SeqCst) >= moment;
            right + Span::seconds(if is_set { 600 * DAY } else { 0 })
        };
        let clock = Clock::from_fns(now, || Span::seconds(1));
        let (config, rng) = (server.app.config.clone(), server.app.rng.clone());
        let never = CancellationToken::new();
        let other = start::open(config, Secrets::default(), clock, rng).await;
        let other = other.unwrap().app;
        let _ = jobs::rotate::run(&other, &never).await;
        let _ = jobs::purge::run(&other, &never).await;
        other.close().await.unwrap();

        let after = content(&server).await;
        assert_eq!(after.sessions, before.sessions, "{moment}");
        let is_kept = |key: &signing_key::Model| after.keys.iter().any(|kept| kept.id == key.id);
        assert!(before.keys.iter().all(is_kept), "{moment}");
        let renewed = app.renew(&signed.refresh_token()).await;
        assert_eq!(renewed.status, 200, "{moment}: {}", renewed.raw);
    }
}
