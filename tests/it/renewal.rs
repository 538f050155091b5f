//! Renewal: what it carries over, and that one token wins once.

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;

use crate::support::{START_MILLIS, TestServer, decode, new_session};

/// The documented tokens, claim for claim, and what is ours.
#[tokio::test]
async fn both_tokens_have_the_documented_claims() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"refresh_notbefore": 60})).await;
    let answer = app.sign().await;

    let (header, mut claims) = decode(&answer.auth_token());
    assert_eq!(
        header,
        json!({"alg": "ES256", "kid": answer.body["key_id"], "typ": "JWT"})
    );
    let (refresh_header, mut refresh) = decode(&answer.refresh_token());
    assert_eq!(
        refresh_header,
        json!({"alg": "ES256", "kid": answer.body["key_id"], "typ": "rt+jwt"})
    );

    // One jid for the pair, and ids of ours.
    let jid = claims["jid"].take();
    assert_eq!(jid.as_str().unwrap().len(), 26);
    assert_eq!(claims["jti"].take(), jid);
    assert_eq!(refresh["jid"].take(), jid);
    assert_eq!(claims["sid"].take(), answer.body["session_id"]);
    assert_eq!(refresh["sid"].take(), answer.body["session_id"]);
    // Known to this server only.
    assert_eq!(refresh["chk"].take().as_str().unwrap().len(), 22);
    let audience = refresh["aud"].take();
    assert_eq!(audience, format!("urn:renewd:app:{}:renew", app.id));

    assert_eq!(
        claims,
        json!({
            "aud": "web-app", "exp": 1740430649, "iat": 1740427049, "ip": "1.1.1.1", "iss": "app_2",
            "nbf": 1740427049, "personal": {"name": "test-user"}, "sub": "test@test.com",
            "useragent": "my-user-agent", "jid": null, "jti": null, "sid": null,
        })
    );
    // The documented pair was dated for a refresh token of three hours; this policy has two.
    assert_eq!(
        refresh,
        json!({
            "exp": 1740427049 + 7200, "iat": 1740427049, "iss": "app_2", "nbf": 1740427109,
            "type": "refresh", "jid": null, "sid": null, "aud": null,
            "chk": null,
        })
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for (name, expected) in [
        ("token_type", json!("Bearer")),
        ("expires_in", json!(3600)),
        ("refresh_expires_in", json!(7200)),
    ] {
        assert_eq!(answer.body[name], expected);
    }
    let renew_after = answer.body["renew_after"].as_i64().unwrap();
    assert!((2520..=3240).contains(&renew_after), "{renew_after}");
    assert_eq!(answer.body["refresh_grace"], 0);
}

/// A client that obeys `renew_after` never calls with an auth token that has ended: also where the refresh token lives long.
#[tokio::test]
async fn a_client_renews_before_its_auth_token_ends() {
    let server = TestServer::start().await;
    for (auth, refresh) in [
        (60, 60),
        (3600, 1_209_600),
        (3600, 31_536_000),
        (31_536_000, 31_536_000),
    ] {
        let app = server
            .app_with(json!({"token_expire": auth, "refresh_expire": refresh}))
            .await;
        let mut answer = app.sign().await;
        for _ in 0..20 {
            let renew_after = answer.body["renew_after"].as_i64().unwrap();
            let most = (auth * 9 / 10).min(24 * 86_400);
            let least = (auth * 7 / 10).min(24 * 86_400);
            assert!(
                (least..=most).contains(&renew_after),
                "{auth}: {renew_after}"
            );
            server.advance(renew_after);
            assert!(app.verifies(&answer.auth_token()).await);
            answer = app.renew(&answer.refresh_token()).await;
            assert_eq!(answer.status, 200, "{}", answer.raw);
        }
    }
}

