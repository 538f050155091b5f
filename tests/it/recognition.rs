//! A refresh token that is byte for byte the one that was handed out last is known by its keyed hash; every other one is
//! verified in full.

use proptest::prelude::*;
use serde_json::json;

use crate::{
    attacks::twin,
    support::{TestApp, TestServer},
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
    renewd::master::rekey(&server.app, &actor).await.unwrap();
    let second = app.renew(&first.refresh_token()).await;
    assert_eq!(second.status, 200, "{}", second.raw);
    assert_eq!(verified(&server), 1);
    assert_eq!(app.renew(&second.refresh_token()).await.status, 200);
    assert_eq!(verified(&server), 1);
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
    let (_, claims) = crate::support::decode(&second.refresh_token());
    assert_eq!(claims["exp"], 1_740_427_049 + 9000);
    let third = app.renew(&second.refresh_token()).await;
    assert_eq!(third.status, 200, "{}", third.raw);
    assert_eq!(verified(&server), 1);
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
    assert_eq!(verified(&server), before, "recognised");
}
