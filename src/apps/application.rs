//! The applications of an app: each holds a secret app-key, which it replaces by itself.

use entity::{AppId, AppKeyId, SecretKind, Timestamp, app_key};
use uuid::Builder;

use crate::{
    app::App,
    apps::{
        Caller, NewAppKey,
        keys::{self, MadeKey},
    },
    audit::Actor,
    error::{Error, Result},
};

/// Seconds until the key of an application ends by itself: a year.
const LIFE: i64 = 31_536_000;

/// An application with a key that was made for it. The key is shown this once.
#[derive(Debug)]
pub struct Enrolled {
    /// A UUID that stays with the application.
    pub id: String,
    pub key: MadeKey,
    pub expires_at: Timestamp,
}

/// Enrols an application in the app, and makes its first key.
///
/// # Errors
/// When there is no such app.
pub async fn enrol(app: &App, actor: &Actor, id: AppId) -> Result<Enrolled> {
    let made = keys::create(app, actor, id, new_application(app)).await?;
    enrolled(made)
}

/// Replaces the current key of an application, which the caller presented, by a new one: the old one fails after `overlap`
/// seconds, and every other key of the application at once. An application has one current key: the holder of the current key is
/// the application, and the holder of an earlier one can make nothing any more.
///
/// # Errors
/// [`Error::NotEnrolled`] when the key belongs to no application, [`Error::InvalidKey`] when it is not the current one any more.
pub async fn replace_key(app: &App, caller: &Caller, overlap: i64) -> Result<Enrolled> {
    let replace = async |caller: Caller| {
        let row = held_by(&caller)?;
        // One that was replaced works until its end, and is the current one no more.
        if row.replaced_at.is_some() {
            return Err(Error::InvalidKey);
        }
        let id = caller.app.app.id;
        enrolled(keys::replace(app, &caller.actor, id, row, overlap, Some(LIFE)).await?)
    };
    Box::pin(caller.act(app, replace)).await
}

/// The key of the caller, if an application holds it.
///
/// # Errors
/// [`Error::NotEnrolled`] when it is another key: who has that must not make keys that outlive it.
pub fn held_by(caller: &Caller) -> Result<&app_key::Model> {
    let row = caller.app.keys.iter().find(|row| row.id == caller.key_id);
    row.filter(|row| row.application_id.is_some())
        .ok_or(Error::NotEnrolled)
}

/// The app of the key with this id.
///
/// # Errors
/// When there is none.
pub async fn app_of(app: &App, key: AppKeyId) -> Result<AppId> {
    let row = app_key::find(&app.store.reader, key).await?;
    row.and_then(|row| row.app_id).ok_or(Error::InvalidKey)
}

fn new_application(app: &App) -> NewAppKey {
    let mut bytes = [0; 16];
    app.rng.with(|rng| rng.fill_bytes(&mut bytes));
    let id = Builder::from_random_bytes(bytes).into_uuid().to_string();
    NewAppKey {
        kind: SecretKind::Secret,
        name: format!("application {id}"),
        expires_in: Some(LIFE),
        application_id: Some(id),
    }
}

fn enrolled(made: MadeKey) -> Result<Enrolled> {
    let (Some(id), Some(expires_at)) = (made.row.application_id.clone(), made.row.expires_at)
    else {
        return Err(Error::internal("a key of no application"));
    };
    Ok(Enrolled {
        id,
        key: made,
        expires_at,
    })
}
