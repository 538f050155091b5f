//! The audit: who did what, when.

mod list;
pub mod refusals;
mod refuse;

use std::{net::IpAddr, sync::Arc};

use ambient::Rng;
use entity::{AppId, AppKeyId, AuditEventId, Timestamp, audit_event};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, IntoActiveModel};

pub use list::list;
pub use refuse::record_refusal;

use crate::turns::Turn;

/// Who acts, by what right, and on which request.
#[derive(Clone, Debug)]
pub struct Actor {
    name: String,
    right: Right,
    request_id: Option<String>,
    ip: Option<IpAddr>,
    /// With the app of the right.
    turn: Option<Arc<Turn>>,
}

/// What a right to act rests on. Whatever is written by it is written in a transaction that has looked at it again: see
/// `apps/right.rs`.
#[derive(Clone, Copy, Debug)]
pub enum Right {
    /// Whoever runs the program, and the program itself.
    Own,
    /// A root key.
    RootKey(AppKeyId),
    /// An app-key that was live when the app had seen so many changes.
    AppKey { app_id: AppId, epoch: i64 },
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    AppCreate,
    AppUpdate,
    AppDelete,
    AppFlush,
    AppKeyCreate,
    AppKeyRotate,
    AppKeyRevoke,
    RootKeyCreate,
    RootKeyRotate,
    RootRefused,
    SigningKeyPublish,
    SigningKeyActivate,
    SigningKeyRetire,
    SigningKeyRevoke,
    SigningKeyRemove,
    SessionRevoke,
    SessionReuse,
    DeviceUpdate,
    DeviceRevoke,
    DeviceDelete,
    DeviceUnregister,
    RegistrationCreate,
    RegistrationRevoke,
    MasterKeyReplace,
    StoreRestore,
}

/// Something that was done, to be recorded with it.
#[derive(Clone, Debug)]
pub struct Event {
    pub action: Action,
    pub app_id: Option<AppId>,
    /// The id of what it was done to.
    pub target: Option<String>,
}

impl Actor {
    /// Somebody who presented this root key.
    pub fn root_key(id: AppKeyId) -> Self {
        Self {
            right: Right::RootKey(id),
            ..Self::named(&id.to_string())
        }
    }

    /// Somebody who presented this app-key, which was live when the app had seen so many changes.
    pub fn app_key(id: AppKeyId, app_id: AppId, epoch: i64) -> Self {
        Self {
            right: Right::AppKey { app_id, epoch },
            ..Self::named(&id.to_string())
        }
    }

    /// Somebody without a good key.
    pub fn anonymous() -> Self {
        Self::named("anonymous")
    }

    /// Whoever may use the command line on the store.
    pub fn cli() -> Self {
        Self::named("cli")
    }

    /// The server itself.
    pub fn job() -> Self {
        Self::named("job")
    }

    /// By what right.
    pub fn right(&self) -> Right {
        self.right
    }

    /// By this right.
    #[must_use]
    pub fn by(self, right: Right) -> Self {
        Self { right, ..self }
    }

    /// In this turn with the app of the right, held alone.
    #[must_use]
    pub fn in_turn(self, turn: Arc<Turn>) -> Self {
        Self {
            turn: Some(turn),
            ..self
        }
    }

    /// The turn with the app of the right, if this actor has it.
    pub fn turn(&self) -> Option<Arc<Turn>> {
        self.turn.clone()
    }

    /// On this request.
    #[must_use]
    pub fn on(self, request_id: Option<String>, ip: Option<IpAddr>) -> Self {
        Self {
            request_id,
            ip,
            ..self
        }
    }

    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            right: Right::Own,
            request_id: None,
            ip: None,
            turn: None,
        }
    }
}

impl Action {
    /// Its name in the audit.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AppCreate => "app.create",
            Self::AppUpdate => "app.update",
            Self::AppDelete => "app.delete",
            Self::AppFlush => "app.flush",
            Self::AppKeyCreate => "app_key.create",
            Self::AppKeyRotate => "app_key.rotate",
            Self::AppKeyRevoke => "app_key.revoke",
            Self::RootKeyCreate => "root_key.create",
            Self::RootKeyRotate => "root_key.rotate",
            Self::RootRefused => "root.refused",
            Self::SigningKeyPublish => "signing_key.publish",
            Self::SigningKeyActivate => "signing_key.activate",
            Self::SigningKeyRetire => "signing_key.retire",
            Self::SigningKeyRevoke => "signing_key.revoke",
            Self::SigningKeyRemove => "signing_key.remove",
            Self::SessionRevoke => "session.revoke",
            Self::SessionReuse => "session.reuse",
            Self::DeviceUpdate => "device.update",
            Self::DeviceRevoke => "device.revoke",
            Self::DeviceDelete => "device.delete",
            Self::DeviceUnregister => "device.unregister",
            Self::RegistrationCreate => "registration.create",
            Self::RegistrationRevoke => "registration.revoke",
            Self::MasterKeyReplace => "master_key.replace",
            Self::StoreRestore => "store.restore",
        }
    }
}

impl Event {
    /// Of an app, and what of it.
    pub fn of(action: Action, app_id: AppId, target: impl std::fmt::Display) -> Self {
        Self {
            action,
            app_id: Some(app_id),
            target: Some(target.to_string()),
        }
    }

    /// Of the server as a whole.
    pub fn of_server(action: Action) -> Self {
        Self {
            action,
            app_id: None,
            target: None,
        }
    }

    /// Its row.
    pub fn row(self, actor: &Actor, now: Timestamp, rng: &Rng) -> audit_event::Model {
        audit_event::Model {
            id: rng.with(|rng| AuditEventId::mint(now, rng)),
            at: now,
            app_id: self.app_id,
            actor: actor.name.clone(),
            action: self.action.name().to_owned(),
            target: self.target,
            request_id: actor.request_id.clone(),
            ip: actor.ip.map(|ip| ip.to_string()),
        }
    }
}

/// Records `events` in the transaction of what was done.
pub async fn record(
    db: &impl ConnectionTrait,
    rng: &Rng,
    now: Timestamp,
    actor: &Actor,
    events: impl IntoIterator<Item = Event>,
) -> Result<(), DbErr> {
    let mut rows: Vec<_> = events
        .into_iter()
        .map(|event| event.row(actor, now, rng))
        .collect();
    // One after the other, as they were done, though they bear the same time.
    for index in 1..rows.len() {
        rows[index].id = rows[index - 1].id.next();
    }
    insert(db, rows).await
}

/// Adds the rows.
pub async fn insert(db: &impl ConnectionTrait, rows: Vec<audit_event::Model>) -> Result<(), DbErr> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = rows.into_iter().map(IntoActiveModel::into_active_model);
    audit_event::Entity::insert_many(rows)
        .exec_without_returning(db)
        .await?;
    Ok(())
}
