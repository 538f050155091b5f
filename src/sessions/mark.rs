//! The mark of a refresh token: a keyed hash of its claims, as the last one of them. Everything else that a refresh token says
//! is known to whoever sees an auth token of the session; the mark can be made by this server only. So a token that
//! bears it was most likely handed out, and is worth the work that a renewal is; one that does not is verified before.
//!
//! It proves nothing: the holder of a refresh token has its mark. What a token renews is decided by its keyed hash in the row
//! of the session, or by its signature.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use entity::TokenId;
use keys::PublicKey;

use crate::master::MasterKeys;

const NAME: &str = r#","chk":""#;
/// 16 bytes in base64url.
const LENGTH: usize = 22;
const END: &str = "\"}";

/// Tokens that are remembered to have come with a wrong signature.
const REMEMBERED: usize = 4096;

/// Adds the mark to the claims of a refresh token that `key` is to sign: a JSON object that is not empty.
pub fn add(claims: &mut Vec<u8>, master: &MasterKeys, key: &PublicKey) {
    if claims.last() == Some(&b'}') {
        claims.pop();
        let mark = of(claims, master, key);
        for part in [NAME, &mark, END] {
            claims.extend_from_slice(part.as_bytes());
        }
    }
}

/// Whether claims that name `key` bear the mark. The bytes count, not what they say: nothing of them has been read yet.
pub fn is_on(claims: &[u8], master: &MasterKeys, key: &PublicKey) -> bool {
    let (claims, tail) = match claims.len().checked_sub(NAME.len() + LENGTH + END.len()) {
        Some(place) => claims.split_at(place),
        None => return false,
    };
    let mark = tail
        .strip_prefix(NAME.as_bytes())
        .and_then(|tail| tail.strip_suffix(END.as_bytes()));
    mark.is_some_and(|mark| {
        let expected = of(claims, master, key);
        aws_lc_rs::constant_time::verify_slices_are_equal(mark, expected.as_bytes()).is_ok()
    })
}

fn of(claims: &[u8], master: &MasterKeys, key: &PublicKey) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(master.claims_mac(&key.id, claims))
}

/// The refresh tokens of ours that were presented with a false signature. An attacker who has one may send it with a thousand
/// false signatures: from the second time on, the token is verified first.
#[derive(Debug, Default)]
pub struct Suspects(RwLock<HashSet<TokenId>>);

impl Suspects {
    /// Whether the token came with a wrong signature before.
    pub fn has(&self, id: TokenId) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        !known.is_empty() && known.contains(&id)
    }

    /// Notes that the token came with a wrong signature.
    pub fn note(&self, id: TokenId) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use keys::{Algorithm, MasterKey, SigningKey};
    use rand::{SeedableRng, rngs::ChaCha12Rng};

    use super::*;

    fn master(seed: u64) -> MasterKeys {
        let key = MasterKey::generate(&mut ChaCha12Rng::seed_from_u64(seed)).unwrap();
        MasterKeys::find(std::path::Path::new(""), Some(key), None)
            .unwrap()
            .unwrap()
    }

    fn key(id: &str) -> SigningKey {
        let private = keys::generate(Algorithm::Es256, &mut ChaCha12Rng::seed_from_u64(1)).unwrap();
        SigningKey::parse(id, Algorithm::Es256, &private).unwrap()
    }

    /// By this server only, for this key, on these very bytes.
    #[test]
    fn no_other_claims_bear_it() {
        let (master, other) = (master(1), master(2));
        let (one, two) = (
            key("01JMV28FJVBKF0JG0YSG655EHY"),
            key("01JMV28FJVBKF0JG0YSG655EHZ"),
        );
        let mut claims = br#"{"sid":"1","jid":"2"}"#.to_vec();
        add(&mut claims, &master, one.public());
        let read: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&read["sid"], &read["jid"]), (&"1".into(), &"2".into()));
        assert_eq!(read["chk"].as_str().unwrap().len(), 22);

        assert!(is_on(&claims, &master, one.public()));
        assert!(!is_on(&claims, &other, one.public()));
        assert!(!is_on(&claims, &master, two.public()));
        for place in 0..claims.len() {
            let mut changed = claims.clone();
            changed[place] ^= 1;
            assert!(!is_on(&changed, &master, one.public()), "{place}");
            assert!(!is_on(&claims[place..], &master, one.public()) || place == 0);
            assert!(!is_on(&claims[..place], &master, one.public()), "{place}");
        }
    }

    #[test]
    fn few_suspects_are_remembered() {
        let suspects = Suspects::default();
        let first = TokenId::EXAMPLE;
        let mut id = first;
        for _ in 0..=REMEMBERED {
            assert!(!suspects.has(id));
            suspects.note(id);
            assert!(suspects.has(id));
            id = id.next();
        }
        assert!(!suspects.has(first));
    }
}
