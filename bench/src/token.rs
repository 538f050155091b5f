//! What a client sees in a token.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde::Deserialize;
use serde_json::json;

/// An ES256 token, taken apart.
pub struct Token<'a> {
    /// What is signed: header and claims.
    pub input: &'a str,
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
}

/// The claims that are checked.
#[derive(Debug, Deserialize)]
pub struct Claims {
    /// Only auth tokens have it.
    pub sub: Option<String>,
    pub jid: String,
    pub sid: String,
}

#[derive(Deserialize)]
struct Header<'a> {
    alg: &'a str,
}

impl<'a> Token<'a> {
    /// `None` when that is no compact JWS.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (input, signature) = text.rsplit_once('.')?;
        let (header, claims) = input.split_once('.')?;
        Some(Self {
            input,
            header,
            claims,
            signature,
        })
    }

    /// The claims, if the signature is one of that key.
    pub fn verify(&self, key: &ParsedPublicKey) -> Option<Claims> {
        let header = BASE64_URL_SAFE_NO_PAD.decode(self.header).ok()?;
        let header: Header<'_> = serde_json::from_slice(&header).ok()?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(self.signature).ok()?;
        key.verify_sig(self.input.as_bytes(), &signature).ok()?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(self.claims).ok()?;
        let claims = serde_json::from_slice(&claims).ok()?;
        (header.alg == "ES256").then_some(claims)
    }
}

/// A refresh token as whoever sees the auth token of a session can make it up, with a signature that is none. The header is
/// that of the refresh token: it is the same for all of a key.
pub fn forge(auth: &str, refresh: &str, app_id: &str) -> Option<String> {
    let (auth, refresh) = (Token::parse(auth)?, Token::parse(refresh)?);
    let claims = BASE64_URL_SAFE_NO_PAD.decode(auth.claims).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let known = |name: &str| claims.get(name).cloned();
    let claims = json!({
        "iss": known("iss"), "aud": format!("urn:renewd:app:{app_id}:renew"), "iat": known("iat"), "nbf": known("nbf"),
        "exp": known("exp"), "jid": known("jid"), "sid": known("sid"), "type": "refresh",
    });
    let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    let signature = BASE64_URL_SAFE_NO_PAD.encode([7; 64]);
    Some(format!("{}.{claims}.{signature}", refresh.header))
}

/// A public key as the server hands it out: base64 of its PEM.
pub fn public_key(pem_base64: &str) -> Option<ParsedPublicKey> {
    let pem = String::from_utf8(BASE64_STANDARD.decode(pem_base64).ok()?).ok()?;
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let der = BASE64_STANDARD.decode(lines.collect::<String>()).ok()?;
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).ok()
}

#[cfg(test)]
mod tests {
    use keys::{Algorithm, SigningKey, TokenType};

    use super::*;
    use ambient::Rng;

    fn key() -> SigningKey {
        let private = keys::generate(Algorithm::Es256, &mut Rng::system().fork()).unwrap();
        SigningKey::parse("01JMWRJEJ71191KP88NDGWVYEW", Algorithm::Es256, &private).unwrap()
    }

    #[test]
    fn only_the_key_of_a_token_verifies_it() {
        let key = key();
        let claims = br#"{"sub":"ada","jid":"1","sid":"2"}"#;
        let token = keys::sign(&key, TokenType::Auth, claims).unwrap();
        let verify = |token: &str, key: &SigningKey| {
            let key = public_key(&key.public().pem_base64).unwrap();
            Token::parse(token)?.verify(&key)
        };
        let claims = verify(&token, &key).unwrap();
        assert_eq!(claims.sub.as_deref(), Some("ada"));
        assert_eq!((&*claims.jid, &*claims.sid), ("1", "2"));

        assert!(verify(&token, &self::key()).is_none());
        let (header, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let other = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"eve","jid":"1","sid":"2"}"#);
        assert!(verify(&format!("{header}.{other}.{signature}"), &key).is_none());
        assert!(verify("garbage", &key).is_none());
        assert!(public_key("garbage").is_none());
    }
}
