//! A database that goes silent: nothing is refused or reset, answers just do not come.

use std::time::{Duration, Instant};

use ambient::{Clock, Rng};
use entity::Timestamp;
use rand::{SeedableRng, rngs::ChaCha12Rng};
use renewd::{
    config::{Config, Secrets},
    start,
};
use sea_orm::DbBackend;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{Answer, Silencer, TestServer, engine, new_session};

/// What a request may wait for the store.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What comes on top of it, on a machine with much to do.
const MORE: Duration = Duration::from_millis(700);

/// A server whose database can fall silent; none on the embedded store, which has no connection.
async fn start() -> Option<(TestServer, Silencer)> {
    if engine::backend() == DbBackend::Sqlite {
        return None;
    }
    let mut silencer = None;
    let server = TestServer::start_with(|config| {
        let before = Silencer::before(&engine::database_url(&config.data_dir));
        config.database_url = before.url.clone();
        config.database_timeout_ms = 5000;
        config.database_statement_timeout_ms = 4000;
        silencer = Some(before);
    });
    Some((server.await, silencer.unwrap()))
}

async fn timed(request: impl Future<Output = Answer>) -> (Answer, Duration) {
    let began = Instant::now();
    let answer = request.await;
    (answer, began.elapsed())
}

/// Every request is answered in its time, again and again; and as soon as the database answers, everything works as if
/// nothing had been: no connection that hangs keeps its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_database_is_an_outage_in_time_and_no_longer_than_it_lasts() {
    let Some((server, silencer)) = start().await else {
        return;
    };
    let app = server.app().await;
    let mut token = app.sign().await.refresh_token();
    for round in 0..3 {
        silencer.fall_silent();
        let (anon, root) = (server.anon(), server.root());
        let (backend, path) = (app.backend(), app.path("sign"));
        let (ready, health, renewal, sign, list) = tokio::join!(
            timed(anon.get("/readyz")),
            timed(anon.get("/health")),
            timed(app.renew(&token)),
            timed(backend.post(&path, new_session())),
            timed(root.get("/root/list")),
        );
        for (what, (answer, took), limit) in [
            ("readyz", ready, Duration::from_secs(1)),
            ("health", health, Duration::from_secs(1)),
            ("renew", renewal, TIMEOUT),
            ("sign", sign, TIMEOUT),
            ("list", list, TIMEOUT),
        ] {
            assert_eq!(
                answer.status, 503,
                "{what} in round {round}: {}",
                answer.raw
            );
            assert!(took < limit + MORE, "{what} in round {round}: {took:?}");
        }

        silencer.speak_again();
        let began = Instant::now();
        token = loop {
            let answer = app.renew(&token).await;
            if answer.status == 200 {
                break answer.refresh_token();
            }
            assert_eq!(answer.status, 503, "round {round}: {}", answer.raw);
        };
        let took = began.elapsed();
        // What was asked in the silence is given up first: the look at the epochs after a second, the renewals after a quarter
        // of their time.
        let limit = Duration::from_secs(1) + TIMEOUT / 4 + MORE;
        assert!(took < limit, "round {round}: {took:?}");
        app.sign().await;
        assert_eq!(server.anon().get("/readyz").await.status, 200);
    }
    app.logout(json!({"sub": "test@test.com"})).await;
}

