//! Something happened on a device that is known by its push token.

use entity::{
    AppId, DeviceId, PlainSecret, Timestamp, app_key,
    device::{self, Marks},
};
use sea_orm::ConnectionTrait;

use super::{
    Details,
    merge::Held,
    push_token::PushToken,
    rows::{commit, known, raced, seen},
};
use crate::{app::App, apps::Caller, error::Result, master};

/// What an event says of its device.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub push_token: PlainSecret,
    /// The user of the device, if the event names one.
    pub sub: Option<String>,
    pub details: Details,
}

/// The device of an event.
struct Seen {
    id: DeviceId,
    is_new: bool,
}

impl Sighting {
    /// Notes on the row what the event says, but for the push token.
    fn note(&self, row: &mut device::Model, now: Timestamp) {
        row.sub = row.sub.take().or_else(|| self.sub.clone());
        self.details.clone().note(row);
        row.last_seen_at = seen(row, now);
    }

    /// Whether the event may be of the device's own user, by what the event says.
    fn is_of_user(&self, row: &device::Model) -> bool {
        let is_nobodys = row.sub.is_none() && !row.is_registered();
        self.sub.is_none() || row.sub == self.sub || is_nobodys
    }
}

/// Notes what an event says of its device, which is registered when it is not known; gives its id.
///
/// The push token says which device it is. Where that device is another user's, the token goes to a new device of the user of the
/// event, and messages go with it. The other device keeps its user, its sessions and its name: to take those, more must be shown
/// than a key that everybody has. A device that was disabled keeps its token as well.
///
/// # Errors
/// When a publishable key tells too much of the device, or of too many that were not known.
pub async fn event(app: &App, caller: &Caller, sighting: &Sighting) -> Result<DeviceId> {
    let (now, app_id) = (app.clock.now(), caller.app.app.id);
    let is_counted = caller.kind == app_key::Kind::Publishable;
    let found = app.retry(|| find(app, app_id, sighting)).await?;
    match &found {
        Some(row) if is_counted => app.quota.event(row.id, now)?,
        // Before a place among the writers is taken.
        None if is_counted => app.quota.check_new(app_id, now)?,
        _ => {}
    }
    // Most events say what is known: that is seen without a lock.
    if let Some(row) = found
        && sighting.is_of_user(&row)
    {
        let mut noted = row.clone();
        sighting.note(&mut noted, now);
        if noted == row {
            return Ok(row.id);
        }
    }
    let write = async |caller: Caller| write(app, &caller, sighting, is_counted).await;
    let seen = Box::pin(caller.act(app, write)).await?;
    if seen.is_new && is_counted {
        app.quota.count_new(app_id);
    }
    Ok(seen.id)
}

/// The device that has the push token, or had it before the one that it has.
async fn find(app: &App, app_id: AppId, sighting: &Sighting) -> Result<Option<device::Model>> {
    let db = &app.store.reader;
    let token = PushToken::new(app, db, app_id, &sighting.push_token).await?;
    match device::find_by_push_token(db, app_id, &token.macs).await? {
        Some(row) => Ok(Some(row)),
        None => late(db, app_id, &token, sighting).await,
    }
}

/// The device of an event that was on its way for long: the device has a newer push token by now, and the event tells nothing
/// newer than that.
async fn late(
    db: &impl ConnectionTrait,
    app_id: AppId,
    token: &PushToken<'_>,
    sighting: &Sighting,
) -> Result<Option<device::Model>> {
    let found = device::find_by_push_parent(db, app_id, &token.macs).await?;
    // An event of another user tells that this user has the token now, and that the device had it before.
    Ok(found.filter(|row| sighting.is_of_user(row)))
}

async fn write(app: &App, caller: &Caller, sighting: &Sighting, is_counted: bool) -> Result<Seen> {
    let (now, app_id) = (app.clock.now(), caller.app.app.id);
    let transaction = caller.actor.begin(app).await?;
    let token = PushToken::new(app, &transaction, app_id, &sighting.push_token).await?;
    let marks = Marks {
        push_tokens: &token.macs,
        ..Marks::default()
    };
    let holding = known(&transaction, app_id, marks).await?.into_iter().next();
    let id = match holding {
        Some(read) if sighting.is_of_user(&read) => {
            Some(note(&transaction, read.clone(), &read, sighting, now).await?)
        }
        Some(read) if read.is_disabled() => return Ok(Seen::again(read.id)),
        Some(read) => {
            let held = Held::read(&transaction, read, now).await?;
            let mut row = held.row.clone();
            if held.is_bare {
                row.sub.clone_from(&sighting.sub);
                Some(note(&transaction, row, &held.row, sighting, now).await?)
            } else {
                row.drop_push_token();
                entity::replace(&transaction, row).await?;
                None
            }
        }
        None => match late(&transaction, app_id, &token, sighting).await? {
            Some(row) => {
                device::seen_at(&transaction, row.id, seen(&row, now)).await?;
                Some(row.id)
            }
            None => None,
        },
    };
    let seen = match id {
        Some(id) => Seen::again(id),
        None => {
            if is_counted {
                app.quota.check_new(app_id, now)?;
            }
            let mut row =
                device::Model::new(app.rng.with(|rng| DeviceId::mint(now, rng)), app_id, now);
            sighting.note(&mut row, now);
            token.give(app, &mut row, now)?;
            master::confirm(&transaction, token.sealed_by()).await?;
            let id = row.id;
            let insert = entity::insert(&transaction, row).await;
            insert.map_err(raced)?;
            Seen { id, is_new: true }
        }
    };
    commit(app, transaction).await?;
    Ok(seen)
}

/// Notes on the row of the device, which is held, what the event says of it, and writes it if it is not what was read; gives
/// its id.
async fn note(
    db: &impl ConnectionTrait,
    mut row: device::Model,
    read: &device::Model,
    sighting: &Sighting,
    now: Timestamp,
) -> Result<DeviceId> {
    sighting.note(&mut row, now);
    if row != *read {
        entity::replace(db, row).await?;
    }
    Ok(read.id)
}

impl Seen {
    const fn again(id: DeviceId) -> Self {
        Self { id, is_new: false }
    }
}
