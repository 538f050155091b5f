//! `setting`: what belongs to the store as a whole.

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, ExprTrait, SqlErr, entity::prelude::*,
    sea_query::OnConflict,
};

/// Counts the changes of apps and keys, so that every process sees when its cache is stale.
const EPOCH: &str = "epoch";
const MASTER_KEY: &str = "master_key";
const ROOT_KEY: &str = "root_key";

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "setting")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub value: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The number of changes so far.
///
/// # Errors
/// Those of the store.
pub async fn epoch(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let row = Entity::find_by_id(EPOCH).one(db).await?;
    Ok(row.map_or(0, |row| row.value))
}

/// The fingerprint of the master key that seals the signing keys, once there are any.
///
/// # Errors
/// Those of the store.
pub async fn master_key(db: &impl ConnectionTrait) -> Result<Option<i64>, DbErr> {
    let row = Entity::find_by_id(MASTER_KEY).one(db).await?;
    Ok(row.map(|row| row.value))
}

/// Notes the fingerprint of the master key that seals, unless there is one; gives the one that is there now.
///
/// # Errors
/// Those of the store.
pub async fn claim_master_key(db: &impl ConnectionTrait, fingerprint: i64) -> Result<i64, DbErr> {
    let first = ActiveModel {
        name: Set(MASTER_KEY.to_owned()),
        value: Set(fingerprint),
    };
    let once = OnConflict::column(Column::Name)
        .do_nothing_on([Column::Name])
        .to_owned();
    Entity::insert(first)
        .on_conflict(once)
        .exec_without_returning(db)
        .await?;
    Ok(master_key(db).await?.unwrap_or(fingerprint))
}

/// Claims the making of the first root key. `false` when it was claimed before: then the transaction is to be given up.
///
/// # Errors
/// Those of the store.
pub async fn claim_root_key(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    let row = ActiveModel {
        name: Set(ROOT_KEY.to_owned()),
        value: Set(1),
    };
    match Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) => match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Notes the fingerprint of the master key that seals from now on.
///
/// # Errors
/// Those of the store.
pub async fn set_master_key(db: &impl ConnectionTrait, fingerprint: i64) -> Result<(), DbErr> {
    let row = ActiveModel {
        name: Set(MASTER_KEY.to_owned()),
        value: Set(fingerprint),
    };
    Entity::insert(row)
        .on_conflict(
            OnConflict::column(Column::Name)
                .update_column(Column::Value)
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Counts a change, in the transaction that makes it.
///
/// # Errors
/// Those of the store.
pub async fn advance_epoch(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    let first = ActiveModel {
        name: Set(EPOCH.to_owned()),
        value: Set(1),
    };
    let next = Expr::col((Entity, Column::Value)).add(1);
    Entity::insert(first)
        .on_conflict(
            OnConflict::column(Column::Name)
                .value(Column::Value, next)
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}