/// What is in memory of apps and keys, the root keys among them, is believed for two seconds, on every engine. The public keys
/// alone are told after that, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_memory_is_not_believed_for_long() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let (keys, set) = (app.path("pub-keys"), app.path(".well-known/jwks.json"));
    let jwks = server.anon().get(&set).await;
    assert_eq!(jwks.status, 200);
    server
        .app
        .directory
        .freshen(&server.app.store)
        .await
        .unwrap();
    let since = Instant::now();
    server.app.store.watching.close().await.unwrap();
    let answer = app.backend().get(&keys).await;
    // On a machine with much to do the two seconds may be over by now.
    let is_late = since.elapsed() > Duration::from_secs(1);
    assert!(answer.status == 200 || is_late, "{}", answer.raw);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for answer in [
        app.backend().get(&keys).await,
        app.backend().post(&app.path("sign"), new_session()).await,
        server.root().get("/root/list").await,
    ] {
        assert_eq!(answer.status, 503, "{}", answer.raw);
        assert!(answer.headers.contains_key("retry-after"));
    }
    let known = server.anon().get(&set).await;
    assert_eq!((known.status, &known.body), (200, &jwks.body));
    assert_eq!(known.headers["cache-control"], "public, max-age=5");
}

/// A key that was revoked at another node is taken for two seconds at most by one that cannot ask; the public keys alone are
/// told as they were, and verifiers are to ask again soon.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_ask_what_has_changed_takes_no_key() {
    let Some((server, silencer)) = start().await else {
        return;
    };
    let other = server.second_process().await;
    let app = server.app().await;
    let (keys, set) = (app.path("pub-keys"), app.path(".well-known/jwks.json"));
    let listed = app.backend().get(&keys).await;
    assert_eq!(listed.status, 200, "{}", listed.raw);
    let jwks = server.anon().get(&set).await;
    assert_eq!(jwks.headers["cache-control"], "public, max-age=300");

    silencer.fall_silent();
    let all = format!("/root/{}/keys", app.id);
    let list = other.root().get(&all).await;
    for key in list.body["keys"].as_array().unwrap() {
        let path = format!("{all}/{}", key["id"].as_str().unwrap());
        let revoked = other.root().delete(&path).await;
        assert_eq!(revoked.status, 200, "{}", revoked.raw);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (answer, took) = timed(app.backend().get(&keys)).await;
    assert_eq!(answer.status, 503, "{}", answer.raw);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(took < TIMEOUT + MORE, "{took:?}");
    let (known, took) = timed(server.anon().get(&set)).await;
    assert_eq!((known.status, &known.body), (200, &jwks.body));
    assert_eq!(known.headers["cache-control"], "public, max-age=5");
    assert!(took < Duration::from_secs(1) + MORE, "{took:?}");

    silencer.speak_again();
    let answer = app.backend().get(&keys).await;
    assert_eq!(answer.status, 403, "{}", answer.raw);
}

/// The server ends, whatever hangs.
#[tokio::test(flavor = "multi_thread")]
async fn closing_does_not_wait_for_a_silent_database() {
    let Some((server, silencer)) = start().await else {
        return;
    };
    let app = server.app().await;
    let token = app.sign().await.refresh_token();
    silencer.fall_silent();
    let renewing = tokio::spawn(async move { app.renew(&token).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    // Whether it could be closed properly does not matter.
    let _ = server.app.close().await;
    assert!(began.elapsed() < TIMEOUT + MORE, "{:?}", began.elapsed());
    assert_eq!(renewing.await.unwrap().status, 503);
}

/// What takes connections and says nothing is no database: a start ends, as every command does.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_wait_for_a_silent_database() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taking = tokio::spawn(async move {
        let mut taken = Vec::new();
        loop {
            taken.push(listener.accept().await.unwrap());
        }
    });
    for scheme in ["postgres", "mysql"] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::load(None, Default::default()).unwrap();
        config.data_dir = dir.path().join("data");
        config.database_url = format!("{scheme}://renewd:renewd@{address}/renewd");
        config.database_timeout_ms = 2000;
        let clock = Clock::from_fn(|| Timestamp::from_seconds(1_740_427_049));
        let rng = Rng::new(ChaCha12Rng::seed_from_u64(1));
        let began = Instant::now();
        let opened = start::open(config, Secrets::default(), clock, rng).await;
        assert!(opened.is_err(), "{scheme}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2) + MORE, "{scheme}: {took:?}");
    }
    taking.abort();
}
