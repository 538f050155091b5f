//! The public keys of an app as JSON.

use entity::{SigningKeyId, Timestamp, time::Span};
use poem_openapi::Object;

use crate::{api::types::Id, apps::LoadedApp};

/// The public keys of an app.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PubKeysResponse {
    pub keys: Vec<PublicKeyObject>,
}

/// A public key.
#[derive(Debug, Object)]
pub struct PublicKeyObject {
    pub key_id: Id<SigningKeyId>,
    /// Base64 of its PEM.
    pub public_key: String,
    pub key_type: String,
    pub key_algo: String,
    /// When the next key is due, in seconds of the Unix epoch.
    pub exp_time: i64,
    /// Whether it no longer verifies.
    pub is_expired: bool,
    pub is_revoked: bool,
}

impl PubKeysResponse {
    /// The public keys of `loaded`.
    pub fn of(loaded: &LoadedApp, now: Timestamp) -> Self {
        let period = Span::seconds(loaded.app.rotation_period);
        let keys = loaded
            .keyring
            .entries(now)
            .map(|(entry, state)| {
                let key = entry.public();
                PublicKeyObject {
                    key_id: Id(entry.row.id),
                    public_key: key.pem_base64.clone(),
                    key_type: key.algorithm.key_type().to_string(),
                    key_algo: key.algorithm.to_string(),
                    exp_time: (entry.row.activates_at + period).as_seconds(),
                    is_expired: !state.verifies(),
                    is_revoked: entry.row.revoked_at.is_some(),
                }
            })
            .collect();
        Self { keys }
    }
}
