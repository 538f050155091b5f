use sea_orm_migration::prelude::{
    DbErr, DeriveIden, DeriveMigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};
use sea_orm_migration::sea_orm;

use crate::{dialect::count, steps::Steps};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum App {
    Table,
    Epoch,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let epoch = count(App::Epoch).not_null().default(0).to_owned();
        let alter = Table::alter()
            .table(App::Table)
            .add_column(epoch)
            .to_owned();
        manager.alter_table(alter).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let alter = Table::alter()
            .table(App::Table)
            .drop_column(App::Epoch)
            .to_owned();
        manager.alter_table(alter).await
    }
}
