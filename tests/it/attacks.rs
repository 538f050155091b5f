//! Forged tokens (RFC 8725), and keys that are not the caller's: none of them gets anywhere.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::signature::Signer;
use keys::{Algorithm, SigningKey};
use poem::http::Method;
use rand::{SeedableRng, rngs::ChaCha12Rng};
use renewd::apps::LoadedApp;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestServer, decode};

/// Of nothing.
const ID: &str = "01JMWRJEJ71191KP88NDGWVYEW";

/// A server with two apps, and a session of the first.
struct Scene {
    server: TestServer,
    app: TestApp,
    other: TestApp,
    session: Answer,
}

impl Scene {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let (app, other) = (server.app().await, server.app().await);
        let session = app.sign().await;
        Self {
            server,
            app,
            other,
            session,
        }
    }

    fn tokens(&self) -> [String; 2] {
        [self.session.auth_token(), self.session.refresh_token()]
    }

    /// What the server has of the app in memory, its signing key among it.
    async fn loaded(&self, app: &TestApp) -> std::sync::Arc<LoadedApp> {
        let found = self.server.app.load(app.id.parse().unwrap()).await;
        found.unwrap().unwrap()
    }

    async fn verify(&self, token: &str) -> Answer {
        let path = self.app.path("verify");
        self.app
            .front_end()
            .post(&path, json!({"token": token}))
            .await
    }

    async fn renews_not(&self, token: &str, code: &str) {
        let answer = self.app.renew(token).await;
        assert_eq!(answer.body["code"], code, "{token}: {}", answer.raw);
        answer.assert_refused(code);
    }

    /// None of `tokens` verifies, renews or ends anything, and the session is as it was.
    async fn refuses(&self, tokens: impl IntoIterator<Item = String>) {
        for token in tokens {
            let shown: String = token.chars().take(500).collect();
            let verified = self.verify(&token).await;
            assert_eq!(verified.status, 200, "{shown}: {}", verified.raw);
            assert_eq!(verified.body, json!({"verified": false}), "{shown}");
            let ended = self.app.logout(json!({"token": token})).await;
            assert_eq!(ended.body, json!({"status": "ok", "revoked": 0}), "{shown}");
            if !token.is_empty() {
                self.renews_not(&token, "refresh_token_invalid").await;
            }
        }
        for token in self.tokens() {
            assert!(self.app.verifies(&token).await);
        }
        let renewed = self.app.renew(&self.session.refresh_token()).await;
        assert_eq!(renewed.status, 200, "{}", renewed.raw);
    }
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn split(token: &str) -> [&str; 3] {
    let parts: Vec<_> = token.split('.').collect();
    parts.try_into().unwrap()
}

/// The token with a member of its header changed, or removed by null; its signature is as it was.
fn with_header(token: &str, name: &str, value: &Value) -> String {
    let [_, payload, signature] = split(token);
    let mut header = decode(token).0;
    header[name] = value.clone();
    header
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    format!("{}.{payload}.{signature}", base64(header.to_string()))
}

/// The token with a signature by `key`, whatever its header says.
fn signed_by(key: &SigningKey, token: &str) -> String {
    let message = token.rsplit_once('.').unwrap().0;
    let signature = key.try_sign(message.as_bytes()).unwrap();
    format!("{message}.{}", base64(signature))
}

fn attacker(kid: &str) -> SigningKey {
    let private = keys::generate(Algorithm::Es256, &mut ChaCha12Rng::seed_from_u64(99));
    SigningKey::parse(kid, Algorithm::Es256, &private.unwrap()).unwrap()
}

fn active_key(loaded: &LoadedApp) -> &SigningKey {
    let now = entity::Timestamp::from_millis(crate::support::START_MILLIS);
    loaded.keyring.active(now).unwrap().key()
}

