//! The sealed push tokens, for the replacement of the master key.

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use super::{ActiveModel, Column, Entity, Model};
use crate::{DeviceId, session::TokenMac};

/// At most `limit` devices of any app that have a push token and an id above `after`, in the order of their ids.
pub async fn page_sealed(
    db: &impl ConnectionTrait,
    after: Option<DeviceId>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find().filter(Column::PushToken.is_not_null());
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after));
    }
    query.order_by_asc(Column::Id).limit(limit).all(db).await
}

/// Puts a push token sealed and hashed anew in place of the one that was read, if nobody changed it meanwhile.
pub async fn reseal(
    db: &impl ConnectionTrait,
    read: &Model,
    mac: TokenMac,
    sealed: Vec<u8>,
) -> Result<bool, DbErr> {
    let update = Entity::update_many()
        .set(ActiveModel {
            push_token_mac: Set(Some(mac)),
            push_token: Set(Some(sealed)),
            ..Default::default()
        })
        .filter(Column::Id.eq(read.id))
        .filter(Column::PushToken.eq(read.push_token.clone()));
    Ok(update.exec(db).await?.rows_affected == 1)
}
