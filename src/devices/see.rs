//! A device shows itself: it is found by what identifies it, or registered.

use entity::{
    AppId, DeviceId, PlainSecret, Timestamp,
    device::{self, Marks},
};
use sea_orm::{ActiveModelTrait, ConnectionTrait, IntoActiveModel};

use super::{Details, known, merge::merge, push_token::Presented, raced, seen};
use crate::{app::App, error::Result, master};

/// What a device, or who speaks for it, says of it.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The device that it is, as far as known; if it has no name yet, it is.
    pub id: Option<DeviceId>,
    /// What the client calls itself.
    pub client_id: Option<String>,
    pub push_token: Option<PlainSecret>,
    /// Its user; of nobody that is known, when there is none.
    pub sub: Option<String>,
    pub details: Details,
}

impl Sighting {
    /// Notes on the row what is known now, but for the push token.
    pub fn note(&self, row: &mut device::Model, now: Timestamp) {
        let details = self.details.clone();
        row.client_id = self.client_id.clone().or(row.client_id.take());
        row.sub = self.sub.clone().or(row.sub.take());
        row.platform = details.platform.or(row.platform);
        row.push_permission = details.push_permission.or(row.push_permission);
        row.timezone = details.timezone.or(row.timezone.take());
        row.language = details.language.or(row.language.take());
        row.country = details.country.or(row.country.take());
        row.last_seen_at = seen(row, now);
    }
}

/// Finds the device of the app, or registers it, and notes what is known of it: afterwards nobody else of the app has its
/// name or its push token. Nobody else changes the row until the transaction ends.
///
/// # Errors
/// [`Error::Unavailable`](crate::error::Error::Unavailable) when somebody else registers it at the same time; those of the
/// store.
pub async fn see(
    app: &App,
    db: &impl ConnectionTrait,
    app_id: AppId,
    now: Timestamp,
    sighting: &Sighting,
) -> Result<device::Model> {
    let presented = match &sighting.push_token {
        Some(token) => Some(Presented::new(app, db, app_id, token).await?),
        None => None,
    };
    let macs = presented
        .as_ref()
        .map(|token| token.macs.as_slice())
        .unwrap_or_default();
    let client_id = sighting.client_id.as_deref();
    let marks = Marks {
        id: sighting.id,
        client_id,
        push_tokens: macs,
    };
    let holds = |row: &device::Model| presented.as_ref().is_some_and(|token| token.is_of(row));
    let (mut named, mut holding, mut hinted) = (None, None, None);
    for row in known(db, app_id, marks).await? {
        if client_id.is_some() && row.client_id.as_deref() == client_id {
            named = Some(row);
        } else if sighting.id == Some(row.id) && row.client_id.is_none() {
            hinted = Some(row);
        } else if holds(&row) {
            holding = Some(row);
        }
    }
    if named.is_none() {
        named = hinted;
    } else {
        holding = holding.or(hinted.filter(holds));
    }

    if client_id.is_none() && holding.is_none() && !macs.is_empty() {
        // It was on its way for long: its device has a new token by now. It tells nothing else that is newer than that.
        if let Some(mut row) = device::find_by_push_parent(db, app_id, macs).await? {
            row.last_seen_at = seen(&row, now);
            device::seen_at(db, row.id, row.last_seen_at).await?;
            return Ok(row);
        }
    }
    let read = match (named, holding) {
        (Some(named), Some(holding)) if is_nameless(&holding, sighting) => {
            // It was known by its token alone until now.
            Some(merge(db, holding, named, now).await?)
        }
        (named, Some(holding)) if client_id.is_some() && !is_nameless(&holding, sighting) => {
            // Another device had the token: whoever presents it last has it.
            let mut other = holding;
            other.drop_push_token();
            device::save(db, other).await?;
            named
        }
        (named, holding) => named.or(holding),
    };
    let mut row = read.clone().unwrap_or_else(|| {
        let id = app.rng.with(|rng| DeviceId::mint(now, rng));
        device::Model::new(id, app_id, now)
    });
    sighting.note(&mut row, now);
    if let Some(token) = &presented {
        token.give(app, &mut row, now)?;
        if read.as_ref().map(|read| &read.push_token) != Some(&row.push_token) {
            master::confirm(db, token.sealed_by()).await?;
        }
    }
    match read {
        None => {
            let insert = row.clone().into_active_model().insert(db).await;
            insert.map_err(raced)?;
        }
        Some(read) if read != row => device::save(db, row.clone()).await.map_err(raced)?,
        Some(_) => {}
    }
    Ok(row)
}

/// Whether the row is of the device that is seen, which was not asked for its name before.
fn is_nameless(row: &device::Model, sighting: &Sighting) -> bool {
    row.client_id.is_none() && (row.sub.is_none() || row.sub == sighting.sub)
}
