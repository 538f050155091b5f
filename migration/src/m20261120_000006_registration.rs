use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveIden, DeriveMigrationName, Index, MigrationTrait, SchemaManager, Table,
    async_trait,
};
use sea_orm_migration::sea_orm;

use crate::{
    dialect::{Dialect, count},
    steps::Steps,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum RegistrationToken {
    Table,
    Id,
    AppId,
    DeviceId,
    CurrentHash,
    ParentHash,
    ParentUntil,
    Generation,
    FlushCount,
    BeganAt,
    IssuedAt,
    ExpiresAt,
    Lifetime,
    AllowOnBehalfOfRegistration,
    WindowStartedAt,
    WindowCount,
    RevokedAt,
    PurgeAt,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let dialect = Dialect::of(manager).await?;
        // No foreign key: a lineage outlives its device and its app, so that whoever comes back is told why he is refused.
        manager
            .create_table(
                dialect
                    .table(RegistrationToken::Table)
                    .col(dialect.id(RegistrationToken::Id).not_null().primary_key())
                    .col(dialect.id(RegistrationToken::AppId).not_null())
                    .col(dialect.id(RegistrationToken::DeviceId).not_null())
                    .col(
                        ColumnDef::new(RegistrationToken::CurrentHash)
                            .var_binary(32)
                            .not_null(),
                    )
                    .col(ColumnDef::new(RegistrationToken::ParentHash).var_binary(32))
                    .col(count(RegistrationToken::ParentUntil))
                    .col(count(RegistrationToken::Generation).not_null())
                    .col(count(RegistrationToken::FlushCount).not_null())
                    .col(count(RegistrationToken::BeganAt).not_null())
                    .col(count(RegistrationToken::IssuedAt).not_null())
                    .col(count(RegistrationToken::ExpiresAt))
                    .col(count(RegistrationToken::Lifetime))
                    .col(
                        ColumnDef::new(RegistrationToken::AllowOnBehalfOfRegistration)
                            .boolean()
                            .not_null(),
                    )
                    .col(count(RegistrationToken::WindowStartedAt).not_null())
                    .col(count(RegistrationToken::WindowCount).not_null())
                    .col(count(RegistrationToken::RevokedAt))
                    .col(count(RegistrationToken::PurgeAt))
                    .to_owned(),
            )
            .await?;
        // A device has one lineage; those of an app are found by it, too.
        manager
            .create_index(
                Index::create()
                    .name("ux_registration_token_device")
                    .table(RegistrationToken::Table)
                    .col(RegistrationToken::AppId)
                    .col(RegistrationToken::DeviceId)
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("ix_registration_token_purge_at")
                    .table(RegistrationToken::Table)
                    .col(RegistrationToken::PurgeAt)
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let table = Table::drop().table(RegistrationToken::Table).to_owned();
        manager.drop_table(table).await
    }
}
