//! The connections to a database server: how they are set up, and what becomes of a request when one is lost.

use std::{
    env,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use ambient::{Clock, Rng};
use renewd::{
    config::{Config, Secrets},
    start::{self, Opened, StartError},
};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::json;
use store::Tls;

use crate::support::{TestApp, TestServer, engine, new_session};

/// Durable, with a limit for each statement; and on the servers, guarded updates see what is true when they get the row.
#[tokio::test]
async fn they_are_set_up_for_what_is_promised() {
    let server = TestServer::start_with(|config| config.database_statement_timeout_ms = 3000).await;
    let store = &server.app.store;
    let expected: &[(&str, &str)] = match engine::backend() {
        DbBackend::Postgres => &[
            (
                "current_setting('default_transaction_isolation')",
                "read committed",
            ),
            ("current_setting('statement_timeout')", "3s"),
            ("current_setting('lock_timeout')", "3s"),
            ("current_setting('synchronous_commit')", "on"),
        ],
        DbBackend::MySql => &[
            ("@@tx_isolation", "READ-COMMITTED"),
            ("CAST(@@max_statement_time AS INT)", "3"),
            ("@@innodb_lock_wait_timeout", "3"),
            ("@@innodb_flush_log_at_trx_commit", "1"),
            // A cluster shows what any of its nodes has committed; elsewhere there is nothing to wait for.
            ("@@wsrep_sync_wait = IF(@@wsrep_on, 7, 0)", "1"),
            ("@@character_set_connection", "utf8mb4"),
        ],
        _ => &[("(SELECT timeout FROM pragma_busy_timeout)", "5000")],
    };
    for db in [&store.reader, &store.writer, &store.renewing] {
        for (expression, value) in expected {
            assert_eq!(&select(db, expression).await, value, "{expression}");
        }
    }
}

async fn select(db: &impl ConnectionTrait, expression: &str) -> String {
    let kind = engine::sql("TEXT", "TEXT", "CHAR");
    let sql = format!("SELECT CAST({expression} AS {kind}) AS value");
    let row = db.query_one_raw(Statement::from_string(engine::backend(), sql));
    row.await.unwrap().unwrap().try_get("", "value").unwrap()
}

/// A subject is the same when it is the same byte for byte, on every engine.
#[tokio::test]
async fn subjects_are_told_apart_byte_by_byte() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let subjects = ["user", "User", "user ", "üser", "u\u{308}ser", "用户🙂"];
    for subject in subjects {
        let mut body = new_session();
        body["sub"] = json!(subject);
        body["ip"] = json!("2001:db8:ffff:ffff:ffff:ffff:255.255.255.255");
        body["useragent"] = json!("🙂".repeat(1024));
        body["personal"] = json!({"name": "\u{0}\u{1F600}"});
        app.sign_with(body).await;
    }
    for subject in subjects {
        let found = app
            .backend()
            .post(&app.path("get-session"), json!({"sub": subject}))
            .await;
        let sessions = found.body["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 1, "{subject}");
        assert_eq!(sessions[0]["user_agent"], "🙂".repeat(1024));
        assert_eq!(
            sessions[0]["ip_address"],
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
        );
    }
    let ended = app.logout(json!({"sub": "user"})).await;
    assert_eq!(ended.body["revoked"], 1);
}

/// The server's certificate is checked when that is asked for: by an authority that did not sign it, it is refused.
#[tokio::test]
async fn tls_is_as_strict_as_it_was_told() {
    let Some(authority) = authority() else {
        return;
    };
    let is_encrypted = engine::sql(
        "1",
        "(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())",
        "(SELECT variable_value <> '' FROM information_schema.session_status \
         WHERE variable_name = 'Ssl_cipher')",
    );
    for (tls, file, expected) in [
        (Tls::Disable, PathBuf::new(), ["0", "false"]),
        (Tls::Require, PathBuf::new(), ["1", "true"]),
        (Tls::VerifyCa, authority.clone(), ["1", "true"]),
        (Tls::VerifyFull, authority.clone(), ["1", "true"]),
    ] {
        let server = TestServer::start_with(|config| {
            config.database_tls = tls;
            config.database_ca_file = file;
        });
        let server = server.await;
        let encrypted = select(&server.app.store.renewing, is_encrypted).await;
        assert!(
            expected.contains(&encrypted.as_str()),
            "{tls:?}: {encrypted}"
        );
        server.app().await.sign().await;
    }
    // The public authorities have not signed it.
    let message = open(Tls::VerifyFull, PathBuf::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(message.contains("certificate"), "{message}");
    let missing = open(Tls::VerifyFull, PathBuf::from("missing.pem")).await;
    let message = missing.unwrap_err().to_string();
    assert!(
        message.contains("missing.pem") || message.contains("No such file"),
        "{message}"
    );
}

/// The authority of the certificates of the engine under test; none for the embedded one, which has no connection.
fn authority() -> Option<PathBuf> {
    (engine::backend() != DbBackend::Sqlite)
        .then(|| PathBuf::from(env::var(engine::CA_FILE).unwrap()))
}

async fn open(tls: Tls, authority: PathBuf) -> Result<Opened, StartError> {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::load(None, Default::default()).unwrap();
    config.data_dir = dir.path().join("data");
    config.database_url = engine::database_url(&config.data_dir);
    config.database_tls = tls;
    config.database_ca_file = authority;
    start::open(config, Secrets::default(), Clock::system(), Rng::system()).await
}

/// Whatever is lost on the way to the store and back, the request is answered by what is true: committed or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_at_the_commit_is_no_guess() {
    if engine::backend() == DbBackend::Sqlite {
        // No connection to lose: the same is tested by a kill of the process.
        return;
    }
    let proxy = Arc::new(AtomicU8::new(PASS));
    let flag = proxy.clone();
    let server = TestServer::start_with(move |config| {
        let url = engine::database_url(&config.data_dir);
        config.database_url = through_proxy(&url, flag);
        config.database_tls = Tls::Disable;
    });
    let server = server.await;
    for cut in [BEFORE_COMMIT, AFTER_COMMIT] {
        for grace in [0, 10] {
            let app = server.app_with(json!({"refresh_grace": grace})).await;
            let arm = || proxy.store(cut, Ordering::SeqCst);
            let was_cut = || proxy.load(Ordering::SeqCst) == PASS;

            arm();
            let first = app.sign().await;
            assert!(was_cut());
            assert_eq!(app.sessions().await.len(), 1, "signed once");

            arm();
            let second = app.renew(&first.refresh_token()).await;
            assert_eq!(second.status, 200, "{}", second.raw);
            assert!(was_cut());
            assert_eq!(app.sessions().await[0]["renewals"], 1);
            let third = app.renew(&second.refresh_token()).await;
            assert_eq!(third.status, 200, "{}", third.raw);

            // A reuse that is lost on the way is one all the same.
            arm();
            app.renew(&first.refresh_token())
                .await
                .assert_refused("refresh_token_used");
            assert!(was_cut());
            app.renew(&third.refresh_token())
                .await
                .assert_refused("refresh_token_revoked");

            let other = app.sign().await;
            arm();
            let ended = app.logout(json!({"token": other.auth_token()})).await;
            assert_eq!((ended.status, &ended.body["status"]), (200, &json!("ok")));
            assert!(was_cut());
            app.renew(&other.refresh_token())
                .await
                .assert_refused("refresh_token_revoked");
        }
    }
    settles_many(&server, &proxy).await;
    settles_devices(&server, &proxy).await;
}

/// The same with many renewals in the transaction that is lost.
async fn settles_many(server: &TestServer, proxy: &AtomicU8) {
    let app = server.app().await;
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(app.sign().await.refresh_token());
    }
    proxy.store(AFTER_COMMIT, Ordering::SeqCst);
    let renewals = tokens.iter().map(|token| {
        let (app, token): (TestApp, String) = (app.clone(), token.clone());
        tokio::spawn(async move { app.renew(&token).await })
    });
    for renewal in renewals.collect::<Vec<_>>() {
        let answer = renewal.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.raw);
        assert_eq!(app.renew(&answer.refresh_token()).await.status, 200);
    }
    assert_eq!(proxy.load(Ordering::SeqCst), PASS);
}

