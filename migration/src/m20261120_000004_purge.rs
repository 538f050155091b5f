use sea_orm_migration::{
    prelude::{
        ConnectionTrait, DbErr, DeriveIden, DeriveMigrationName, Index, MigrationTrait,
        SchemaManager, Table, async_trait,
    },
    sea_orm::{self, DbBackend},
};

use crate::{dialect::count, steps::Steps};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Session {
    Table,
    PurgeAt,
    ExpiresAt,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let purge_at = count(Session::PurgeAt).not_null().default(0).to_owned();
        let alter = Table::alter()
            .table(Session::Table)
            .add_column(purge_at)
            .to_owned();
        manager.alter_table(alter).await?;
        // The end of the day after the one in which it expires.
        let divide = match manager.get_database_backend() {
            DbBackend::MySql => "DIV",
            _ => "/",
        };
        let fill = format!(
            "UPDATE session SET purge_at = (expires_at {divide} 86400000 + 2) * 86400000 WHERE purge_at = 0"
        );
        manager.get_connection().execute_unprepared(&fill).await?;
        manager
            .create_index(
                Index::create()
                    .name("ix_session_purge_at")
                    .table(Session::Table)
                    .col(Session::PurgeAt)
                    .to_owned(),
            )
            .await?;
        manager
            .drop_index(
                Index::drop()
                    .name("ix_session_expires_at")
                    .table(Session::Table)
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        manager
            .create_index(
                Index::create()
                    .name("ix_session_expires_at")
                    .table(Session::Table)
                    .col(Session::ExpiresAt)
                    .to_owned(),
            )
            .await?;
        manager
            .drop_index(
                Index::drop()
                    .name("ix_session_purge_at")
                    .table(Session::Table)
                    .to_owned(),
            )
            .await?;
        let alter = Table::alter()
            .table(Session::Table)
            .drop_column(Session::PurgeAt)
            .to_owned();
        manager.alter_table(alter).await
    }
}