/// RFC 8725 sections 3.1, 3.8 and 3.10: what a header says chooses neither algorithm nor key.
#[tokio::test]
async fn a_header_decides_nothing() {
    let scene = Scene::new().await;
    let theirs = scene.other.sign().await;
    let loaded = scene.loaded(&scene.other).await;
    let kid = scene.session.text("key_id");
    let (mine, foreign) = (attacker(&kid), active_key(&loaded));
    let jwk = serde_json::to_value(&mine.public().jwk).unwrap();
    let changes = json!({
        "alg": ["none", "None", "NONE", "nOnE", "", "HS256", "RS256", "PS256", "ES384", "ES256K", "EdDSA", "es256", null, 0, ["ES256"]],
        "kid": [kid, null, "", 5, ID, [kid], {"kid": kid}, kid.to_lowercase(), format!("{kid}\0"), format!(" {kid}"),
            "../../dev/null", "' OR 1=1 --", theirs.body["key_id"]],
        "typ": ["at+jwt", "jwt", "JWT ", "application/rt+jwt", null, 5],
        "jwk": [jwk], "jku": ["https://a.example/jwks.json"], "x5u": ["https://a.example/cert.pem"],
        "x5c": [[mine.public().pem_base64]], "x5t": ["AAAA"], "crit": [["exp"], ["b64"], []], "b64": [false],
        "zip": ["DEF"], "cty": ["JWT"], "enc": ["A256GCM"], "epk": [jwk],
    });
    let mut forged = vec![theirs.auth_token(), theirs.refresh_token()];
    for token in scene.tokens() {
        for (name, values) in changes.as_object().unwrap() {
            for value in values.as_array().unwrap() {
                let changed = with_header(&token, name, value);
                let message = changed.rsplit_once('.').unwrap().0;
                forged.extend([format!("{message}."), message.to_owned()]);
                forged.extend([signed_by(&mine, &changed), signed_by(foreign, &changed)]);
                if changed != token {
                    forged.push(changed);
                }
            }
        }
        // An unencoded payload (RFC 7797), and members that are there twice.
        let (claims, [_, payload, _]) = (decode(&token).1.to_string(), split(&token));
        for header in [
            r#"{"alg":"ES256","kid":"KID","typ":"JWT","b64":false,"crit":["b64"]}"#,
            r#"{"alg":"ES256","kid":"KID","typ":"JWT","alg":"none"}"#,
            r#"{"kid":"a","alg":"ES256","kid":"KID","typ":"JWT"}"#,
        ] {
            let header = base64(header.replace("KID", &kid));
            for payload in [payload, &claims] {
                let message = format!("{header}.{payload}.");
                forged.extend([signed_by(&mine, &message), message]);
            }
        }
    }
    scene.refuses(forged).await;
}

/// RFC 8725 section 2.1: the public key is no shared secret, in whatever form.
#[tokio::test]
async fn the_public_key_is_no_secret() {
    let scene = Scene::new().await;
    let encoded = scene.session.text("public_key");
    let pem = String::from_utf8(BASE64_STANDARD.decode(&encoded).unwrap()).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64_STANDARD.decode(der).unwrap();
    let secrets = [
        pem.as_bytes(),
        pem.trim().as_bytes(),
        &der,
        &der[26..],
        encoded.as_bytes(),
        &[0],
    ];
    let mut forged = Vec::new();
    for token in scene.tokens() {
        for (alg, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
            ("ES256", hmac::HMAC_SHA512),
        ] {
            let changed = with_header(&token, "alg", &json!(alg));
            let message = changed.rsplit_once('.').unwrap().0;
            forged.extend(secrets.map(|secret| {
                let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
                format!("{message}.{}", base64(tag))
            }));
        }
    }
    scene.refuses(forged).await;
}

