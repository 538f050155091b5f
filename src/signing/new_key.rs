//! Makes signing keys, and seals them.

use entity::{AppId, SigningKeyId, Timestamp, signing_key};
use keys::{Algorithm, PrivateKey, PublicKey, SigningKey};
use sea_orm::ConnectionTrait;
use store::deadline;

use crate::{
    app::App,
    error::{Error, Result},
    master,
};

/// A key that was made and is not stored yet.
#[derive(Debug)]
pub struct NewKey {
    row: signing_key::Model,
    sealed_by: i64,
    pub public: PublicKey,
}

/// Makes a key pair of the app, which signs from `activates_at` on. Nothing waits for it that could go on: an
/// RSA key takes a good part of a second.
///
/// # Errors
/// When no key can be made for the algorithm, or sealed.
pub async fn generate(
    app: &App,
    app_id: AppId,
    algorithm: Algorithm,
    token_life: i64,
    now: Timestamp,
    activates_at: Timestamp,
) -> Result<NewKey> {
    let private = draw(app, algorithm).await?;
    seal(
        app,
        app_id,
        algorithm,
        &private,
        token_life,
        now,
        activates_at,
    )
    .await
}

/// Draws a private key, beside the requests.
///
/// # Errors
/// When no key can be made for the algorithm.
pub async fn draw(app: &App, algorithm: Algorithm) -> Result<PrivateKey> {
    let mut rng = app.rng.fork();
    let made = tokio::task::spawn_blocking(move || keys::generate(algorithm, &mut rng));
    deadline::uncounted(made)
        .await
        .map_err(Error::internal)?
        .map_err(Error::internal)
}

/// Makes the app's key pair of a private key that was drawn.
///
/// # Errors
/// When it cannot be sealed.
pub async fn seal(
    app: &App,
    app_id: AppId,
    algorithm: Algorithm,
    private: &PrivateKey,
    token_life: i64,
    now: Timestamp,
    activates_at: Timestamp,
) -> Result<NewKey> {
    let id = app.rng.with(|rng| SigningKeyId::mint(now, rng));
    let public = SigningKey::parse(&id.to_string(), algorithm, private)
        .map_err(Error::internal)?
        .public()
        .clone();
    let label = signing_key::seal_label(id);
    let (sealed, sealed_by) = app
        .master
        .seal(&app.store.reader, &app.rng, &label, private)
        .await?;
    let row = signing_key::Model {
        id,
        app_id,
        algorithm: algorithm.to_string(),
        sealed,
        created_at: now,
        activates_at,
        token_life,
        revoked_at: None,
    };
    Ok(NewKey {
        row,
        sealed_by,
        public,
    })
}

impl NewKey {
    /// Its id.
    pub fn id(&self) -> SigningKeyId {
        self.row.id
    }

    /// Its row.
    pub fn row(&self) -> &signing_key::Model {
        &self.row
    }

    /// Stores it.
    ///
    /// # Errors
    /// [`Error::Contended`] when the master key was replaced meanwhile.
    pub async fn insert(self, db: &impl ConnectionTrait) -> Result<signing_key::Model> {
        master::confirm(db, self.sealed_by).await?;
        entity::insert(db, self.row.clone()).await?;
        Ok(self.row)
    }
}
