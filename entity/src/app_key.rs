//! `app_key`: the keys that backends, front ends and administrators present. Root keys have no app.

use sea_orm::{
    ActiveEnum,
    ActiveValue::{self, NotSet, Set},
    ConnectionTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
    entity::prelude::*,
};

use crate::{AppId, AppKeyId, SecretHash, SecretKind, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "app_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AppKeyId,
    /// `None` for a root key.
    pub app_id: Option<AppId>,
    pub kind: Kind,
    pub name: String,
    pub hash: SecretHash,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// Written at most once a minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// When its holder replaced it by another, which it may do once.
    pub replaced_at: Option<Timestamp>,
    /// A UUID that stays with the application that holds the key, over all its keys.
    #[sea_orm(column_name = "registration_id")]
    pub application_id: Option<String>,
}

/// The kind of a key, as the store names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub enum Kind {
    #[sea_orm(string_value = "root")]
    Root,
    #[sea_orm(string_value = "secret")]
    Secret,
    #[sea_orm(string_value = "publishable")]
    Publishable,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<SecretKind> for Kind {
    fn from(kind: SecretKind) -> Self {
        match kind {
            SecretKind::Root => Self::Root,
            SecretKind::Secret => Self::Secret,
            SecretKind::Publishable => Self::Publishable,
        }
    }
}

impl Kind {
    /// Its name in the contract and in the store.
    pub fn name(self) -> String {
        self.to_value()
    }
}

impl Model {
    /// Whether it may still be used.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// The key of this id, of any app: the caller compares its hash.
pub async fn find(db: &impl ConnectionTrait, id: AppKeyId) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).one(db).await
}

/// The keys of the app that were not revoked; some may have ended by the clock.
pub async fn list_unrevoked_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::AppId.eq(app_id))
        .filter(Column::RevokedAt.is_null())
        .order_by_desc(Column::Id)
        .all(db)
        .await
}

/// The number of live keys of the app that belong to an application, or of those that belong to none.
pub async fn count_live_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
    of_applications: bool,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let held = if of_applications {
        Column::ApplicationId.is_not_null()
    } else {
        Column::ApplicationId.is_null()
    };
    Entity::find()
        .filter(Column::AppId.eq(app_id))
        .filter(held)
        .filter(Column::RevokedAt.is_null())
        .filter(Column::ExpiresAt.is_null().or(Column::ExpiresAt.gt(now)))
        .count(db)
        .await
}

/// Removes the app's keys that somebody has ended, by a revocation or by another key in their place, but for the `keep` that
/// were made last; at most `limit` at a time. What ends by the clock alone is left to the purge.
pub async fn trim_ended_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
    keep: u64,
    limit: u64,
    now: Timestamp,
) -> Result<(), DbErr> {
    let was_replaced = Column::ReplacedAt.is_not_null().or(Column::Name.eq(""));
    let ended = Column::RevokedAt
        .is_not_null()
        .or(Column::ExpiresAt.lte(now).and(was_replaced));
    // Two statements: not every engine takes a LIMIT in the sub-query of a DELETE.
    let ids: Vec<AppKeyId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::AppId.eq(app_id))
        .filter(ended)
        .order_by_desc(Column::Id)
        .offset(keep)
        .limit(limit)
        .into_tuple()
        .all(db)
        .await?;
    if !ids.is_empty() {
        let delete = Entity::delete_many().filter(Column::Id.is_in(ids));
        delete.exec(db).await?;
    }
    Ok(())
}

/// Every root key.
pub async fn list_root(db: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::AppId.is_null())
        .filter(Column::Kind.eq(Kind::Root))
        .all(db)
        .await
}

/// The number of live root keys.
pub async fn count_live_root(db: &impl ConnectionTrait, now: Timestamp) -> Result<u64, DbErr> {
    Entity::find()
        .filter(Column::AppId.is_null())
        .filter(Column::RevokedAt.is_null())
        .filter(Column::ExpiresAt.is_null().or(Column::ExpiresAt.gt(now)))
        .count(db)
        .await
}

/// At most `limit` keys of the app that are older than `before`, the newest first.
pub async fn page_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
    before: Option<AppKeyId>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find().filter(Column::AppId.eq(app_id));
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before));
    }
    query.order_by_desc(Column::Id).limit(limit).all(db).await
}

/// Lets the app's main keys of a kind, those without a name, end at `end`; what ends sooner still does.
pub async fn end_main_at(
    db: &impl ConnectionTrait,
    app_id: AppId,
    kind: Kind,
    now: Timestamp,
    end: Timestamp,
) -> Result<(), DbErr> {
    end_update(now, end)
        .filter(Column::AppId.eq(app_id))
        .filter(Column::Kind.eq(kind))
        .filter(Column::Name.eq(""))
        .exec(db)
        .await?;
    Ok(())
}