/// RFC 8725 sections 2.8 and 3.11: neither token passes for the other, by whomever it is signed.
#[tokio::test]
async fn a_token_is_of_one_type() {
    let scene = Scene::new().await;
    let [auth, refresh] = scene.tokens();
    for (token, kind) in [(&auth, "auth"), (&refresh, "refresh")] {
        let expected = json!({"verified": true, "type": kind, "claims": decode(token).1,
            "session_id": scene.session.body["session_id"]});
        assert_eq!(scene.verify(token).await.body, expected);
    }
    let swapped = [(&auth, "rt+jwt"), (&refresh, "JWT")]
        .map(|(token, typ)| with_header(token, "typ", &json!(typ)));
    let loaded = scene.loaded(&scene.app).await;
    let genuine = active_key(&loaded);
    let [not_refresh, not_auth] = swapped.clone().map(|token| signed_by(genuine, &token));
    let verified = scene.verify(&not_refresh).await;
    assert_eq!(verified.body, json!({"verified": false}));
    for token in [&auth, &not_refresh, &not_auth] {
        scene.renews_not(token, "refresh_token_invalid").await;
    }
    scene.refuses(swapped).await;
}

/// Even the app's own key speaks for the app's own sessions only, and in claims of the documented form.
#[tokio::test]
async fn a_signature_is_not_all() {
    let scene = Scene::new().await;
    let theirs = scene.other.sign().await;
    let loaded = scene.loaded(&scene.app).await;
    let genuine = active_key(&loaded);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let claims = format!(
        "null|[]|5|{{}}|\"a\"|{{\"sid\":5}}|{{\"sid\":\"{ID}\"}}|a|\u{feff}{{}}|{deep}|{{\"a\":{deep}}}"
    );
    let mut forged = Vec::new();
    for token in scene.tokens() {
        let [header, _, _] = split(&token);
        let sign = |claims| signed_by(genuine, &format!("{header}.{}.", base64(claims)));
        forged.extend(claims.split('|').map(sign));
        let part = base64(&deep);
        forged.push(format!("{part}.{part}.{}", base64([1; 64])));
    }
    // The session of another app, with all that a token of this one has.
    let [_, refresh] = scene.tokens();
    let mut claims = decode(&refresh).1;
    claims["sid"] = theirs.body["session_id"].clone();
    let message = format!("{}.{}.", split(&refresh)[0], base64(claims.to_string()));
    let token = signed_by(genuine, &message);
    scene.renews_not(&token, "refresh_token_revoked").await;
    let verified = scene.verify(&token).await;
    assert_eq!(verified.body, json!({"verified": false}));
    let ended = scene.app.logout(json!({"token": token})).await;
    assert_eq!(ended.body["revoked"], 0);
    assert_eq!(scene.other.renew(&theirs.refresh_token()).await.status, 200);
    scene.refuses(forged).await;
}

