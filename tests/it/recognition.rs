//! A refresh token that is byte for byte the one that was handed out last is known by its keyed hash; every other one is
//! verified in full.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keys::TokenType;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    attacks::twin,
    support::{Answer, START_MILLIS, TestApp, TestServer, decode},
};

/// How many signatures of refresh tokens were verified so far.
fn verified(server: &TestServer) -> u64 {
    let exposition = server.app.metrics.exposition();
    let line = exposition
        .lines()
        .find_map(|line| line.strip_prefix("renewd_refresh_tokens_verified_total "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_was_handed_out_last_is_recognised() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"refresh_grace": 10})).await;
    let mut token = app.sign().await.refresh_token();
    for _ in 0..5 {
        let answer = app.renew(&token).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        token = answer.refresh_token();
    }
    assert_eq!(verified(&server), 0);

    // The same pair again is signed anew, so it is not the same bytes.
    let next = app.renew(&token).await.refresh_token();
    let again = app.renew(&token).await.refresh_token();
    assert_eq!(verified(&server), 1, "the parent");
    assert_ne!(next, again);
    assert_eq!(app.renew(&again).await.status, 200);
    assert_eq!(verified(&server), 2, "the same pair, signed again");
}

/// Its dates, its key, its session and its app are looked at all the same.
#[tokio::test]
async fn what_is_recognised_is_not_excused() {
    let server = TestServer::start().await;
    let refused = async |app: &TestApp, token: &str, code: &str| {
        app.renew(token).await.assert_refused(code);
    };
    let app = server.app_with(json!({"refresh_notbefore": 60})).await;
    let token = app.sign().await.refresh_token();
    refused(&app, &token, "refresh_token_not_yet_valid").await;
    server.advance(7200);
    refused(&app, &token, "refresh_token_expired").await;

    let app = server.app().await;
    let other = server.app().await;
    let first = app.sign().await;
    refused(&other, &first.refresh_token(), "refresh_token_invalid").await;
    app.logout(json!({"session_id": first.body["session_id"]}))
        .await;
    refused(&app, &first.refresh_token(), "refresh_token_revoked").await;

    let second = app.sign().await.refresh_token();
    server
        .root()
        .delete(&format!("/root/{}/flush", app.id))
        .await;
    refused(&app, &second, "refresh_token_revoked").await;

    let third = app.sign().await;
    let path = format!("/root/{}/revoke/{}", app.id, third.text("key_id"));
    assert_eq!(server.root().delete(&path).await.status, 200);
    refused(&app, &third.refresh_token(), "refresh_token_revoked").await;
    assert_eq!(verified(&server), 0);
}

/// A valid signature that is another one than the one that was handed out is verified; and used up with its twin.
#[tokio::test]
async fn another_signature_of_the_same_token_is_verified() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = app.sign().await.refresh_token();
    let twin = twin(&token);
    assert_ne!(twin, token);
    assert_eq!(app.renew(&twin).await.status, 200);
    assert_eq!(verified(&server), 1);
    app.renew(&token).await.assert_refused("refresh_token_used");
    assert_eq!(verified(&server), 2);
}

/// After a change of the master key nothing is recognised, and everything is still good.
#[tokio::test]
async fn a_new_master_key_recognises_nothing_of_the_old_one() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let actor = renewd::audit::Actor::cli();
    renewd::rekey::rekey(&server.app, &actor).await.unwrap();
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.status, 200, "{}", second.raw);
    let once = verified(&server);
    assert!(once > 0);
    assert_eq!(app.renew(&second.refresh_token()).await.status, 200);
    assert_eq!(verified(&server), once);
}

/// A session that ends before its refresh token would: the token was signed for a longer life, and is signed anew.
#[tokio::test]
async fn the_last_token_of_a_session_ends_with_it() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"session_expire": 9000})).await;
    let first = app.sign().await;
    server.advance(3000);
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.body["refresh_expires_in"], 6000);
    let (_, claims) = decode(&second.refresh_token());
    assert_eq!(claims["exp"], 1_740_427_049 + 9000);
    let third = app.renew(&second.refresh_token()).await;
    assert_eq!(third.status, 200, "{}", third.raw);
    assert_eq!(verified(&server), 1);
}

