//! Many servers on one store: the same promises as one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ambient::{Clock, Rng};
use renewd::{
    app::App,
    config::{Config, Secrets},
    start::{self, StartError},
};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    blackbox::Process,
    support::{Answer, ROOT_KEY, TestApp, TestServer, engine, new_app, new_session},
};

/// Across servers: many present one token to all of them at once, and one wins.
#[tokio::test(flavor = "multi_thread")]
async fn of_all_servers_one_lets_a_token_win() {
    let servers = servers(3).await;
    for round in 0..10 {
        let grace = if round % 2 == 0 { 0 } else { 10 };
        let app = servers[0].app_with(json!({"refresh_grace": grace})).await;
        let first = app.sign().await;
        let answers = at_all(&servers, &app, &first.refresh_token(), 8).await;
        let won: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .collect();
        if grace == 0 {
            assert_eq!(won.len(), 1);
            for answer in answers.iter().filter(|answer| answer.status != 200) {
                answer.assert_refused("refresh_token_used");
            }
            let next = servers[1].known_app(&app);
            let next = next.renew(&won[0].refresh_token()).await;
            next.assert_refused("refresh_token_revoked");
        } else {
            assert_eq!(won.len(), answers.len());
            let jids = won.iter().map(|answer| jid(&answer.refresh_token()));
            assert_eq!(jids.collect::<std::collections::BTreeSet<_>>().len(), 1);
            let next = servers[2].known_app(&app);
            let next = next.renew(&won[0].refresh_token()).await;
            assert_eq!(next.status, 200);
        }
    }
}

/// An honest client whose requests go to one server after the other is never taken for a thief.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_walk_from_server_to_server() {
    let servers = servers(3).await;
    let app = servers[0].app().await;
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let nodes: Vec<TestApp> = servers
            .iter()
            .map(|server| server.known_app(&app))
            .collect();
        clients.spawn(async move {
            let mut token = nodes[client % 3].sign().await.refresh_token();
            for step in 0..60 {
                let answer = nodes[(client + step + 1) % 3].renew(&token).await;
                assert_eq!(answer.status, 200, "step {step}: {}", answer.raw);
                token = answer.refresh_token();
            }
        });
    }
    clients.join_all().await;
}

/// Across servers: signed out at one, at once signed out at all, for renewals and for verifications.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_is_seen_by_all_servers_at_once() {
    let servers = servers(3).await;
    for grace in [0, 10] {
        let app = servers[0].app_with(json!({"refresh_grace": grace})).await;
        let nodes: Vec<TestApp> = servers
            .iter()
            .map(|server| server.known_app(&app))
            .collect();
        for round in 0..20 {
            let first = nodes[round % 3].sign().await;
            let second = nodes[(round + 1) % 3].renew(&first.refresh_token()).await;
            let ended = nodes[(round + 2) % 3].logout(json!({"token": second.auth_token()}));
            assert_eq!(ended.await.body, json!({"status": "ok", "revoked": 1}));
            for node in &nodes {
                assert!(!node.verifies(&second.auth_token()).await);
                for token in [first.refresh_token(), second.refresh_token()] {
                    assert_eq!(node.renew(&token).await.status, 400);
                }
            }
        }
    }
}

/// However many begin at once, no more sessions of a subject are left than the app allows.
#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_sessions_holds_across_servers() {
    let servers = servers(2).await;
    let app = servers[0]
        .app_with(json!({"max_sessions_per_subject": 3}))
        .await;
    let mut signing = JoinSet::new();
    for index in 0..16 {
        let node = servers[index % 2].known_app(&app);
        signing.spawn(async move { node.sign().await });
    }
    assert_eq!(signing.join_all().await.len(), 16);
    assert_eq!(app.sessions().await.len(), 3);
    // Whoever signs in after that is in.
    for server in &servers {
        server.advance(1);
    }
    let last = app.sign().await;
    assert_eq!(app.renew(&last.refresh_token()).await.status, 200);
    assert_eq!(app.sessions().await.len(), 3);
}

