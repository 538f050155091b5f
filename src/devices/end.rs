//! Ends what lives on a device, and removes it.

use entity::{
    AppId, DeviceId, Timestamp, device, registration_token,
    session::{self, Revocation, Target},
};
use sea_orm::{ConnectionTrait, DbErr};

/// Ends every session on the device; gives the number. The caller holds the row of the device: nobody ties another
/// session to it meanwhile.
pub async fn end(
    db: &impl ConnectionTrait,
    app_id: AppId,
    flush_count: i64,
    id: DeviceId,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let target = Target::Device(id);
    session::revoke_in(db, app_id, flush_count, &target, Revocation::Device, now).await
}

/// Ends every session on the device, and its registration; gives the number of sessions. The caller holds the row of the
/// device: nobody registers it anew meanwhile.
pub async fn end_all(
    db: &impl ConnectionTrait,
    app_id: AppId,
    flush_count: i64,
    id: DeviceId,
    now: Timestamp,
) -> Result<u64, DbErr> {
    registration_token::revoke_of_device(db, app_id, id, now).await?;
    end(db, app_id, flush_count, id, now).await
}

/// Removes the row of the device.
pub async fn remove(db: &impl ConnectionTrait, app_id: AppId, id: DeviceId) -> Result<(), DbErr> {
    device::delete_in(db, app_id, id).await?;
    Ok(())
}
