//! The root key: what administers the server.

use entity::{AppKeyId, PlainSecret, SecretKind, Timestamp, app_key, setting};
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, IntoActiveModel};

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
    let ensured = store.retry(|| attempt(store, rng, now, given.as_ref()));
    match ensured.await? {
        Ensured::Made(key) => Ok(given.is_none().then_some(key)),
        Ensured::Fits => Ok(None),
        Ensured::Other => Err(RootKeyError::Other),
    }
}

/// What became of the root key of a store.
enum Ensured {
    Made(PlainSecret),
    Fits,
    Other,
}

async fn attempt(
    store: &Store,
    rng: &Rng,
    now: Timestamp,
    given: Option<&PlainSecret>,
) -> Result<Ensured> {
    let transaction = store.begin().await?;
    let stored = app_key::list_root(&transaction).await?;
    if !stored.is_empty() {
        let fits = given.is_none_or(|key| {
            let mut live = stored.iter().filter(|row| row.is_live(now));
            live.any(|row| row.hash.matches(key))
        });
        return Ok(if fits { Ensured::Fits } else { Ensured::Other });
    }
    // Of two processes that start at once on a fresh store, one makes the key; the other one finds it.
    if !setting::claim_root_key(&transaction).await? {
        let message = "another process is making the root key";
        return Err(Error::Unavailable(DbErr::Custom(message.to_owned())));
    }
    let (_, key) = insert(&transaction, rng, now, given.cloned()).await?;
    let event = Event::of_server(Action::RootKeyCreate);
    record(&transaction, rng, now, &Actor::cli(), [event]).await?;
    store.commit(transaction).await?;
    Ok(Ensured::Made(key))
}

/// Replaces the root key by a new one, which is shown this once. The old one works for `overlap` seconds more.
///
/// # Errors
/// When the overlap is too long; those of the store.
pub async fn rotate(app: &App, actor: &Actor, overlap: i64) -> Result<PlainSecret> {
    app.store
        .retry(|| attempt_rotation(app, actor, overlap))
        .await
}

async fn attempt_rotation(app: &App, actor: &Actor, overlap: i64) -> Result<PlainSecret> {
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
    app.store.commit(transaction).await?;
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
