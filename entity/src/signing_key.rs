//! `signing_key`: the key pairs that sign an app's tokens, private halves sealed.

use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, entity::prelude::*,
};

use crate::{AppId, SigningKeyId, Timestamp};

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SigningKeyId,
    pub app_id: AppId,
    pub algorithm: String,
    /// PKCS#8, sealed by the master key with this row's id as label.
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("id", &self.id)
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}

/// Every signing key of the app, the newest first.
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

/// Any one signing key of the store, to see whether the master key opens it.
///
/// # Errors
/// Those of the store.
pub async fn any(db: &impl ConnectionTrait) -> Result<Option<Model>, DbErr> {
    Entity::find().limit(1).one(db).await
}

/// Removes every signing key of the app.
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
