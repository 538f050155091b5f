//! Every algorithm of the contract, from the making of an app to a verifier.

use std::collections::HashSet;

use jsonwebtoken::{DecodingKey, Validation, jwk::Jwk};
use serde_json::{Map, Value, json};

use super::{LEAD, assert_live, assert_states, keys, rotate_by_hand, run};
use crate::support::{TestApp, TestServer, decode, new_app};

/// A key type with its algorithms, and what its public keys are besides `alg kid use` (RFC 7518 section 6).
struct Family {
    key_type: &'static str,
    algorithms: &'static [&'static str],
    kty: &'static str,
    crv: &'static str,
    members: &'static [&'static str],
}

const fn family(
    key_type: &'static str,
    algorithms: &'static [&'static str],
    kty: &'static str,
    crv: &'static str,
    members: &'static [&'static str],
) -> Family {
    Family {
        key_type,
        algorithms,
        kty,
        crv,
        members,
    }
}

const RSA: &[&str] = &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const FAMILIES: [Family; 4] = [
    family("ECDSA", &["ES256"], "EC", "P-256", &["crv", "x", "y"]),
    family("ECDSA", &["ES384"], "EC", "P-384", &["crv", "x", "y"]),
    family("EdDSA", &["EdDSA"], "OKP", "Ed25519", &["crv", "x"]),
    family("RSA", RSA, "RSA", "", &["e", "n"]),
];

/// The JWKS of the app as a verifier reads it.
async fn jwks(server: &TestServer, app: &TestApp) -> Vec<Map<String, Value>> {
    let answer = server.anon().get(&app.path(".well-known/jwks.json")).await;
    serde_json::from_value(answer.body["keys"].clone()).unwrap()
}

/// Whether a verifier that has the JWK takes the token. The dates are those of the test's clock.
fn verifies(jwk: &Map<String, Value>, algorithm: &str, token: &str) -> bool {
    let jwk: Jwk = serde_json::from_value(jwk.clone().into()).unwrap();
    let mut validation = Validation::new(algorithm.parse().unwrap());
    validation.set_audience(&["web-app"]);
    validation.validate_exp = false;
    validation.required_spec_claims = HashSet::new();
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
}

/// Sign, verify, renew, show; and nothing private is shown.
#[tokio::test]
async fn every_algorithm_signs_and_is_verified() {
    let server = TestServer::start().await;
    for family in FAMILIES {
        let Family {
            key_type,
            kty,
            crv,
            members,
            ..
        } = family;
        for name in family.algorithms {
            let policy = json!({"key_type": key_type, "algo": name});
            let app = server.app_with(policy).await;
            let first = app.sign().await;
            let (header, _) = decode(&first.auth_token());
            let kid = &first.body["key_id"];
            assert_eq!(header, json!({"alg": name, "kid": kid, "typ": "JWT"}));
            let second = assert_live(&app, &first).await;

            let keys = jwks(&server, &app).await;
            assert_eq!(keys.len(), 1);
            let mut shown = keys[0].clone();
            for answer in [&first, &second] {
                let token = answer.auth_token();
                assert!(verifies(&shown, name, &token), "{name}");
                let (signed, signature) = token.rsplit_once('.').unwrap();
                let first = if signature.starts_with('A') { "B" } else { "A" };
                let forged = format!("{signed}.{first}{}", &signature[1..]);
                assert!(!verifies(&shown, name, &forged), "{name}");
            }
            for member in members {
                let value = shown.remove(*member).unwrap();
                let value = value.as_str().unwrap();
                assert!(!value.is_empty() && !value.contains('='), "{name} {member}");
                if *member == "crv" {
                    assert_eq!(value, crv);
                }
            }
            let rest = json!({"alg": name, "kid": kid, "kty": kty, "use": "sig"});
            assert_eq!(Value::Object(shown), rest, "nothing else, nothing private");

            let shown = app.front_end().get(&app.path("pub-keys")).await;
            let expected = json!({"keys": [{
                "key_id": kid, "public_key": first.body["public_key"], "key_type": key_type, "key_algo": name,
                "exp_time": 1_740_427_049 + 86_400, "is_expired": false, "is_revoked": false,
            }]});
            assert_eq!(shown.body, expected);
            let app_info = app.backend().get(&format!("/app/{}", app.id)).await;
            assert_eq!(app_info.body["app"]["algo"], *name);
            assert_eq!(app_info.body["app"]["key_type"], key_type);
        }
    }
}

