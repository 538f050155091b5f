//! The store: connections, and what differs between the engines. It knows no session and no app.
//!
//! What asks the store fails when the store fails. An `# Errors` section says what else can go wrong.

mod backup;
mod connections;
pub mod deadline;
pub mod engine;
mod folder;
mod migrate;
mod pool;
pub mod restore;
mod retry;
mod server;
mod sqlite;
mod transaction;
mod writes;

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use ambient::Rng;
use entity::setting;
use rand::RngExt;
use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

pub use backup::CopyError;
pub use connections::Connections;
pub use engine::{CommitError, Failure, failure};
pub use retry::{Backoff, Retried, Trouble};
pub use sqlite::file_of;
pub use transaction::Transaction;
pub use writes::Writes;

/// How long the store may take to tell that it is there: whoever asks is about to decide where to send requests.
const PING: Duration = Duration::from_secs(1);
/// How long the tables may take to be brought up to date.
const MIGRATION: Duration = Duration::from_mins(10);

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// For reading.
    pub reader: Connections,
    /// For writing anything else.
    pub writer: Connections,
    /// For what happens to one session.
    pub renewing: Connections,
    /// For looking whether the store answers, and what has changed.
    pub watching: Connections,
    /// Whether it takes writes.
    pub writes: Arc<Writes>,
    pub rng: Rng,
    /// How long an operation may wait for the store in all.
    pub timeout: Duration,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The folder of an embedded store: while it is open here, nobody puts another one in its place.
    folder: Option<File>,
}

/// Which store to open, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite://…`, `postgres://…` or `mysql://…`. It may have a password.
    pub url: String,
    /// How long an operation may wait for the store in all.
    pub timeout: Duration,
    /// How long a server may work on one statement.
    pub statement_timeout: Duration,
    /// Connections to a server, for all but what happens to one session.
    pub connections: u32,
    pub tls: Tls,
    /// The authorities that may have signed a server's certificate; those of the system when it is empty.
    pub ca_file: PathBuf,
}

/// How the connection to a server is protected.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// As the URL says.
    Url,
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("unsupported database_url: it begins with sqlite://, postgres:// or mysql://")]
    UnsupportedUrl,
    #[error("database_url is not a URL: {0}")]
    NotAUrl(#[from] url::ParseError),
    #[error("database_url: an in-memory store would forget every session")]
    InMemory,
    #[error("cannot create {path}: {source}")]
    Create {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "another program, not renewd, has the store open, so that its log cannot be emptied: end it first"
    )]
    LogInUse,
    #[error("cannot open the store: {0}")]
    Database(#[from] DbErr),
    #[error("cannot open the store: the database at {address}: {source}")]
    Server { address: String, source: DbErr },
}

impl Store {
    /// Opens the store that the settings name; an embedded one is created when it is missing.
    ///
    /// # Errors
    /// When it cannot be created or reached.
    pub async fn open(options: &Options, rng: &Rng) -> Result<Self, StoreError> {
        let (url, timeout) = (&options.url, options.timeout);
        let mut folder = None;
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        if let Some("sqlite" | "postgres" | "postgresql" | "mysql") = scheme {
            // Asked here first: the driver's complaint would show all of it.
            Url::parse(url)?;
        }
        let (reader, writer, renewing, watching) = match scheme {
            Some("sqlite") => {
                let (reader, writer, held) = sqlite::open(url, timeout).await?;
                folder = held;
                (reader.clone(), writer.clone(), writer, reader)
            }
            Some("postgres" | "postgresql" | "mysql") => {
                let server = server::open(options).await;
                let server = server.map_err(|source| StoreError::Server {
                    address: server::address(url),
                    source,
                })?;
                let requests = server.requests;
                (requests.clone(), requests, server.renewals, server.watching)
            }
            _ => return Err(StoreError::UnsupportedUrl),
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self {
            reader,
            writer,
            renewing,
            writes: Arc::default(),
            watching,
            rng: rng.clone(),
            timeout,
            tasks,
            stop,
            folder,
        })
    }

    /// Begins a transaction that will write: it takes its place in the queue of writers now.
    ///
    /// # Errors
    /// When the store does not answer in time.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        self.writer.begin().await
    }

    /// Whether it is a server, which may have others that take its place.
    pub fn is_server(&self) -> bool {
        self.writer.get_database_backend() != DbBackend::Sqlite
    }

    /// Writes what nobody reads, so that the commit tells whether what the transaction read is what the store has: a server whose
    /// place another one has taken cannot commit a write.
    pub async fn prove(&self, transaction: &Transaction) -> Result<(), DbErr> {
        let value = self.rng.with(|rng| rng.random());
        setting::write_probe(transaction, value).await
    }

    /// Commits. Nothing may be answered before.
    ///
    /// # Errors
    /// When it was not committed, or that is not known.
    pub async fn commit(&self, transaction: Transaction) -> Result<(), CommitError> {
        engine::commit(transaction).await
    }

    /// Whether the store answers and takes writes.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), DbErr> {
        // Not a mere ping of the connection: the file may be gone from under it.
        let read = self.watching.query_one_raw(sea_orm::Statement::from_string(
            self.watching.get_database_backend(),
            "SELECT value FROM setting WHERE name = 'epoch'",
        ));
        deadline::within(PING, async {
            read.await?;
            self.takes_writes().await
        })
        .await
    }

    /// How long an attempt may take, before it is made anew on another connection. Where there is one writer only, nothing is
    /// gained by another one.
    pub fn patience(&self) -> Duration {
        match self.renewing.get_database_backend() {
            DbBackend::Sqlite => self.timeout,
            _ => server::patience(self.timeout),
        }
    }

    /// Cancelled when the store is to close.
    pub fn closing(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// What `work` gives, if it does so within the time that an operation may wait for the store.
    ///
    /// # Errors
    /// When it does not.
    pub async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, DbErr> {
        timeout_at(deadline::end(self.timeout), work)
            .await
            .map_err(|_| deadline::over())
    }

    /// Brings the tables to this release.
    ///
    /// # Errors
    /// When they cannot be changed, or are those of another history.
    pub async fn migrate(&self) -> Result<(), DbErr> {
        self.writer.lend(MIGRATION, migrate::migrate).await
    }

    /// Whether there is a table of this name.
    ///
    /// # Errors
    /// When the store does not answer in time.
    pub async fn has_table(&self, name: &str) -> Result<bool, DbErr> {
        let look = async |db: &_| migration::SchemaManager::new(db).has_table(name).await;
        self.writer.lend(self.timeout, look).await
    }

    /// Does `work` beside whoever asks for it. The store is not closed before it is done.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(work)
    }

    /// Lets what was spawned end, then closes every connection.
    ///
    /// # Errors
    /// When the store does not answer in time, or a connection does not close properly.
    pub async fn close(&self) -> Result<(), DbErr> {
        self.stop.cancel();
        self.tasks.close();
        let end = Instant::now() + self.timeout;
        let decided = timeout_at(end, self.tasks.wait()).await;
        let connections = [&self.reader, &self.writer, &self.renewing, &self.watching];
        deadline::until(end, async {
            let mut closed = decided.map_err(|_| deadline::over());
            for connections in connections {
                closed = closed.and(connections.close().await);
            }
            closed
        })
        .await?;
        if let Some(folder) = &self.folder {
            // Where that does not work, it was never locked.
            let _ = folder.unlock();
        }
        Ok(())
    }
}