/// The same with devices: what can be done twice is, and counts once.
async fn settles_devices(server: &TestServer, proxy: &AtomicU8) {
    for cut in [BEFORE_COMMIT, AFTER_COMMIT] {
        let app = server.app().await;
        let arm = || proxy.store(cut, Ordering::SeqCst);
        let was_cut = || proxy.load(Ordering::SeqCst) == PASS;
        arm();
        let id = app.tell("T1", Some("test@test.com")).await;
        assert!(was_cut());
        arm();
        let swapped = app.swap("T1", "T2", None).await;
        assert_eq!(swapped.body, json!({"success": true}));
        assert!(was_cut());
        assert_eq!(app.push_tokens("test@test.com").await, ["T2"]);
        assert_eq!(app.devices().await.len(), 1);

        let mut session = new_session();
        session["device_id"] = id.clone().into();
        let first = app.sign_with(session).await;
        arm();
        let path = app.path(&format!("devices/{id}"));
        let disabled = app.backend().patch(&path, json!({"disabled": true})).await;
        assert_eq!(disabled.status, 200, "{}", disabled.raw);
        assert!(was_cut());
        app.renew(&first.refresh_token())
            .await
            .assert_refused("refresh_token_revoked");
    }
}

/// A commit whose answer is lost comes to the store later, and the app is changed in between: what is prepared anew knows that what
/// was prepared before may be stored, and takes it for its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_comes_late_is_no_reuse_and_no_orphan() {
    if engine::backend() == DbBackend::Sqlite {
        // No connection to lose.
        return;
    }
    let proxy = Arc::new(AtomicU8::new(PASS));
    let flag = proxy.clone();
    let server = TestServer::start_with(move |config| {
        let url = engine::database_url(&config.data_dir);
        config.database_url = through_proxy(&url, flag);
        config.database_tls = Tls::Disable;
    });
    let server = server.await;
    for grace in [0, 10] {
        let app = server.app_with(json!({"refresh_grace": grace})).await;
        let arm = || proxy.store(LATE_COMMIT, Ordering::SeqCst);
        let was_cut = || proxy.load(Ordering::SeqCst) == PASS;
        let first = app.sign().await;
        arm();
        let second = app.renew(&first.refresh_token()).await;
        assert_eq!(second.status, 200, "{}", second.raw);
        assert!(was_cut());
        assert_eq!(app.sessions().await[0]["renewals"], 1);
        let third = app.renew(&second.refresh_token()).await;
        assert_eq!(third.status, 200, "{}", third.raw);

        let mut other = new_session();
        other["sub"] = json!("other");
        arm();
        let signed = app.sign_with(other).await;
        assert!(was_cut());
        let path = app.path("get-session");
        let listed = app.backend().post(&path, json!({"sub": "other"})).await;
        let sessions = listed.body["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 1, "{}", listed.raw);
        assert_eq!(sessions[0]["session_id"], signed.body["session_id"]);
        let renewed = app.renew(&signed.refresh_token()).await;
        assert_eq!(renewed.status, 200, "{}", renewed.raw);

        arm();
        let ended = app.logout(json!({"token": renewed.auth_token()})).await;
        assert_eq!(ended.body, json!({"status": "ok", "revoked": 1}));
        assert!(was_cut());
        let refused = app.renew(&renewed.refresh_token()).await;
        refused.assert_refused("refresh_token_revoked");
    }
    let anew = server.app.metrics.exposition();
    let anew = anew
        .lines()
        .find_map(|line| line.strip_prefix("renewd_renewals_prepared_anew_total "));
    assert_ne!(anew, Some("0"), "the app was changed in time");
}

