use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveIden, DeriveMigrationName, MigrationTrait, SchemaManager, Table,
    async_trait,
};
use sea_orm_migration::sea_orm;

use crate::steps::Steps;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Session {
    Table,
    RefreshMac,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let mac = ColumnDef::new(Session::RefreshMac)
            .var_binary(16)
            .to_owned();
        let alter = Table::alter()
            .table(Session::Table)
            .add_column(mac)
            .to_owned();
        manager.alter_table(alter).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let alter = Table::alter()
            .table(Session::Table)
            .drop_column(Session::RefreshMac)
            .to_owned();
        manager.alter_table(alter).await
    }
}
