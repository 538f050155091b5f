//! Applications as SCAEM has them: holders of a secret app-key that they replace themselves. A project is an app.

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

/// Seconds until a registration token ends by itself: a year.
const LIFE: i64 = 31_536_000;

/// A token that was made. It is shown this once.
#[derive(Debug)]
pub struct Registration {
    /// A UUID that stays with the application.
    pub id: String,
    pub token: MadeKey,
    pub expires_at: Timestamp,
}

/// Registers an application in the project, and makes its first token.
///
/// # Errors
/// When there is no such project; those of the store.
pub async fn register(app: &App, actor: &Actor, project: &str) -> Result<Registration> {
    let id: AppId = project.parse().map_err(|_| Error::NotFound("project"))?;
    let made = keys::create(app, actor, id, new_application(app)).await?;
    of(made)
}

/// Makes a new token of the application in the place of the current one, which was presented and fails at once.
///
/// # Errors
/// Those of [`update`].
pub async fn generate(app: &App, caller: &Caller, project: &str) -> Result<Registration> {
    update(app, caller, project, 0).await
}

/// Replaces the current token, which was presented, by a new one of the same application: the old one fails after `overlap`
/// seconds, and whatever else the application had at once. An application has one current token: whoever has that is the
/// application, and whoever has an earlier one can make nothing any more.
///
/// # Errors
/// [`Error::Elsewhere`] when the project is not the token's own, [`Error::NotEnrolled`] when the key belongs to no application,
/// [`Error::InvalidKey`] when the token is not the current one any more; those of the store.
pub async fn update(
    app: &App,
    caller: &Caller,
    project: &str,
    overlap: i64,
) -> Result<Registration> {
    let replace = async |caller: Caller| {
        let (id, row) = own_project(&caller, project)?;
        of(keys::replace(app, &caller.actor, id, row, overlap, Some(LIFE)).await?)
    };
    Box::pin(caller.act(app, replace)).await
}

/// The key of the caller, if it is the registration token of an application.
///
/// # Errors
/// [`Error::NotEnrolled`] when it is another key: whoever has that must not make keys that outlive it.
pub fn enrolled(caller: &Caller) -> Result<&app_key::Model> {
    let row = caller.app.keys.iter().find(|row| row.id == caller.key_id);
    row.filter(|row| row.registration_id.is_some())
        .ok_or(Error::NotEnrolled)
}

/// The app of the key with this id.
///
/// # Errors
/// When there is none; those of the store.
pub async fn app_of(app: &App, key: AppKeyId) -> Result<AppId> {
    let row = app_key::find(&app.store.reader, key).await?;
    row.and_then(|row| row.app_id).ok_or(Error::InvalidKey)
}

fn own_project<'a>(caller: &'a Caller, project: &str) -> Result<(AppId, &'a app_key::Model)> {
    let id = caller.app.app.id;
    if project != id.to_string() {
        return Err(Error::Elsewhere(
            "The application is not registered in this project: use POST /v1/auth/register.",
        ));
    }
    let row = enrolled(caller)?;
    // One that was replaced works until its end, and is the current one no more.
    if row.replaced_at.is_some() {
        return Err(Error::InvalidKey);
    }
    Ok((id, row))
}

fn new_application(app: &App) -> NewAppKey {
    let mut bytes = [0; 16];
    app.rng.with(|rng| rng.fill_bytes(&mut bytes));
    let id = Builder::from_random_bytes(bytes).into_uuid().to_string();
    NewAppKey {
        kind: SecretKind::Secret,
        name: format!("application {id}"),
        expires_in: Some(LIFE),
        registration_id: Some(id),
    }
}

fn of(made: MadeKey) -> Result<Registration> {
    let (Some(id), Some(expires_at)) = (made.row.registration_id.clone(), made.row.expires_at)
    else {
        return Err(Error::internal(
            "a registration token without a registration",
        ));
    };
    Ok(Registration {
        id,
        token: made,
        expires_at,
    })
}
