//! Secrets at rest: AES-256-GCM under a master key that is not in the store.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hmac,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rand::CryptoRng;
use zeroize::Zeroizing;

/// Says which form the sealed bytes have, so that another may follow.
const VERSION: u8 = 1;

/// The key that seals the private signing keys: 256 bits, kept outside of the store.
pub struct MasterKey {
    bytes: Zeroizing<[u8; 32]>,
    cipher: LessSafeKey,
    recognition: hmac::Key,
    mark: hmac::Key,
    push: hmac::Key,
}

/// A key that is used for nothing else.
fn derive(master: &[u8], purpose: &[u8]) -> hmac::Key {
    let master = hmac::Key::new(hmac::HMAC_SHA256, master);
    let own = hmac::sign(&master, purpose);
    hmac::Key::new(hmac::HMAC_SHA256, own.as_ref())
}

/// HMAC-SHA-256 (RFC 2104), cut to 128 bits.
fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 16] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut mac = [0; 16];
    mac.copy_from_slice(&context.sign().as_ref()[..16]);
    mac
}

/// The text is not a master key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a master key is 32 bytes in base64 (44 characters)")]
pub struct MasterKeyError;

/// Sealed bytes cannot be opened: another master key, another label, or damaged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("sealed with another master key, or damaged")]
pub struct SealError;

impl MasterKey {
    /// Draws a new one.
    ///
    /// # Errors
    /// When the cipher refuses the key, which 32 bytes never make it do.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, MasterKeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self::from_bytes(bytes)
    }

    /// Reads one from base64 (RFC 4648 section 4), ignoring white space around it.
    ///
    /// # Errors
    /// When it is not base64 of exactly 32 bytes.
    pub fn from_base64(text: &str) -> Result<Self, MasterKeyError> {
        let decoded = BASE64_STANDARD
            .decode(text.trim())
            .map(Zeroizing::new)
            .map_err(|_| MasterKeyError)?;
        let bytes = <[u8; 32]>::try_from(decoded.as_slice()).map_err(|_| MasterKeyError)?;
        Self::from_bytes(Zeroizing::new(bytes))
    }

    fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Result<Self, MasterKeyError> {
        let cipher = UnboundKey::new(&AES_256_GCM, bytes.as_ref()).map_err(|_| MasterKeyError)?;
        Ok(Self {
            cipher: LessSafeKey::new(cipher),
            recognition: derive(bytes.as_ref(), b"renewd/recognition-of-refresh-tokens"),
            mark: derive(bytes.as_ref(), b"renewd/mark-of-refresh-tokens"),
            push: derive(bytes.as_ref(), b"renewd/push-tokens"),
            bytes,
        })
    }

    /// Tells master keys apart, and says nothing of the key.
    pub fn fingerprint(&self) -> i64 {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"renewd/master-key");
        context.update(self.bytes.as_ref());
        let hash = context.finish();
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_ref()[..8]);
        i64::from_be_bytes(first)
    }

    /// A keyed hash of a token: who reads the store learns nothing of the token, and who writes to it cannot make one that
    /// is recognised.
    pub fn token_mac(&self, token: &str) -> [u8; 16] {
        mac(&self.recognition, &[token.as_bytes()])
    }

    /// A keyed hash of the claims of a token, which names its signing key by an id of one length.
    pub fn claims_mac(&self, key: &str, claims: &[u8]) -> [u8; 16] {
        mac(&self.mark, &[key.as_bytes(), claims])
    }

    /// A keyed hash of a push token, by which it is found in its app: that two apps know one token does not show. `app` has
    /// one length.
    pub fn push_mac(&self, app: &str, token: &str) -> [u8; 16] {
        mac(&self.push, &[app.as_bytes(), token.as_bytes()])
    }

    /// The form in which it is written to its file.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(self.bytes.as_ref()))
    }

    /// Seals `plain` so that it opens under the same `label` only: version, nonce, cipher text, tag.
    ///
    /// # Errors
    /// When `plain` is longer than AES-GCM can take.
    pub fn seal(
        &self,
        rng: &mut impl CryptoRng,
        label: &str,
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let mut text = plain.to_vec();
        let tag = self
            .cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(label),
                &mut text,
            )
            .map_err(|_| SealError)?;
        Ok([&[VERSION], nonce.as_slice(), &text, tag.as_ref()].concat())
    }

    /// Opens what [`seal`](Self::seal) made under the same label.
    ///
    /// # Errors
    /// When it was sealed by another key or under another label, or was changed since.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (&version, rest) = sealed.split_first().ok_or(SealError)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(SealError)?;
        if version != VERSION {
            return Err(SealError);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .cipher
            .open_in_place(nonce, Aad::from(label), &mut text)
            .map_err(|_| SealError)?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::ChaCha12Rng};

    use super::*;

    proptest! {
        #[test]
        fn opens_under_the_same_key_and_label_only(
            plain in proptest::collection::vec(any::<u8>(), 0..200),
            seed in any::<u64>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let mut rng = ChaCha12Rng::seed_from_u64(seed);
            let key = MasterKey::generate(&mut rng).unwrap();
            let other = MasterKey::generate(&mut rng).unwrap();
            let sealed = key.seal(&mut rng, "a", &plain).unwrap();
            let opened = key.open("a", &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), plain.as_slice());
            prop_assert_eq!(key.open("b", &sealed), Err(SealError));
            prop_assert_eq!(other.open("a", &sealed), Err(SealError));
            let mut damaged = sealed.clone();
            damaged[flip.index(sealed.len())] ^= 1;
            prop_assert_eq!(key.open("a", &damaged), Err(SealError));
        }
    }

    #[test]
    fn hashes_differ_by_key_purpose_and_app() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let keys = [(); 2].map(|()| MasterKey::generate(&mut rng).unwrap());
        let mut macs = Vec::new();
        for key in &keys {
            macs.extend([key.token_mac("at"), key.push_mac("a", "t")]);
            macs.extend([key.push_mac("b", "t"), key.push_mac("a", "u")]);
            macs.extend([key.claims_mac("a", b"t"), key.claims_mac("b", b"t")]);
        }
        assert_eq!(keys[0].push_mac("a", "t"), macs[1]);
        macs.sort_unstable();
        macs.dedup();
        assert_eq!(macs.len(), 12);
    }

    #[test]
    fn reads_what_it_writes() {
        let key = MasterKey::generate(&mut ChaCha12Rng::seed_from_u64(1)).unwrap();
        let again = MasterKey::from_base64(&format!(" {}\n", key.to_base64().as_str())).unwrap();
        assert_eq!(again.to_base64(), key.to_base64());
        for wrong in [
            "",
            "c2hvcnQ=",
            "not base64 at all, but of forty-four letters",
        ] {
            assert_eq!(
                MasterKey::from_base64(wrong).err(),
                Some(MasterKeyError),
                "{wrong}"
            );
        }
    }
}
