//! Tokens that die before their time, whatever their number and whichever process is asked.

use poem::http::Method;
use sea_orm::{ConnectionTrait, EntityTrait};
use serde_json::{Value, json};

use super::{DAY, KEPT, LEAD, assert_live, assert_states, at, jwks, keys, rotate_by_hand, run};
use crate::support::{Answer, TestApp, TestServer};

const NO_SUCH: &str = "01JMWRJEJ71191KP88NDGWVYEW";

async fn emergency(server: &TestServer, app: &TestApp, method: Method) -> Answer {
    let path = format!("/root/{}/rotate/pki", app.id);
    let answer = server.root().send(method, &path, None, Vec::new()).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    answer
}

async fn revoke(server: &TestServer, app: &TestApp, key: &str) -> Answer {
    let path = format!("/root/{}/revoke/{key}", app.id);
    server.root().delete(&path).await
}

#[track_caller]
fn assert_ok(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(answer.body, json!({"status": "ok"}));
}

async fn flush(server: &TestServer, app: &TestApp) -> Answer {
    server
        .root()
        .delete(&format!("/root/{}/flush", app.id))
        .await
}

/// Asserts that neither token of the answer, nor its session, is worth anything.
async fn assert_dead(app: &TestApp, answer: &Answer) {
    assert!(!app.verifies(&answer.auth_token()).await);
    assert!(!app.verifies(&answer.refresh_token()).await);
    let refused = app.renew(&answer.refresh_token()).await;
    refused.assert_refused("refresh_token_revoked");
    let (listed, id) = (app.sessions().await, &answer.body["session_id"]);
    assert!(listed.iter().all(|session| session["session_id"] != *id));
}

/// A leaked key is worth nothing from the answer on, and users sign in again at once; by JWTPlus's way of asking, too.
#[tokio::test]
async fn an_emergency_kills_every_token() {
    for method in [Method::POST, Method::GET] {
        let server = TestServer::start().await;
        let app = server.app().await;
        let old = app.sign().await;
        let one = old.text("key_id");
        server.advance(10);
        let two = rotate_by_hand(&server, &app).await;
        server.advance(LEAD);
        let newer = app.sign().await;
        let three = rotate_by_hand(&server, &app).await;
        server.advance(10);

        let answer = emergency(&server, &app, method).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let new = app.sign().await;
        let four = new.text("key_id");
        let expected = json!({
            "app_id": app.id, "new_public_key": new.body["public_key"], "algo": "ES256", "key_id": four,
        });
        assert_eq!(answer.body, expected);
        for answer in [&old, &newer] {
            assert_dead(&app, answer).await;
        }
        assert_eq!(app.sessions().await.len(), 1);
        assert_eq!(jwks(&server, &app).await.0, [&*four]);
        let shown = app.front_end().get(&app.path("pub-keys")).await;
        for key in shown.body["keys"].as_array().unwrap() {
            let good = key["key_id"] == four;
            assert_eq!(
                (&key["is_revoked"], &key["is_expired"]),
                (&json!(!good), &json!(!good))
            );
        }
        let mut listed = keys(&server, &app).await;
        listed.sort_by_key(|key| key["key_id"].to_string());
        let states: Vec<_> = listed
            .iter()
            .map(|key| key["state"].as_str().unwrap())
            .collect();
        assert_eq!(states, ["revoked", "revoked", "revoked", "active"]);
        for (key, id) in listed.iter().zip([&one, &two, &three]) {
            assert_eq!(key["key_id"], *id);
            assert_eq!(key["revoked_at"], at(20 + LEAD));
            assert_eq!(key["gone_at"], at(20 + LEAD + KEPT - 1));
        }
        // The one that was published never signs, when its date comes neither.
        let renewed = assert_live(&app, &new).await;
        server.advance(LEAD);
        assert_eq!(assert_live(&app, &renewed).await.body["key_id"], four);
        server.advance(KEPT);
        run(&server).await;
        assert_states(&server, &app, &[(&four, "active")]).await;
    }
}

/// Without the active key the next one signs at once: the published one, or one that is made.
#[tokio::test]
async fn the_active_key_is_revoked() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let old = app.sign().await;
    let one = old.text("key_id");
    server.advance(10);
    assert_ok(&revoke(&server, &app, &one).await);
    assert_dead(&app, &old).await;
    let new = app.sign().await;
    let two = new.text("key_id");
    assert_states(&server, &app, &[(&two, "active"), (&one, "revoked")]).await;
    assert_eq!(jwks(&server, &app).await.0, [&*two]);

    server.advance(10);
    let three = rotate_by_hand(&server, &app).await;
    server.advance(10);
    assert_ok(&revoke(&server, &app, &two).await);
    assert_dead(&app, &new).await;
    assert_eq!(app.sign().await.text("key_id"), three);
    let listed = keys(&server, &app).await;
    assert_eq!(listed[0]["activates_at"], at(30));
    assert_states(
        &server,
        &app,
        &[(&three, "active"), (&two, "revoked"), (&one, "revoked")],
    )
    .await;
    assert_eq!(jwks(&server, &app).await.0, [&*three]);

    // The next date counts from then.
    server.advance(DAY - LEAD - 1);
    run(&server).await;
    assert_eq!(jwks(&server, &app).await.0, [&*three]);
    server.advance(1);
    run(&server).await;
    assert_eq!(jwks(&server, &app).await.0.len(), 2);
}