/// A renewal is answered with 503, and was carried out all the same: the token that the client was told to keep is good, at
/// every node, as soon as the store answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_was_given_up_may_be_asked_for_again() {
    if engine::backend() == DbBackend::Sqlite {
        // No connection to lose.
        return;
    }
    let proxy = Arc::new(AtomicU8::new(PASS));
    let (flag, direct) = (proxy.clone(), Arc::new(Mutex::new(String::new())));
    let url = direct.clone();
    let server = TestServer::start_with(move |config| {
        *url.lock().unwrap() = engine::database_url(&config.data_dir);
        config.database_url = through_proxy(&url.lock().unwrap(), flag);
        config.database_tls = Tls::Disable;
        config.database_timeout_ms = 1000;
        config.database_statement_timeout_ms = 500;
    });
    let server = server.await;
    let other = server.second_process_with(|config| {
        config.database_url = direct.lock().unwrap().clone();
        config.database_timeout_ms = 20_000;
    });
    let other = other.await;
    for grace in [0, 10] {
        let app = server.app_with(json!({"refresh_grace": grace})).await;
        let elsewhere = other.known_app(&app);
        for again in [&app, &elsewhere] {
            let first = app.sign().await;
            proxy.store(LAST_COMMIT, Ordering::SeqCst);
            let given_up = app.renew(&first.refresh_token()).await;
            assert_eq!(given_up.status, 503, "{}", given_up.raw);
            assert_eq!(proxy.swap(PASS, Ordering::SeqCst), AWAY);
            // The client waits for a moment, as it was told.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let second = again.renew(&first.refresh_token()).await;
            assert_eq!(second.status, 200, "grace {grace}: {}", second.raw);
            let third = app.renew(&second.refresh_token()).await;
            assert_eq!(third.status, 200, "grace {grace}: {}", third.raw);
            let sessions = app.sessions().await;
            assert_eq!(sessions.len(), 1);
            assert_eq!(sessions[0]["renewals"], 2);
            // Whoever comes with the token now is a thief.
            app.renew(&first.refresh_token())
                .await
                .assert_refused("refresh_token_used");
            app.renew(&third.refresh_token())
                .await
                .assert_refused("refresh_token_revoked");
        }
    }
}

