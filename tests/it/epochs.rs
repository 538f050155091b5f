//! What changes of one app are to the others: nothing; and to its own renewals: work, never a failure.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{TestApp, TestServer};

/// Clients that make keys of the app, revoke them, and change its policy, until they are told to stop, and count that.
fn change(
    server: &Arc<TestServer>,
    app: &TestApp,
    stop: &Arc<AtomicBool>,
    changes: &Arc<AtomicU64>,
) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let (server, id, stop) = (server.clone(), app.id.clone(), stop.clone());
        let changes = changes.clone();
        clients.spawn(async move {
            let root = server.root();
            while !stop.load(Ordering::SeqCst) {
                let answer = match client {
                    0..6 => {
                        let key = json!({"kind": "secret", "name": "k"});
                        let path = format!("/root/{id}/keys");
                        let made = root.post(&path, key).await;
                        assert_eq!(made.status, 200, "{}", made.raw);
                        root.delete(&format!("{path}/{}", made.text("id"))).await
                    }
                    _ => {
                        let changed = json!({"description": "changed"});
                        root.patch(&format!("/root/{id}"), changed).await
                    }
                };
                assert_eq!(answer.status, 200, "{}", answer.raw);
                changes.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    clients
}

/// Renews at 16 clients, each time with the token of the time before; every one must be let through.
async fn renew(app: &TestApp, rounds: usize) {
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        let app = app.clone();
        clients.spawn(async move {
            let body = json!({
                "sub": "a", "aud": "b", "ip": "1.1.1.1", "useragent": "c",
            });
            let mut token = app.sign_with(body).await.refresh_token();
            for round in 0..rounds {
                let body = json!({"refresh_token": token});
                let path = app.path("renew");
                let answer = app.front_end().post(&path, body).await;
                assert_eq!(answer.status, 200, "round {round}: {}", answer.raw);
                token = answer.refresh_token();
            }
        });
    }
    clients.join_all().await;
}

fn prepared_anew(server: &TestServer) -> u64 {
    let text = server.app.metrics.exposition();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("renewd_renewals_prepared_anew_total "));
    line.unwrap().parse().unwrap()
}

/// While one app is changed without an end, no renewal of another is decided twice, let alone refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_app_disturbs_no_other() {
    let server = Arc::new(TestServer::start().await);
    let (busy, quiet) = (server.app().await, server.app().await);
    quiet.sign().await;
    let stop = Arc::new(AtomicBool::new(false));
    let changes = Arc::new(AtomicU64::new(0));
    let clients = change(&server, &busy, &stop, &changes);
    // For as long as it takes until many changes lie between.
    while changes.load(Ordering::SeqCst) <= 16 {
        renew(&quiet, 10).await;
    }
    stop.store(true, Ordering::SeqCst);
    clients.join_all().await;
    assert_eq!(prepared_anew(&server), 0);
}

/// Its own renewals are prepared anew as often as it takes, and so is what else is done by its keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_app_renews() {
    let server = Arc::new(TestServer::start().await);
    let app = server.app().await;
    let stop = Arc::new(AtomicBool::new(false));
    let signed = app.sign().await;
    let session = app.path(&format!("sessions/{}", signed.text("session_id")));
    let clients = change(&server, &app, &stop, &Arc::default());
    renew(&app, 10).await;
    for round in 0..10 {
        let changes = json!({"personal": {"round": round}});
        let amended = app.backend().patch(&session, changes).await;
        assert_eq!(amended.status, 200, "round {round}: {}", amended.raw);
    }
    stop.store(true, Ordering::SeqCst);
    clients.join_all().await;
    assert!(prepared_anew(&server) > 0);
}

/// A process drops of what it has in memory what another one changed, and nothing else.
#[tokio::test]
async fn what_was_not_changed_stays_in_memory() {
    let server = TestServer::start().await;
    let other = server.second_process().await;
    let (changed, deleted, kept) = (server.app().await, server.app().await, server.app().await);
    let directory = &server.app.directory;
    let follow = async || directory.follow(&server.app.store).await.unwrap();
    let known = |app: &TestApp| directory.known(app.id.parse().unwrap());
    follow().await;
    for app in [&changed, &deleted, &kept] {
        app.sign().await;
    }
    follow().await;
    let before = [&changed, &deleted, &kept].map(known);
    assert!(before.iter().all(Option::is_some));
    let root = other.root();
    let path = format!("/root/{}/flush", changed.id);
    assert_eq!(root.delete(&path).await.status, 200);
    let path = format!("/root/{}", deleted.id);
    assert_eq!(root.delete(&path).await.status, 200);
    follow().await;
    let after = [&changed, &deleted, &kept].map(known);
    assert!(after[0].is_none() && after[1].is_none());
    let (before, after) = (before[2].as_ref().unwrap(), after[2].as_ref().unwrap());
    assert!(Arc::ptr_eq(before, after), "it was not read again");

    // What concerns the server as a whole drops all.
    let path = "/root/rotate";
    assert_eq!(root.post(path, json!({"overlap": 60})).await.status, 200);
    follow().await;
    assert!(known(&kept).is_none());
}

/// A copy that was read before a change is not kept after it, whoever reads it and whenever it is done.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_old_is_kept() {
    let server = Arc::new(TestServer::start().await);
    let app = server.app().await;
    let id = app.id.parse().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let loads = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let (server, stop, loads) = (server.clone(), stop.clone(), loads.clone());
        readers.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                server.app.load(id).await.unwrap().unwrap();
                loads.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        });
    }
    let path = format!("/root/{}", app.id);
    for round in 0..100 {
        let changes = json!({"description": format!("round {round}")});
        let changed = server.root().patch(&path, changes).await;
        assert_eq!(changed.status, 200, "{}", changed.raw);
        let loaded = server.app.load(id).await.unwrap().unwrap();
        assert_eq!(loaded.app.description, format!("round {round}"));
    }
    stop.store(true, Ordering::SeqCst);
    readers.join_all().await;
    assert!(loads.load(Ordering::SeqCst) > 0);
}

/// Processes of the release before know one epoch alone: it moves when an app was changed here, beside the changes; and what they
/// count there is taken for a change of anything.
#[tokio::test]
async fn the_release_before_follows_and_is_followed() {
    use entity::setting;
    let server = TestServer::start().await;
    let app = server.app().await;
    let (directory, store) = (&server.app.directory, &server.app.store);
    let follow = async || directory.follow(store).await.unwrap();
    follow().await;
    let before = setting::epoch(&store.reader).await.unwrap();
    app.sign().await;
    let path = format!("/root/{}/flush", app.id);
    assert_eq!(server.root().delete(&path).await.status, 200);
    app.sign().await;
    follow().await;
    let after = setting::epoch(&store.reader).await.unwrap();
    assert_eq!(after, before + 1);
    let id = app.id.parse().unwrap();
    assert!(directory.known(id).is_some(), "our own is no news to us");
    follow().await;
    assert_eq!(setting::epoch(&store.reader).await.unwrap(), after);

    setting::advance_epoch(&store.writer).await.unwrap();
    follow().await;
    assert!(directory.known(id).is_none());
}
