//! `signing_key`: the key pairs that sign an app's tokens, private halves sealed.

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    entity::prelude::*,
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
    /// From when it signs, unless a later one does.
    pub activates_at: Timestamp,
    /// The longest life of a token that it may have signed, seconds.
    pub token_life: i64,
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

/// Every signing key of the app, in the order in which they sign.
pub async fn list_in(db: &impl ConnectionTrait, app_id: AppId) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::AppId.eq(app_id))
        .order_by_asc(Column::ActivatesAt)
        .order_by_asc(Column::Id)
        .all(db)
        .await
}

/// Revokes every key of the app, or that one, which is not revoked yet; gives the number.
pub async fn revoke_in(
    db: &impl ConnectionTrait,
    app_id: AppId,
    only: Option<SigningKeyId>,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let mut update = Entity::update_many()
        .set(ActiveModel {
            revoked_at: Set(Some(now)),
            ..Default::default()
        })
        .filter(Column::AppId.eq(app_id))
        .filter(Column::RevokedAt.is_null());
    if let Some(only) = only {
        update = update.filter(Column::Id.eq(only));
    }
    Ok(update.exec(db).await?.rows_affected)
}

/// Lets the key sign from another time on.
pub async fn activate_at(
    db: &impl ConnectionTrait,
    id: SigningKeyId,
    at: Timestamp,
) -> Result<(), DbErr> {
    Entity::update_many()
        .set(ActiveModel {
            activates_at: Set(at),
            ..Default::default()
        })
        .filter(Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Notes that keys of the app sign tokens that live for so long from now on.
pub async fn raise_token_life(
    db: &impl ConnectionTrait,
    app_id: AppId,
    seconds: i64,
) -> Result<(), DbErr> {
    Entity::update_many()
        .set(ActiveModel {
            token_life: Set(seconds),
            ..Default::default()
        })
        .filter(Column::AppId.eq(app_id))
        .filter(Column::TokenLife.lt(seconds))
        .exec(db)
        .await?;
    Ok(())
}

/// Puts a key sealed anew in place of the one that was read, if nobody did so meanwhile.
pub async fn reseal(
    db: &impl ConnectionTrait,
    read: &Model,
    sealed: Vec<u8>,
) -> Result<bool, DbErr> {
    let update = Entity::update_many()
        .set(ActiveModel {
            sealed: Set(sealed),
            ..Default::default()
        })
        .filter(Column::Id.eq(read.id))
        .filter(Column::Sealed.eq(read.sealed.clone()));
    Ok(update.exec(db).await?.rows_affected == 1)
}

/// At most `limit` keys of any app with an id above `after`, in the order of their ids.
pub async fn page(
    db: &impl ConnectionTrait,
    after: Option<SigningKeyId>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find();
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after));
    }
    query.order_by_asc(Column::Id).limit(limit).all(db).await
}

/// Removes keys.
pub async fn delete(
    db: &impl ConnectionTrait,
    ids: impl IntoIterator<Item = SigningKeyId>,
) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::Id.is_in(ids))
        .exec(db)
        .await?;
    Ok(())
}

/// The app of a signing key.
pub async fn app_of(db: &impl ConnectionTrait, id: SigningKeyId) -> Result<Option<AppId>, DbErr> {
    let row = Entity::find_by_id(id).one(db).await?;
    Ok(row.map(|row| row.app_id))
}

/// Any one signing key of the store, to see whether the master key opens it.
pub async fn any(db: &impl ConnectionTrait) -> Result<Option<Model>, DbErr> {
    Entity::find().limit(1).one(db).await
}

/// Removes every signing key of the app.
pub async fn delete_in(db: &impl ConnectionTrait, app_id: AppId) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::AppId.eq(app_id))
        .exec(db)
        .await?;
    Ok(())
}

/// What a private key is bound to when it is sealed: one row's cannot be put into another.
pub fn seal_label(id: SigningKeyId) -> String {
    format!("renewd/signing-key/{id}")
}
