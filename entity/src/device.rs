//! `device`: one row an app and physical device, however often its push token changes.

mod registered;
mod seal;
mod stale;

use sea_orm::{
    ActiveEnum, ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter,
    QueryOrder, QuerySelect, Select, entity::prelude::*,
};

pub use registered::{LONGEST_NAME, find_registered, is_device, name_subject, subject_of};
pub use seal::{page_sealed, reseal};
pub use stale::{drop_stale_push_tokens, purge_in, purge_stale};

use crate::{AppId, DeviceId, Timestamp, session::TokenMac};

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "device")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: DeviceId,
    pub app_id: AppId,
    /// What the client calls itself; of one device of the subject.
    pub client_id: Option<String>,
    /// Its user, as far as known; `device:` and its name, if it was registered. One that has a name has a subject.
    pub sub: Option<String>,
    pub platform: Option<Platform>,
    /// The keyed hash of its push token; of one device of the app.
    pub push_token_mac: Option<TokenMac>,
    /// That of the one before.
    pub push_parent_mac: Option<TokenMac>,
    /// The push token, sealed by the master key with this row's id as label.
    pub push_token: Option<Vec<u8>>,
    /// When it was first told.
    pub push_token_at: Option<Timestamp>,
    /// Whether its user allows push messages.
    pub push_permission: Option<bool>,
    /// An IANA time zone.
    pub timezone: Option<String>,
    /// ISO 639-1.
    pub language: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    pub first_seen_at: Timestamp,
    /// To the minute.
    pub last_seen_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
    /// Counts how often it was held: see [`find_for_update`].
    pub changes: i64,
}

/// What a device runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub enum Platform {
    #[sea_orm(string_value = "android")]
    Android,
    #[sea_orm(string_value = "ios")]
    Ios,
    #[sea_orm(string_value = "web")]
    Web,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// A device of which nothing is known yet.
    pub fn new(id: DeviceId, app_id: AppId, now: Timestamp) -> Self {
        Self {
            id,
            app_id,
            client_id: None,
            sub: None,
            platform: None,
            push_token_mac: None,
            push_parent_mac: None,
            push_token: None,
            push_token_at: None,
            push_permission: None,
            timezone: None,
            language: None,
            country: None,
            first_seen_at: now,
            last_seen_at: now,
            disabled_at: None,
            changes: 0,
        }
    }

    /// Whether it was disabled: nothing is renewed from it, and nothing pushed to it.
    pub fn is_disabled(&self) -> bool {
        self.disabled_at.is_some()
    }

    /// Forgets its push token, and that there was one.
    pub fn drop_push_token(&mut self) {
        self.push_token_mac = None;
        self.push_parent_mac = None;
        self.push_token = None;
        self.push_token_at = None;
    }
}

impl Platform {
    /// Its name in the contract and in the store.
    pub fn name(self) -> String {
        self.to_value()
    }
}

// Its user and what identifies it are personal data: they stay out of every log.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("id", &self.id)
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}

/// The device, of any app: the caller compares the app.
pub async fn find(db: &impl ConnectionTrait, id: DeviceId) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).one(db).await
}

/// The device, if it is one of the app.
pub async fn find_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
    id: DeviceId,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id)
        .filter(Column::AppId.eq(app_id))
        .one(db)
        .await
}

/// The device, of any app: the caller compares the app. Nobody else changes it until the transaction ends.
pub async fn find_for_update(
    db: &impl ConnectionTrait,
    id: DeviceId,
) -> Result<Option<Model>, DbErr> {
    // A write, not a lock: the nodes of a cluster see of each other what is written only.
    let hold = Entity::update_many()
        .col_expr(Column::Changes, Column::Changes.into_expr().add(1))
        .filter(Column::Id.eq(id));
    if hold.exec(db).await?.rows_affected == 0 {
        return Ok(None);
    }
    find(db, id).await
}

/// What a device may be known by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks<'a> {
    pub id: Option<DeviceId>,
    pub name: Option<Name<'a>>,
    pub push_tokens: &'a [TokenMac],
}

/// What the client of a subject calls its device.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    pub sub: &'a str,
    pub client_id: &'a str,
}

impl Name<'_> {
    /// Whether the device is called so.
    pub fn is_of(&self, row: &Model) -> bool {
        row.sub.as_deref() == Some(self.sub) && row.client_id.as_deref() == Some(self.client_id)
    }
}

impl Marks<'_> {
    fn fit(&self, row: &Model) -> bool {
        let has_token = |mac: &TokenMac| row.push_token_mac.as_ref() == Some(mac);
        self.id == Some(row.id)
            || self.name.is_some_and(|name| name.is_of(row))
            || self.push_tokens.iter().any(has_token)
    }
}