/// Of two that change an app at once, neither undoes what the other one did.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_an_app_add_up() {
    let servers = servers(2).await;
    for round in 1..=8 {
        let app = servers[0].app().await;
        let path = format!("/root/{}", app.id);
        let (one, two) = (servers[0].root(), servers[1].root());
        let (one, two) = tokio::join!(
            one.patch(&path, json!({"token_expire": 60 * round})),
            two.patch(&path, json!({"description": format!("round {round}")})),
        );
        assert_eq!((one.status, two.status), (200, 200));
        let id = app.id.parse().unwrap();
        let row = entity::app::find(&servers[0].app.store.reader, id).await;
        let row = row.unwrap().unwrap();
        assert_eq!(row.token_expiry, 60 * round);
        assert_eq!(row.description, format!("round {round}"));
    }
}

/// A start may come when another process has made some of the tables: where each is made by itself, it makes the rest; elsewhere it
/// waits. It asks no table before all are there.
#[tokio::test]
async fn a_start_may_find_some_of_the_tables() {
    let server = TestServer::start().await;
    let db = engine::connect(&server.app.config.data_dir).await;
    let records = Statement::from_string(engine::backend(), "SELECT version FROM seaql_migrations");
    let records = db.query_all_raw(records).await.unwrap();
    let some = "ALTER TABLE setting RENAME TO setting_to_come";
    let all = "ALTER TABLE setting_to_come RENAME TO setting";
    engine::run(&db, &[["DELETE FROM seaql_migrations"; 3], [some; 3]]).await;

    let mut starting = Box::pin(server.second_process());
    let second = if engine::backend() == DbBackend::MySql {
        let second = starting.await;
        engine::run(&db, &[["DROP TABLE setting"; 3], [all; 3]]).await;
        second
    } else {
        let early = tokio::time::timeout(Duration::from_millis(500), &mut starting).await;
        assert!(early.is_err(), "it did not wait");
        engine::run(&db, &[[all; 3]]).await;
        for record in records {
            let version: String = record.try_get("", "version").unwrap();
            let record = format!("INSERT INTO seaql_migrations VALUES ('{version}', 0)");
            db.execute_unprepared(&record).await.unwrap();
        }
        starting.await
    };
    second.app().await.sign().await;
}

/// Servers that start at once on a fresh store agree on its tables, its root key and its master key.
#[tokio::test(flavor = "multi_thread")]
async fn servers_may_start_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut starting = JoinSet::new();
    for node in 0..4 {
        starting.spawn(start_at_once(dir.path().to_owned(), node, "the-same"));
    }
    let started: Vec<App> = starting
        .join_all()
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let roots = entity::app_key::list_root(&started[0].store.reader).await;
    assert_eq!(roots.unwrap().len(), 1);
    for app in started {
        app.close().await.unwrap();
    }

    // With master keys of their own one of them wins, and the others are told.
    let dir = tempfile::tempdir().unwrap();
    let mut starting = JoinSet::new();
    for (node, key) in ["one", "another", "a-third"].into_iter().enumerate() {
        starting.spawn(start_at_once(dir.path().to_owned(), node, key));
    }
    let (started, refused): (Vec<_>, Vec<_>) = starting
        .join_all()
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!((started.len(), refused.len()), (1, 2), "{refused:?}");
    for refusal in refused {
        let message = refusal.unwrap_err().to_string();
        assert!(message.contains("the master key is wrong"), "{message}");
    }
}

async fn start_at_once(
    dir: std::path::PathBuf,
    node: usize,
    master_key: &str,
) -> Result<App, StartError> {
    let mut config = Config::load(None, Default::default()).unwrap();
    config.data_dir = dir.join("data");
    config.database_url = engine::database_url(&config.data_dir);
    let seed = u64::try_from(node).unwrap() + 1000;
    let rng = Rng::new(<rand::rngs::ChaCha12Rng as rand::SeedableRng>::seed_from_u64(seed));
    let bytes = format!("{master_key:-<32}");
    let key = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
    let secrets = Secrets {
        master_key: Some(keys::MasterKey::from_base64(&key).unwrap()),
        root_key: Some(entity::PlainSecret::from_text(ROOT_KEY)),
        ..Secrets::default()
    };
    let opened = start::open(config, secrets, Clock::system(), rng).await?;
    Ok(opened.app)
}

