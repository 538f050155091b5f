//! Signing keys: how one follows another, and how their tokens die before their time.

mod algorithms;
mod revocation;

use std::collections::BTreeMap;

use renewd::{audit::Actor, error::Error, jobs::rotate, signing};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Answer, START_MILLIS, TestApp, TestServer};

const DAY: i64 = 86_400;
/// `jwks_max_age`, and the second after which every process knows of a key.
const LEAD: i64 = 361;
/// That second, the longest life of a token, and the skew of clocks: from the retirement of a key to its end.
const KEPT: i64 = 1 + 7200 + 60;

/// `seconds` after the start of the test, in RFC 3339.
fn at(seconds: i64) -> String {
    entity::Timestamp::from_millis(START_MILLIS + seconds * 1000).to_rfc3339()
}

/// Publishes the next key by hand.
async fn rotate_by_hand(server: &TestServer, app: &TestApp) -> String {
    let path = format!("/root/{}/rotate/signing-key", app.id);
    let answer = server.root().post(&path, Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    answer.text("key_id")
}

/// Runs the job.
async fn run(server: &TestServer) -> Option<u64> {
    let never = CancellationToken::new();
    rotate::run(&server.app, &never).await.unwrap()
}

async fn keys(server: &TestServer, app: &TestApp) -> Vec<Value> {
    let path = format!("/root/{}/signing-keys", app.id);
    let answer = server.root().get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(answer.body["next_cursor"], Value::Null);
    answer.body["signing_keys"].as_array().unwrap().clone()
}

/// Asserts the ids and states of the keys, the last one first.
async fn assert_states(server: &TestServer, app: &TestApp, expected: &[(&str, &str)]) {
    let keys = keys(server, app).await;
    let found: Vec<_> = keys
        .iter()
        .map(|key| {
            (
                key["key_id"].as_str().unwrap(),
                key["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, expected);
}

/// The ids in the JWKS, in the order in which they sign, and its entity tag.
async fn jwks(server: &TestServer, app: &TestApp) -> (Vec<String>, String) {
    let answer = server.anon().get(&app.path(".well-known/jwks.json")).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    let keys = answer.body["keys"].as_array().unwrap();
    let ids = keys
        .iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned());
    (ids.collect(), answer.header("etag").unwrap().to_owned())
}

async fn assert_live(app: &TestApp, answer: &Answer) -> Answer {
    assert!(app.verifies(&answer.auth_token()).await);
    assert!(app.verifies(&answer.refresh_token()).await);
    let renewed = app.renew(&answer.refresh_token()).await;
    assert_eq!(renewed.status, 200, "{}", renewed.raw);
    renewed
}

/// A key is published until verifiers have it, and kept until its last token is gone.
#[tokio::test]
async fn a_graceful_rotation_from_end_to_end() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let one = first.text("key_id");
    let (_, etag) = jwks(&server, &app).await;

    server.advance(10);
    let path = format!("/root/{}/rotate/signing-key", app.id);
    let answer = server.root().post(&path, Value::Null).await;
    let two = answer.text("key_id");
    let begins = at(10 + LEAD);
    let expected = json!({"app_id": app.id, "key_id": two, "activates_at": begins});
    assert_eq!(answer.body, expected);
    let published = json!({
        "key_id": two, "algo": "ES256", "state": "published", "created_at": at(10), "activates_at": begins,
        "retires_at": null, "revoked_at": null, "gone_at": null,
    });
    let mut old = json!({
        "key_id": one, "algo": "ES256", "state": "active", "created_at": at(0), "activates_at": at(0),
        "retires_at": begins, "revoked_at": null, "gone_at": null,
    });
    assert_eq!(keys(&server, &app).await, [published.clone(), old.clone()]);
    let (ids, new_etag) = jwks(&server, &app).await;
    assert_eq!(ids, [one.clone(), two.clone()], "published before it signs");
    assert_ne!(new_etag, etag);

    server.advance(LEAD - 1);
    let last = app.sign().await;
    assert_eq!(last.body["key_id"], one);
    server.advance(1);
    let newer = app.sign().await;
    assert_eq!(newer.body["key_id"], two, "with no job");
    assert_eq!(run(&server).await, Some(1));
    let mut new = published;
    new["state"] = json!("active");
    old["state"] = json!("retired");
    old["gone_at"] = json!(at(10 + LEAD + KEPT));
    assert_eq!(keys(&server, &app).await, [new.clone(), old.clone()]);
    let shown = app.backend().get(&format!("/app/{}", app.id)).await;
    let rotated = START_MILLIS / 1000 + 10 + LEAD;
    assert_eq!(shown.body["app"]["last_key_rotate"], rotated);
    assert_eq!(assert_live(&app, &first).await.body["key_id"], two);

    // The last second of what the old key signed last.
    server.advance(7198);
    let renewed = app.renew(&last.refresh_token()).await;
    assert_eq!(renewed.body["key_id"], two, "{}", renewed.raw);
    server.advance(KEPT - 7198 - 1);
    run(&server).await;
    assert_eq!(
        jwks(&server, &app).await,
        (ids, new_etag),
        "kept until then"
    );
    server.advance(1);
    assert_eq!(run(&server).await, Some(1));
    assert_eq!(keys(&server, &app).await, [new]);
    assert_eq!(jwks(&server, &app).await.0, [two]);
    assert_live(&app, &renewed).await;
}

/// Whenever one looks: one key signs, verifiers knew it in time, and every live token verifies.
#[tokio::test]
async fn the_rules_hold_at_any_time() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"rotation_period": 900})).await;
    let (mut seen, mut issued) = (BTreeMap::new(), Vec::<(i64, Answer)>::new());
    for step in 0..150 {
        let now = step * 97;
        // Not every time: who is late is late.
        if step % 7 != 3 {
            run(&server).await;
        }
        let (ids, _) = jwks(&server, &app).await;
        for id in &ids {
            seen.entry(id.clone()).or_insert(now);
        }
        let listed = keys(&server, &app).await;
        let active: Vec<_> = listed
            .iter()
            .filter(|key| key["state"] == "active")
            .collect();
        assert_eq!(active.len(), 1, "{listed:?}");
        let answer = app.sign().await;
        let signs = answer.text("key_id");
        assert_eq!(active[0]["key_id"], signs);
        let known_for = now - seen[&signs];
        assert!(
            known_for >= 300 || seen[&signs] == 0,
            "{signs}: {known_for}"
        );
        issued.push((now, answer));
        issued.retain(|(then, _)| now - then < 7200);
        for (_, answer) in &issued {
            assert!(ids.contains(&answer.text("key_id")));
        }
        assert!(app.verifies(&issued[0].1.refresh_token()).await);
        server.advance(97);
    }
    assert!(seen.len() > 10, "{}", seen.len());
}