/// The claims of a refresh token, as whoever sees the auth token of a session can make them up.
fn made_up(app: &TestApp, session: &Answer) -> Value {
    let (_, auth) = decode(&session.auth_token());
    json!({
        "iss": auth["iss"], "aud": format!("urn:renewd:app:{}:renew", app.id), "iat": auth["iat"], "nbf": auth["nbf"],
        "exp": START_MILLIS / 1000 + 7200, "jid": auth["jid"], "sid": auth["sid"], "type": "refresh",
    })
}

/// A token with these claims and a signature that is none.
fn forge(header: &Value, claims: &Value) -> String {
    let part = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let signature = BASE64_URL_SAFE_NO_PAD.encode([7; 64]);
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// What is forged from what anybody sees is verified before anything is signed, and never comes to the store: here the store
/// takes nothing at all.
#[tokio::test]
async fn a_forgery_costs_a_verification() {
    let server = TestServer::start_embedded().await;
    let app = server.app().await;
    let session = app.sign().await;
    let (header, claims) = (decode(&session.refresh_token()).0, made_up(&app, &session));
    let mut forged = vec![forge(&header, &claims)];
    for (name, value) in [
        ("jid", json!("01JMWRJEJ71191KP88NDGWVYEW")),
        ("sid", json!("01JMWRJEJ71191KP88NDGWVYEW")),
        ("chk", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        ("chk", json!("")),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        forged.push(forge(&header, &claims));
    }
    // Nor is what does not even look like one.
    let long = json!({"type": "refresh", "x": "y".repeat(4000)});
    let garbage = [
        forge(&header, &json!({})),
        forge(&header, &long),
        "é".repeat(9000),
    ];

    // One that was handed out, with a signature that is none: known from the second time on.
    let genuine = session.refresh_token();
    let (signed, _) = genuine.rsplit_once('.').unwrap();
    let broken = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode([7; 64]));
    app.renew(&broken)
        .await
        .assert_refused("refresh_token_invalid");
    assert_eq!(verified(&server), 1);

    let held = server.app.store.begin().await.unwrap();
    for token in forged.iter().chain(&garbage).chain([&broken]) {
        let answer = tokio::time::timeout(Duration::from_secs(2), app.renew(token));
        answer
            .await
            .unwrap()
            .assert_refused("refresh_token_invalid");
    }
    assert_eq!(verified(&server), 1 + forged.len() as u64 + 1);
    held.rollback().await.unwrap();
    assert_eq!(app.renew(&genuine).await.status, 200);
}

/// A token of an earlier release bears no mark, and is as good: its signature is verified.
#[tokio::test]
async fn a_token_without_a_mark_is_verified() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let session = app.sign().await;
    let loaded = server
        .app
        .load(app.id.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let key = loaded.keyring.active(server.app.clock.now()).unwrap().key();
    let claims = made_up(&app, &session).to_string();
    let token = keys::sign(key, TokenType::Refresh, claims.as_bytes()).unwrap();
    let second = app.renew(&token).await;
    assert_eq!(second.status, 200, "{}", second.raw);
    assert_eq!(verified(&server), 1);
    app.renew(&token).await.assert_refused("refresh_token_used");
    assert_eq!(verified(&server), 2);
}

/// Whatever is changed of a token, wherever: it is not recognised, not taken, and uses nothing up.
#[test]
fn no_other_bytes_are_recognised() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(TestServer::start());
    let app = runtime.block_on(server.app());
    let token = runtime.block_on(app.sign()).refresh_token();
    let places = 0..token.len();
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    };
    proptest!(config, |(place in places, byte in 0_u8..=127)| {
        let mut bytes = token.clone().into_bytes();
        prop_assume!(bytes[place] != byte);
        bytes[place] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        let answer = runtime.block_on(app.renew(&changed));
        answer.assert_refused("refresh_token_invalid");
    });
    let before = verified(&server);
    let answer = runtime.block_on(app.renew(&token));
    assert_eq!(answer.status, 200, "{}", answer.raw);
    // It came with a wrong signature before.
    assert_eq!(verified(&server), before + 1);
}