/// While a cluster is upgraded, servers of this release go on, and start again, on a store that the next one has changed:
/// what it adds has defaults.
#[tokio::test]
async fn a_store_of_the_next_release_is_served() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let db = engine::connect(&server.app.config.data_dir).await;
    for sql in [
        "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000001_next', 0)",
        "ALTER TABLE session ADD COLUMN next_of_kin VARCHAR(20) NOT NULL DEFAULT 'none'",
        "ALTER TABLE app ADD COLUMN next_policy BIGINT",
    ] {
        db.execute_unprepared(sql).await.unwrap();
    }
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.status, 200, "{}", second.raw);
    assert_eq!(app.sign().await.status, 200);
    db.close().await.unwrap();
    let dir = server.stop().await;

    let server = TestServer::start_in(dir, |_| ()).await;
    let app = server.known_app(&app);
    assert_eq!(app.renew(&second.refresh_token()).await.status, 200);
    server.app().await.sign().await;
}

/// Two real processes: what changes at one is seen by the other within a second, and no renewal takes even that long.
#[test]
fn changes_are_seen_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (Process::start(dir.path()), Process::start(dir.path()));
    for change in [
        "app-key revoked",
        "signing key revoked",
        "app deleted",
        "flushed",
        "policy changed",
    ] {
        let (_, app) = here.post("/root/create", ROOT_KEY, &new_app());
        let text = |body: &Value, name: &str| body[name].as_str().unwrap().to_owned();
        let (id, key) = (text(&app, "app_id"), text(&app, "app_key"));
        let path = |verb: &str| format!("/app/{id}/{verb}");
        let (_, session) = here.post(&path("sign"), &key, &new_session());
        let token = json!({"token": session["auth_token"]});
        let verify = || there.post(&path("verify"), &key, &token);
        assert_eq!(verify().1["verified"], true, "{change}: known to both");

        let (status, _) = match change {
            "app-key revoked" => {
                let keys = here
                    .call("GET", &format!("/root/{id}/keys"), ROOT_KEY, None)
                    .1;
                let keys = keys["keys"].as_array().unwrap().clone();
                let secret = keys.iter().find(|key| key["kind"] == "secret").unwrap();
                let path = format!("/root/{id}/keys/{}", text(secret, "id"));
                here.call("DELETE", &path, ROOT_KEY, None)
            }
            "signing key revoked" => {
                let path = format!("/root/{id}/revoke/{}", text(&app, "key_id"));
                here.call("DELETE", &path, ROOT_KEY, None)
            }
            "app deleted" => here.call("DELETE", &format!("/root/{id}"), ROOT_KEY, None),
            "flushed" => here.call("DELETE", &format!("/root/{id}/flush"), ROOT_KEY, None),
            _ => {
                let changes = json!({"token_expire": 60});
                here.call("PATCH", &format!("/root/{id}"), ROOT_KEY, Some(&changes))
            }
        };
        assert_eq!(status, 200, "{change}");
        let changed = Instant::now();
        if change == "signing key revoked" || change == "flushed" {
            let body =
                json!({"refresh_token": session["refresh_token"], "ip": "::1", "useragent": "a"});
            let (status, refused) = there.post(&path("renew"), &key, &body);
            assert_eq!(
                (status, &refused["code"]),
                (400, &json!("refresh_token_revoked"))
            );
        }
        let is_seen = || match change {
            "policy changed" => {
                let shown = there.call("GET", &format!("/app/{id}"), &key, None).1;
                shown["app"]["token_expiry"] == 60
            }
            "app-key revoked" | "app deleted" => verify().0 == 403,
            _ => verify().1["verified"] == false,
        };
        while !is_seen() {
            assert!(changed.elapsed() < Duration::from_secs(1), "{change}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(changed.elapsed() < Duration::from_secs(1), "{change}");
    }
}

/// So many servers on one store, on a cluster each on another node.
async fn servers(count: usize) -> Vec<Arc<TestServer>> {
    let first = TestServer::start().await;
    let mut servers = Vec::new();
    for _ in 1..count {
        servers.push(Arc::new(first.second_process().await));
    }
    servers.insert(0, Arc::new(first));
    servers
}

async fn at_all(
    servers: &[Arc<TestServer>],
    app: &TestApp,
    token: &str,
    times: usize,
) -> Vec<Answer> {
    let start = Arc::new(tokio::sync::Barrier::new(servers.len() * times));
    let mut tasks = JoinSet::new();
    for server in servers {
        for _ in 0..times {
            let (node, token, start) = (server.known_app(app), token.to_owned(), start.clone());
            tasks.spawn(async move {
                start.wait().await;
                node.renew(&token).await
            });
        }
    }
    tasks.join_all().await
}

fn jid(token: &str) -> String {
    let (_, claims) = crate::support::decode(token);
    claims["jid"].as_str().unwrap().to_owned()
}
