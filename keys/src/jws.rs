//! Compact JWS (RFC 7515 section 7.1) as this server issues it: nothing in a token's header decides
//! how it is verified (RFC 8725 section 3.1).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Header, Validation,
    signature::{Error as SignatureError, Signer},
};
use serde::de::DeserializeOwned;

use crate::{Algorithm, PublicKey, SigningKey};

/// What a token is for, by its `typ` header (RFC 8725 section 3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// `typ: JWT`: what resource servers take.
    Auth,
    /// `typ: rt+jwt`: good for one renewal.
    Refresh,
}

/// The token is not one that this key signed for this purpose.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid token")]
pub struct InvalidToken;

impl TokenType {
    const fn typ(self) -> &'static str {
        match self {
            Self::Auth => "JWT",
            Self::Refresh => "rt+jwt",
        }
    }
}

/// Signs `claims`, a serialised JSON object, and gives the compact form.
///
/// jsonwebtoken's own `encode` parses the private key at each call; this is what it does otherwise.
///
/// # Errors
/// When the signature cannot be made.
pub fn sign(
    key: &SigningKey,
    token_type: TokenType,
    claims: &[u8],
) -> Result<String, SignatureError> {
    let header = key.public().header(token_type);
    // Base64 grows by a third; a signature of 64 bytes and a dot follow.
    let mut token = String::with_capacity(header.len() + claims.len() * 4 / 3 + 96);
    token.push_str(header);
    BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = key.try_sign(token.as_bytes())?;
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// The header of every token of this type that a key signs, encoded, and the dot behind it.
pub(crate) fn encode_header(algorithm: Algorithm, id: &str, token_type: TokenType) -> String {
    let typ = token_type.typ();
    let header = format!(r#"{{"alg":"{algorithm}","kid":"{id}","typ":"{typ}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(header) + "."
}

/// The claims of a token whose header is the one that `key` writes, as they stand in it. Nothing is verified: whoever asks
/// knows the token by something else, or verifies it later.
///
/// # Errors
/// When the header is another one, or what follows it is not base64url.
pub fn claims_unverified(
    token: &str,
    key: &PublicKey,
    token_type: TokenType,
) -> Result<Vec<u8>, InvalidToken> {
    let rest = token.strip_prefix(key.header(token_type));
    let claims = rest.and_then(|rest| rest.split('.').next());
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims.ok_or(InvalidToken)?);
    claims.map_err(|_| InvalidToken)
}

/// The `kid` and the type that a token claims to have. Nothing is verified.
///
/// # Errors
/// When the header is not exactly of the form that [`sign`] writes: an `alg` of another family, or
/// any of `jwk`, `jku`, `x5u`, `crit`, `b64` and the like, is no token of ours.
pub fn key_id(token: &str) -> Result<(String, TokenType), InvalidToken> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| InvalidToken)?;
    let kid = header.kid.clone().ok_or(InvalidToken)?;
    let token_type = match header.typ.as_deref() {
        Some("JWT") => TokenType::Auth,
        Some("rt+jwt") => TokenType::Refresh,
        _ => return Err(InvalidToken),
    };
    let expected = Header {
        kid: Some(kid.clone()),
        typ: header.typ.clone(),
        ..Header::new(header.alg)
    };
    if header == expected {
        Ok((kid, token_type))
    } else {
        Err(InvalidToken)
    }
}

