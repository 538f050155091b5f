//! The signing keys of one app, opened and parsed.

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use entity::{SigningKeyId, Timestamp, signing_key, time::Span};
use keys::{Algorithm, PublicKey, SigningKey};
use serde_json::{Map, Value};

use crate::{
    error::{Error, Result},
    master::MasterKeys,
    signing::schedule::{KeyDates, State, active, states},
};

/// The keys of an app, in the order in which they sign.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<Entry>,
    dates: Vec<KeyDates>,
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
    /// A strong entity tag of the set (RFC 9110 section 8.8.3), quotes included.
    pub etag: String,
}

/// The dates of the key in `row`.
pub fn dates(row: &signing_key::Model) -> KeyDates {
    KeyDates {
        created_at: row.created_at,
        activates_at: row.activates_at,
        revoked_at: row.revoked_at,
        token_life: Span::seconds(row.token_life),
    }
}

impl Keyring {
    /// Opens the keys of these rows, which are in the order in which they sign.
    ///
    /// # Errors
    /// When one does not open under a master key, or is not a key.
    pub fn open(
        rows: Vec<signing_key::Model>,
        master: &MasterKeys,
        now: Timestamp,
    ) -> Result<Self> {
        let dates: Vec<_> = rows.iter().map(dates).collect();
        let keys = rows
            .into_iter()
            .map(|row| {
                let algorithm: Algorithm = row.algorithm.parse().map_err(Error::internal)?;
                let private = master.open(&signing_key::seal_label(row.id), &row.sealed)?;
                let key = SigningKey::parse(&row.id.to_string(), algorithm, &private)
                    .map_err(Error::internal)?;
                Ok(Entry { row, key })
            })
            .collect::<Result<Vec<_>>>()?;
        let states = states(&dates, now);
        let published = keys.iter().zip(&states);
        let published = published
            .filter(|(_, state)| state.verifies())
            .map(|(entry, _)| entry);
        let jwks = Jwks::of(published)?;
        Ok(Self { keys, dates, jwks })
    }

    /// The key that signs at `now`.
    ///
    /// # Errors
    /// When every key of the app is revoked.
    pub fn active(&self, now: Timestamp) -> Result<&Entry> {
        active(&self.dates, now)
            .map(|index| &self.keys[index])
            .ok_or_else(|| Error::internal("the app has no signing key"))
    }

    /// The key that signs the pair of a session which names it, unless it was revoked.
    pub fn signing(&self, id: SigningKeyId) -> Option<&Entry> {
        let found = self.keys.iter().find(|entry| entry.row.id == id);
        found.filter(|entry| entry.row.revoked_at.is_none())
    }

    /// Whether this is a key of the app.
    pub fn has(&self, id: SigningKeyId) -> bool {
        self.keys.iter().any(|entry| entry.row.id == id)
    }

    /// The key that a token names, if it is one of the app; and whether its tokens are good.
    pub fn find(&self, kid: &str) -> Option<(&PublicKey, bool)> {
        let entry = self.keys.iter().find(|entry| entry.public().id == kid)?;
        Some((entry.public(), entry.row.revoked_at.is_none()))
    }

    /// Every key, the last one first, and whether its tokens are good.
    pub fn keys(&self) -> impl Iterator<Item = (&PublicKey, bool)> {
        let keys = self.keys.iter().rev();
        keys.map(|entry| (entry.public(), entry.row.revoked_at.is_none()))
    }

    /// The keys whose tokens are dead.
    pub fn revoked(&self) -> impl Iterator<Item = SigningKeyId> {
        let revoked = self
            .keys
            .iter()
            .filter(|entry| entry.row.revoked_at.is_some());
        revoked.map(|entry| entry.row.id)
    }

    /// Every key that something needs with its state at `now`, the last one first.
    pub fn entries(&self, now: Timestamp) -> impl Iterator<Item = (&Entry, State)> {
        let all = self.keys.iter().zip(states(&self.dates, now)).rev();
        all.filter(|(_, state)| !matches!(state, State::Gone { .. }))
    }
}

impl Entry {
    /// The key pair.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        self.key.public()
    }
}

impl Jwks {
    fn of<'a>(keys: impl Iterator<Item = &'a Entry>) -> Result<Self> {
        let keys = keys
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
