//! The signing keys of one app, opened and parsed.

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use entity::{SigningKeyId, signing_key};
use keys::{Algorithm, MasterKey, PublicKey, SigningKey};
use serde_json::{Map, Value};

use crate::{
    error::{Error, Result},
    signing::seal_label,
};

/// The keys of an app: one signs, all that are not revoked verify.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<Entry>,
    pub jwks: Jwks,
}

/// A key with its row.
#[derive(Debug)]
pub struct Entry {
    pub row: signing_key::Model,
    key: SigningKey,
}

/// The public keys as JWK Set (RFC 7517 section 5).
#[derive(Clone, Debug)]
pub struct Jwks {
    pub set: Map<String, Value>,
    /// A strong entity tag of the body (RFC 9110 section 8.8.3), quotes included.
    pub etag: String,
}

impl Keyring {
    /// Opens the keys of these rows, the newest first.
    ///
    /// # Errors
    /// When one does not open under the master key, or is not a key.
    pub fn open(rows: Vec<signing_key::Model>, master: &MasterKey) -> Result<Self> {
        let keys = rows
            .into_iter()
            .map(|row| {
                let algorithm: Algorithm = row.algorithm.parse().map_err(Error::internal)?;
                let private = master
                    .open(&seal_label(row.id), &row.sealed)
                    .map_err(Error::internal)?;
                let key = SigningKey::parse(&row.id.to_string(), algorithm, &private)
                    .map_err(Error::internal)?;
                Ok(Entry { row, key })
            })
            .collect::<Result<Vec<_>>>()?;
        let jwks = Jwks::of(&keys)?;
        Ok(Self { keys, jwks })
    }

    /// The key that signs.
    ///
    /// # Errors
    /// When every key of the app is revoked.
    pub fn active(&self) -> Result<&SigningKey> {
        self.active_entry().map(|entry| &entry.key)
    }

    /// The id of the key that signs.
    ///
    /// # Errors
    /// When every key of the app is revoked.
    pub fn active_id(&self) -> Result<SigningKeyId> {
        self.active_entry().map(|entry| entry.row.id)
    }

    /// The key that a token names, if it is one of the app and not revoked.
    pub fn verifying(&self, kid: &str) -> Option<&PublicKey> {
        self.keys
            .iter()
            .filter(|entry| entry.row.revoked_at.is_none())
            .map(|entry| entry.key.public())
            .find(|key| key.id == kid)
    }

    /// Every key, the newest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.keys.iter()
    }

    fn active_entry(&self) -> Result<&Entry> {
        self.keys
            .iter()
            .find(|entry| entry.row.revoked_at.is_none())
            .ok_or_else(|| Error::internal("the app has no signing key"))
    }
}

impl Entry {
    /// The public half.
    pub fn public(&self) -> &PublicKey {
        self.key.public()
    }
}

impl Jwks {
    fn of(keys: &[Entry]) -> Result<Self> {
        let keys = keys
            .iter()
            .filter(|entry| entry.row.revoked_at.is_none())
            .map(|entry| serde_json::to_value(&entry.public().jwk))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::internal)?;
        let keys = Value::Array(keys);
        let hash = digest::digest(&digest::SHA256, keys.to_string().as_bytes());
        let etag = BASE64_URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]);
        Ok(Self {
            set: Map::from_iter([("keys".to_owned(), keys)]),
            etag: format!("\"{etag}\""),
        })
    }
}