/// Verifies the signature with `key`, and reads the claims.
///
/// The algorithm is the key's own. No date is looked at: dates are compared with the caller's
/// clock, exactly, which jsonwebtoken (system clock, 60 s of leeway, no `nbf`) does not do.
///
/// # Errors
/// When the signature is not of this key, or the claims are not those of `T`.
pub fn verify<T: DeserializeOwned>(token: &str, key: &PublicKey) -> Result<T, InvalidToken> {
    let mut validation = Validation::new(key.jws_algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    jsonwebtoken::decode::<T>(token, &key.decoding, &validation)
        .map(|data| data.claims)
        .map_err(|_| InvalidToken)
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;
    use rand::{SeedableRng, rngs::ChaCha12Rng};
    use serde_json::{Value, json};

    use super::*;
    use crate::generate;

    fn key(seed: u64) -> SigningKey {
        let private = generate(Algorithm::Es256, &mut ChaCha12Rng::seed_from_u64(seed)).unwrap();
        SigningKey::parse("01JMV28FJVBKF0JG0YSG655EHY", Algorithm::Es256, &private).unwrap()
    }

    fn with_header(header: &Value) -> String {
        let token = sign(&key(1), TokenType::Auth, b"{}").unwrap();
        let rest = token.split_once('.').unwrap().1;
        let header = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
        format!("{header}.{rest}")
    }

    #[test]
    fn what_is_signed_verifies_with_its_key_alone() {
        let (key, other) = (key(1), key(2));
        let token = sign(&key, TokenType::Refresh, br#"{"a":1}"#).unwrap();
        let (kid, token_type) = key_id(&token).unwrap();
        assert_eq!(
            (kid.as_str(), token_type),
            (key.public().id.as_str(), TokenType::Refresh)
        );
        assert_eq!(verify::<Value>(&token, key.public()), Ok(json!({"a":1})));
        assert_eq!(verify::<Value>(&token, other.public()), Err(InvalidToken));
    }

    /// Each algorithm signs and verifies its own, and none verifies another's under the same kid.
    #[test]
    fn every_supported_algorithm_signs() {
        let mut rng = ChaCha12Rng::seed_from_u64(3);
        let supported = Algorithm::ALL.into_iter().filter(|one| one.is_supported());
        let keys: Vec<_> = supported
            .map(|algorithm| {
                let private = generate(algorithm, &mut rng).unwrap();
                SigningKey::parse("k", algorithm, &private).unwrap()
            })
            .collect();
        assert_eq!(keys.len(), 9);
        for signer in &keys {
            let token = sign(signer, TokenType::Auth, br#"{"a":1}"#).unwrap();
            for verifier in &keys {
                let is_own = signer.public().algorithm == verifier.public().algorithm;
                let verified = verify::<Value>(&token, verifier.public());
                assert_eq!(verified.is_ok(), is_own, "{:?}", signer.public().algorithm);
            }
            let pem = BASE64_STANDARD.decode(&signer.public().pem_base64).unwrap();
            assert!(pem.starts_with(b"-----BEGIN PUBLIC KEY-----\n"));
        }
    }

    #[test]
    fn es512_is_refused() {
        let refused = generate(Algorithm::Es512, &mut ChaCha12Rng::seed_from_u64(3));
        assert!(refused.is_err());
    }

    #[test]
    fn header_is_the_documented_one() {
        let token = sign(&key(1), TokenType::Auth, b"{}").unwrap();
        let header = BASE64_URL_SAFE_NO_PAD
            .decode(token.split('.').next().unwrap())
            .unwrap();
        assert_eq!(
            String::from_utf8(header).unwrap(),
            r#"{"alg":"ES256","kid":"01JMV28FJVBKF0JG0YSG655EHY","typ":"JWT"}"#
        );
    }

    #[test]
    fn a_header_with_anything_more_is_not_ours() {
        let ours = json!({"alg":"ES256","kid":"k","typ":"JWT"});
        assert!(key_id(&with_header(&ours)).is_ok());
        for (name, value) in [
            ("crit", json!(["exp"])),
            ("jku", json!("https://a.example/jwks")),
            ("x5u", json!("https://a.example/x5u")),
            ("jwk", serde_json::to_value(&key(1).public().jwk).unwrap()),
            ("b64", json!(false)),
            ("zip", json!("DEF")),
            ("anything", json!(1)),
        ] {
            let mut header = ours.clone();
            header[name] = value;
            assert_eq!(key_id(&with_header(&header)), Err(InvalidToken), "{name}");
        }
        assert_eq!(
            key_id(&with_header(&json!({"alg":"ES256","typ":"JWT"}))),
            Err(InvalidToken)
        );
        assert_eq!(
            key_id(&with_header(&json!({"alg":"none","kid":"k","typ":"JWT"}))),
            Err(InvalidToken)
        );
    }

    #[test]
    fn public_key_is_base64_of_the_whole_pem() {
        let pem = BASE64_STANDARD.decode(&key(1).public().pem_base64).unwrap();
        let pem = String::from_utf8(pem).unwrap();
        assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");
        assert!(pem.ends_with("-----END PUBLIC KEY-----\n"), "{pem}");
    }
}
