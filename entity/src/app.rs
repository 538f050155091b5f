//! `app`: an application and its policy.

use std::collections::BTreeMap;

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, entity::prelude::*,
};

use crate::{AppId, Timestamp, time::Span};

/// Seconds for which the parent of a refresh token may be answered again at most. While it is, an honest client and a thief
/// would renew side by side.
pub const LONGEST_REFRESH_GRACE: i64 = 60;

/// Apps that one statement asks for: every engine takes so many parameters.
const EPOCHS: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "app")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AppId,
    pub name: String,
    pub description: String,
    /// `iss` of its tokens; its name, when there is none.
    pub issuer: Option<String>,
    /// Life of an auth token, seconds.
    pub token_expiry: i64,
    /// Seconds from its issue until an auth token is valid.
    pub token_notbefore: i64,
    /// Life of a refresh token, seconds.
    pub refresh_expiry: i64,
    /// Seconds from its issue until a refresh token may be used.
    pub refresh_notbefore: i64,
    /// Seconds for which the immediate parent of a refresh token is answered again.
    pub refresh_grace: i64,
    /// Absolute life of a session, seconds.
    pub session_expiry: Option<i64>,
    pub max_sessions_per_subject: Option<i64>,
    pub algorithm: String,
    /// Seconds between two signing keys.
    pub rotation_period: i64,
    /// Origins of browsers, one a line.
    pub allowed_origins: String,
    /// How often every token of it was declared dead: the sessions of another count are.
    pub flush_count: i64,
    /// Counts the changes of the app, its app-keys and its signing keys.
    pub epoch: i64,
    /// Counts the changes of its signing keys.
    pub key_changes: i64,
    /// When its signing keys were last rotated.
    pub last_key_rotate: Option<Timestamp>,
    /// When its signing keys are to be looked at again.
    pub next_key_at: Timestamp,
    /// Seconds for which the parent of a device's registration token may be presented again.
    pub registration_grace: i64,
    /// Life of a device's registration token, seconds.
    pub registration_expiry: Option<i64>,
    /// Whether the sessions on a device end with its push token, when that is unregistered.
    pub push_binding: bool,
    /// What the sessions of registered devices may be for, one audience a line.
    pub device_audiences: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
    /// Set when it was deleted: nothing finds it any more, its rows are purged.
    pub deleted_at: Option<Timestamp>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// An app that was made at `now`, whose policy is yet to be filled in.
    pub fn blank(id: AppId, now: Timestamp) -> Self {
        Self {
            id,
            name: String::new(),
            description: String::new(),
            issuer: None,
            token_expiry: 0,
            token_notbefore: 0,
            refresh_expiry: 0,
            refresh_notbefore: 0,
            refresh_grace: 0,
            session_expiry: None,
            max_sessions_per_subject: None,
            algorithm: String::new(),
            rotation_period: 0,
            allowed_origins: String::new(),
            flush_count: 0,
            epoch: 0,
            key_changes: 0,
            last_key_rotate: None,
            next_key_at: now,
            registration_grace: 0,
            registration_expiry: None,
            push_binding: false,
            device_audiences: None,
            created_at: now,
            updated_at: None,
            deleted_at: None,
        }
    }

    /// `iss` of the tokens that this app issues.
    pub fn issuer(&self) -> &str {
        self.issuer.as_deref().unwrap_or(&self.name)
    }

    /// For how long the immediate parent of a refresh token is answered again. Apps of earlier releases may say longer than
    /// it can be.
    pub fn refresh_grace(&self) -> Span {
        Span::seconds(Ord::min(self.refresh_grace, LONGEST_REFRESH_GRACE))
    }

    /// The origins of browsers that may use its publishable keys.
    pub fn allowed_origins(&self) -> impl Iterator<Item = &str> {
        self.allowed_origins.lines()
    }

    /// The audiences that the sessions of every registered device may have.
    pub fn device_audiences(&self) -> impl Iterator<Item = &str> {
        self.device_audiences.iter().flat_map(|all| all.lines())
    }
}

/// The app, unless it was deleted.
pub async fn find(db: &impl ConnectionTrait, id: AppId) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id)
        .filter(Column::DeletedAt.is_null())
        .one(db)
        .await
}

