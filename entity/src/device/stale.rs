//! The devices that are removed: those that were not seen for long, and those of an app that was deleted.

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect,
    Select, entity::prelude::*, sea_query::Query,
};

use super::{ActiveModel, Column, Entity, of};
use crate::{AppId, DeviceId, Timestamp, registration_token, session};

/// Drops the push tokens of at most `limit` devices that were not seen since `before`; gives the number.
pub async fn drop_stale_push_tokens(
    db: &impl ConnectionTrait,
    before: Timestamp,
    limit: u64,
) -> Result<u64, DbErr> {
    let stale = unseen_since(before).filter(Column::PushTokenMac.is_not_null());
    let update = Entity::update_many()
        .set(ActiveModel {
            push_token_mac: Set(None),
            push_parent_mac: Set(None),
            push_token: Set(None),
            push_token_at: Set(None),
            ..Default::default()
        })
        .filter(Column::Id.is_in(some_of(db, stale, limit).await?))
        .filter(Column::LastSeenAt.lt(before));
    Ok(update.exec(db).await?.rows_affected)
}

/// Removes at most `limit` devices that were not seen since `before` and have neither a live session nor a live registration;
/// gives the number.
pub async fn purge_stale(
    db: &impl ConnectionTrait,
    before: Timestamp,
    now: Timestamp,
    limit: u64,
) -> Result<u64, DbErr> {
    let live = Query::select()
        .expr(Expr::val(1))
        .from(session::Entity)
        .and_where(
            Expr::col((session::Entity, session::Column::DeviceId)).equals((Entity, Column::Id)),
        )
        .and_where(session::Column::RevokedAt.is_null())
        .and_where(session::Column::ExpiresAt.gt(now))
        .to_owned();
    let registered = Query::select()
        .expr(Expr::val(1))
        .from(registration_token::Entity)
        .and_where(
            Expr::col((
                registration_token::Entity,
                registration_token::Column::AppId,
            ))
            .equals((Entity, Column::AppId)),
        )
        .and_where(
            Expr::col((
                registration_token::Entity,
                registration_token::Column::DeviceId,
            ))
            .equals((Entity, Column::Id)),
        )
        .and_where(registration_token::Column::RevokedAt.is_null())
        .and_where(
            registration_token::Column::ExpiresAt
                .is_null()
                .or(registration_token::Column::ExpiresAt.gt(now)),
        )
        .to_owned();
    let stale = unseen_since(before)
        .filter(Expr::not_exists(live))
        .filter(Expr::not_exists(registered));
    let delete = Entity::delete_many()
        .filter(Column::Id.is_in(some_of(db, stale, limit).await?))
        .filter(Column::LastSeenAt.lt(before));
    Ok(delete.exec(db).await?.rows_affected)
}

/// Removes at most `limit` devices of the app; gives the number.
pub async fn purge_in(db: &impl ConnectionTrait, app_id: AppId, limit: u64) -> Result<u64, DbErr> {
    let ids = some_of(db, of(app_id, None), limit).await?;
    let delete = Entity::delete_many().filter(Column::Id.is_in(ids));
    Ok(delete.exec(db).await?.rows_affected)
}

fn unseen_since(before: Timestamp) -> Select<Entity> {
    Entity::find().filter(Column::LastSeenAt.lt(before))
}

// Two statements each: not every engine takes a LIMIT in a DELETE, or in its sub-query.
async fn some_of(
    db: &impl ConnectionTrait,
    query: Select<Entity>,
    limit: u64,
) -> Result<Vec<DeviceId>, DbErr> {
    query
        .select_only()
        .column(Column::Id)
        .limit(limit)
        .into_tuple()
        .all(db)
        .await
}