/// Nobody has to ask for it. To the second: published, signing without the job, removed.
#[tokio::test]
async fn the_job_rotates_by_the_period() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let one = app.sign().await.text("key_id");
    server.advance(DAY - LEAD - 1);
    assert_eq!(run(&server).await, Some(0));
    server.advance(1);
    assert_eq!(run(&server).await, Some(1));
    let listed = keys(&server, &app).await;
    let two = listed[0]["key_id"].as_str().unwrap().to_owned();
    assert_eq!(listed[0]["activates_at"], at(DAY));
    assert_states(&server, &app, &[(&two, "published"), (&one, "active")]).await;
    assert_eq!(run(&server).await, Some(0), "once");
    // By hand it is the same key: there is nothing to hurry.
    assert_eq!(rotate_by_hand(&server, &app).await, two);
    assert_eq!(keys(&server, &app).await, listed);

    server.advance(LEAD - 1);
    assert_eq!(app.sign().await.text("key_id"), one);
    server.advance(1);
    assert_eq!(app.sign().await.text("key_id"), two);
    assert_eq!(run(&server).await, Some(1));
    assert_eq!(run(&server).await, Some(0));
    server.advance(KEPT - 1);
    assert_eq!(run(&server).await, Some(0));
    assert_states(&server, &app, &[(&two, "active"), (&one, "retired")]).await;
    server.advance(1);
    assert_eq!(run(&server).await, Some(1));
    assert_states(&server, &app, &[(&two, "active")]).await;
}

