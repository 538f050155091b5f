//! The root key: what administers the server.

use entity::{AppKeyId, PlainSecret, SecretKind, Timestamp, app_key, setting};
use sea_orm::{ActiveModelTrait, ConnectionTrait, IntoActiveModel};

use crate::{
    app::App,
    clock::Rng,
    error::{Error, Result},
    store::Store,
};

/// Why the server does not start with the root key that it was given.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    #[error(
        "RENEWD_ROOT_KEY is not the root key of this store. Unset it, or replace the store's key by a new \
         one with `renewd key rotate-root`"
    )]
    Other,
    #[error(transparent)]
    Store(#[from] Error),
}

/// Sees that the store has a root key: `given`, or one that is made. Gives the one that was made, to be
/// shown this once.
///
/// # Errors
/// When the store has another root key than `given`.
pub async fn ensure(
    store: &Store,
    rng: &Rng,
    now: Timestamp,
    given: Option<PlainSecret>,
) -> Result<Option<PlainSecret>, RootKeyError> {
    let transaction = store.begin().await.map_err(Error::from)?;
    let stored = app_key::list_root(&transaction)
        .await
        .map_err(Error::from)?;
    if !stored.is_empty() {
        return match given {
            Some(key) if !stored.iter().any(|row| row.hash.matches(&key)) => {
                Err(RootKeyError::Other)
            }
            _ => Ok(None),
        };
    }
    let made = given.is_none();
    let key = insert(&transaction, rng, now, given).await?;
    transaction.commit().await.map_err(Error::from)?;
    Ok(made.then_some(key))
}

/// Replaces the root key by a new one, which is shown this once. The old one fails at once.
///
/// # Errors
/// Those of the store.
pub async fn rotate(app: &App) -> Result<PlainSecret> {
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    app_key::delete_root(&transaction).await?;
    let key = insert(&transaction, &app.rng, now, None).await?;
    transaction.commit().await?;
    app.directory.drop_all();
    tracing::info!("root key rotated");
    Ok(key)
}

async fn insert(
    db: &impl ConnectionTrait,
    rng: &Rng,
    now: Timestamp,
    given: Option<PlainSecret>,
) -> Result<PlainSecret> {
    let (id, made) = rng.with(|rng| {
        let id = AppKeyId::mint(now, rng);
        (id, PlainSecret::generate(SecretKind::Root, id, rng))
    });
    let key = given.unwrap_or(made);
    let row = app_key::Model {
        id,
        app_id: None,
        kind: SecretKind::Root.into(),
        name: String::new(),
        hash: key.hash(),
        created_at: now,
        expires_at: None,
    };
    row.into_active_model().insert(db).await?;
    setting::advance_epoch(db).await?;
    Ok(key)
}
