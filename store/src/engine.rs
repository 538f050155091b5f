//! What differs between the database engines.

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, sqlx};
use sqlx::{error::DatabaseError, mysql::MySqlDatabaseError, sqlite::SqliteError};

use crate::Transaction;

/// Why the store did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another transaction was in the way, and this one was rolled back: it may be tried again at once.
    Contention,
    /// The store cannot be reached, or did not answer in time.
    Outage,
    /// Our statement was wrong, or the store is damaged: trying again is of no use.
    Defect,
}

/// Why a transaction may not be committed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    #[error("not committed: {0}")]
    Refused(#[source] DbErr),
    /// The connection was lost before the answer came, or the log could not be synced. Whoever wants to know reads the row, on
    /// another connection.
    #[error("committed or not: the store did not answer: {0}")]
    Unconfirmed(#[source] DbErr),
}

/// Commits.
///
/// # Errors
/// When it was not committed, or that is not known.
pub async fn commit(transaction: Transaction) -> Result<(), CommitError> {
    transaction
        .commit()
        .await
        .map_err(|error| match failure(&error) {
            Failure::Contention | Failure::Defect => CommitError::Refused(error),
            Failure::Outage if was_full(&error) => CommitError::Refused(error),
            Failure::Outage => CommitError::Unconfirmed(error),
        })
}

/// Whether SQLite found no room for what was to be committed. The last thing that it writes is the mark of the commit, and
/// whatever comes before that counts for nothing.
fn was_full(error: &DbErr) -> bool {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(inner)) | DbErr::Query(RuntimeErr::SqlxError(inner)) => {
            let error = inner.as_database_error();
            let error = error.and_then(|error| error.try_downcast_ref::<SqliteError>());
            error.is_some_and(|error| error.code().is_some_and(|code| code == "13"))
        }
        _ => false,
    }
}

impl From<CommitError> for DbErr {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(error) | CommitError::Unconfirmed(error) => error,
        }
    }
}

/// What kind of failure an error tells of.
pub fn failure(error: &DbErr) -> Failure {
    let inner = match error {
        DbErr::ConnectionAcquire(_) => return Failure::Outage,
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => inner,
        DbErr::Conn(_) => return Failure::Outage,
        _ => return Failure::Defect,
    };
    match &**inner {
        sqlx::Error::Database(inner) => {
            if let Some(inner) = inner.try_downcast_ref::<MySqlDatabaseError>() {
                return mysql_failure(inner.number());
            }
            inner.code().map_or(Failure::Defect, |code| {
                // SQLSTATEs have five characters; SQLite's result codes have at most four.
                if code.len() == 5 {
                    postgres_failure(&code)
                } else {
                    sqlite_failure(&code)
                }
            })
        }
        // A connection that breaks within an answer breaks the protocol.
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Failure::Outage,
        _ => Failure::Defect,
    }
}

/// Whether it failed because this process has closed its connections: then there is nothing to wait for.
pub fn is_closed(error: &DbErr) -> bool {
    matches!(
        error,
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)
    )
}

/// Result codes of SQLite that tell of its surroundings, not of our statements: busy, locked,
/// read-only, I/O error, full, cannot open. The low byte is the primary code.
fn sqlite_failure(code: &str) -> Failure {
    match code.parse::<i32>().map(|code| code & 0xff) {
        Ok(5 | 6 | 8 | 10 | 13 | 14) => Failure::Outage,
        _ => Failure::Defect,
    }
}

/// SQLSTATEs of PostgreSQL (appendix A of its manual), and of those that speak its protocol.
fn postgres_failure(code: &str) -> Failure {
    match code {
        // serialization_failure, deadlock_detected, lock_not_available
        "40001" | "40P01" | "55P03" => Failure::Contention,
        // statement_completion_unknown; query_canceled (the statement's time limit); read_only_sql_transaction, of a
        // primary that became a standby; internal limits and shutdowns
        "40003" | "57014" | "25006" | "57P01" | "57P02" | "57P03" | "57P05" => Failure::Outage,
        // Connection exceptions, insufficient resources, errors of the system below.
        _ if matches!(code.get(..2), Some("08" | "53" | "58")) => Failure::Outage,
        _ => Failure::Defect,
    }
}

/// Error numbers of MariaDB and MySQL.
fn mysql_failure(number: u16) -> Failure {
    match number {
        // Lock wait timeout; deadlock, and a Galera cluster that did not certify; the same of group replication.
        1205 | 1213 | 3101 => Failure::Contention,
        // TiDB: the row, or the tables, or the lock were changed or taken by others meanwhile.
        8002 | 8005 | 8022 | 8028 | 8229 | 9007 => Failure::Contention,
        // Disk or table full; too many connections; no memory; not a member of a working cluster; shutting down; network;
        // error in COMMIT; too many connections of a user; read only; interrupted; killed; out of time.
        // Below 1000: what the system below the server did not do, with a file for instance.
        1..=999
        | 1021
        | 1114
        | 1040
        | 1041
        | 1042
        | 1043
        | 1047
        | 1053
        | 1077..=1079
        | 1152..=1161
        | 1180
        | 1184
        | 1203
        | 1226
        | 1290
        | 1317
        | 1792
        | 1836
        | 1927
        | 1969
        | 2006
        | 2013
        | 3024
        | 3100
        | 3169 => Failure::Outage,
        // TiDB: this server is behind with the tables; the storage, its placement driver, or one of their answers is missing.
        8027 | 8252 | 9001..=9005 | 9010 | 9011 => Failure::Outage,
        _ => Failure::Defect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_caused_is_told_from_what_is_wrong_with_us() {
        use Failure::{Contention, Defect, Outage};
        for (code, expected) in [
            ("40001", Contention),
            ("40P01", Contention),
            ("55P03", Contention),
            ("57014", Outage),
            ("57P01", Outage),
            ("57P03", Outage),
            ("08006", Outage),
            ("53300", Outage),
            ("25006", Outage),
            ("23505", Defect),
            ("42P01", Defect),
        ] {
            assert_eq!(postgres_failure(code), expected, "{code}");
        }
        for (number, expected) in [
            (1213, Contention),
            (1205, Contention),
            (6, Outage),
            (1047, Outage),
            (1053, Outage),
            (1969, Outage),
            (1927, Outage),
            (2013, Outage),
            (8002, Contention),
            (8005, Contention),
            (8022, Contention),
            (8028, Contention),
            (8229, Contention),
            (9007, Contention),
            (8027, Outage),
            (8252, Outage),
            (9001, Outage),
            (9003, Outage),
            (9005, Outage),
            (9006, Defect),
            (9010, Outage),
            (9011, Outage),
            (8001, Defect),
            (1062, Defect),
            (1146, Defect),
        ] {
            assert_eq!(mysql_failure(number), expected, "{number}");
        }
        // Extended result codes have the primary one in their low byte.
        for (code, expected) in [
            ("5", Outage),
            ("261", Outage),
            ("19", Defect),
            ("1", Defect),
        ] {
            assert_eq!(sqlite_failure(code), expected, "{code}");
        }
    }
}
