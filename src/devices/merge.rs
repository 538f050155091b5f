//! Two rows turn out to be of one device.

use entity::{Timestamp, device, registration_token, session};
use sea_orm::ConnectionTrait;

use super::{
    end::{end_all, remove},
    raced,
};
use crate::error::Result;

/// Removes `gone`, and lets `kept` have what only that one had, its sessions and registration included; but not its push token. Whoever calls
/// holds both rows. A device that was disabled stays so.
///
/// # Errors
/// Those of the store.
pub async fn merge(
    db: &impl ConnectionTrait,
    gone: device::Model,
    kept: device::Model,
    now: Timestamp,
) -> Result<device::Model> {
    let merged = join(gone.clone(), kept);
    remove(db, merged.app_id, gone.id).await?;
    device::save(db, merged.clone()).await.map_err(raced)?;
    session::move_to(db, merged.app_id, gone.id, merged.id).await?;
    // A device has one registration; that of the name that goes, goes.
    match registration_token::find_of_device(db, merged.app_id, merged.id).await? {
        Some(_) => {
            registration_token::revoke_of_device(db, merged.app_id, gone.id, now).await?;
        }
        None => registration_token::move_to(db, merged.app_id, gone.id, merged.id).await?,
    }
    if merged.is_disabled() {
        end_all(db, merged.app_id, merged.id, now).await?;
    }
    Ok(merged)
}

/// What was known last is what is known.
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
        disabled_at: kept.disabled_at.or(gone.disabled_at),
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
            disabled_at: Some(at(1500)),
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
            disabled_at: Some(at(1500)),
            ..kept.clone()
        };
        assert!(join(gone, kept) == expected);
    }
}