/// Lets the root keys end at `end`; what ends sooner still does.
pub async fn end_root_at(
    db: &impl ConnectionTrait,
    now: Timestamp,
    end: Timestamp,
) -> Result<(), DbErr> {
    end_update(now, end)
        .filter(Column::AppId.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Notes that one key of the app is replaced, and lets it end at `end`, or at its own end where that is sooner. If an
/// application holds it, every other key of that ends now. `false` when the key is not live at `now`, or is replaced already.
pub async fn replace(
    db: &impl ConnectionTrait,
    key: &Model,
    now: Timestamp,
    end: Timestamp,
) -> Result<bool, DbErr> {
    let live = Column::ExpiresAt.is_null().or(Column::ExpiresAt.gt(now));
    let update = Entity::update_many()
        .set(ActiveModel {
            expires_at: Set(Some(
                key.expires_at.map_or(end, |own| std::cmp::min(own, end)),
            )),
            replaced_at: Set(Some(now)),
            revoked_at: revoked_at(now, end),
            ..Default::default()
        })
        .filter(Column::Id.eq(key.id))
        .filter(Column::RevokedAt.is_null())
        .filter(Column::ReplacedAt.is_null())
        .filter(live);
    if update.exec(db).await?.rows_affected != 1 {
        return Ok(false);
    }
    if let Some(application) = &key.application_id {
        revoke_update(now)
            .filter(Column::AppId.eq(key.app_id))
            .filter(Column::ApplicationId.eq(application))
            .filter(Column::Id.ne(key.id))
            .exec(db)
            .await?;
    }
    Ok(true)
}

/// What ends at once is revoked: by its date alone, a node whose clock is behind would go on taking it.
fn revoked_at(now: Timestamp, end: Timestamp) -> ActiveValue<Option<Timestamp>> {
    if end <= now { Set(Some(now)) } else { NotSet }
}

fn end_update(now: Timestamp, end: Timestamp) -> sea_orm::UpdateMany<Entity> {
    let later = Column::ExpiresAt.is_null().or(Column::ExpiresAt.gt(end));
    Entity::update_many()
        .set(ActiveModel {
            expires_at: Set(Some(end)),
            revoked_at: revoked_at(now, end),
            ..Default::default()
        })
        .filter(Column::RevokedAt.is_null())
        .filter(later)
}

fn revoke_update(now: Timestamp) -> sea_orm::UpdateMany<Entity> {
    Entity::update_many()
        .set(ActiveModel {
            revoked_at: Set(Some(now)),
            ..Default::default()
        })
        .filter(Column::RevokedAt.is_null())
}

/// Revokes a key of the app; if an application holds it, or held it, every key of that. `false` when there is none, or all are
/// revoked already.
pub async fn revoke_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
    id: AppKeyId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let Some(key) = find(db, id).await?.filter(|key| key.app_id == Some(app_id)) else {
        return Ok(false);
    };
    let of_it = match key.application_id {
        Some(application) => Column::ApplicationId.eq(application),
        None => Column::Id.eq(id),
    };
    let update = revoke_update(now)
        .filter(Column::AppId.eq(app_id))
        .filter(of_it);
    Ok(update.exec(db).await?.rows_affected > 0)
}

/// Revokes every key of every application of the app.
pub async fn revoke_applications(
    db: &impl ConnectionTrait,
    app_id: AppId,
    now: Timestamp,
) -> Result<(), DbErr> {
    revoke_update(now)
        .filter(Column::AppId.eq(app_id))
        .filter(Column::ApplicationId.is_not_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Revokes every key of every app that still works; gives the number.
pub async fn revoke_all(db: &impl ConnectionTrait, now: Timestamp) -> Result<u64, DbErr> {
    let update = revoke_update(now).filter(Column::AppId.is_not_null());
    Ok(update.exec(db).await?.rows_affected)
}

/// Notes that the key was used, if that was not noted since.
pub async fn used_at(db: &impl ConnectionTrait, id: AppKeyId, at: Timestamp) -> Result<(), DbErr> {
    let earlier = Column::LastUsedAt.is_null().or(Column::LastUsedAt.lt(at));
    Entity::update_many()
        .set(ActiveModel {
            last_used_at: Set(Some(at)),
            ..Default::default()
        })
        .filter(Column::Id.eq(id))
        .filter(earlier)
        .exec(db)
        .await?;
    Ok(())
}

/// Removes keys that ended before `end`.
pub async fn purge_ended(db: &impl ConnectionTrait, end: Timestamp) -> Result<u64, DbErr> {
    let ended = Column::ExpiresAt.lt(end).or(Column::RevokedAt.lt(end));
    let delete = Entity::delete_many().filter(ended);
    Ok(delete.exec(db).await?.rows_affected)
}

/// Removes every key of the app.
pub async fn delete_in(db: &impl ConnectionTrait, app_id: AppId) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::AppId.eq(app_id))
        .exec(db)
        .await?;
    Ok(())
}
