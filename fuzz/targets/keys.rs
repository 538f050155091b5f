//! Keys, secrets and ids: what is read is written the same way again, and nothing panics.
#![no_main]

use entity::{AppId, AppKeyId, PlainSecret, SecretKind, SessionId, Timestamp};
use keys::{Algorithm, MasterKey, SigningKey};
use libfuzzer_sys::fuzz_target;
use rand::{SeedableRng, rngs::ChaCha12Rng};
use zeroize::Zeroizing;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::EdDsa,
    Algorithm::Rs256,
];

fuzz_target!(|data: &[u8]| {
    for algorithm in ALGORITHMS {
        let parsed = SigningKey::parse("key", algorithm, &Zeroizing::new(data.to_vec()));
        if let Ok(key) = parsed {
            // What is taken for a key signs, and verifies what it signed.
            let token = keys::sign(&key, keys::TokenType::Auth, br#"{"a":1}"#).unwrap();
            keys::verify::<serde_json::Value>(&token, key.public()).unwrap();
        }
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let secret = PlainSecret::from_text(text);
    if let Some((_, id)) = secret.parse() {
        assert!(text.contains(&id.to_string()));
        assert_eq!(secret.parse_registration(), None);
    }
    if let [place, byte, seed, ..] = data {
        try_changed_secret(usize::from(*place), *byte, u64::from(*seed));
    }
    if let Ok(id) = text.parse::<AppId>() {
        assert_eq!(id.to_string(), text);
        assert!(text.parse::<AppKeyId>().is_ok() && text.parse::<SessionId>().is_ok());
    }
    if let Ok(key) = MasterKey::from_base64(text) {
        let sealed = key.to_base64();
        assert!(MasterKey::from_base64(&sealed).is_ok());
    }
});

/// A secret is known by its form and its checksum, before the store is asked: one changed character is seen.
fn try_changed_secret(place: usize, byte: u8, seed: u64) {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let id = AppKeyId::mint(Timestamp::from_seconds(1_740_427_049), &mut rng);
    let secret = PlainSecret::generate(SecretKind::Secret, id, &mut rng);
    assert_eq!(secret.parse(), Some((SecretKind::Secret, id)));
    let mut bytes = secret.reveal().as_bytes().to_vec();
    let place = place % bytes.len();
    if bytes[place] != byte && byte.is_ascii() {
        bytes[place] = byte;
        let changed = PlainSecret::from_text(std::str::from_utf8(&bytes).unwrap());
        assert_eq!(changed.parse(), None, "{}", changed.reveal());
    }
}
