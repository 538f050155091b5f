use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveIden, DeriveMigrationName, ForeignKey, ForeignKeyAction, Index,
    MigrationTrait, SchemaManager, Table, async_trait,
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
}

#[derive(DeriveIden)]
enum Device {
    Table,
    Id,
    AppId,
    ClientId,
    Sub,
    Platform,
    PushTokenMac,
    PushParentMac,
    PushToken,
    PushTokenAt,
    PushPermission,
    Timezone,
    Language,
    Country,
    FirstSeenAt,
    LastSeenAt,
    DisabledAt,
    Changes,
}

#[derive(DeriveIden)]
enum Session {
    Table,
    DeviceId,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let dialect = Dialect::of(manager).await?;
        manager
            .create_table(
                dialect
                    .table(Device::Table)
                    .col(dialect.id(Device::Id).not_null().primary_key())
                    .col(dialect.id(Device::AppId).not_null())
                    .col(dialect.text(Device::ClientId, 255))
                    .col(dialect.text(Device::Sub, 255))
                    .col(ColumnDef::new(Device::Platform).string_len(16))
                    .col(ColumnDef::new(Device::PushTokenMac).var_binary(16))
                    .col(ColumnDef::new(Device::PushParentMac).var_binary(16))
                    .col(ColumnDef::new(Device::PushToken).blob())
                    .col(count(Device::PushTokenAt))
                    .col(ColumnDef::new(Device::PushPermission).boolean())
                    .col(ColumnDef::new(Device::Timezone).string_len(64))
                    .col(ColumnDef::new(Device::Language).string_len(8))
                    .col(ColumnDef::new(Device::Country).string_len(8))
                    .col(count(Device::FirstSeenAt).not_null())
                    .col(count(Device::LastSeenAt).not_null())
                    .col(count(Device::DisabledAt))
                    .col(count(Device::Changes).not_null().default(0))
                    .foreign_key(
                        ForeignKey::create()
                            .name("fk_device_app_id")
                            .from(Device::Table, Device::AppId)
                            .to(App::Table, App::Id)
                            .on_delete(ForeignKeyAction::Restrict),
                    )
                    .to_owned(),
            )
            .await?;
        // In a unique index, any number of rows have no value, on every engine.
        for (name, columns, is_unique) in [
            ("ix_device_app_id", [Device::AppId, Device::Id], false),
            (
                "ux_device_client_id",
                [Device::AppId, Device::ClientId],
                true,
            ),
            (
                "ux_device_push_token",
                [Device::AppId, Device::PushTokenMac],
                true,
            ),
            (
                "ix_device_push_parent",
                [Device::AppId, Device::PushParentMac],
                false,
            ),
            ("ix_device_sub", [Device::AppId, Device::Sub], false),
        ] {
            let mut index = Index::create().name(name).table(Device::Table).to_owned();
            for column in columns {
                index.col(column);
            }
            if is_unique {
                index.unique();
            }
            manager.create_index(index).await?;
        }
        manager
            .create_index(
                Index::create()
                    .name("ix_device_last_seen_at")
                    .table(Device::Table)
                    .col(Device::LastSeenAt)
                    .to_owned(),
            )
            .await?;
        let of_sessions = Index::create()
            .name("ix_session_device_id")
            .table(Session::Table)
            .col(Session::DeviceId)
            .to_owned();
        manager
            .create_index(dialect.where_known(of_sessions, Session::DeviceId))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        manager
            .drop_index(
                Index::drop()
                    .name("ix_session_device_id")
                    .table(Session::Table)
                    .to_owned(),
            )
            .await?;
        manager
            .drop_table(Table::drop().table(Device::Table).to_owned())
            .await
    }
}
