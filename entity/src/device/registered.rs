//! The devices that were registered: each is a subject of its own.

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter,
    entity::prelude::*,
};

use super::{ActiveModel, Column, Entity, Model};
use crate::{AppId, DeviceId};

/// What the subjects of registered devices begin with, and no user's.
const SPACE: &str = "device:";
/// Characters that the name of a device may have that is registered: a subject has 255.
pub const LONGEST_NAME: usize = 248;

/// The subject of the registered device of this name.
pub fn subject_of(name: &str) -> String {
    format!("{SPACE}{name}")
}

/// Whether the subject is a registered device, no user.
pub fn is_device(sub: &str) -> bool {
    sub.starts_with(SPACE)
}

impl Model {
    /// Whether it is a registered device, which no user has.
    pub fn is_registered(&self) -> bool {
        match &self.sub {
            Some(sub) => is_device(sub),
            // The release before gave no subject to what it registered.
            None => self.client_id.is_some(),
        }
    }
}

/// The device of the app that was registered by this name.
pub async fn find_registered(
    db: &impl ConnectionTrait,
    app_id: AppId,
    name: &str,
) -> Result<Option<Model>, DbErr> {
    let is_its_own = Column::Sub.eq(subject_of(name)).or(Column::Sub.is_null());
    let found = Entity::find()
        .filter(Column::AppId.eq(app_id))
        .filter(Column::ClientId.eq(name))
        .filter(is_its_own)
        .all(db)
        .await?;
    // Of two, the one of this release.
    Ok(found.into_iter().max_by_key(|row| row.sub.is_some()))
}

/// Gives a registered device its subject, which it has none of.
pub async fn name_subject(
    db: &impl ConnectionTrait,
    id: DeviceId,
    sub: String,
) -> Result<(), DbErr> {
    Entity::update_many()
        .set(ActiveModel {
            sub: Set(Some(sub)),
            ..Default::default()
        })
        .filter(Column::Id.eq(id))
        .filter(Column::Sub.is_null())
        .exec(db)
        .await?;
    Ok(())
}
