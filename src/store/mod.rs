//! The store: connections, what differs between engines, and the one path on which sessions are renewed.

pub mod backup;
mod engine;
mod migrate;
mod retry;
mod server;
mod sqlite;
pub mod statements;
mod write_path;

use std::time::Duration;

use sea_orm::{ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use engine::{CommitError, Failure, failure};
pub use migrate::migrate;
pub use write_path::{Ending, WritePath};

use crate::{clock::Rng, config::Config, error::Result};

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// For reading.
    pub reader: DatabaseConnection,
    /// For writing anything else.
    pub writer: DatabaseConnection,
    /// For what happens to one session.
    pub sessions: WritePath,
    /// What `sessions` writes with.
    pub renewing: DatabaseConnection,
    rng: Rng,
    /// How long an operation may wait for the store in all.
    timeout: Duration,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("unsupported database_url: it begins with sqlite://, postgres:// or mysql://")]
    UnsupportedUrl,
    #[error("database_url: an in-memory store would forget every session")]
    InMemory,
    #[error("cannot create {path}: {source}")]
    Create {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("cannot open the store: {0}")]
    Database(#[from] DbErr),
}

impl Store {
    /// Opens the store that the settings name; an embedded one is created when it is missing.
    ///
    /// # Errors
    /// When it cannot be created or reached.
    pub async fn open(config: &Config, rng: &Rng) -> Result<Self, StoreError> {
        let url = config.database_url();
        let (reader, writer, renewing) = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => {
                let (reader, writer) = sqlite::open(&url, config.database_timeout()).await?;
                (reader, writer.clone(), writer)
            }
            Some("postgres" | "postgresql" | "mysql" | "mariadb") => {
                let (requests, renewals) = server::open(config).await?;
                (requests.clone(), requests, renewals)
            }
            _ => return Err(StoreError::UnsupportedUrl),
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let timeout = config.database_timeout();
        let writing = write_path::Writing {
            db: renewing.clone(),
            rng: rng.clone(),
            timeout,
        };
        let sessions = WritePath::start(writing, &tasks, stop.clone());
        Ok(Self {
            reader,
            writer,
            sessions,
            renewing,
            rng: rng.clone(),
            timeout,
            tasks,
            stop,
        })
    }

    /// Begins a transaction that will write: it takes its place in the queue of writers now.
    ///
    /// # Errors
    /// When the store does not answer in time.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        engine::begin(&self.writer).await
    }

    /// Commits. Nothing may be answered before.
    ///
    /// # Errors
    /// When it was not committed, or that is not known.
    pub async fn commit(&self, transaction: DatabaseTransaction) -> Result<(), CommitError> {
        engine::commit(transaction).await
    }

    /// Whether the store answers, and renewals are taken.
    ///
    /// # Errors
    /// When either is not so.
    pub async fn ping(&self) -> Result<(), DbErr> {
        if !self.sessions.is_open() {
            return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed));
        }
        // Not a mere ping of the connection: the file may be gone from under it.
        self.reader
            .query_one_raw(sea_orm::Statement::from_string(
                self.reader.get_database_backend(),
                "SELECT value FROM setting WHERE name = 'epoch'",
            ))
            .await?;
        Ok(())
    }

    /// Decides the renewals that still wait, then closes every connection.
    ///
    /// # Errors
    /// When a connection does not close properly.
    pub async fn close(&self) -> Result<(), DbErr> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.reader.close_by_ref().await?;
        self.writer.close_by_ref().await?;
        self.renewing.close_by_ref().await
    }
}