/// The app, unless it was deleted; nobody else changes it until the transaction ends.
pub async fn find_for_update(db: &impl ConnectionTrait, id: AppId) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id)
        .filter(Column::DeletedAt.is_null())
        .lock_exclusive()
        .one(db)
        .await
}

/// The changes so far of those of these apps that there are, deleted ones too.
pub async fn epochs(
    db: &impl ConnectionTrait,
    ids: &[AppId],
) -> Result<BTreeMap<AppId, i64>, DbErr> {
    let mut epochs = BTreeMap::new();
    for ids in ids.chunks(EPOCHS) {
        let read = Entity::find()
            .select_only()
            .columns([Column::Id, Column::Epoch])
            .filter(Column::Id.is_in(ids.iter().copied()))
            .into_tuple::<(AppId, i64)>();
        epochs.extend(read.all(db).await?);
    }
    Ok(epochs)
}

/// Counts a change of the app, in the transaction that makes it, before anything else of it is read or written there: nobody
/// else changes the app until the transaction ends. With `from`, only if nothing was changed since that many changes.
/// `false` when something was, or there is no such app.
pub async fn advance(
    db: &impl ConnectionTrait,
    id: AppId,
    from: Option<i64>,
) -> Result<bool, DbErr> {
    let mut update = Entity::update_many()
        .col_expr(Column::Epoch, Column::Epoch.into_expr().add(1))
        .filter(Column::Id.eq(id))
        .filter(Column::DeletedAt.is_null());
    if let Some(from) = from {
        update = update.filter(Column::Epoch.eq(from));
    }
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Counts a change of every app: see [`advance`].
pub async fn advance_all(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::Epoch, Column::Epoch.into_expr().add(1))
        .exec(db)
        .await?;
    Ok(())
}

/// At most `limit` apps older than `before`, the newest first.
pub async fn list(
    db: &impl ConnectionTrait,
    before: Option<AppId>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find().filter(Column::DeletedAt.is_null());
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before));
    }
    query.order_by_desc(Column::Id).limit(limit).all(db).await
}

/// Apps whose signing keys are to be looked at, at most `limit`.
pub async fn list_due(
    db: &impl ConnectionTrait,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::NextKeyAt.lte(now))
        .filter(Column::DeletedAt.is_null())
        .order_by_asc(Column::NextKeyAt)
        .limit(limit)
        .all(db)
        .await
}

/// Claims the right to change the signing keys of the app, by the guard that nobody did since it was
/// read: of two that try at once, one wins.
pub async fn schedule_keys(
    db: &impl ConnectionTrait,
    read: &Model,
    last_key_rotate: Option<Timestamp>,
    next_key_at: Timestamp,
) -> Result<bool, DbErr> {
    let update = Entity::update_many()
        .set(ActiveModel {
            key_changes: Set(read.key_changes + 1),
            last_key_rotate: Set(last_key_rotate),
            next_key_at: Set(next_key_at),
            ..Default::default()
        })
        .filter(Column::Id.eq(read.id))
        .filter(Column::KeyChanges.eq(read.key_changes))
        .filter(Column::DeletedAt.is_null());
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Declares every token of the app dead that was issued until now. `false` when there is no such app.
pub async fn flush(db: &impl ConnectionTrait, id: AppId) -> Result<bool, DbErr> {
    let update = Entity::update_many()
        .col_expr(Column::FlushCount, Column::FlushCount.into_expr().add(1))
        .filter(Column::Id.eq(id))
        .filter(Column::DeletedAt.is_null());
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Marks the app as deleted. `false` when there is none, or it was deleted already.
pub async fn delete(db: &impl ConnectionTrait, id: AppId, now: Timestamp) -> Result<bool, DbErr> {
    let update = Entity::update_many()
        .set(ActiveModel {
            deleted_at: Set(Some(now)),
            ..Default::default()
        })
        .filter(Column::Id.eq(id))
        .filter(Column::DeletedAt.is_null());
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// Apps that were deleted and still have rows.
pub async fn list_deleted(db: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::DeletedAt.is_not_null())
        .all(db)
        .await
}

/// Removes the row of a deleted app.
pub async fn purge(db: &impl ConnectionTrait, id: AppId) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::Id.eq(id))
        .filter(Column::DeletedAt.is_not_null())
        .exec(db)
        .await?;
    Ok(())
}
