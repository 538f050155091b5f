//! `app_key`: the keys that backends, front ends and administrators present. Root keys have no app.

use sea_orm::{
    ActiveEnum, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, entity::prelude::*,
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
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// Every key of the app.
///
/// # Errors
/// Those of the store.
pub async fn list_in(db: &impl ConnectionTrait, app_id: AppId) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::AppId.eq(app_id))
        .order_by_desc(Column::Id)
        .all(db)
        .await
}

/// Every root key.
///
/// # Errors
/// Those of the store.
pub async fn list_root(db: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::AppId.is_null())
        .filter(Column::Kind.eq(Kind::Root))
        .all(db)
        .await
}

/// Removes every root key, before a new one takes their place.
///
/// # Errors
/// Those of the store.
pub async fn delete_root(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::AppId.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Removes every key of the app.
///
/// # Errors
/// Those of the store.
pub async fn delete_in(db: &impl ConnectionTrait, app_id: AppId) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::AppId.eq(app_id))
        .exec(db)
        .await?;
    Ok(())
}
