//! The embedded store.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr,
    sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::StoreError;

/// Readers do not wait for the writer in WAL mode; more of them than cores gain nothing.
const READERS: u32 = 4;

/// Opens readers, and the one writer that SQLite has room for.
pub async fn open(
    url: &str,
    timeout: Duration,
) -> Result<(DatabaseConnection, DatabaseConnection), StoreError> {
    if !url.starts_with("sqlite:") {
        return Err(StoreError::UnsupportedUrl);
    }
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into())))?;
    let path = options.get_filename();
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(StoreError::InMemory);
    }
    if url.contains("mode=rwc") {
        create(path).map_err(|source| StoreError::Create {
            path: path.to_owned(),
            source,
        })?;
    }
    let reader = connect(url, READERS, timeout).await?;
    let writer = connect(url, 1, timeout).await?;
    Ok((reader, writer))
}

/// The file that the URL names.
pub fn file_of(url: &str) -> Option<PathBuf> {
    let is_file = url.starts_with("sqlite:") && !url.contains(":memory:");
    let options = SqliteConnectOptions::from_str(url).ok();
    options
        .filter(|_| is_file)
        .map(|options| options.get_filename().to_owned())
}

async fn connect(
    url: &str,
    connections: u32,
    timeout: Duration,
) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| {
            sqlite
                .journal_mode(SqliteJournalMode::Wal)
                // FULL syncs the log at each commit: an acknowledged renewal survives a power cut.
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                // 32 MiB: a page that is written again and again is copied from the log to its place once.
                .pragma("wal_autocheckpoint", "8192")
                .busy_timeout(timeout)
        });
    Database::connect(options).await
}

/// Creates the file, readable by its owner only, and its folder. SQLite gives the log beside it the
/// same mode.
fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
