//! A copy of the store, made while it serves, and the way back.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output},
};

use ambient::Clock;
use poem::http::Method;
use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::{
    cli::renewd,
    support::{Client, ROOT_KEY, START_MILLIS, TestApp, TestServer, embedded, engine},
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
    lose_after(0).await
}

/// By a server whose clock is so many seconds later.
async fn lose_after(seconds: i64) -> Lost {
    let server = TestServer::start_embedded().await;
    server.advance(seconds);
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

/// What is left of another store beside the place would become a part of the copy: it is named, and nothing is done.
#[tokio::test]
async fn what_is_left_of_another_store_is_not_mixed_with_the_copy() {
    let lost = lose().await;
    let dir = lost.dir.path();
    let store = dir.join("data/renewd.db");
    let refused = |names: &[&str]| {
        let before = listing(dir);
        let output = restore(dir, &["copies/renewd.db"]);
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        for name in names {
            assert!(message.contains(name), "{message}");
        }
        assert_eq!(listing(dir), before);
        assert!(!store.exists());
    };
    for end in ["-wal", "-shm", "-journal"] {
        let name = format!("data/renewd.db{end}");
        fs::write(dir.join(&name), "of another store").unwrap();
        refused(&[&name, "lies beside"]);
        fs::remove_file(dir.join(&name)).unwrap();
    }
    // A link that leads nowhere would be followed by whoever writes the log.
    for name in ["data/renewd.db", "data/renewd.db-wal"] {
        symlink("nowhere", dir.join(name)).unwrap();
        let output = restore(dir, &["copies/renewd.db"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains(name));
        fs::remove_file(dir.join(name)).unwrap();
        assert!(!store.exists());
    }
    fs::write(dir.join("data/renewd.db-wal"), "").unwrap();
    fs::write(dir.join("data/renewd.db-shm"), "").unwrap();
    refused(&["renewd.db-wal and ", "renewd.db-shm lie beside"]);
    fs::remove_file(dir.join("data/renewd.db-wal")).unwrap();
    fs::remove_file(dir.join("data/renewd.db-shm")).unwrap();
    // A copy of the bare file, where a part of the store is still in its log.
    fs::write(dir.join("copies/renewd.db-wal"), "the rest").unwrap();
    refused(&["copies/renewd.db-wal lies beside copies/renewd.db"]);
    fs::remove_file(dir.join("copies/renewd.db-wal")).unwrap();
    assert!(restore(dir, &["copies/renewd.db"]).status.success());
}

/// A server whose store was removed under it would write into the new one's log.
#[tokio::test]
async fn a_store_that_is_open_is_not_replaced() {
    let lost = lose().await;
    let server = TestServer::start_in(lost.dir, embedded).await;
    let dir = server.dir.path().to_owned();
    for name in ["renewd.db", "renewd.db-wal", "renewd.db-shm"] {
        fs::remove_file(dir.join("data").join(name)).unwrap();
    }
    let output = restore(&dir, &["copies/renewd.db"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("a process has a store in"), "{message}");
    assert!(!dir.join("data/renewd.db").exists());
    let _dir = server.stop().await;
    assert!(restore(&dir, &["copies/renewd.db"]).status.success());
}

/// Whatever goes wrong, nothing is left of it: neither the copy nor what SQLite keeps beside it.
#[tokio::test]
async fn a_restore_that_fails_leaves_nothing_behind() {
    let lost = lose().await;
    let dir = lost.dir.path();
    let copy = dir.join("copies/renewd.db");
    let refused = |expected: &str| {
        let before = listing(dir);
        let output = restore(dir, &["copies/renewd.db", "--revoke-keys"]);
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(expected), "{message}");
        assert_eq!(listing(dir), before);
    };
    let key = dir.join("data/master.key");
    let (aside, whole) = (dir.join("aside"), fs::read(&copy).unwrap());
    fs::rename(&key, &aside).unwrap();
    refused("the master key is missing");
    fs::write(&key, "A".repeat(43) + "=").unwrap();
    refused("the master key is wrong");
    fs::remove_file(&key).unwrap();
    fs::rename(&aside, &key).unwrap();
    // A half of it.
    fs::write(&copy, &whole[..whole.len() / 2]).unwrap();
    refused("");
    // A database, but none of ours: it would become a fresh store.
    fs::remove_file(&copy).unwrap();
    let other = format!("sqlite://{}?mode=rwc", copy.display());
    let db = sea_orm::Database::connect(other).await.unwrap();
    let made = "CREATE TABLE stranger (id INTEGER)";
    db.execute_unprepared(made).await.unwrap();
    db.close().await.unwrap();
    refused("is not the copy of a store");
    fs::write(&copy, &whole).unwrap();
    assert!(restore(dir, &["copies/renewd.db"]).status.success());
}

/// A copy knows nothing of what was revoked since. It is told, and on request nothing works that may have been.
#[tokio::test]
async fn keys_of_unknown_fate_are_replaced_on_request() {
    // The program goes by the time of the day.
    let today = Clock::system().now().as_millis() / 1000 - START_MILLIS / 1000;
    let lost = lose_after(today).await;
    let dir = lost.dir.path();
    let told = restore(dir, &["copies/renewd.db"]);
    let told = String::from_utf8(told.stdout).unwrap();
    for part in [
        "App-keys, root keys, signing keys",
        "registration tokens",
        "good again",
        "devices that were disabled since then are enabled",
        "--revoke-keys",
    ] {
        assert!(told.contains(part), "{told}");
    }
    fs::remove_file(dir.join("data/renewd.db")).unwrap();
    let output = restore(dir, &["copies/renewd.db", "--revoke-keys"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, root_key) = said.split_once("New root key, shown this once: ").unwrap();
    let root_key = root_key.trim();

    let later = START_MILLIS + (today + 60) * 1000;
    let server = TestServer::start_at(later, lost.dir, embedded).await;
    let mut app = server.known_app(&lost.app);
    for key in [&app.secret_key, &app.publishable_key] {
        let client = server.anon().with_key(key);
        client
            .get(&app.path("pub-keys"))
            .await
            .assert_problem(403, "invalid_key");
    }
    let root = server.root().get("/root/list").await;
    root.assert_problem(403, "invalid_key");
    let root = server.anon().with_key(root_key);
    let made = root
        .post(
            &format!("/root/{}/rotate/key", app.id),
            serde_json::json!({}),
        )
        .await;
    assert_eq!(made.status, 200, "{}", made.raw);
    app.secret_key = made.text("app_key");
    // What the old signing key has signed is worth nothing.
    app.renew(&lost.at_copy)
        .await
        .assert_refused("refresh_token_revoked");
    let fresh = app.sign().await.refresh_token();
    assert_eq!(app.renew(&fresh).await.status, 200);
    let audit = root.get("/root/audit").await;
    for action in ["app_key.revoke", "signing_key.revoke", "root_key.rotate"] {
        assert!(audit.raw.contains(action), "{action}: {}", audit.raw);
    }
}

/// A device or an application whose token was replaced or ended after the copy was made gets nothing by the old one.
#[tokio::test]
async fn registrations_of_unknown_fate_are_ended_with_the_keys() {
    let today = Clock::system().now().as_millis() / 1000 - START_MILLIS / 1000;
    let server = TestServer::start_embedded().await;
    server.advance(today);
    let app = server.app().await;
    let create = format!("/workspaces/{}/devices/registration-tokens/create", app.id);
    let register = async |client: &Client, device: &str| {
        let body = json!({"deviceId": device, "allowOnBehalfOfRegistration": false});
        let created = client.post(&create, body).await;
        assert_eq!(created.status, 200, "{}", created.raw);
        created.text("registrationToken")
    };
    let backend = app.backend();
    let mut tokens = Vec::new();
    for device in ["kept", "replaced", "revoked"] {
        tokens.push(register(&backend, device).await);
    }
    let project = json!({"project_code": app.id});
    let root = server.root();
    let enrolled = root.post("/v1/auth/register", project.clone()).await;
    let enrolled = enrolled.text("registration_token");
    let copy = server.dir.path().join("copies/renewd.db");
    server.app.store.backup(&copy).await.unwrap();

    // The server went on.
    tokens.push(register(&backend, "replaced").await);
    let mut devices = app.devices().await.into_iter();
    let revoked = devices.find(|device| device["client_device_id"] == "revoked");
    let id = revoked.unwrap()["device_id"].as_str().unwrap().to_owned();
    let path = app.path(&format!("devices/{id}/revoke"));
    assert_eq!(backend.post(&path, json!({})).await.status, 200);
    let holder = server.anon().with_key(&enrolled);
    let updated = holder.patch("/v1/auth/token/update", project.clone()).await;
    let applications = [enrolled, updated.text("registration_token")];

    let dir = server.stop().await;
    for name in ["renewd.db", "renewd.db-wal", "renewd.db-shm"] {
        let _ = fs::remove_file(dir.path().join("data").join(name));
    }
    let arguments = ["copies/renewd.db", "--revoke-keys"];
    let output = restore(dir.path(), &arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("the registration of every device"), "{said}");
    let (_, root_key) = said.split_once("New root key, shown this once: ").unwrap();

    let later = START_MILLIS + (today + 60) * 1000;
    let server = TestServer::start_at(later, dir, embedded).await;
    let app = server.known_app(&app);
    let begin = async |token: &str| {
        let body = json!({"registration_token": token});
        server.anon().post(&app.path("devices/session"), body).await
    };
    for (token, code) in tokens
        .iter()
        .zip(["revoked", "revoked", "revoked", "invalid"])
    {
        let code = format!("registration_token_{code}");
        begin(token).await.assert_problem(410, &code);
        let refresh = "/devices/registration-tokens/refresh";
        let body = json!({"registrationToken": token});
        let refreshed = server.anon().send_json(Method::PUT, refresh, body).await;
        refreshed.assert_problem(410, &code);
    }
    for token in &applications {
        let holder = server.anon().with_key(token);
        let generated = holder.post("/v1/auth/token/generate", project.clone());
        generated.await.assert_problem(403, "invalid_key");
    }
    // Its backend registers it again.
    let root = server.anon().with_key(root_key.trim());
    let rotate = format!("/root/{}/rotate/key", app.id);
    let key = root.post(&rotate, json!({})).await.text("app_key");
    let token = register(&server.anon().with_key(&key), "revoked").await;
    let begun = begin(&token).await;
    assert_eq!(begun.status, 200, "{}", begun.raw);
    let audit = root.get("/root/audit").await;
    let mut events = audit.body["events"].as_array().unwrap().iter();
    let ended = events.find(|event| event["action"] == "registration.revoke");
    assert_eq!(ended.unwrap()["target"], "3 registrations");
}

/// Every file in the folder, and what is in it.
fn listing(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