const PASS: u8 = 0;
/// The connection ends when a COMMIT comes, which the store never sees.
const BEFORE_COMMIT: u8 = 1;
/// The connection ends when the store has answered a COMMIT, and nobody learns of it.
const AFTER_COMMIT: u8 = 2;

/// The connection ends when a COMMIT comes; then every app is changed, and only then the store gets the COMMIT.
const LATE_COMMIT: u8 = 3;
/// The connection ends when the store has answered a COMMIT, and the store cannot be reached any more.
const LAST_COMMIT: u8 = 4;
/// So it is.
const AWAY: u8 = 5;
/// What is in the way of it: longer than what is tried again at once takes to come.
const LATE: Duration = Duration::from_millis(300);

/// The URL of the same store by way of a proxy, which cuts one connection each time that `cut` says so.
fn through_proxy(url: &str, cut: Arc<AtomicU8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().to_string();
    let (_, address) = url.split_once('@').unwrap();
    let (address, _) = address.split_once('/').unwrap();
    let (address, through) = (address.to_owned(), url.replace(address, &own));
    let url = url.to_owned();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&address).unwrap());
            if cut.load(Ordering::SeqCst) == AWAY {
                continue;
            }
            let (cut, url) = (cut.clone(), url.clone());
            thread::spawn(move || forward(client, server, &cut, &url));
        }
    });
    through
}

fn forward(mut client: TcpStream, mut server: TcpStream, cut: &AtomicU8, url: &str) {
    let (mut answers, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let silent = Arc::new(AtomicU8::new(PASS));
    let silenced = silent.clone();
    let back = thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = answers.read(&mut bytes) {
            if silenced.load(Ordering::SeqCst) != PASS {
                break;
            }
            if to_client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = answers.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 65_536];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        if cut.load(Ordering::SeqCst) == AWAY {
            break;
        }
        let is_commit = bytes[..count].windows(6).any(|word| word == b"COMMIT");
        if is_commit && cut.load(Ordering::SeqCst) != PASS {
            let when = cut.load(Ordering::SeqCst);
            let then = if when == LAST_COMMIT { AWAY } else { PASS };
            cut.store(then, Ordering::SeqCst);
            if when == BEFORE_COMMIT {
                break;
            }
            silent.store(when, Ordering::SeqCst);
            if when == LATE_COMMIT {
                engine::execute(url, vec!["UPDATE app SET epoch = epoch + 1".to_owned()]);
                let _ = client.shutdown(Shutdown::Both);
                thread::sleep(LATE);
            }
        }
        if server.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    if silent.load(Ordering::SeqCst) == PASS {
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
    let _ = back.join();
}
