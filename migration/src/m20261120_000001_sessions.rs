use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveIden, DeriveMigrationName, ForeignKey, ForeignKeyAction, Index,
    IntoIden, MigrationTrait, SchemaManager, Table, async_trait,
};
use sea_orm_migration::sea_orm;

use crate::{
    dialect::{Dialect, count},
    steps::Steps,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum App {
    Table,
    Id,
    Name,
    Description,
    Issuer,
    TokenExpiry,
    TokenNotbefore,
    RefreshExpiry,
    RefreshNotbefore,
    RefreshGrace,
    SessionExpiry,
    MaxSessionsPerSubject,
    Algorithm,
    RotationPeriod,
    AllowedOrigins,
    FlushCount,
    CreatedAt,
    UpdatedAt,
    DeletedAt,
}

#[derive(DeriveIden)]
enum AppKey {
    Table,
    Id,
    AppId,
    Kind,
    Name,
    Hash,
    CreatedAt,
    ExpiresAt,
}

#[derive(DeriveIden)]
enum SigningKey {
    Table,
    Id,
    AppId,
    Algorithm,
    Sealed,
    CreatedAt,
    RevokedAt,
}

#[derive(DeriveIden)]
enum Session {
    Table,
    Id,
    AppId,
    Sub,
    Claims,
    Ip,
    UserAgent,
    DeviceId,
    TokenId,
    KeyId,
    ParentId,
    ParentUntil,
    Generation,
    FlushCount,
    IssuedAt,
    AuthNotBefore,
    AuthExpiresAt,
    NotBefore,
    ExpiresAt,
    EndsAt,
    RevokedAt,
    RevokedFor,
}

#[derive(DeriveIden)]
enum Setting {
    Table,
    Name,
    Value,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let dialect = Dialect::of(manager).await?;
        manager
            .create_table(
                dialect
                    .table(App::Table)
                    .col(dialect.id(App::Id).not_null().primary_key())
                    .col(ColumnDef::new(App::Name).string_len(100).not_null())
                    .col(ColumnDef::new(App::Description).string_len(1000).not_null())
                    .col(ColumnDef::new(App::Issuer).string_len(255))
                    .col(count(App::TokenExpiry).not_null())
                    .col(count(App::TokenNotbefore).not_null())
                    .col(count(App::RefreshExpiry).not_null())
                    .col(count(App::RefreshNotbefore).not_null())
                    .col(count(App::RefreshGrace).not_null())
                    .col(count(App::SessionExpiry))
                    .col(count(App::MaxSessionsPerSubject))
                    .col(ColumnDef::new(App::Algorithm).string_len(16).not_null())
                    .col(count(App::RotationPeriod).not_null())
                    .col(ColumnDef::new(App::AllowedOrigins).text().not_null())
                    .col(count(App::FlushCount).not_null().default(0))
                    .col(count(App::CreatedAt).not_null())
                    .col(count(App::UpdatedAt))
                    .col(count(App::DeletedAt))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                dialect
                    .table(AppKey::Table)
                    .col(dialect.id(AppKey::Id).not_null().primary_key())
                    .col(dialect.id(AppKey::AppId))
                    .col(ColumnDef::new(AppKey::Kind).string_len(16).not_null())
                    .col(ColumnDef::new(AppKey::Name).string_len(100).not_null())
                    .col(ColumnDef::new(AppKey::Hash).var_binary(32).not_null())
                    .col(count(AppKey::CreatedAt).not_null())
                    .col(count(AppKey::ExpiresAt))
                    .foreign_key(
                        ForeignKey::create()
                            .name("fk_app_key_app_id")
                            .from(AppKey::Table, AppKey::AppId)
                            .to(App::Table, App::Id)
                            .on_delete(ForeignKeyAction::Restrict),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("ix_app_key_app_id")
                    .table(AppKey::Table)
                    .col(AppKey::AppId)
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                dialect
                    .table(SigningKey::Table)
                    .col(dialect.id(SigningKey::Id).not_null().primary_key())
                    .col(dialect.id(SigningKey::AppId).not_null())
                    .col(
                        ColumnDef::new(SigningKey::Algorithm)
                            .string_len(16)
                            .not_null(),
                    )
                    .col(ColumnDef::new(SigningKey::Sealed).blob().not_null())
                    .col(count(SigningKey::CreatedAt).not_null())
                    .col(count(SigningKey::RevokedAt))
                    .foreign_key(
                        ForeignKey::create()
                            .name("fk_signing_key_app_id")
                            .from(SigningKey::Table, SigningKey::AppId)
                            .to(App::Table, App::Id)
                            .on_delete(ForeignKeyAction::Restrict),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("ix_signing_key_app_id")
                    .table(SigningKey::Table)
                    .col(SigningKey::AppId)
                    .to_owned(),
            )
            .await?;
        // No foreign key: the sessions of a deleted app are purged in batches, after the app is gone.
        manager
            .create_table(
                dialect
                    .table(Session::Table)
                    .col(dialect.id(Session::Id).not_null().primary_key())
                    .col(dialect.id(Session::AppId).not_null())
                    .col(dialect.text(Session::Sub, 255).not_null())
                    .col(ColumnDef::new(Session::Claims).text().not_null())
                    .col(ColumnDef::new(Session::Ip).string_len(45).not_null())
                    .col(
                        ColumnDef::new(Session::UserAgent)
                            .string_len(1024)
                            .not_null(),
                    )
                    .col(dialect.id(Session::DeviceId))
                    .col(dialect.id(Session::TokenId).not_null())
                    .col(dialect.id(Session::KeyId).not_null())
                    .col(dialect.id(Session::ParentId))
                    .col(count(Session::ParentUntil))
                    .col(count(Session::Generation).not_null())
                    .col(count(Session::FlushCount).not_null())
                    .col(count(Session::IssuedAt).not_null())
                    .col(count(Session::AuthNotBefore).not_null())
                    .col(count(Session::AuthExpiresAt).not_null())
                    .col(count(Session::NotBefore).not_null())
                    .col(count(Session::ExpiresAt).not_null())
                    .col(count(Session::EndsAt))
                    .col(count(Session::RevokedAt))
                    .col(ColumnDef::new(Session::RevokedFor).string_len(16))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("ix_session_app_id_sub")
                    .table(Session::Table)
                    .col(Session::AppId)
                    .col(Session::Sub)
                    .to_owned(),
            )
            .await?;
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
            .create_table(
                dialect
                    .table(Setting::Table)
                    .col(dialect.text(Setting::Name, 64).not_null().primary_key())
                    .col(count(Setting::Value).not_null())
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        for table in [
            Session::Table.into_iden(),
            SigningKey::Table.into_iden(),
            AppKey::Table.into_iden(),
            App::Table.into_iden(),
            Setting::Table.into_iden(),
        ] {
            manager
                .drop_table(Table::drop().table(table).to_owned())
                .await?;
        }
        Ok(())
    }
}
