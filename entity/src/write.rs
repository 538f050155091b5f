//! Writes whole rows. Nothing is read back: where the engine does not return what it wrote, that would be one more statement,
//! and on Galera it finds nothing when the transaction was rolled back for one of another node, which only the statement after
//! it is told.

use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, ModelTrait};

/// Stores a new row.
///
/// # Errors
/// When there is one with such an id, or with a value that must be unique.
pub async fn insert<M>(db: &impl ConnectionTrait, row: M) -> Result<(), DbErr>
where
    M: ModelTrait + IntoActiveModel<<M::Entity as EntityTrait>::ActiveModel>,
{
    let insert = M::Entity::insert(row.into_active_model());
    insert.exec_without_returning(db).await.map(|_| ())
}

/// Writes the row in place of the one that has its id.
///
/// # Errors
/// When there is none, or another one has a value that must be unique.
pub async fn replace<M>(db: &impl ConnectionTrait, row: M) -> Result<(), DbErr>
where
    M: ModelTrait + IntoActiveModel<<M::Entity as EntityTrait>::ActiveModel>,
{
    let update = M::Entity::update(row.into_active_model().reset_all());
    update.exec_without_returning(db).await.map(|_| ())
}
