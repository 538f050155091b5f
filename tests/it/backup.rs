//! A copy of the store, made while it serves, and the way back.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use crate::{
    cli::renewd,
    support::{ROOT_KEY, TestApp, TestServer, embedded, engine},
};

fn restore(dir: &Path, arguments: &[&str]) -> Output {
    command(dir)
        .arg("restore")
        .args(arguments)
        .output()
        .unwrap()
}

fn command(dir: &Path) -> Command {
    let mut command = renewd(dir);
    command
        .env_remove("RENEWD_DATABASE_URL")
        .env("RENEWD_ROOT_KEY", ROOT_KEY);
    command
}

/// A server with an app and a session, copied and lost: the copy, the folder of the master key, and what clients hold.
struct Lost {
    dir: tempfile::TempDir,
    app: TestApp,
    at_copy: String,
    afterwards: String,
}

async fn lose() -> Lost {
    let server = TestServer::start_embedded().await;
    let app = server.app().await;
    let at_copy = app.sign().await.refresh_token();
    let copy = server.dir.path().join("copies/renewd.db");
    server.app.store.backup(&copy).await.unwrap();
    let mode = fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The server went on.
    let afterwards = app.renew(&at_copy).await.refresh_token();
    let dir = server.stop().await;
    for name in ["renewd.db", "renewd.db-wal", "renewd.db-shm"] {
        let path = dir.path().join("data").join(name);
        if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
    Lost {
        dir,
        app,
        at_copy,
        afterwards,
    }
}

/// Without a word, tokens that were used since would live again: it is said.
#[tokio::test]
async fn a_restored_copy_stands_where_it_stood() {
    let lost = lose().await;
    let output = restore(lost.dir.path(), &["copies/renewd.db"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("refresh tokens that were used since then work again, once"),
        "{said}"
    );
    let mode = fs::metadata(lost.dir.path().join("data/renewd.db"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let server = TestServer::start_in(lost.dir, embedded).await;
    let app = server.known_app(&lost.app);
    assert_eq!(app.renew(&lost.at_copy).await.status, 200);
    app.renew(&lost.afterwards)
        .await
        .assert_refused("refresh_token_used");
    let audit = server.root().get("/root/audit").await;
    assert!(audit.raw.contains("store.restore"), "{}", audit.raw);
}

/// Ended on request: all that could have been renewed after the copy was made.
#[tokio::test]
async fn sessions_of_unknown_fate_are_ended_on_request() {
    let lost = lose().await;
    // The test's clock stands in 2025: the session was good for two hours from then.
    let arguments = [
        "copies/renewd.db",
        "--revoke-sessions-after",
        "2025-02-24T19:57:29Z",
    ];
    let output = restore(lost.dir.path(), &arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("ended 1 sessions"), "{said}");
    let server = TestServer::start_in(lost.dir, embedded).await;
    let app = server.known_app(&lost.app);
    app.renew(&lost.at_copy)
        .await
        .assert_refused("refresh_token_revoked");
    app.renew(&lost.afterwards)
        .await
        .assert_refused("refresh_token_used");
    assert_eq!(app.sign().await.status, 200);
}

/// What a database server holds is copied by its own tools: here it is refused, and leaves no file behind.
#[tokio::test]
async fn only_the_embedded_store_is_copied() {
    let server = TestServer::start().await;
    let to = server.dir.path().join("copy.db");
    let is_embedded = engine::backend() == sea_orm::DbBackend::Sqlite;
    match server.app.store.backup(&to).await {
        Ok(()) => assert!(is_embedded),
        Err(error) => assert!(error.to_string().contains("its own tools"), "{error}"),
    }
    assert_eq!(to.exists(), is_embedded);
}

/// Nothing is overwritten, and what is no copy of this store leaves nothing behind.
#[tokio::test]
async fn nothing_is_written_over() {
    let lost = lose().await;
    let dir = lost.dir.path();
    let store = dir.join("data/renewd.db");
    let refused = |output: Output, expected: &str| {
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(expected), "{message}");
        assert!(!store.exists());
    };
    fs::write(dir.join("garbage"), "not a store, but long enough").unwrap();
    fs::write(dir.join("short"), "short").unwrap();
    refused(restore(dir, &["missing"]), "missing: No such file");
    refused(restore(dir, &["garbage"]), "is not the copy of a store");
    refused(restore(dir, &["short"]), "is not the copy of a store");
    let key = dir.join("data/master.key");
    let aside = dir.join("aside");
    fs::rename(&key, &aside).unwrap();
    refused(
        restore(dir, &["copies/renewd.db"]),
        "the master key is missing",
    );
    fs::rename(&aside, &key).unwrap();

    assert!(restore(dir, &["copies/renewd.db"]).status.success());
    let again = restore(dir, &["copies/renewd.db"]);
    let message = String::from_utf8(again.stderr).unwrap();
    assert!(
        message.contains("data/renewd.db exists already"),
        "{message}"
    );
    let over = command(dir)
        .args(["backup", "copies/renewd.db"])
        .output()
        .unwrap();
    let message = String::from_utf8(over.stderr).unwrap();
    assert!(
        message.contains("copies/renewd.db exists already"),
        "{message}"
    );
    let fresh = command(dir)
        .args(["backup", "copies/second.db"])
        .output()
        .unwrap();
    assert!(
        fresh.status.success(),
        "{}",
        String::from_utf8_lossy(&fresh.stderr)
    );
    assert!(dir.join("copies/second.db").exists());
}
