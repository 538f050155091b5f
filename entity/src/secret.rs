//! Bearer secrets: app-keys, root keys and registration tokens. The plain form is shown once; the store sees its hash.
//!
//! `rnw_sk_` + ULID of the key or the token family (26) + 256 random bits in base62 (43) + CRC-32 in base62 (6): a scanner
//! can tell a leaked one from noise, and a look-up needs no scan.

use std::{fmt, str::FromStr};

use aws_lc_rs::{constant_time, digest};
use rand::{CryptoRng, RngExt, distr::Alphanumeric};
use sea_orm::DeriveValueType;
use zeroize::Zeroizing;

use crate::{AppKeyId, RegistrationTokenId};

const ID_LENGTH: usize = 26;
/// 62 to the power of 43 is just above 2 to the power of 256.
const RANDOM_LENGTH: usize = 43;
const CHECKSUM_LENGTH: usize = 6;
const REGISTRATION: &str = "rnw_rt_";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a key may do, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretKind {
    /// Everything under `/root`.
    Root,
    /// Everything of one app.
    Secret,
    /// What a browser may do in one app.
    Publishable,
}

/// A secret as its holder sees it: shown once, never logged, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainSecret(Zeroizing<String>);

/// SHA-256 of a secret: all that the store sees. The secrets have 256 random bits, so that a slow hash
/// would add nothing.
#[derive(Clone, DeriveValueType)]
pub struct SecretHash(Vec<u8>);

// In constant time: what is compared with it comes from outside.
impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for SecretHash {}

impl SecretKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Root, Self::Secret, Self::Publishable];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Root => "rnw_root_",
            Self::Secret => "rnw_sk_",
            Self::Publishable => "rnw_pk_",
        }
    }
}

impl PlainSecret {
    /// Draws the secret of the key `id`.
    pub fn generate(kind: SecretKind, id: AppKeyId, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::draw(kind.prefix(), &id, rng)
    }

    /// Draws a registration token of the token family `id`.
    pub fn generate_registration(
        id: RegistrationTokenId,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Self {
        Self::draw(REGISTRATION, &id, rng)
    }

    fn draw(prefix: &str, id: &dyn fmt::Display, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut text = Zeroizing::new(format!("{prefix}{id}"));
        text.extend((0..RANDOM_LENGTH).map(|_| char::from(rng.sample(Alphanumeric))));
        let checksum = checksum(text.as_bytes());
        text.push_str(&checksum);
        Self(text)
    }

    /// Takes a secret that somebody else made, as it is.
    pub fn from_text(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// Its kind and the id of its key, if it has our form and its checksum is right.
    pub fn parse(&self) -> Option<(SecretKind, AppKeyId)> {
        SecretKind::ALL
            .into_iter()
            .find_map(|kind| Some((kind, self.id(kind.prefix())?)))
    }

    /// The id of its token family, if it has the form of a registration token and its checksum is right.
    pub fn parse_registration(&self) -> Option<RegistrationTokenId> {
        self.id(REGISTRATION)
    }

    fn id<T: FromStr>(&self, prefix: &str) -> Option<T> {
        let text = self.0.as_str();
        let rest = text.strip_prefix(prefix)?;
        if !text.is_ascii() || rest.len() != ID_LENGTH + RANDOM_LENGTH + CHECKSUM_LENGTH {
            return None;
        }
        let (body, tail) = text.split_at(text.len() - CHECKSUM_LENGTH);
        let id = rest[..ID_LENGTH].parse().ok()?;
        (checksum(body.as_bytes()) == tail).then_some(id)
    }

    /// What the store keeps of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash(
            digest::digest(&digest::SHA256, self.0.as_bytes())
                .as_ref()
                .to_vec(),
        )
    }

    /// The secret itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl SecretHash {
    /// Whether `secret` is the one that was hashed, in constant time.
    pub fn matches(&self, secret: &PlainSecret) -> bool {
        *self == secret.hash()
    }
}

impl fmt::Debug for PlainSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainSecret(redacted)")
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(redacted)")
    }
}

/// CRC-32 in base62, most significant digit first.
fn checksum(body: &[u8]) -> String {
    let mut rest = crc32fast::hash(body) as usize;
    let mut digits = [BASE62[0]; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % 62];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::ChaCha12Rng};

    use super::*;
    use crate::Timestamp;

    fn generate(kind: SecretKind, seed: u64) -> (AppKeyId, PlainSecret) {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let id = AppKeyId::mint(Timestamp::from_seconds(1_740_427_049), &mut rng);
        (id, PlainSecret::generate(kind, id, &mut rng))
    }

    proptest! {
        #[test]
        fn is_read_back_and_any_change_is_seen(
            seed in any::<u64>(),
            at in any::<prop::sample::Index>(),
            with in proptest::char::range('!', '~'),
        ) {
            for kind in SecretKind::ALL {
                let (id, secret) = generate(kind, seed);
                prop_assert_eq!(secret.parse(), Some((kind, id)));
                prop_assert!(secret.hash().matches(&secret));

                let mut changed: Vec<char> = secret.reveal().chars().collect();
                let at = at.index(changed.len());
                prop_assume!(changed[at] != with);
                changed[at] = with;
                let changed = PlainSecret::from_text(&changed.iter().collect::<String>());
                prop_assert_eq!(changed.parse(), None);
                prop_assert!(!secret.hash().matches(&changed));
            }
        }

        #[test]
        fn a_registration_token_is_no_key(
            seed in any::<u64>(),
            at in any::<prop::sample::Index>(),
            with in proptest::char::range('!', '~'),
        ) {
            let mut rng = ChaCha12Rng::seed_from_u64(seed);
            let id = RegistrationTokenId::mint(Timestamp::from_seconds(1_740_427_049), &mut rng);
            let token = PlainSecret::generate_registration(id, &mut rng);
            prop_assert_eq!(token.parse_registration(), Some(id));
            prop_assert_eq!(token.parse(), None);
            let (_, key) = generate(SecretKind::Secret, seed);
            prop_assert_eq!(key.parse_registration(), None);

            let mut changed: Vec<char> = token.reveal().chars().collect();
            let at = at.index(changed.len());
            prop_assume!(changed[at] != with);
            changed[at] = with;
            let changed = PlainSecret::from_text(&changed.iter().collect::<String>());
            prop_assert_eq!(changed.parse_registration(), None);
            prop_assert!(changed.hash() != token.hash());
        }

        #[test]
        fn garbage_is_no_secret(text in "(rnw_(sk|pk|root|rt)_)?\\PC{0,90}") {
            let secret = PlainSecret::from_text(&text);
            prop_assert_eq!(secret.parse(), None);
            prop_assert_eq!(secret.parse_registration(), None);
        }
    }

    #[test]
    fn is_not_printed() {
        let (_, secret) = generate(SecretKind::Secret, 1);
        assert!(secret.reveal().starts_with("rnw_sk_"));
        assert_eq!(format!("{secret:?}"), "PlainSecret(redacted)");
        assert_eq!(format!("{:?}", secret.hash()), "SecretHash(redacted)");
    }
}
