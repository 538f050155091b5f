//! Tokens: of what is no token of ours nothing is believed, and nothing panics.
//!
//! The input is a token, or, where it begins with a digit, a list of changes to a good one.
#![no_main]

use std::sync::LazyLock;

use entity::SigningKeyId;
use keys::{Algorithm, SigningKey, TokenType};
use libfuzzer_sys::fuzz_target;
use rand::{SeedableRng, rngs::ChaCha12Rng};
use serde_json::Value;

const CLAIMS: &[u8] = br#"{"sub":"somebody","exp":1740427049,"n":[1,{"m":null}]}"#;

struct Good {
    key: SigningKey,
    tokens: Vec<String>,
}

static GOOD: LazyLock<Vec<Good>> = LazyLock::new(|| {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let id: SigningKeyId = "01JMWRJE92HGR867P9J9CZN442".parse().unwrap();
    let algorithms = [Algorithm::Es256, Algorithm::EdDsa];
    let keys = algorithms.map(|algorithm| {
        let private = keys::generate(algorithm, &mut rng).unwrap();
        let key = SigningKey::parse(&id.to_string(), algorithm, &private).unwrap();
        let types = [TokenType::Auth, TokenType::Refresh];
        let tokens = types.map(|token_type| keys::sign(&key, token_type, CLAIMS).unwrap());
        Good {
            key,
            tokens: tokens.into(),
        }
    });
    keys.into()
});

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((choice @ b'0'..=b'3', changes)) => {
            let choice = usize::from(choice - b'0');
            let mut token = GOOD[choice / 2].tokens[choice % 2].clone().into_bytes();
            for change in changes.chunks_exact(3) {
                let index = usize::from(u16::from_le_bytes([change[0], change[1]]));
                match (change[2], token.len()) {
                    // Not a character: the token ends here.
                    (0xff, length) => token.truncate(index % (length + 1)),
                    (_, 0) => {}
                    (byte, length) => token[index % length] = byte,
                }
            }
            try_token(&token);
        }
        _ => try_token(data),
    }
});

fn try_token(bytes: &[u8]) {
    let Ok(token) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok((kid, token_type)) = keys::key_id(token) {
        assert!(kid.len() <= token.len());
        assert!(matches!(token_type, TokenType::Auth | TokenType::Refresh));
    }
    for good in GOOD.iter() {
        let public = good.key.public();
        for token_type in [TokenType::Auth, TokenType::Refresh] {
            // What has the look of a token of this key is of no other one.
            if keys::claims_unverified(token, public, token_type).is_ok()
                && let Ok(named) = keys::key_id(token)
            {
                assert_eq!(named, (public.id.clone(), token_type));
            }
        }
        if keys::verify::<Value>(token, public).is_ok() {
            assert!(
                good.tokens.iter().any(|good| good == token),
                "forged: {token}"
            );
        }
    }
}
