//! `registration_token`: one row a device: the token family of its registration tokens. No token is stored.

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, Select,
    entity::prelude::*,
};

use crate::{AppId, DeviceId, RegistrationTokenId, SecretHash, Timestamp, time::Span};

/// How long a row is kept after its end: a device that was away for a month is still told why it is refused.
const KEEP: Span = Span::seconds(30 * 86_400);

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "registration_token")]
pub struct Model {
    /// It is in each token of the family: the row is found without its app.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: RegistrationTokenId,
    pub app_id: AppId,
    /// A device has one token family.
    pub device_id: DeviceId,
    pub current_hash: SecretHash,
    /// The token that the current one replaced, while it may be presented again.
    pub parent_hash: Option<SecretHash>,
    pub parent_until: Option<Timestamp>,
    /// Refreshes so far.
    pub generation: i64,
    /// The app's count of flushes when the token family began.
    pub flush_count: i64,
    pub began_at: Timestamp,
    /// When the current token was issued, and when it ends by itself.
    pub issued_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// Seconds for which each token of the family lives; `None`: as the app's policy says.
    pub lifetime: Option<i64>,
    pub allow_on_behalf_of_registration: bool,
    /// The subject of its sessions, which never changes. `None`: it began in a release that did not tell.
    pub sub: Option<String>,
    /// The claims of its sessions, a JSON object, and the audiences that they may have, a JSON array of texts.
    pub claims: Option<String>,
    pub audiences: Option<String>,
    /// What the device has done in the hour that began then.
    pub window_started_at: Timestamp,
    pub window_count: i64,
    pub revoked_at: Option<Timestamp>,
    /// When the row may go; `None` while it has no end.
    pub purge_at: Option<Timestamp>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The token family of this id, of any app: the caller compares its hashes.
pub async fn find(
    db: &impl ConnectionTrait,
    id: RegistrationTokenId,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).one(db).await
}

/// The token family of the device.
pub async fn find_of_device(
    db: &impl ConnectionTrait,
    app_id: AppId,
    device_id: DeviceId,
) -> Result<Option<Model>, DbErr> {
    Entity::find()
        .filter(Column::AppId.eq(app_id))
        .filter(Column::DeviceId.eq(device_id))
        .one(db)
        .await
}

/// Writes `next` in place of `read`, if that is what is stored, and live. `false` otherwise.
pub async fn advance(db: &impl ConnectionTrait, read: &Model, next: &Model) -> Result<bool, DbErr> {
    let update = Entity::update_many()
        .set(ActiveModel {
            current_hash: Set(next.current_hash.clone()),
            parent_hash: Set(next.parent_hash.clone()),
            parent_until: Set(next.parent_until),
            generation: Set(next.generation),
            issued_at: Set(next.issued_at),
            expires_at: Set(next.expires_at),
            window_started_at: Set(next.window_started_at),
            window_count: Set(next.window_count),
            purge_at: Set(next.purge_at),
            ..Default::default()
        })
        .filter(Column::Id.eq(read.id))
        .filter(Column::Generation.eq(read.generation))
        .filter(Column::CurrentHash.eq(read.current_hash.clone()))
        .filter(Column::WindowStartedAt.eq(read.window_started_at))
        .filter(Column::WindowCount.eq(read.window_count))
        .filter(Column::RevokedAt.is_null());
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Removes the token family that was read, if no token of it was refreshed since: another one takes its place. `false` otherwise.
pub async fn remove(db: &impl ConnectionTrait, read: &Model) -> Result<bool, DbErr> {
    let delete = Entity::delete_many()
        .filter(Column::Id.eq(read.id))
        .filter(Column::Generation.eq(read.generation))
        .filter(Column::WindowCount.eq(read.window_count));
    Ok(delete.exec(db).await?.rows_affected == 1)
}

/// Ends the token family of the device. `false` when it has none that is live.
pub async fn revoke_of_device(
    db: &impl ConnectionTrait,
    app_id: AppId,
    device_id: DeviceId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let ended = end(now)
        .filter(Column::AppId.eq(app_id))
        .filter(Column::DeviceId.eq(device_id));
    Ok(ended.exec(db).await?.rows_affected == 1)
}

/// Whether the device has a token family that was not ended.
pub async fn lives_on(
    db: &impl ConnectionTrait,
    app_id: AppId,
    device_id: DeviceId,
) -> Result<bool, DbErr> {
    let found = find_of_device(db, app_id, device_id).await?;
    Ok(found.is_some_and(|row| row.revoked_at.is_none()))
}

/// Ends at most `limit` token families of the app; gives the number.
pub async fn revoke_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
    now: Timestamp,
    limit: u64,
) -> Result<u64, DbErr> {
    let live = Entity::find()
        .filter(Column::AppId.eq(app_id))
        .filter(Column::RevokedAt.is_null());
    let ids = ids(db, live, limit).await?;
    let ended = end(now).filter(Column::Id.is_in(ids)).exec(db).await?;
    Ok(ended.rows_affected)
}

/// Ends every token family of every app; gives the number.
pub async fn revoke_all(db: &impl ConnectionTrait, now: Timestamp) -> Result<u64, DbErr> {
    Ok(end(now).exec(db).await?.rows_affected)
}

fn end(now: Timestamp) -> sea_orm::UpdateMany<Entity> {
    Entity::update_many()
        .set(ActiveModel {
            revoked_at: Set(Some(now)),
            purge_at: Set(Some(purge_at(now))),
            ..Default::default()
        })
        .filter(Column::RevokedAt.is_null())
}

/// When the row of a token family that ends at this time may go.
pub fn purge_at(end: Timestamp) -> Timestamp {
    end + KEEP
}

/// Removes at most `limit` token families whose time is over; gives the number.
pub async fn purge(db: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<u64, DbErr> {
    let over = Entity::find().filter(Column::PurgeAt.lte(now));
    let ids = ids(db, over, limit).await?;
    // One that was begun anew meanwhile has another id, one that was refreshed another date.
    let delete = Entity::delete_many()
        .filter(Column::Id.is_in(ids))
        .filter(Column::PurgeAt.lte(now));
    Ok(delete.exec(db).await?.rows_affected)
}

// Two statements: not every engine takes a LIMIT in an UPDATE or a DELETE, or in its sub-query.
async fn ids(
    db: &impl ConnectionTrait,
    query: Select<Entity>,
    limit: u64,
) -> Result<Vec<RegistrationTokenId>, DbErr> {
    query
        .select_only()
        .column(Column::Id)
        .limit(limit)
        .into_tuple()
        .all(db)
        .await
}