/// What does not sign is revoked without a change of what does.
#[tokio::test]
async fn a_published_and_a_retired_key_are_revoked() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let old = app.sign().await;
    let one = old.text("key_id");
    server.advance(10);
    let two = rotate_by_hand(&server, &app).await;
    assert_ok(&revoke(&server, &app, &two).await);
    assert_states(&server, &app, &[(&two, "revoked"), (&one, "active")]).await;
    assert_eq!(jwks(&server, &app).await.0, [&*one]);
    server.advance(LEAD);
    assert_eq!(app.sign().await.text("key_id"), one, "its date came");

    let three = rotate_by_hand(&server, &app).await;
    server.advance(LEAD);
    let new = app.sign().await;
    let carried = app.renew(&app.sign().await.refresh_token()).await;
    assert_ok(&revoke(&server, &app, &one).await);
    assert_dead(&app, &old).await;
    assert_eq!(jwks(&server, &app).await.0, [&*three]);
    for answer in [new, carried] {
        assert_eq!(assert_live(&app, &answer).await.body["key_id"], three);
    }
    let states = [(&*three, "active"), (&*two, "revoked"), (&*one, "revoked")];
    assert_states(&server, &app, &states).await;
}

/// A key is revoked once, by its own app.
#[tokio::test]
async fn what_is_not_there_is_not_revoked() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    let one = app.sign().await.text("key_id");
    server.advance(10);
    for (app, key) in [(&other, &*one), (&app, NO_SUCH), (&app, "garbage")] {
        let answer = revoke(&server, app, key).await;
        answer.assert_problem(404, "not_found");
    }
    assert_states(&server, &app, &[(&one, "active")]).await;
    revoke(&server, &app, &one).await;
    let listed = keys(&server, &app).await;
    let again = revoke(&server, &app, &one).await;
    again.assert_problem(404, "not_found");
    assert_eq!(keys(&server, &app).await, listed);
    for rest in ["rotate/signing-key", "rotate/pki"] {
        let path = format!("/root/{NO_SUCH}/{rest}");
        let answer = server.root().post(&path, Value::Null).await;
        answer.assert_problem(404, "not_found");
    }
    let listed = server
        .root()
        .get(&format!("/root/{NO_SUCH}/signing-keys"))
        .await;
    listed.assert_problem(404, "not_found");
}

/// A mark ends what was issued before, to the millisecond, and touches no session.
#[tokio::test]
async fn a_flush_kills_every_token_that_was_issued() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    let spared = other.sign().await;
    server.advance(10);
    let mut old = Vec::new();
    for _ in 0..5 {
        let first = app.sign().await;
        old.push(app.renew(&first.refresh_token()).await);
        old.push(app.sign().await);
    }
    // A tenth of a second before the flush, which is in the same second.
    let earlier = "UPDATE session SET issued_at = issued_at - 100";
    server
        .app
        .store
        .writer
        .execute_unprepared(earlier)
        .await
        .unwrap();
    let reader = &server.app.store.reader;
    let before = entity::session::Entity::find().all(reader).await.unwrap();

    assert_ok(&flush(&server, &app).await);
    for answer in &old {
        assert_dead(&app, answer).await;
    }
    assert!(app.sessions().await.is_empty());
    let after = entity::session::Entity::find().all(reader).await.unwrap();
    assert!(after == before, "no row was touched");
    assert!(after.iter().all(|session| session.revoked_at.is_none()));

    // They have ended: nothing ends them again.
    for target in [
        json!({"session_id": after[0].id.to_string()}),
        json!({"token": old[1].auth_token()}),
        json!({"sub": after[0].sub}),
    ] {
        assert_eq!(app.logout(target).await.body["revoked"], 0);
    }

    let new = app.sign().await;
    let renewed = assert_live(&app, &new).await;
    assert_live(&app, &renewed).await;
    assert_eq!(app.sessions().await.len(), 1);
    assert_live(&other, &spared).await;
    let unknown = server
        .root()
        .delete(&format!("/root/{NO_SUCH}/flush"))
        .await;
    unknown.assert_problem(404, "not_found");
}

/// A process that has not seen it yet renews nothing that died by another: what it prepared is stale.
#[tokio::test]
async fn what_another_process_ended_does_not_renew() {
    for how in ["flush", "emergency", "revoke", "delete"] {
        let server = TestServer::start().await;
        let app = server.app().await;
        let directory = &server.app.directory;
        directory.follow(&server.app.store).await.unwrap();
        let first = app.sign().await;
        let second = app.renew(&first.refresh_token()).await;
        let other = server.second_process().await;
        other.advance(10);
        server.advance(10);
        match how {
            "flush" => assert_ok(&flush(&other, &app).await),
            "emergency" => drop(emergency(&other, &app, Method::POST).await),
            "revoke" => assert_ok(&revoke(&other, &app, &second.text("key_id")).await),
            _ => {
                let path = format!("/root/{}", app.id);
                assert_ok(&other.root().delete(&path).await);
            }
        }
        // It has the app in memory as it was.
        let refused = app.renew(&second.refresh_token()).await;
        if how == "delete" {
            refused.assert_problem(403, "invalid_key");
            continue;
        }
        refused.assert_refused("refresh_token_revoked");
        // And from then on it has seen it.
        assert_dead(&app, &second).await;
        assert_live(&app, &app.sign().await).await;
    }
}