/// The devices of the app that have any of these marks, held until the transaction ends: in the order of their ids, so that
/// two that ask for the same ones do not wait for each other in a circle. `None` when a mark went from one to another before it
/// could be held: to hold more would be out of order, so the transaction is to be given up.
pub async fn known_for_update(
    db: &impl ConnectionTrait,
    app_id: AppId,
    marks: Marks<'_>,
) -> Result<Option<Vec<Model>>, DbErr> {
    // One index a query: an OR over several would be a scan on some engines.
    let mut ids = Vec::new();
    if let Some(id) = marks.id {
        ids.extend(ids_of(db, app_id, Column::Id.eq(id)).await?);
    }
    if let Some(Name { sub, client_id }) = marks.name {
        let is_called_so = Column::ClientId.eq(client_id).and(Column::Sub.eq(sub));
        ids.extend(ids_of(db, app_id, is_called_so).await?);
    }
    if !marks.push_tokens.is_empty() {
        let has_one = Column::PushTokenMac.is_in(marks.push_tokens.iter().cloned());
        ids.extend(ids_of(db, app_id, has_one).await?);
    }
    ids.sort();
    ids.dedup();
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        match find_for_update(db, id).await? {
            Some(row) if marks.fit(&row) => rows.push(row),
            _ => return Ok(None),
        }
    }
    Ok(Some(rows))
}

async fn ids_of(
    db: &impl ConnectionTrait,
    app_id: AppId,
    condition: impl Into<Expr>,
) -> Result<Vec<DeviceId>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::AppId.eq(app_id))
        .filter(condition.into())
        .into_tuple()
        .all(db)
        .await
}

/// A device of the app that has one of these push tokens.
pub async fn find_by_push_token(
    db: &impl ConnectionTrait,
    app_id: AppId,
    push_tokens: &[TokenMac],
) -> Result<Option<Model>, DbErr> {
    Entity::find()
        .filter(Column::AppId.eq(app_id))
        .filter(Column::PushTokenMac.is_in(push_tokens.iter().cloned()))
        .one(db)
        .await
}

/// A device of the app that had one of these push tokens before the one that it has.
pub async fn find_by_push_parent(
    db: &impl ConnectionTrait,
    app_id: AppId,
    push_tokens: &[TokenMac],
) -> Result<Option<Model>, DbErr> {
    Entity::find()
        .filter(Column::AppId.eq(app_id))
        .filter(Column::PushParentMac.is_in(push_tokens.iter().cloned()))
        .order_by_desc(Column::Id)
        .one(db)
        .await
}

/// Notes that the device was seen, if it is one of the app and not disabled; nobody else changes it until the transaction
/// ends. `false` otherwise.
pub async fn hold_live(
    db: &impl ConnectionTrait,
    app_id: AppId,
    id: DeviceId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    // By a write, as `find_for_update` does.
    let update = Entity::update_many()
        .set(ActiveModel {
            last_seen_at: Set(now),
            ..Default::default()
        })
        .col_expr(Column::Changes, Column::Changes.into_expr().add(1))
        .filter(Column::Id.eq(id))
        .filter(Column::AppId.eq(app_id))
        .filter(Column::DisabledAt.is_null());
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Notes that the device was seen.
pub async fn seen_at(db: &impl ConnectionTrait, id: DeviceId, at: Timestamp) -> Result<(), DbErr> {
    Entity::update_many()
        .set(ActiveModel {
            last_seen_at: Set(at),
            ..Default::default()
        })
        .filter(Column::Id.eq(id))
        .filter(Column::LastSeenAt.lt(at))
        .exec(db)
        .await?;
    Ok(())
}

/// The devices of the app, or of a user of it.
pub fn of(app_id: AppId, sub: Option<&str>) -> Select<Entity> {
    let all = Entity::find().filter(Column::AppId.eq(app_id));
    match sub {
        Some(sub) => all.filter(Column::Sub.eq(sub)),
        None => all,
    }
}

/// The devices of a user that messages may be pushed to.
pub fn reachable_of(app_id: AppId, sub: &str) -> Select<Entity> {
    of(app_id, Some(sub))
        .filter(Column::PushTokenMac.is_not_null())
        .filter(Column::DisabledAt.is_null())
}

/// At most `limit` of these devices with an id below `before`, the newest first.
pub async fn page(
    db: &impl ConnectionTrait,
    query: Select<Entity>,
    before: Option<DeviceId>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let query = match before {
        Some(before) => query.filter(Column::Id.lt(before)),
        None => query,
    };
    query.order_by_desc(Column::Id).limit(limit).all(db).await
}

/// Removes the device of the app. `false` when there is none.
pub async fn delete_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
    id: DeviceId,
) -> Result<bool, DbErr> {
    let delete = Entity::delete_many()
        .filter(Column::Id.eq(id))
        .filter(Column::AppId.eq(app_id));
    Ok(delete.exec(db).await?.rows_affected == 1)
}
