//! What differs between the database engines.

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, RuntimeErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait, sqlx,
};

/// Begins a transaction that will write.
pub async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    // SQLite: a deferred transaction that reads first fails when another wrote since.
    db.begin_with_options(TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    })
    .await
}

/// Whether the store could not be reached or did not answer in time, so that trying again may help.
pub fn is_unreachable(error: &DbErr) -> bool {
    let (DbErr::Conn(inner) | DbErr::Exec(inner) | DbErr::Query(inner)) = error else {
        return matches!(error, DbErr::ConnectionAcquire(_));
    };
    let RuntimeErr::SqlxError(inner) = inner else {
        return matches!(error, DbErr::Conn(_));
    };
    match &**inner {
        sqlx::Error::Database(inner) => inner.code().is_some_and(|code| is_sqlite_outage(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Result codes of SQLite that tell of its surroundings, not of our statements: busy, locked,
/// read-only, I/O error, full, cannot open. The low byte is the primary code.
fn is_sqlite_outage(code: &str) -> bool {
    const OUTAGES: [i32; 6] = [5, 6, 8, 10, 13, 14];
    code.parse::<i32>()
        .is_ok_and(|code| OUTAGES.contains(&(code & 0xff)))
}