/// RFC 7515 section 7.1: three parts of base64url without padding, all of them, and nothing around them.
#[tokio::test]
async fn a_mutilated_token_is_none() {
    let scene = Scene::new().await;
    let garbage = "|.|..|...|a|a.b|a.b.c|null|{}|é.é.é";
    let mut forged: Vec<_> = garbage.split('|').map(str::to_owned).collect();
    forged.push("x".repeat(60_000));
    for token in scene.tokens() {
        let [header, payload, signature] = split(&token);
        for (at, part) in split(&token).into_iter().enumerate() {
            let replaced = |new: &str| {
                let mut parts = split(&token);
                parts[at] = new;
                parts.join(".")
            };
            let end = token.find(part).unwrap();
            for length in [0, 1, part.len() / 2, part.len() - 2, part.len() - 1] {
                forged.extend([replaced(&part[..length]), token[..end + length].to_owned()]);
            }
            let tails = ["=", "==", "A", " ", "\n", ".", "%3D", part];
            forged.extend(tails.map(|tail| replaced(&format!("{part}{tail}"))));
            forged.extend([replaced(&format!(" {part}")), replaced(&part[1..])]);
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
            for byte in (0..bytes.len()).step_by(5) {
                let mut flipped = bytes.clone();
                flipped[byte] ^= 1 << (byte % 8);
                forged.push(replaced(&base64(flipped)));
            }
        }
        // The last of 86 characters has four bits to spare: it has one spelling all the same.
        let (rest, last) = signature.split_at(signature.len() - 1);
        let respelled = format!("{rest}{}", char::from(last.as_bytes()[0] + 1));
        let [zeros, ones] = [[0; 64], [0xff; 64]].map(base64);
        let around = "T.S|T.|.T|T T|T,T|Bearer T|\tT|T\r\n|H..S|H.P.S.P.S|H.P.0|H.P.1|H.P.R|\
            {\"payload\":\"P\",\"protected\":\"H\",\"signature\":\"S\"}|\
            {\"payload\":\"P\",\"signatures\":[{\"protected\":\"H\",\"signature\":\"S\"}]}";
        forged.extend(around.split('|').map(|pattern| {
            let fill = |letter| match letter {
                'T' => token.clone(),
                'H' => header.to_owned(),
                'P' => payload.to_owned(),
                'S' => signature.to_owned(),
                'R' => respelled.clone(),
                '0' => zeros.clone(),
                '1' => ones.clone(),
                other => other.to_string(),
            };
            pattern.chars().map(fill).collect()
        }));
    }
    scene.refuses(forged).await;
}

/// A bad token is an answer, not a bad request, whatever is in it.
#[tokio::test]
async fn a_token_may_be_any_text() {
    let scene = Scene::new().await;
    for text in ["\0", "a\0b", "\u{feff}", "\u{1f511}", "\u{ffff}", "\\"] {
        let answer = scene.verify(text).await;
        assert_eq!(answer.status, 200, "{text:?}: {}", answer.raw);
        assert_eq!(answer.body, json!({"verified": false}), "{text:?}");
    }
}

/// A signature (r, s) of ECDSA has a twin (r, n - s): by whichever a token comes, it is the same one.
#[tokio::test]
async fn a_twin_of_a_used_token_is_used() {
    let scene = Scene::new().await;
    let [_, first] = scene.tokens();
    let second = scene.app.renew(&first).await.refresh_token();
    scene.renews_not(&twin(&first), "refresh_token_used").await;
    scene.renews_not(&second, "refresh_token_revoked").await;

    let token = scene.app.sign().await.refresh_token();
    let by_twin = scene.app.renew(&twin(&token)).await.status;
    let by_itself = scene.app.renew(&token).await.status;
    assert_eq!(u16::min(by_twin, by_itself), 200);
    assert_eq!(u16::max(by_twin, by_itself), 400);
}

pub fn twin(token: &str) -> String {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let digit = i16::from_str_radix(&ORDER[2 * at..2 * at + 2], 16).unwrap();
        let difference = digit - i16::from(bytes[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        bytes[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{message}.{}", base64(bytes))
}

/// Bodies that would exhaust the stack or the memory, and such as are no text.
#[tokio::test]
async fn hostile_bodies() {
    let scene = Scene::new().await;
    let (client, json) = (scene.app.backend(), Some("application/json"));
    for verb in ["verify", "renew", "logout"] {
        for body in [
            "[".repeat(10_000).into_bytes(),
            "{\"token\":".repeat(7_000).into_bytes(),
            "{\"token\":[".repeat(200).into_bytes(),
            b"{\"token\":\"\xff\"}".to_vec(),
            b"{\"token\":\"\xed\xa0\x80\"}".to_vec(),
        ] {
            let path = scene.app.path(verb);
            let answer = client.send(Method::POST, &path, json, body).await;
            answer.assert_problem(400, "malformed_json");
        }
        let body = json!({"token": "x".repeat(1 << 20)});
        let answer = client.post(&scene.app.path(verb), body).await;
        answer.assert_problem(413, "body_too_large");
    }
    scene.refuses([]).await;
}
