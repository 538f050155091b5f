//! Brings the tables of a store up to date, while other processes may be doing the same.

use std::{collections::BTreeSet, time::Duration};

use migration::{Migrator, MigratorTrait, SchemaManager};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};

use crate::engine::{Failure, failure};

/// How often it is looked whether another process, which is making the tables, is done.
const PAUSE: Duration = Duration::from_millis(200);
/// How often in a row it may have got no further.
const PATIENCE: u32 = 25;

/// Brings the tables to this release. A store that a later release has changed is left as it is: what was added to it does
/// not concern this one.
///
/// # Errors
/// When the tables cannot be changed, or are those of another history.
pub async fn migrate(db: &DatabaseConnection) -> Result<(), DbErr> {
    let own: BTreeSet<String> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect();
    let (mut seen, mut waited) = (None, 0);
    loop {
        let applied = applied(&SchemaManager::new(db)).await?;
        if own.is_subset(&applied) {
            return Ok(());
        }
        // Of two that begin the same migration, one fails with its first statement, and waits for the other.
        let Err(error) = up(db).await else {
            return Ok(());
        };
        if seen.as_ref() != Some(&applied) {
            (seen, waited) = (Some(applied), 0);
        } else if waited == PATIENCE {
            return Err(error);
        }
        waited += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn up(db: &DatabaseConnection) -> Result<(), DbErr> {
    match db.get_database_backend() {
        DbBackend::Sqlite => return Box::pin(up_sqlite(db)).await,
        DbBackend::MySql => {}
        _ => return Migrator::up(db, None).await,
    }
    // Here nothing is rolled back. On a Galera cluster, a table that is made on one node, even one that is there already, aborts
    // what another one writes to it: a migration that was made would not be recorded, and never be made again.
    let manager = SchemaManager::new(db);
    if !manager.has_table("seaql_migrations").await? {
        Migrator::install(db).await?;
    }
    let applied = applied(&manager).await?;
    for migration in Migrator::migrations() {
        if !applied.contains(migration.name()) {
            migration.up(&manager).await?;
            record(db, migration.name()).await?;
        }
    }
    Ok(())
}

/// All migrations that are missing, in one transaction: half of them, made until the disk was full, would keep the next start
/// from making the whole.
async fn up_sqlite(db: &DatabaseConnection) -> Result<(), DbErr> {
    Migrator::install(db).await?;
    let transaction = db
        .begin_with_options(TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        })
        .await?;
    let manager = SchemaManager::new(&transaction);
    let applied = applied(&manager).await?;
    for migration in Migrator::migrations() {
        if !applied.contains(migration.name()) {
            migration.up(&manager).await?;
            let record = Statement::from_sql_and_values(
                DbBackend::Sqlite,
                "INSERT INTO seaql_migrations (version, applied_at) VALUES (?, unixepoch())",
                [migration.name().into()],
            );
            transaction.execute_raw(record).await?;
        }
    }
    transaction.commit().await
}

async fn record(db: &DatabaseConnection, name: &str) -> Result<(), DbErr> {
    let sql = "INSERT INTO seaql_migrations (version, applied_at) VALUES (?, UNIX_TIMESTAMP())";
    let mut waited = 0;
    loop {
        let insert = Statement::from_sql_and_values(DbBackend::MySql, sql, [name.into()]);
        match db.execute_raw(insert).await {
            Err(error) if failure(&error) == Failure::Contention && waited < PATIENCE => {
                waited += 1;
                tokio::time::sleep(PAUSE).await;
            }
            done => return done.map(|_| ()),
        }
    }
}

async fn applied(manager: &SchemaManager<'_>) -> Result<BTreeSet<String>, DbErr> {
    let db = manager.get_connection();
    if !manager.has_table("seaql_migrations").await? {
        return Ok(BTreeSet::new());
    }
    let select = Statement::from_string(
        db.get_database_backend(),
        "SELECT version FROM seaql_migrations",
    );
    let rows = db.query_all_raw(select).await?;
    rows.iter().map(|row| row.try_get("", "version")).collect()
}