/// By a clock that is far behind, a key would be revoked before it ever signed, and be gone for long: the job of another process
/// would remove it at once, and what it signed would be told that it is garbage.
#[tokio::test]
async fn a_key_that_a_slow_clock_revokes_is_known_as_revoked() {
    for how in ["revoke", "emergency"] {
        let server = TestServer::start().await;
        let app = server.app().await;
        let earlier = app.sign().await;
        rotate_by_hand(&server, &app).await;
        server.advance(2 * LEAD);
        run(&server).await;
        let signed = app.sign().await;
        assert_ne!(signed.body["key_id"], earlier.body["key_id"]);
        let other = server.second_process().await;
        other.set_clock(-600 * DAY);
        match how {
            "revoke" => assert_ok(&revoke(&other, &app, &signed.text("key_id")).await),
            _ => drop(emergency(&other, &app, Method::POST).await),
        }
        server.advance(60);
        run(&server).await;
        server
            .app
            .directory
            .follow(&server.app.store)
            .await
            .unwrap();
        assert_dead(&app, &signed).await;
        if how == "revoke" {
            // What the retired key signed is as good as ever.
            assert_live(&app, &earlier).await;
        }
        let new = app.sign().await;
        assert_ne!(new.body["key_id"], earlier.body["key_id"]);
        assert_live(&app, &new).await;
    }
}

/// A clock that is ahead by less than a day is believed, and the store knows its time: what is revoked by a right clock then is
/// revoked at once, and the next key signs at once.
#[tokio::test]
async fn a_revocation_does_not_wait_for_a_time_that_is_ahead() {
    for how in ["revoke", "emergency"] {
        let server = TestServer::start().await;
        let app = server.app().await;
        let ahead = server.second_process().await;
        ahead.set_clock(20 * 3600);
        run(&server).await;
        renewd::jobs::clock::look(&ahead.app).await.unwrap();
        let signed = app.sign().await;
        match how {
            "revoke" => assert_ok(&revoke(&server, &app, &signed.text("key_id")).await),
            _ => drop(emergency(&server, &app, Method::POST).await),
        }
        assert_dead(&app, &signed).await;
        let new = app.sign().await;
        assert_ne!(new.body["key_id"], signed.body["key_id"]);
        assert_live(&app, &new).await;
    }
}

/// Neither does a renewal fail that has nothing to do with what another process changed.
#[tokio::test]
async fn what_another_process_changed_does_not_end_a_session() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let other = server.second_process().await;
    server.advance(10);
    other.advance(10);
    let path = format!("/root/{}/rotate/signing-key", app.id);
    assert_eq!(other.root().post(&path, Value::Null).await.status, 200);
    let body = json!({"token_expire": 60});
    assert_ok(&other.root().patch(&format!("/root/{}", app.id), body).await);
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.status, 200, "{}", second.raw);
    // By the policy that the other one made.
    assert_eq!(second.body["expires_in"], 60);
}

/// Until now means until now; the clock need not have moved.
#[tokio::test]
async fn a_flush_kills_what_was_issued_in_the_same_millisecond() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let signed = app.sign().await;
    assert_ok(&flush(&server, &app).await);
    assert_dead(&app, &signed).await;
}

/// A token issued after a flush is good until it expires, also when a newer one was issued in the same second.
#[tokio::test]
async fn what_was_issued_after_a_flush_lives() {
    let server = TestServer::start().await;
    let app = server.app().await;
    assert_ok(&flush(&server, &app).await);
    let signed = app.sign().await;
    assert!(app.verifies(&signed.auth_token()).await);
    app.renew(&signed.refresh_token()).await;
    assert!(app.verifies(&signed.auth_token()).await);
}

/// A pair that is answered again is signed by its own key, though the next one signs by then: it dies with it.
#[tokio::test]
async fn a_pair_has_one_key() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"refresh_grace": 60})).await;
    let first = app.sign().await;
    let two = rotate_by_hand(&server, &app).await;
    server.advance(LEAD - 1);
    let second = app.renew(&first.refresh_token()).await;
    server.advance(1);
    let again = app.renew(&first.refresh_token()).await;
    assert_eq!(again.text("key_id"), second.text("key_id"));
    assert!(app.verifies(&again.auth_token()).await);
    assert_eq!(app.sessions().await.len(), 1);

    assert_ok(&revoke(&server, &app, &first.text("key_id")).await);
    assert_dead(&app, &again).await;
    assert!(app.sessions().await.is_empty());
    assert_eq!(app.sign().await.text("key_id"), two);
}
