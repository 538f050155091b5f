//! Two rows turn out to be of one device of one subject.

use entity::{Timestamp, device, registration_token, session};
use sea_orm::ConnectionTrait;

use super::{end::remove, rows::raced};
use crate::error::Result;

/// A row that the transaction holds, and what lives on it.
#[derive(Clone, Debug)]
pub struct Held {
    pub row: device::Model,
    /// The device is neither registered nor disabled.
    pub is_free: bool,
    /// The row is no more than a push token of its user: it is free, it has no name, and nobody is signed in on it.
    pub is_bare: bool,
}

impl Held {
    /// Reads what lives on the device.
    pub async fn read(
        db: &impl ConnectionTrait,
        row: device::Model,
        now: Timestamp,
    ) -> Result<Self> {
        let (app_id, id) = (row.app_id, row.id);
        let is_free = !row.is_disabled()
            && !row.is_registered()
            && !registration_token::lives_on(db, app_id, id).await?;
        let is_bare =
            is_free && row.client_id.is_none() && !session::lives_on(db, app_id, id, now).await?;
        Ok(Self {
            row,
            is_free,
            is_bare,
        })
    }
}

/// Whether `gone` may become a part of `kept` without taking anything from anybody: both are free, they do not have two names,
/// and either both are of one subject, or one is of nobody, or `gone` is bare.
pub fn may_merge(gone: &Held, kept: &Held) -> bool {
    let (one, other) = (&gone.row, &kept.row);
    let have_two_names =
        one.client_id.is_some() && other.client_id.is_some() && one.client_id != other.client_id;
    let are_of_one = one.sub == other.sub || one.sub.is_none() || other.sub.is_none();
    gone.is_free && kept.is_free && !have_two_names && (are_of_one || gone.is_bare)
}

/// Removes `gone`, and gives `kept` what only `gone` had, the sessions of its subject included; but not the push token of `gone`.
/// The caller holds both rows, and knows that they [may](may_merge) become one.
pub async fn merge(
    db: &impl ConnectionTrait,
    gone: device::Model,
    kept: device::Model,
) -> Result<device::Model> {
    let merged = join(gone.clone(), kept);
    remove(db, merged.app_id, gone.id).await?;
    entity::replace(db, merged.clone()).await.map_err(raced)?;
    if merged.sub == gone.sub {
        session::move_to(db, merged.app_id, gone.id, merged.id).await?;
    }
    Ok(merged)
}

/// Where both rows know something, the row that was seen last is right.
fn join(gone: device::Model, kept: device::Model) -> device::Model {
    let (first, second) = if gone.last_seen_at > kept.last_seen_at {
        (gone.clone(), kept.clone())
    } else {
        (kept.clone(), gone.clone())
    };
    device::Model {
        client_id: kept.client_id.or(gone.client_id),
        sub: kept.sub.or(gone.sub),
        platform: first.platform.or(second.platform),
        push_permission: first.push_permission.or(second.push_permission),
        timezone: first.timezone.or(second.timezone),
        language: first.language.or(second.language),
        country: first.country.or(second.country),
        first_seen_at: gone.first_seen_at.min(kept.first_seen_at),
        last_seen_at: gone.last_seen_at.max(kept.last_seen_at),
        ..kept
    }
}

#[cfg(test)]
mod tests {
    use entity::{AppId, DeviceId, device::Platform};

    use super::*;

    #[test]
    fn the_kept_one_stays_itself_and_learns_what_only_the_other_knew() {
        let at = Timestamp::from_seconds;
        let row = || device::Model::new(DeviceId::EXAMPLE, AppId::EXAMPLE, at(1000));
        let gone = device::Model {
            client_id: Some("name".to_owned()),
            sub: Some("gone".to_owned()),
            language: Some("de".to_owned()),
            country: Some("DE".to_owned()),
            push_token: Some(vec![1]),
            first_seen_at: at(500),
            last_seen_at: at(2000),
            ..row()
        };
        let kept = device::Model {
            id: DeviceId::EXAMPLE.next(),
            sub: Some("kept".to_owned()),
            platform: Some(Platform::Ios),
            language: Some("fr".to_owned()),
            push_token: Some(vec![2]),
            ..row()
        };
        let expected = device::Model {
            client_id: Some("name".to_owned()),
            language: Some("de".to_owned()),
            country: Some("DE".to_owned()),
            first_seen_at: at(500),
            last_seen_at: at(2000),
            ..kept.clone()
        };
        assert!(join(gone, kept) == expected);
    }
}