/// A pair that is answered again when its auth token is nearly over has another one of the same session and generation.
#[tokio::test]
async fn an_auth_token_that_is_nearly_over_is_signed_anew() {
    let server = TestServer::start().await;
    let policy = json!({"token_expire": 60, "refresh_grace": 59, "session_expire": 100});
    let app = server.app_with(policy).await;
    let first = app.sign().await;
    let second = app.renew(&first.refresh_token()).await;
    let (_, before) = decode(&second.auth_token());
    server.advance(54);
    let again = app.renew(&first.refresh_token()).await;
    assert_eq!(decode(&again.auth_token()).1, before);
    assert_eq!(again.body["expires_in"], 6);

    server.advance(4);
    // Its key signs no new sessions any more.
    let path = format!("/root/{}/rotate/signing-key", app.id);
    assert_eq!(server.root().post(&path, json!({})).await.status, 200);
    let again = app.renew(&first.refresh_token()).await;
    assert_eq!(again.status, 200, "{}", again.raw);
    let mut expected = before.clone();
    expected["iat"] = json!(START_MILLIS / 1000 + 58);
    expected["nbf"] = expected["iat"].clone();
    // With its session.
    expected["exp"] = json!(START_MILLIS / 1000 + 100);
    assert_eq!(decode(&again.auth_token()).1, expected);
    assert_eq!(
        decode(&again.refresh_token()).1,
        decode(&second.refresh_token()).1
    );
    assert_eq!(again.body["expires_in"], 42);
    let renew_after = again.body["renew_after"].as_i64().unwrap();
    assert!((30..=37).contains(&renew_after), "{renew_after}");
    server.advance(10);
    assert!(!app.verifies(&second.auth_token()).await);
    assert!(app.verifies(&again.auth_token()).await);
    app.logout(json!({"token": again.auth_token()})).await;
    assert!(!app.verifies(&again.auth_token()).await);
}

/// By another implementation than the one that signed.
#[tokio::test]
async fn the_public_key_of_the_answer_verifies_both_tokens() {
    use p256::{
        ecdsa::{Signature, VerifyingKey, signature::Verifier},
        pkcs8::DecodePublicKey,
    };
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let second = app.renew(&first.refresh_token()).await;
    for answer in [first, second] {
        let pem = BASE64_STANDARD.decode(answer.text("public_key")).unwrap();
        let pem = String::from_utf8(pem).unwrap();
        let key = VerifyingKey::from_public_key_pem(&pem).unwrap();
        for token in [answer.auth_token(), answer.refresh_token()] {
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
            let signature = Signature::from_slice(&signature).unwrap();
            assert!(key.verify(signed.as_bytes(), &signature).is_ok());
            assert!(key.verify(&signed.as_bytes()[1..], &signature).is_err());
        }
    }
}

/// The window has a fixed end, takes the immediate parent only, and is closed by the successor.
#[tokio::test]
async fn the_grace_is_for_the_immediate_parent_and_ends_on_time() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"refresh_grace": 10})).await;

    let first = app.sign().await;
    let second = app.renew(&first.refresh_token()).await;
    for _ in 0..3 {
        server.advance(3);
        let again = app.renew(&first.refresh_token()).await;
        assert_eq!(
            decode(&again.auth_token()).1,
            decode(&second.auth_token()).1
        );
    }
    server.advance(1);
    app.renew(&first.refresh_token())
        .await
        .assert_refused("refresh_token_used");
    app.renew(&second.refresh_token())
        .await
        .assert_refused("refresh_token_revoked");

    let first = app.sign().await;
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(app.renew(&second.refresh_token()).await.status, 200);
    app.renew(&first.refresh_token())
        .await
        .assert_refused("refresh_token_used");
}

/// A repeated answer says how long its tokens live from then on, not from their issue.
#[tokio::test]
async fn a_repeated_answer_counts_down() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"refresh_grace": 60})).await;
    let first = app.sign().await;
    app.renew(&first.refresh_token()).await;
    server.advance(50);
    let again = app.renew(&first.refresh_token()).await;
    assert_eq!(again.body["expires_in"], 3550);
    assert_eq!(again.body["refresh_expires_in"], 7150);
}

/// Claims come from the store, also long after the auth token has expired.
#[tokio::test]
async fn all_claims_are_carried_over_after_the_auth_token_expired() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let mut body = new_session();
    body["aud"] = json!(["web-app", "mobile"]);
    body["role"] = json!("admin");
    body["nested"] = json!({"é": [1, 2.5, null, {"deep": true}], "emoji": "🔑"});
    let first = app.sign_with(body).await;
    let (_, before) = decode(&first.auth_token());

    server.advance(3600 + 600);
    assert!(!app.verifies(&first.auth_token()).await);
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.status, 200, "{}", second.raw);
    let (_, after) = decode(&second.auth_token());

    for name in ["sub", "aud", "personal", "role", "nested", "iss", "sid"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert_eq!(after["ip"], "2.2.2.2");
    assert_eq!(after["useragent"], "another-agent");
    assert_eq!(after["iat"], before["iat"].as_i64().unwrap() + 4200);
    assert_ne!(after["jid"], before["jid"]);
    assert!(app.verifies(&second.auth_token()).await);
}

