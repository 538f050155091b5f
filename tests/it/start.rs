//! What the server insists on before it starts.

use std::{collections::BTreeMap, fs, path::Path};

use ambient::{Clock, Rng};
use entity::{PlainSecret, app_key};
use keys::MasterKey;
use rand::{SeedableRng, rngs::ChaCha12Rng};
use renewd::{
    app::App,
    config::{Config, Secrets},
    start::{self, Opened, StartError},
};
use tempfile::TempDir;

use crate::support::{ROOT_KEY, TestServer, engine};

async fn open(dir: &TempDir, secrets: Secrets) -> Result<Opened, StartError> {
    let mut config = Config::load(None, Default::default()).unwrap();
    config.data_dir = dir.path().join("data");
    config.database_url = engine::database_url(&config.data_dir);
    let rng = Rng::new(ChaCha12Rng::seed_from_u64(8));
    start::open(config, secrets, Clock::system(), rng).await
}

async fn refusal(dir: &TempDir, secrets: Secrets) -> String {
    match open(dir, secrets).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

/// What the store says, whatever log it stands in.
async fn content(dir: &TempDir) -> (Vec<String>, BTreeMap<String, i64>) {
    use sea_orm::{ConnectionTrait, Statement};
    let db = engine::connect(&dir.path().join("data")).await;
    let mut counts = BTreeMap::new();
    for table in [
        "app",
        "app_key",
        "signing_key",
        "session",
        "setting",
        "seaql_migrations",
    ] {
        let sql = format!("SELECT COUNT(*) AS count FROM {table}");
        let row = db
            .query_one_raw(Statement::from_string(engine::backend(), sql))
            .await;
        let rows = row.unwrap().unwrap().try_get("", "count").unwrap();
        counts.insert(table.to_owned(), rows);
    }
    db.close().await.unwrap();
    (files(&dir.path().join("data")), counts)
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn another_master_key() -> MasterKey {
    MasterKey::generate(&mut ChaCha12Rng::seed_from_u64(9)).unwrap()
}

/// Of a store with sealed keys. Nothing is changed, and the right key starts it.
#[tokio::test]
async fn a_wrong_or_missing_master_key_stops_the_start() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let dir = server.stop().await;
    let path = dir.path().join("data/master.key");
    let right = fs::read_to_string(&path).unwrap();
    let before = content(&dir).await;

    let wrong = Secrets {
        master_key: Some(another_master_key()),
        ..Secrets::default()
    };
    let message = refusal(&dir, wrong).await;
    assert!(
        message.contains("RENEWD_MASTER_KEY that belongs to the store"),
        "{message}"
    );
    assert_eq!(content(&dir).await, before);

    fs::write(&path, another_master_key().to_base64().as_str()).unwrap();
    let message = refusal(&dir, Secrets::default()).await;
    assert!(message.contains("the master key is wrong"), "{message}");
    assert!(
        message.contains("master.key that belongs to the store"),
        "{message}"
    );

    fs::write(&path, "garbage").unwrap();
    let message = refusal(&dir, Secrets::default()).await;
    assert!(message.contains("is damaged"), "{message}");

    fs::remove_file(&path).unwrap();
    let message = refusal(&dir, Secrets::default()).await;
    assert!(message.contains("the master key is missing"), "{message}");
    assert!(message.contains("set RENEWD_MASTER_KEY"), "{message}");
    assert!(!path.exists(), "none was made in its place");

    // The same key from the environment is as good as the file.
    let from_environment = Secrets {
        master_key: Some(MasterKey::from_base64(&right).unwrap()),
        ..Secrets::default()
    };
    let opened = open(&dir, from_environment).await.unwrap();
    assert!(opened.root_key.is_none());
    let id = app.id.parse().unwrap();
    assert!(opened.app.load(id).await.unwrap().is_some());
    opened.app.close().await.unwrap();
    fs::write(&path, &right).unwrap();
    assert_eq!(content(&dir).await, before);

    let server = TestServer::start_in(dir, |_| ()).await;
    let renewed = server.known_app(&app).renew(&first.refresh_token()).await;
    // The clock of the tests stands still: the token is as good as ever.
    assert_eq!(renewed.status, 200, "{}", renewed.raw);
}

/// The first start shows the root key, the second does not, and another one that is given changes nothing.
#[tokio::test]
async fn the_root_key_is_shown_once() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&dir, Secrets::default()).await.unwrap();
    let shown = opened.root_key.unwrap();
    assert!(shown.reveal().starts_with("rnw_root_"));
    opened.app.close().await.unwrap();

    let opened = open(&dir, Secrets::default()).await.unwrap();
    assert!(opened.root_key.is_none());
    opened.app.close().await.unwrap();

    let same = Secrets {
        root_key: Some(shown),
        ..Secrets::default()
    };
    let opened = open(&dir, same).await.unwrap();
    assert!(opened.root_key.is_none());
    let keys = root_keys(&opened.app).await;
    opened.app.close().await.unwrap();

    let other = Secrets {
        root_key: Some(PlainSecret::from_text(ROOT_KEY)),
        ..Secrets::default()
    };
    // It is for a fresh store: this one keeps its own.
    let opened = open(&dir, other).await.unwrap();
    assert!(opened.root_key.is_none());
    assert_eq!(root_keys(&opened.app).await, keys);
    opened.app.close().await.unwrap();
}

async fn root_keys(app: &App) -> Vec<app_key::Model> {
    app_key::list_root(&app.store.reader).await.unwrap()
}

/// A root key that was replaced fails at once, here and in other processes at their next look.
#[tokio::test]
async fn rotating_the_root_key_ends_the_old_one() {
    let server = TestServer::start().await;
    assert_eq!(server.root().get("/root/list").await.status, 200);
    let key = renewd::apps::root_key::rotate(&server.app, &renewd::audit::Actor::cli(), 0)
        .await
        .unwrap();
    server
        .root()
        .get("/root/list")
        .await
        .assert_problem(403, "invalid_key");
    let with_new = server.anon().with_key(key.reveal());
    assert_eq!(with_new.get("/root/list").await.status, 200);
}

/// Only stores that this release serves, and none that forgets.
#[tokio::test]
async fn other_stores_are_refused_by_name() {
    for (url, expected) in [
        (
            "oracle://localhost/renewd",
            "it begins with sqlite://, postgres:// or mysql://",
        ),
        (
            "renewd.db",
            "it begins with sqlite://, postgres:// or mysql://",
        ),
        ("sqlite::memory:", "would forget every session"),
        ("sqlite://x.db?mode=memory", "would forget every session"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::load(None, Default::default()).unwrap();
        config.data_dir = dir.path().join("data");
        config.database_url = url.to_owned();
        let opened = start::open(config, Secrets::default(), Clock::system(), Rng::system()).await;
        let message = opened.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!dir.path().join("data").exists());
    }
}
