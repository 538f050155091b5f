//! The row of a device: found for a change, and committed.

use entity::{
    AppId, DeviceId, Timestamp,
    device::{self, Marks},
    time::Span,
};
use sea_orm::{ConnectionTrait, DbErr, SqlErr};
use store::{CommitError, Transaction};

use crate::{
    app::App,
    error::{Error, Result},
};

/// How exactly the store knows when a device was last seen: a device that is seen again within this time is not written.
const SEEN: Span = Span::seconds(60);

/// What to store as the time at which the device was seen last.
pub(super) fn seen(row: &device::Model, now: Timestamp) -> Timestamp {
    if now < row.last_seen_at + SEEN {
        row.last_seen_at
    } else {
        now
    }
}

/// The device, if it is one of the app; nobody else changes it until the transaction ends.
pub(super) async fn require(
    db: &impl ConnectionTrait,
    app_id: AppId,
    id: DeviceId,
) -> Result<device::Model> {
    let found = device::find_for_update(db, id).await?;
    found
        .filter(|row| row.app_id == app_id)
        .ok_or(Error::NotFound("device"))
}

/// The devices of the app that have any of these marks; nobody else changes them until the transaction ends.
pub(super) async fn known(
    db: &impl ConnectionTrait,
    app_id: AppId,
    marks: Marks<'_>,
) -> Result<Vec<device::Model>> {
    let known = device::known_for_update(db, app_id, marks).await?;
    known.ok_or(Error::Contended("the device is being changed"))
}

/// Commits a transaction that may be made twice: when the answer to the commit is lost, it is made again.
pub(super) async fn commit(app: &App, transaction: Transaction) -> Result<()> {
    match app.store.commit(transaction).await {
        Err(CommitError::Unconfirmed(error)) => Err(Error::Unavailable(error)),
        committed => Ok(committed?),
    }
}

/// Of two callers that register one device at once, one succeeds; the other finds the device when it tries again.
pub(super) fn raced(error: DbErr) -> Error {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => {
            Error::Contended("somebody else is registering the device")
        }
        _ => error.into(),
    }
}
