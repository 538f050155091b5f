//! Signing keys: how they are made, sealed and kept ready.

mod keyring;

use entity::{AppId, SigningKeyId, Timestamp, signing_key};
use keys::{Algorithm, PublicKey, SigningKey};

pub use keyring::{Jwks, Keyring};

use crate::{
    app::App,
    error::{Error, Result},
};

/// Makes a key pair of the app; gives its row, private half sealed, and the public half.
///
/// # Errors
/// When no key can be made for the algorithm.
pub fn generate(
    app: &App,
    app_id: AppId,
    algorithm: Algorithm,
    now: Timestamp,
) -> Result<(signing_key::Model, PublicKey)> {
    app.rng.with(|mut rng| {
        let id = SigningKeyId::mint(now, &mut rng);
        let private = keys::generate(algorithm, &mut rng).map_err(Error::internal)?;
        let sealed = app
            .master
            .seal(&mut rng, &seal_label(id), &private)
            .map_err(Error::internal)?;
        let public = SigningKey::parse(&id.to_string(), algorithm, &private)
            .map_err(Error::internal)?
            .public()
            .clone();
        let row = signing_key::Model {
            id,
            app_id,
            algorithm: algorithm.to_string(),
            sealed,
            created_at: now,
            revoked_at: None,
        };
        Ok((row, public))
    })
}

/// What a private key is bound to when it is sealed: one row's cannot be put into another.
pub fn seal_label(id: SigningKeyId) -> String {
    format!("renewd/signing-key/{id}")
}
