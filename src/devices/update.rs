//! Changes what is known of a device, or disables it.

use entity::{
    DeviceId, Timestamp,
    device::{self, Platform},
};

use super::{
    Details,
    end::end_all,
    rows::{commit, require},
};
use crate::{
    app::App,
    apps::Caller,
    audit::{Action, Event, record},
    error::{Error, Result},
};

/// What is to be changed: `Some(None)` forgets it, `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub platform: Option<Option<Platform>>,
    pub push_permission: Option<Option<bool>>,
    pub timezone: Option<Option<String>>,
    pub language: Option<Option<String>>,
    pub country: Option<Option<String>>,
    pub disabled: Option<bool>,
}

impl Changes {
    /// In the spelling of the standards.
    ///
    /// # Errors
    /// With every rule that they break.
    fn normalise(&mut self) -> Result<()> {
        let mut details = Details {
            timezone: self.timezone.clone().flatten(),
            language: self.language.clone().flatten(),
            country: self.country.clone().flatten(),
            ..Details::default()
        };
        let violations = details.normalise();
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        for (change, value) in [
            (&mut self.timezone, details.timezone),
            (&mut self.language, details.language),
            (&mut self.country, details.country),
        ] {
            if value.is_some() {
                *change = Some(value);
            }
        }
        Ok(())
    }
}

/// Changes the device. Disabling it ends what lives on it: after this has answered, nothing of it renews, and no session
/// begins on it, until it is enabled again.
///
/// # Errors
/// When there is no such device.
pub async fn update(
    app: &App,
    caller: &Caller,
    id: DeviceId,
    mut changes: Changes,
) -> Result<device::Model> {
    changes.normalise()?;
    let write = async |caller: Caller| write(app, &caller, id, &changes).await;
    Box::pin(caller.act(app, write)).await
}

async fn write(
    app: &App,
    caller: &Caller,
    id: DeviceId,
    changes: &Changes,
) -> Result<device::Model> {
    let (now, app_id) = (app.clock.now(), caller.app.app.id);
    let transaction = caller.actor.begin(app).await?;
    let read = require(&transaction, app_id, id).await?;
    let row = apply(read.clone(), changes.clone(), now);
    if row != read {
        // First the row, then its sessions: who begins one meanwhile waits for the row, and sees it.
        entity::replace(&transaction, row.clone()).await?;
        let event = Event::of(Action::DeviceUpdate, app_id, id);
        record(&transaction, &app.rng, now, &caller.actor, [event]).await?;
    }
    if row.is_disabled() {
        end_all(&transaction, app_id, caller.app.app.flush_count, id, now).await?;
    }
    commit(app, transaction).await?;
    Ok(row)
}

fn apply(row: device::Model, changes: Changes, now: Timestamp) -> device::Model {
    device::Model {
        platform: changes.platform.unwrap_or(row.platform),
        push_permission: changes.push_permission.unwrap_or(row.push_permission),
        timezone: changes.timezone.unwrap_or(row.timezone),
        language: changes.language.unwrap_or(row.language),
        country: changes.country.unwrap_or(row.country),
        disabled_at: match changes.disabled {
            None => row.disabled_at,
            Some(true) => row.disabled_at.or(Some(now)),
            Some(false) => None,
        },
        ..row
    }
}
