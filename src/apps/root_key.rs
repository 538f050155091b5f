//! The root key: what administers the server.

use ambient::Rng;
use entity::{AppKeyId, PlainSecret, SecretKind, Timestamp, app_key, setting};
use sea_orm::ConnectionTrait;
use store::Store;

use crate::{
    app::App,
    apps::{
        ServerRevision,
        keys::{MOST, overlap_end},
    },
    audit::{Action, Actor, Event, record},
    config::may_be_root_key,
    error::{Error, Result},
};

/// What became of the root key of a store that was opened.
#[derive(Debug)]
pub enum Ensured {
    /// It had none. If none was given, the one that was made is to be shown this once.
    Made(Option<PlainSecret>),
    /// It has none, and the one that was given has not the form of one.
    Malformed,
    /// It has one, which is the given one, if any.
    Kept,
    /// It has another than the given one, which it keeps.
    Differs,
}

/// Sees that the store has a root key: `given`, or one that is made, unless it has one already.
pub async fn ensure(
    store: &Store,
    rng: &Rng,
    now: Timestamp,
    given: Option<PlainSecret>,
) -> Result<Ensured> {
    store
        .retry(|| look_or_make(store, rng, now, given.as_ref()))
        .await
}

async fn look_or_make(
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
        return Ok(if fits {
            Ensured::Kept
        } else {
            Ensured::Differs
        });
    }
    if given.is_some_and(|key| !may_be_root_key(key.reveal())) {
        return Ok(Ensured::Malformed);
    }
    // Of two processes that start at once on a fresh store, one makes the key; the other one finds it.
    if !setting::claim_root_key(&transaction).await? {
        return Err(Error::Contended("another process is making the root key"));
    }
    let (_, key) = insert(&transaction, rng, now, given.cloned()).await?;
    setting::advance_epoch(&transaction).await?;
    let event = Event::of_server(Action::RootKeyCreate);
    record(&transaction, rng, now, &Actor::cli(), [event]).await?;
    store.commit(transaction).await?;
    Ok(Ensured::Made(given.is_none().then_some(key)))
}

/// Replaces the root key by a new one, which is shown this once. The old one works for `overlap` seconds more.
///
/// # Errors
/// When the overlap is too long, or there are as many live root keys as there may be.
pub async fn rotate(app: &App, actor: &Actor, overlap: i64) -> Result<PlainSecret> {
    app.retry(|| replace_once(app, actor, overlap)).await
}

async fn replace_once(app: &App, actor: &Actor, overlap: i64) -> Result<PlainSecret> {
    // Before anything waits for the store.
    overlap_end(app.clock.now(), overlap)?;
    let revision = ServerRevision::begin(app, actor).await?;
    let (db, now) = (&revision.db, revision.now);
    app_key::end_root_at(db, now, overlap_end(now, overlap)?).await?;
    let (id, key) = insert(db, &app.rng, now, None).await?;
    // Each request to /root compares its key with all of them.
    if app_key::count_live_root(db, now).await? > MOST {
        return Err(Error::TooMany(
            "There are 100 live root keys, which is the most. Wait for the end of an overlap, or ask for none.",
        ));
    }
    let event = Event {
        target: Some(id.to_string()),
        ..Event::of_server(Action::RootKeyRotate)
    };
    revision.commit([event]).await?;
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
        application_id: None,
    };
    entity::insert(db, row).await?;
    Ok((id, key))
}