/// What cannot be signed with is refused by name, when an app is made and when it is changed.
#[tokio::test]
async fn es512_is_refused() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let mut body = new_app();
    body["algo"] = json!("ES512");
    let refused = server.root().post("/root/create", body).await;
    refused.assert_invalid(&["algo"]);
    let path = format!("/root/{}", app.id);
    let refused = server.root().patch(&path, json!({"algo": "ES512"})).await;
    refused.assert_invalid(&["algo"]);
}

/// A change of the algorithm is a rotation: what signs goes on, its successor is of the new one.
#[tokio::test]
async fn the_next_key_has_the_new_algorithm() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let mut last = app.sign().await;
    for (key_type, name, kty) in [("EdDSA", "EdDSA", "OKP"), ("RSA", "PS256", "RSA")] {
        server.advance(10);
        let body = json!({"key_type": key_type, "algo": name});
        let path = format!("/root/{}", app.id);
        let changed = server.root().patch(&path, body).await;
        assert_eq!(changed.body, json!({"status": "ok"}), "{}", changed.raw);
        run(&server).await;
        let before = app.sign().await;
        assert_eq!(before.body["key_id"], last.body["key_id"]);

        let next = rotate_by_hand(&server, &app).await;
        server.advance(LEAD);
        let signed = app.sign().await;
        assert_eq!(signed.text("key_id"), next);
        assert_eq!(decode(&signed.auth_token()).0["alg"], name);
        let keys = jwks(&server, &app).await;
        let found = keys.iter().find(|key| key["kid"] == next).unwrap();
        assert_eq!((&found["kty"], &found["alg"]), (&json!(kty), &json!(name)));
        assert!(verifies(found, name, &signed.auth_token()));
        last = assert_live(&app, &before).await;
        assert_eq!(last.text("key_id"), next);
    }
    // By the job it is the same, and in an emergency.
    let body = json!({"key_type": "ECDSA", "algo": "ES384"});
    server
        .root()
        .patch(&format!("/root/{}", app.id), body)
        .await;
    server.advance(86_400);
    run(&server).await;
    server.advance(LEAD);
    let signed = app.sign().await;
    assert_eq!(decode(&signed.auth_token()).0["alg"], "ES384");
    run(&server).await;
    assert_states(
        &server,
        &app,
        &[
            (&signed.text("key_id"), "active"),
            (&last.text("key_id"), "retired"),
        ],
    )
    .await;
    let body = json!({"algo": "ES256"});
    server
        .root()
        .patch(&format!("/root/{}", app.id), body)
        .await;
    let path = format!("/root/{}/rotate/pki", app.id);
    let answer = server.root().post(&path, Value::Null).await;
    assert_eq!(answer.body["algo"], "ES256");
    assert_eq!(decode(&app.sign().await.auth_token()).0["alg"], "ES256");
}

/// One app's trouble is told, and keeps no other app from its turn.
#[tokio::test]
async fn a_key_that_cannot_be_made_stops_nobody_else() {
    use sea_orm::ConnectionTrait;

    let server = TestServer::start().await;
    let (broken, sound) = (server.app().await, server.app().await);
    let damage = format!(
        "UPDATE app SET algorithm = 'none' WHERE id = '{}'",
        broken.id
    );
    server
        .app
        .store
        .writer
        .execute_unprepared(&damage)
        .await
        .unwrap();
    server.advance(86_400 - LEAD);
    let token = tokio_util::sync::CancellationToken::new();
    let failed = renewd::jobs::rotate::run(&server.app, &token).await;
    assert!(matches!(failed, Err(renewd::error::Error::Internal(_))));
    assert_eq!(keys(&server, &sound).await.len(), 2);
    let kept = entity::signing_key::list_in(&server.app.store.reader, broken.id.parse().unwrap());
    assert_eq!(kept.await.unwrap().len(), 1);
}
