use sea_orm_migration::prelude::{
    ColumnDef, ConnectionTrait, DbErr, DeriveIden, DeriveMigrationName, Expr, ExprTrait, Index,
    IntoIden, MigrationTrait, Query, SchemaManager, Table, async_trait,
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
    KeyChanges,
    LastKeyRotate,
    NextKeyAt,
    RegistrationGrace,
    RegistrationExpiry,
    PushBinding,
}

#[derive(DeriveIden)]
enum AppKey {
    Table,
    LastUsedAt,
    RevokedAt,
    ReplacedAt,
    RegistrationId,
}

#[derive(DeriveIden)]
enum SigningKey {
    Table,
    CreatedAt,
    ActivatesAt,
    TokenLife,
}

#[derive(DeriveIden)]
enum AuditEvent {
    Table,
    Id,
    At,
    AppId,
    Actor,
    Action,
    Target,
    RequestId,
    Ip,
}

#[derive(DeriveIden)]
enum Lease {
    Table,
    Name,
    Holder,
    ExpiresAt,
    LastRunAt,
    LastRows,
    LastError,
}

/// The longest life that a token can have, in seconds: right for keys whose policy is not known.
const LONGEST_LIFE: i64 = 31_536_000;
/// A day, in seconds.
const REGISTRATION_GRACE: i64 = 86_400;

async fn add(
    manager: &Steps<'_, '_>,
    table: impl IntoIden,
    column: ColumnDef,
) -> Result<(), DbErr> {
    // One column a statement: SQLite takes no more.
    let alter = Table::alter()
        .table(table.into_iden())
        .add_column(column)
        .to_owned();
    manager.alter_table(alter).await
}

async fn remove(
    manager: &Steps<'_, '_>,
    table: impl IntoIden,
    column: impl IntoIden,
) -> Result<(), DbErr> {
    let alter = Table::alter()
        .table(table.into_iden())
        .drop_column(column.into_iden())
        .to_owned();
    manager.alter_table(alter).await
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let dialect = Dialect::of(manager).await?;
        let changes = count(App::KeyChanges).not_null().default(0).to_owned();
        add(manager, App::Table, changes).await?;
        add(manager, App::Table, count(App::LastKeyRotate)).await?;
        let next = count(App::NextKeyAt).not_null().default(0).to_owned();
        add(manager, App::Table, next).await?;
        manager
            .create_index(
                Index::create()
                    .name("ix_app_next_key_at")
                    .table(App::Table)
                    .col(App::NextKeyAt)
                    .to_owned(),
            )
            .await?;

        let grace = count(App::RegistrationGrace)
            .not_null()
            .default(REGISTRATION_GRACE)
            .to_owned();
        add(manager, App::Table, grace).await?;
        add(manager, App::Table, count(App::RegistrationExpiry)).await?;
        let binding = ColumnDef::new(App::PushBinding)
            .boolean()
            .not_null()
            .default(false)
            .to_owned();
        add(manager, App::Table, binding).await?;

        add(manager, AppKey::Table, count(AppKey::LastUsedAt)).await?;
        add(manager, AppKey::Table, count(AppKey::RevokedAt)).await?;
        add(manager, AppKey::Table, count(AppKey::ReplacedAt)).await?;
        let registration = ColumnDef::new(AppKey::RegistrationId)
            .char_len(36)
            .to_owned();
        add(manager, AppKey::Table, registration).await?;

        let activates = count(SigningKey::ActivatesAt)
            .not_null()
            .default(0)
            .to_owned();
        add(manager, SigningKey::Table, activates).await?;
        let life = count(SigningKey::TokenLife)
            .not_null()
            .default(LONGEST_LIFE)
            .to_owned();
        add(manager, SigningKey::Table, life).await?;
        let backfill = Query::update()
            .table(SigningKey::Table)
            .value(SigningKey::ActivatesAt, Expr::col(SigningKey::CreatedAt))
            .and_where(Expr::col(SigningKey::ActivatesAt).eq(0))
            .to_owned();
        manager.get_connection().execute(&backfill).await?;

        manager
            .create_table(
                dialect
                    .table(AuditEvent::Table)
                    .col(dialect.id(AuditEvent::Id).not_null().primary_key())
                    .col(count(AuditEvent::At).not_null())
                    .col(dialect.id(AuditEvent::AppId))
                    .col(ColumnDef::new(AuditEvent::Actor).string_len(64).not_null())
                    .col(ColumnDef::new(AuditEvent::Action).string_len(64).not_null())
                    .col(ColumnDef::new(AuditEvent::Target).string_len(64))
                    .col(ColumnDef::new(AuditEvent::RequestId).string_len(64))
                    .col(ColumnDef::new(AuditEvent::Ip).string_len(45))
                    .to_owned(),
            )
            .await?;
        for (name, columns) in [
            ("ix_audit_event_app_id", vec![AuditEvent::AppId]),
            ("ix_audit_event_at", vec![AuditEvent::At]),
        ] {
            let mut index = Index::create()
                .name(name)
                .table(AuditEvent::Table)
                .to_owned();
            for column in columns {
                index.col(column);
            }
            manager.create_index(index).await?;
        }
        manager
            .create_table(
                dialect
                    .table(Lease::Table)
                    .col(dialect.text(Lease::Name, 64).not_null().primary_key())
                    .col(dialect.id(Lease::Holder))
                    .col(count(Lease::ExpiresAt).not_null())
                    .col(count(Lease::LastRunAt))
                    .col(count(Lease::LastRows))
                    .col(ColumnDef::new(Lease::LastError).string_len(255))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        for table in [Lease::Table.into_iden(), AuditEvent::Table.into_iden()] {
            manager
                .drop_table(Table::drop().table(table).to_owned())
                .await?;
        }
        manager
            .drop_index(
                Index::drop()
                    .name("ix_app_next_key_at")
                    .table(App::Table)
                    .to_owned(),
            )
            .await?;
        remove(manager, App::Table, App::KeyChanges).await?;
        remove(manager, App::Table, App::LastKeyRotate).await?;
        remove(manager, App::Table, App::NextKeyAt).await?;
        remove(manager, App::Table, App::RegistrationGrace).await?;
        remove(manager, App::Table, App::RegistrationExpiry).await?;
        remove(manager, App::Table, App::PushBinding).await?;
        remove(manager, AppKey::Table, AppKey::LastUsedAt).await?;
        remove(manager, AppKey::Table, AppKey::RevokedAt).await?;
        remove(manager, AppKey::Table, AppKey::RegistrationId).await?;
        remove(manager, AppKey::Table, AppKey::ReplacedAt).await?;
        remove(manager, SigningKey::Table, SigningKey::ActivatesAt).await?;
        remove(manager, SigningKey::Table, SigningKey::TokenLife).await
    }
}
