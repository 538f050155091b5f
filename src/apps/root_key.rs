//! The root key: what administers the server.

use entity::{AppKeyId, PlainSecret, SecretKind, Timestamp, app_key, setting};
use sea_orm::{ActiveModelTrait, ConnectionTrait, IntoActiveModel};

use crate::{
    app::App,
    apps::keys::overlap_end,
    audit::{Action, Actor, Event, record},
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
            Some(key)
                if !stored
                    .iter()
                    .any(|row| row.is_live(now) && row.hash.matches(&key)) =>
            {
                Err(RootKeyError::Other)
            }
            _ => Ok(None),
        };
    }
    let made = given.is_none();
    let (_, key) = insert(&transaction, rng, now, given).await?;
    let event = Event::of_server(Action::RootKeyCreate);
    record(&transaction, rng, now, &Actor::cli(), [event])
        .await
        .map_err(Error::from)?;
    transaction.commit().await.map_err(Error::from)?;
    Ok(made.then_some(key))
}

/// Replaces the root key by a new one, which is shown this once. The old one works for `overlap` seconds more.
///
/// # Errors
/// When the overlap is too long; those of the store.
pub async fn rotate(app: &App, actor: &Actor, overlap: i64) -> Result<PlainSecret> {
    let now = app.clock.now();
    let end = overlap_end(now, overlap)?;
    let transaction = app.store.begin().await?;
    app_key::end_root_at(&transaction, end).await?;
    let (id, key) = insert(&transaction, &app.rng, now, None).await?;
    let event = Event {
        target: Some(id.to_string()),
        ..Event::of_server(Action::RootKeyRotate)
    };
    record(&transaction, &app.rng, now, actor, [event]).await?;
    transaction.commit().await?;
    app.directory.drop_all();
    Ok(key)
}

async fn insert(
    db: &impl ConnectionTrait,
    rng: &Rng,
    now: Timestamp,
    given: Option<PlainSecret>,
) -> Result<(AppKeyId, PlainSecret)> {
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
        last_used_at: None,
        revoked_at: None,
        replaced_at: None,
        registration_id: None,
    };
    row.into_active_model().insert(db).await?;
    setting::advance_epoch(db).await?;
    Ok((id, key))
}
