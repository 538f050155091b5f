//! `audit_event`: who did what, when. Rows are added and purged, never changed.

use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, entity::prelude::*,
};

use crate::{AppId, AuditEventId, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_event")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AuditEventId,
    pub at: Timestamp,
    /// The app that it concerns; `None` for the server as a whole.
    pub app_id: Option<AppId>,
    /// The id of the key that was presented, never the key; or `cli`, `job`, `anonymous`.
    pub actor: String,
    /// What was done, such as `app.create`.
    pub action: String,
    /// The id of what it was done to.
    pub target: Option<String>,
    pub request_id: Option<String>,
    pub ip: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Which events to list; what is `None` does not filter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    pub app_id: Option<AppId>,
    pub since: Option<Timestamp>,
    /// Only events before this one.
    pub before: Option<AuditEventId>,
}

/// At most `limit` events, the newest first.
pub async fn list(
    db: &impl ConnectionTrait,
    filter: Filter,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find();
    if let Some(app_id) = filter.app_id {
        query = query.filter(Column::AppId.eq(app_id));
    }
    if let Some(since) = filter.since {
        query = query.filter(Column::At.gte(since));
    }
    if let Some(before) = filter.before {
        query = query.filter(Column::Id.lt(before));
    }
    query.order_by_desc(Column::Id).limit(limit).all(db).await
}

/// When the last event was recorded.
pub async fn last_at(db: &impl ConnectionTrait) -> Result<Option<Timestamp>, DbErr> {
    let last = Entity::find().order_by_desc(Column::Id).one(db).await?;
    Ok(last.map(|event| event.at))
}

/// Removes at most `limit` events of before `end`; gives the number.
pub async fn purge(db: &impl ConnectionTrait, end: Timestamp, limit: u64) -> Result<u64, DbErr> {
    let ids: Vec<AuditEventId> = Entity::find()
        .filter(Column::At.lt(end))
        .select_only()
        .column(Column::Id)
        .limit(limit)
        .into_tuple()
        .all(db)
        .await?;
    let delete = Entity::delete_many().filter(Column::Id.is_in(ids));
    Ok(delete.exec(db).await?.rows_affected)
}
