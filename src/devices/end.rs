//! Ends what lives on a device, and removes it.

use entity::{
    AppId, DeviceId, Timestamp, device,
    session::{self, Revocation, Target},
};
use sea_orm::{ConnectionTrait, DbErr};

/// Ends every session on the device; gives the number. Whoever calls holds the row of the device: nobody ties another
/// session to it meanwhile.
///
/// # Errors
/// Those of the store.
pub async fn end(
    db: &impl ConnectionTrait,
    app_id: AppId,
    id: DeviceId,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let target = Target::Device(id);
    session::revoke_in(db, app_id, &target, Revocation::Device, now).await
}

/// Removes the row of the device.
///
/// # Errors
/// Those of the store.
pub async fn remove(db: &impl ConnectionTrait, app_id: AppId, id: DeviceId) -> Result<(), DbErr> {
    device::delete_in(db, app_id, id).await?;
    Ok(())
}