/// Identity decides, within one second and over many generations.
#[tokio::test]
async fn a_reuse_of_any_generation_is_seen_within_one_second() {
    let server = TestServer::start().await;
    let app = server.app().await;
    for replayed in [0, 1, 5, 19] {
        let mut tokens = vec![app.sign().await.refresh_token()];
        for generation in 0..20 {
            let next = app.renew(&tokens[generation]).await;
            assert_eq!(next.status, 200, "{}", next.raw);
            tokens.push(next.refresh_token());
        }
        app.renew(&tokens[replayed])
            .await
            .assert_refused("refresh_token_used");
        app.renew(&tokens[20])
            .await
            .assert_refused("refresh_token_revoked");
    }
}

/// For the whole life of the session, also after the old token itself has expired.
#[tokio::test]
async fn a_reuse_is_seen_after_the_old_token_expired() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let mut last = first.refresh_token();
    for _ in 0..3 {
        server.advance(3600);
        last = app.renew(&last).await.refresh_token();
    }
    app.renew(&first.refresh_token())
        .await
        .assert_refused("refresh_token_used");
    app.renew(&last)
        .await
        .assert_refused("refresh_token_revoked");
}

/// A session is one row, whatever became of it.
#[tokio::test]
async fn a_session_does_not_grow() {
    use entity::session;
    use sea_orm::{EntityTrait, PaginatorTrait};

    let server = TestServer::start().await;
    let app = server.app().await;
    let mut token = app.sign().await.refresh_token();
    for _ in 0..50 {
        token = app.renew(&token).await.refresh_token();
    }
    let count = session::Entity::find()
        .count(&server.app.store.reader)
        .await;
    assert_eq!(count.unwrap(), 1);
}

/// Too early is refused with the time to wait, and revokes nothing; `nbf` and `exp` are exact.
#[tokio::test]
async fn a_refresh_token_is_good_from_nbf_until_exp() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"refresh_notbefore": 60})).await;
    let first = app.sign().await;

    let early = app.renew(&first.refresh_token()).await;
    early.assert_refused("refresh_token_not_yet_valid");
    assert_eq!(early.header("retry-after"), Some("60"));
    server.advance(59);
    let early = app.renew(&first.refresh_token()).await;
    early.assert_refused("refresh_token_not_yet_valid");
    assert_eq!(early.header("retry-after"), Some("1"));
    server.advance(1);
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.status, 200, "{}", second.raw);

    server.advance(7199);
    let third = app.renew(&second.refresh_token()).await;
    assert_eq!(third.status, 200, "{}", third.raw);
    server.advance(7200);
    app.renew(&third.refresh_token())
        .await
        .assert_refused("refresh_token_expired");
    assert!(app.sessions().await.is_empty());
}

/// The leeway setting widens both ends, by so many seconds and no more.
#[tokio::test]
async fn leeway_is_a_setting() {
    let server = TestServer::start_with(|config| config.leeway = 5).await;
    let app = server.app_with(json!({"refresh_notbefore": 60})).await;
    let first = app.sign().await;
    server.advance(54);
    let early = app.renew(&first.refresh_token()).await;
    early.assert_refused("refresh_token_not_yet_valid");
    server.advance(1);
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.status, 200, "{}", second.raw);
    server.advance(7204);
    let third = app.renew(&second.refresh_token()).await;
    assert_eq!(third.status, 200, "{}", third.raw);
    server.advance(7205);
    app.renew(&third.refresh_token())
        .await
        .assert_refused("refresh_token_expired");
}