/// A job that comes days late hurries nothing.
#[tokio::test]
async fn a_late_job_publishes_before_it_signs() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let one = app.sign().await.text("key_id");
    server.advance(3 * DAY);
    assert_eq!(app.sign().await.text("key_id"), one);
    assert_eq!(run(&server).await, Some(1));
    assert_eq!(
        keys(&server, &app).await[0]["activates_at"],
        at(3 * DAY + LEAD)
    );
    server.advance(LEAD - 1);
    assert_eq!(app.sign().await.text("key_id"), one);
    server.advance(1);
    assert_ne!(app.sign().await.text("key_id"), one);
}

/// Rotates on two servers at once. Who is second is told of a conflict, or finds nothing to do.
async fn rotate_on_two(way: &str, seconds: i64) {
    for _ in 0..8 {
        let server = TestServer::start().await;
        let app = server.app().await;
        let other = server.second_process().await;
        server.advance(seconds);
        other.advance(seconds);
        let id = app.id.parse().unwrap();
        let rotate = async |server: &TestServer| match way {
            "job" => {
                run(server).await;
                Ok(())
            }
            "job without a lease" => {
                signing::advance(&server.app, id, server.app.clock.now(), async |_| Ok(())).await
            }
            _ => {
                let rotated = signing::rotate(&server.app, &Actor::cli(), id).await;
                rotated.map(|_| ())
            }
        };
        let (one, two) = tokio::join!(rotate(&server), rotate(&other));
        assert!(one.is_ok() || two.is_ok());
        for result in [one, two] {
            assert!(
                matches!(result, Ok(()) | Err(Error::Conflict(_))),
                "{result:?}"
            );
        }
        let directory = &server.app.directory;
        directory.follow(&server.app.store).await.unwrap();
        let listed = keys(&server, &app).await;
        assert_eq!(listed.len(), 2, "{way}: {listed:?}");
        assert_eq!(listed[0]["state"], "published");
    }
}

/// By the job, also past its lease, and by hand: one successor.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_make_one_successor() {
    rotate_on_two("job", DAY - LEAD).await;
    rotate_on_two("job without a lease", DAY - LEAD).await;
    rotate_on_two("hand", 10).await;
}

/// At the moment when the app's next date is the same after a rotation as it was before.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_make_one_successor_of_the_same_schedule() {
    rotate_on_two("hand", DAY - 2 * LEAD).await;
}

/// An app has so many signing keys that are not gone, and no more. An emergency finds room all the same: what was revoked first
/// goes.
#[tokio::test]
async fn an_app_has_an_end_of_signing_keys() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let pki = format!("/root/{}/rotate/pki", app.id);
    let first = app.sign().await.text("key_id");
    for _ in 0..signing::MOST + 2 {
        server.advance(1);
        let made = server.root().post(&pki, Value::Null).await;
        assert_eq!(made.status, 200, "{}", made.raw);
    }
    let listed = keys(&server, &app).await;
    assert_eq!(listed.len(), signing::MOST);
    assert!(listed.iter().all(|key| key["key_id"] != first));
    app.sign().await;

    let path = format!("/root/{}/rotate/signing-key", app.id);
    let full = server.root().post(&path, Value::Null).await;
    full.assert_problem(409, "limit_reached");
    assert!(full.text("detail").contains("100"), "{}", full.raw);
    // Their tokens are over: they are gone.
    server.advance(7200 + 60 + 60);
    rotate_by_hand(&server, &app).await;
    assert_eq!(keys(&server, &app).await.len(), 2);
}
