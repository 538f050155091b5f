//! Registers a device, and makes the first token of its family.

use entity::{
    AppId, DeviceId, PlainSecret, RegistrationTokenId, Timestamp, app, device, registration_token,
    time::Span,
};
use sea_orm::ConnectionTrait;
use serde_json::{Map, Value};

use crate::{
    app::App,
    apps::{Caller, check_audiences},
    audit::{Action, Event, record},
    devices::rows::raced,
    error::{Error, Result},
    sessions::Claims,
};

/// Seconds that a token may live at most: a hundred years.
const LONGEST: Span = Span::seconds(3_153_600_000);
const CONFLICT: Error = Error::Conflict(
    "Somebody else registered the same device at the same time, and has its token.",
);

const CHANGED: Error = Error::Contended("the registration of the device is being changed");

/// A device that is to be registered.
#[derive(Clone, Debug)]
pub struct NewRegistration {
    /// What the device calls itself; one that is not known is made.
    pub client_id: String,
    /// When its first token ends. Each token after it lives as long as the first one.
    pub expires_at: Option<Timestamp>,
    pub allow_on_behalf_of_registration: bool,
    /// The claims of its sessions, and what those may be for.
    pub claims: Map<String, Value>,
    pub audiences: Vec<String>,
}

/// The first token. It is shown this once.
#[derive(Debug)]
pub struct Created {
    pub token: PlainSecret,
    pub row: registration_token::Model,
}

impl NewRegistration {
    /// That a subject can be made of the name, and sessions of the rest.
    fn check(&self) -> Result<()> {
        if self.client_id.chars().count() > device::LONGEST_NAME {
            let message = format!("must have at most {} characters", device::LONGEST_NAME);
            return Err(Error::invalid("client_id", message));
        }
        if let Some(violation) = check_audiences("audiences", &self.audiences) {
            return Err(Error::Invalid(vec![violation]));
        }
        Claims::of_registration(&self.audiences, &self.claims).map(|_| ())
    }
}

/// Begins the token family of the device. If the device has one, that one ends: a device that lost its token, or never got it, is
/// registered again by its backend. Of several that register one device at once, one wins.
///
/// # Errors
/// When there is no such app, the end is not in the future, the device is disabled, or somebody else registered it at the same
/// time.
pub async fn create(app: &App, caller: &Caller, new: &NewRegistration) -> Result<Created> {
    let app_id = caller.app.app.id;
    new.check()?;
    // A registration that is found later was made by another caller, who has won.
    let known = || known_family(app, app_id, &new.client_id);
    let known = app.retry(known).await?;
    let begin = async |caller: Caller| begin_family(app, &caller, new, known).await;
    Box::pin(caller.act(app, begin)).await
}

async fn known_family(
    app: &App,
    app_id: AppId,
    client_id: &str,
) -> Result<Option<RegistrationTokenId>> {
    let db = &app.store.reader;
    let Some(device) = device::find_registered(db, app_id, client_id).await? else {
        return Ok(None);
    };
    let row = registration_token::find_of_device(db, app_id, device.id).await?;
    Ok(row.map(|row| row.id))
}

async fn begin_family(
    app: &App,
    caller: &Caller,
    new: &NewRegistration,
    known: Option<RegistrationTokenId>,
) -> Result<Created> {
    let now = app.clock.now();
    let app_id = caller.app.app.id;
    let lifetime = new.expires_at.map(|end| end.since(now));
    if lifetime.is_some_and(|life| life <= Span::ZERO || life > LONGEST) {
        let message = "must be in the future, and at most a hundred years away";
        return Err(Error::invalid("expires_at", message));
    }
    let transaction = caller.actor.begin(app).await?;
    let policy = app::find(&transaction, app_id).await?;
    let policy = policy.ok_or(Error::NotFound("app"))?;
    let device_id = hold(app, &transaction, app_id, &new.client_id, now).await?;
    let old = registration_token::find_of_device(&transaction, app_id, device_id).await?;
    if let Some(old) = &old {
        if Some(old.id) != known {
            return Err(CONFLICT);
        }
        if !registration_token::remove(&transaction, old).await? {
            return Err(CHANGED);
        }
    }

    let (id, token) = app.rng.with(|rng| {
        let id = RegistrationTokenId::mint(now, rng);
        (id, PlainSecret::generate_registration(id, rng))
    });
    let expires_at = new.expires_at.or_else(|| {
        let expiry = policy.registration_expiry;
        expiry.map(|seconds| now + Span::seconds(seconds))
    });
    let row = registration_token::Model {
        id,
        app_id,
        device_id,
        current_hash: token.hash(),
        parent_hash: None,
        parent_until: None,
        generation: 0,
        flush_count: policy.flush_count,
        began_at: now,
        issued_at: now,
        expires_at,
        lifetime: lifetime.map(Span::as_seconds_ceil),
        allow_on_behalf_of_registration: new.allow_on_behalf_of_registration,
        sub: Some(device::subject_of(&new.client_id)),
        claims: Some(Value::Object(new.claims.clone()).to_string()),
        audiences: Some(Value::from(new.audiences.as_slice()).to_string()),
        // The hour goes on: a new token family is no way around the limit.
        window_started_at: old.as_ref().map_or(now, |old| old.window_started_at),
        window_count: old.as_ref().map_or(0, |old| old.window_count),
        revoked_at: None,
        purge_at: expires_at.map(registration_token::purge_at),
    };
    entity::insert(&transaction, row.clone()).await?;
    let event = Event::of(Action::RegistrationCreate, app_id, id);
    record(&transaction, &app.rng, now, &caller.actor, [event]).await?;
    app.store.commit(transaction).await?;
    Ok(Created { token, row })
}

/// The device of this name, which is made when there is none; nobody else writes its token family until the transaction ends.
///
/// # Errors
/// When it is disabled, or somebody else made or removed it meanwhile.
async fn hold(
    app: &App,
    db: &impl ConnectionTrait,
    app_id: AppId,
    client_id: &str,
    now: Timestamp,
) -> Result<DeviceId> {
    match device::find_registered(db, app_id, client_id).await? {
        Some(device) if device.is_disabled() => Err(Error::DeviceDisabled),
        Some(device) => {
            let is_held = device::hold_live(db, app_id, device.id, now).await?;
            if is_held && device.sub.is_none() {
                // A process of the release before made it.
                let name = device::subject_of(client_id);
                device::name_subject(db, device.id, name)
                    .await
                    .map_err(raced)?;
            }
            is_held.then_some(device.id).ok_or(CHANGED)
        }
        None => {
            let id = app.rng.with(|rng| DeviceId::mint(now, rng));
            let row = device::Model {
                client_id: Some(client_id.to_owned()),
                sub: Some(device::subject_of(client_id)),
                ..device::Model::new(id, app_id, now)
            };
            entity::insert(db, row).await.map_err(raced)?;
            Ok(id)
        }
    }
}