/// What the leeway still renews, a logout ends: another node may be behind by as much.
#[tokio::test]
async fn a_logout_within_the_leeway_ends_the_session() {
    let server = TestServer::start_with(|config| config.leeway = 5).await;
    let app = server.app().await;
    for by in ["token", "session_id", "sub"] {
        let signed = app.sign().await;
        let token = signed.refresh_token();
        let target = match by {
            "token" => token.clone(),
            "session_id" => signed.text("session_id"),
            _ => decode(&signed.auth_token()).1["sub"]
                .as_str()
                .unwrap()
                .to_owned(),
        };
        server.advance(7203);
        let ended = app.logout(json!({by: target})).await;
        assert_eq!(ended.status, 200, "{by}: {}", ended.raw);
        assert_ne!(ended.body["revoked"], 0, "{by}");
        app.renew(&token)
            .await
            .assert_refused("refresh_token_revoked");
    }
}

/// A session has an absolute end, if its app says so, and no token outlives it.
#[tokio::test]
async fn nothing_outlives_the_session() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"session_expire": 9000})).await;
    let first = app.sign().await;
    server.advance(7000);
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.body["expires_in"], 2000);
    assert_eq!(second.body["refresh_expires_in"], 2000);
    let end = START_MILLIS / 1000 + 9000;
    assert_eq!(decode(&second.auth_token()).1["exp"], end);
    assert_eq!(decode(&second.refresh_token()).1["exp"], end);
    server.advance(2000);
    app.renew(&second.refresh_token())
        .await
        .assert_refused("refresh_token_expired");
    assert!(!app.verifies(&second.auth_token()).await);
}

/// With a publishable key the address and the agent of the connection count, whatever the body says.
#[tokio::test]
async fn a_front_end_is_not_believed_about_its_address() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let browser = app
        .front_end()
        .with_header("user-agent", "Mozilla/5.0 (real)");
    let body =
        json!({"refresh_token": first.refresh_token(), "ip": "9.9.9.9", "useragent": "claimed"});
    let second = browser.post(&app.path("renew"), body).await;
    let (_, claims) = decode(&second.auth_token());
    assert_eq!(claims["ip"], "203.0.113.7");
    assert_eq!(claims["useragent"], "Mozilla/5.0 (real)");

    // Nor about who forwarded it, but for proxies that are trusted.
    let body = json!({"refresh_token": second.refresh_token()});
    let forwarded = browser.with_header("x-forwarded-for", "198.51.100.1");
    let third = forwarded.post(&app.path("renew"), body).await;
    assert_eq!(decode(&third.auth_token()).1["ip"], "203.0.113.7");
}

/// Past the app's limit the oldest session of a subject ends, and nobody else's.
#[tokio::test]
async fn the_limit_of_sessions_ends_the_oldest() {
    let server = TestServer::start().await;
    let app = server
        .app_with(json!({"max_sessions_per_subject": 2}))
        .await;
    let mut other = new_session();
    other["sub"] = json!("somebody-else");
    let other = app.sign_with(other).await;
    let mut begun = Vec::new();
    for _ in 0..3 {
        begun.push(app.sign().await);
        server.advance(1);
    }
    assert_eq!(app.sessions().await.len(), 2);
    app.renew(&begun[0].refresh_token())
        .await
        .assert_refused("refresh_token_revoked");
    for live in [&begun[1], &begun[2], &other] {
        let renewed = app.renew(&live.refresh_token()).await;
        assert_eq!(renewed.status, 200, "{}", renewed.raw);
    }
}

/// The answer to a renewal that was made before is as durable as it: its transaction writes, so that its commit waits for the
/// disk and for the standbys, which the one before it may not have reached.
#[tokio::test]
async fn a_pair_that_is_answered_again_is_committed_again() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"refresh_grace": 10})).await;
    let first = app.sign().await.refresh_token();
    // A connection of the server's: on a cluster it waits for what the other nodes have committed.
    let db = &server.app.store.writer;
    let written = async || {
        let sql = "SELECT value FROM setting WHERE name = 'probe'";
        let statement = Statement::from_string(db.get_database_backend(), sql);
        let row = db.query_one_raw(statement).await.unwrap();
        row.map(|row| row.try_get::<i64>("", "value").unwrap())
    };
    assert_eq!(app.renew(&first).await.status, 200);
    let before = written().await;
    assert_eq!(app.renew(&first).await.status, 200);
    assert_ne!(written().await, before);
}
