//! The embedded store.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, SqlxSqliteConnector, Statement,
    sqlx::{
        ConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    },
};

use crate::{
    StoreError,
    connections::{Connections, Limits},
    deadline,
    folder::{self, folder_of},
    pool::without_leftovers,
};

/// Readers do not wait for the writer in WAL mode; more of them than cores gain nothing.
const READERS: u32 = 4;
/// How long it may take to empty a log that is found at a start.
const EMPTYING: Duration = Duration::from_mins(10);

/// Opens readers, and the one writer that SQLite has room for; locks the folder against [`folder::is_in_use`].
pub async fn open(
    url: &str,
    timeout: Duration,
) -> Result<(Connections, Connections, Option<File>), StoreError> {
    if !url.starts_with("sqlite:") {
        return Err(StoreError::UnsupportedUrl);
    }
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into())))?;
    let path = options.get_filename().to_owned();
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(StoreError::InMemory);
    }
    if url.contains("mode=rwc") {
        create(&path).map_err(|source| StoreError::Create {
            path: path.clone(),
            source,
        })?;
    }
    // Any number of processes may share it.
    let entered = folder::enter(folder_of(&path), timeout).await?;
    let reader = connections(options.clone(), READERS, timeout);
    reader.make_all().await?;
    let writer = connections(options, 1, timeout);
    if entered.is_first {
        deadline::within(EMPTYING, empty_log(&writer)).await?;
    }
    let folder = entered.share(timeout).await?;
    Ok((reader, writer, folder))
}

/// Brings all that the log holds to its place, syncs that, and begins the log anew.
///
/// The disk may lack a part of a log that is found at a start: when a sync fails, the kernel gives up what was to be
/// written, and goes on showing it to whoever reads. Then a commit that is added to such a log is lost with the power,
/// though it was synced itself, for the log ends where its first gap is. In the process to which the sync failed that does
/// not happen: the index of the log, which lives while a connection does, ends before what was given up, and the next commit
/// writes over it.
async fn empty_log(writer: &Connections) -> Result<(), StoreError> {
    let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA wal_checkpoint(TRUNCATE)");
    let row = writer.query_one_raw(statement).await?;
    let is_busy = row.map(|row| row.try_get_by_index::<i32>(0)).transpose()?;
    if is_busy == Some(0) {
        return Ok(());
    }
    Err(StoreError::LogInUse)
}

/// The file that the URL names.
pub fn file_of(url: &str) -> Option<PathBuf> {
    let is_file = url.starts_with("sqlite:") && !url.contains(":memory:");
    let options = SqliteConnectOptions::from_str(url).ok();
    options
        .filter(|_| is_file)
        .map(|options| options.get_filename().to_owned())
}

fn connections(options: SqliteConnectOptions, count: u32, timeout: Duration) -> Connections {
    let limits = Limits {
        count,
        timeout,
        // A copy of the store takes what it takes.
        statement: None,
        // Where the disk hangs, so would any number of connections, each with a thread.
        replaces_silent: false,
    };
    let options = options
        .journal_mode(SqliteJournalMode::Wal)
        // FULL syncs the log at each commit: an acknowledged renewal survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // 32 MiB: a page that is written again and again is copied from the log to its place once.
        .pragma("wal_autocheckpoint", "8192")
        .busy_timeout(timeout)
        .disable_statement_logging();
    let pool = without_leftovers(SqlitePoolOptions::new())
        .max_connections(1)
        .acquire_timeout(timeout)
        // Readers live as long as the process does, and with them the index of the log: see `empty_log`.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false);
    Connections::new(limits, DbBackend::Sqlite, move || {
        let pool = pool.clone().connect_lazy_with(options.clone());
        SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)
    })
}

/// Creates the file, readable by its owner only, and its folder, so that both outlive a loss of power. SQLite gives the log
/// beside it the same mode.
fn create(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => {
            File::open(folder)?.sync_all()?;
            File::open(folder_of(folder))?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
