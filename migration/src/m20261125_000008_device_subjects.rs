use sea_orm_migration::prelude::{
    ColumnDef, ConnectionTrait, DbErr, DeriveIden, DeriveMigrationName, Iden, Index,
    IndexCreateStatement, IntoIden, MigrationTrait, SchemaManager, Table, async_trait,
};
use sea_orm_migration::sea_orm::{self, DbBackend};

use crate::{dialect::Dialect, steps::Steps};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum App {
    Table,
    DeviceAudiences,
}

#[derive(DeriveIden)]
enum Device {
    Table,
    AppId,
    ClientId,
    Sub,
}

#[derive(DeriveIden)]
enum RegistrationToken {
    Table,
    Sub,
    Claims,
    Audiences,
}

/// The name that a client gives a device was one of the app; now it is one of the subject.
const BEFORE: &str = "ux_device_client_id";
const AFTER: &str = "ux_device_client_id_sub";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let dialect = Dialect::of(manager).await?;
        let sub = dialect.text(RegistrationToken::Sub, 255);
        let text = |name| ColumnDef::new(name).text().to_owned();
        add(manager, RegistrationToken::Table, sub).await?;
        let claims = text(RegistrationToken::Claims);
        add(manager, RegistrationToken::Table, claims).await?;
        let audiences = text(RegistrationToken::Audiences);
        add(manager, RegistrationToken::Table, audiences).await?;
        let audiences = ColumnDef::new(App::DeviceAudiences).text().to_owned();
        add(manager, App::Table, audiences).await?;

        let subject = subject(manager.get_database_backend());
        let db = manager.get_connection();
        for statement in [
            // A device that is registered, or was made to be, is one of its own; a user who told of it tells of it again.
            format!(
                "UPDATE device SET sub = {subject} WHERE (sub IS NULL AND client_id IS NOT NULL) \
                 OR id IN (SELECT device_id FROM registration_token WHERE revoked_at IS NULL)"
            ),
            // Sessions that began by a registration token had the bare name for a subject.
            "UPDATE session SET sub = (SELECT device.sub FROM device WHERE device.id = session.device_id) \
             WHERE device_id IN (SELECT id FROM device WHERE sub LIKE 'device:%') \
             AND sub = (SELECT device.client_id FROM device WHERE device.id = session.device_id)"
                .to_owned(),
            format!(
                "UPDATE registration_token SET sub = \
                 (SELECT {subject} FROM device WHERE device.id = registration_token.device_id) WHERE sub IS NULL"
            ),
        ] {
            db.execute_unprepared(&statement).await?;
        }

        // The one goes after the other is there: at no time are the names without an index.
        let after = index(AFTER).col(Device::Sub).to_owned();
        manager.create_index(after).await?;
        drop_index(manager, BEFORE).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let manager = &Steps(manager);
        let db = manager.get_connection();
        for statement in [
            "UPDATE device SET sub = NULL WHERE sub LIKE 'device:%'",
            // Of several devices of one name, the first one keeps it. MySQL does not read from what it writes, but from a
            // table that it derives of it.
            "UPDATE device SET client_id = NULL WHERE client_id IS NOT NULL AND id NOT IN (SELECT first_id FROM \
             (SELECT MIN(id) AS first_id FROM device WHERE client_id IS NOT NULL GROUP BY app_id, client_id) AS firsts)",
        ] {
            db.execute_unprepared(statement).await?;
        }
        manager.create_index(index(BEFORE)).await?;
        drop_index(manager, AFTER).await?;
        for column in [
            RegistrationToken::Sub,
            RegistrationToken::Claims,
            RegistrationToken::Audiences,
        ] {
            drop_column(manager, RegistrationToken::Table, column).await?;
        }
        drop_column(manager, App::Table, App::DeviceAudiences).await
    }
}

/// `device:` and the name of the device; or its id, where the name is too long for that.
fn subject(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::MySql => {
            "CONCAT('device:', CASE WHEN CHAR_LENGTH(device.client_id) <= 248 \
             THEN device.client_id ELSE device.id END)"
        }
        _ => {
            "'device:' || CASE WHEN LENGTH(device.client_id) <= 248 THEN device.client_id ELSE device.id END"
        }
    }
}

fn index(name: &str) -> IndexCreateStatement {
    Index::create()
        .name(name)
        .table(Device::Table)
        .col(Device::AppId)
        .col(Device::ClientId)
        .unique()
        .to_owned()
}

async fn drop_index(manager: &Steps<'_, '_>, name: &str) -> Result<(), DbErr> {
    let drop = Index::drop().name(name).table(Device::Table).to_owned();
    manager.drop_index(drop).await
}

// A statement each: SQLite takes one change at a time.
async fn add(
    manager: &Steps<'_, '_>,
    table: impl IntoIden,
    mut column: ColumnDef,
) -> Result<(), DbErr> {
    let alter = Table::alter()
        .table(table.into_iden())
        .add_column(&mut column)
        .to_owned();
    manager.alter_table(alter).await
}

async fn drop_column(
    manager: &Steps<'_, '_>,
    table: impl IntoIden,
    column: impl Iden + 'static,
) -> Result<(), DbErr> {
    let alter = Table::alter()
        .table(table.into_iden())
        .drop_column(column)
        .to_owned();
    manager.alter_table(alter).await
}
