//! The master key is replaced without a moment at which a key cannot be opened.

use std::fs;

use entity::setting;
use renewd::{audit::Actor, rekey};
use serde_json::json;

use crate::support::{TestApp, TestServer};

async fn renews(app: &TestApp, token: &str) -> String {
    let answer = app.renew(token).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    answer.refresh_token()
}

/// A server that has the old key in memory goes on, and one that starts afterwards has the new one only.
#[tokio::test]
async fn rekey_seals_every_key_anew_while_servers_run() {
    let server = TestServer::start().await;
    let apps = [server.app().await, server.app().await];
    let mut token = apps[0].sign().await.refresh_token();
    let file = server.dir.path().join("data/master.key");
    let before = fs::read_to_string(&file).unwrap();

    let other = server.second_process().await;
    let resealed = rekey::rekey(&other.app, &Actor::cli()).await.unwrap();
    assert_eq!(resealed, 2);
    assert_ne!(fs::read_to_string(&file).unwrap(), before);
    assert!(!file.with_extension("key.previous").exists());

    // The running server follows: it opens what it has not in memory, and seals what it makes.
    server.app.directory.drop_all();
    token = renews(&apps[0], &token).await;
    let made = server.app().await;
    made.sign().await;
    let dir = server.stop().await;
    let restarted = TestServer::start_in(dir, |_| ()).await;
    renews(&restarted.known_app(&apps[0]), &token).await;
    restarted.known_app(&apps[1]).sign().await;
    restarted.known_app(&made).sign().await;
    assert_eq!(
        rekey::rekey(&restarted.app, &Actor::cli()).await.unwrap(),
        3
    );
}

/// Stopped at each of its steps, it starts, serves and seals; and called again, it gets done.
#[tokio::test]
async fn rekey_may_be_interrupted_anywhere() {
    for step in [
        "the old key was put aside",
        "the new key is in place",
        "some keys are sealed anew",
    ] {
        let server = TestServer::start().await;
        let apps = [server.app().await, server.app().await];
        let token = apps[0].sign().await.refresh_token();
        let folder = server.dir.path().join("data");
        let file = folder.join("master.key");
        let old = fs::read_to_string(&file).unwrap();
        let previous = folder.join("master.key.previous");
        match step {
            "the old key was put aside" => fs::write(&previous, &old).unwrap(),
            "the new key is in place" => {
                fs::write(&previous, &old).unwrap();
                let key = other_key();
                fs::write(&file, key.to_base64().as_str()).unwrap();
            }
            _ => {
                rekey::rekey(&server.app, &Actor::cli()).await.unwrap();
                // One more app with its key sealed by the new key, then as if the first key was never reached.
                fs::write(&previous, &old).unwrap();
                let new =
                    keys::MasterKey::from_base64(&fs::read_to_string(&file).unwrap()).unwrap();
                let old = keys::MasterKey::from_base64(&old).unwrap();
                unseal_one(&server, &new, &old).await;
            }
        }
        let dir = server.stop().await;

        let server = TestServer::start_in(dir, |_| ()).await;
        let known = server.known_app(&apps[0]);
        let token = renews(&known, &token).await;
        let made = server.app().await;
        rekey::rekey(&server.app, &Actor::cli()).await.unwrap();
        assert!(!previous.exists(), "{step}");
        assert_ne!(fs::read_to_string(&file).unwrap(), old, "{step}");
        let dir = server.stop().await;

        let server = TestServer::start_in(dir, |_| ()).await;
        renews(&server.known_app(&apps[0]), &token).await;
        server.known_app(&apps[1]).sign().await;
        server.known_app(&made).sign().await;
    }
}

fn other_key() -> keys::MasterKey {
    use rand::{SeedableRng, rngs::ChaCha12Rng};
    keys::MasterKey::generate(&mut ChaCha12Rng::seed_from_u64(3)).unwrap()
}

/// Seals the first signing key of the store by `old` again.
async fn unseal_one(server: &TestServer, new: &keys::MasterKey, old: &keys::MasterKey) {
    let row = entity::signing_key::any(&server.app.store.reader)
        .await
        .unwrap()
        .unwrap();
    let label = entity::signing_key::seal_label(row.id);
    let plain = new.open(&label, &row.sealed).unwrap();
    let sealed = server
        .app
        .rng
        .with(|mut rng| old.seal(&mut rng, &label, &plain).unwrap());
    assert!(
        entity::signing_key::reseal(&server.app.store.writer, &row, sealed)
            .await
            .unwrap()
    );
}

/// A key that was sealed just before the master key was replaced is not stored just after.
#[tokio::test]
async fn nothing_is_stored_that_an_old_key_sealed() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let id = app.id.parse().unwrap();
    let now = server.app.clock.now();
    let algorithm = keys::Algorithm::Es256;
    let made = renewd::signing::generate(&server.app, id, algorithm, 60, now, now)
        .await
        .unwrap();
    setting::set_master_key(&server.app.store.writer, 7)
        .await
        .unwrap();
    let transaction = server.app.store.begin().await.unwrap();
    let refused = made.insert(&transaction).await.unwrap_err();
    assert!(
        matches!(refused, renewd::error::Error::Contended(_)),
        "{refused}"
    );
}

/// It is audited, by whom and when, without a word of the keys.
#[tokio::test]
async fn rekey_is_audited() {
    let server = TestServer::start().await;
    server.app().await;
    server.advance(1);
    rekey::rekey(&server.app, &Actor::cli()).await.unwrap();
    let audit = server.root().get("/root/audit?limit=1").await;
    let event = &audit.body["events"][0];
    assert_eq!(
        (&event["action"], &event["actor"], &event["target"]),
        (&json!("master_key.replace"), &json!("cli"), &json!(null))
    );
}
