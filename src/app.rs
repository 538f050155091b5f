//! The one value that everything works on, built in one place.

use ambient::{Clock, Rng};
use entity::NodeId;
use sea_orm::{ConnAcquireErr, DbErr};
use store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    apps::{directory::Directory, usage::Usage},
    audit::refusals::Refusals,
    config::Config,
    devices::quota::Quota,
    error::Result,
    master::MasterKeys,
    metrics::Metrics,
    sessions::{mark::Suspects, minted::Minted, write_path::WritePath},
    turns::Turns,
    watch::Watch,
};

/// The server's parts.
#[derive(Debug)]
pub struct App {
    pub config: Config,
    pub clock: Clock,
    pub rng: Rng,
    pub store: Store,
    /// For what happens to one session.
    pub write_path: WritePath,
    pub master: MasterKeys,
    /// Names this process where several share a store.
    pub node: NodeId,
    pub directory: Directory,
    pub turns: Turns,
    pub metrics: Metrics,
    pub refusals: Refusals,
    pub usage: Usage,
    pub minted: Minted,
    pub suspects: Suspects,
    /// Whether the clock is believed.
    pub watch: Watch,
    /// What publishable keys and users have told of devices lately.
    pub quota: Quota,
    /// Told when there is something to purge.
    pub purge: Notify,
    /// Cancelled when the server was told to stop: nothing new is to come here.
    pub stopping: CancellationToken,
}

impl App {
    /// Everything that needs no more than these to begin with.
    pub fn new(config: Config, clock: Clock, rng: Rng, store: Store, master: MasterKeys) -> Self {
        Self {
            node: rng.with(|rng| NodeId::mint(clock.now(), rng)),
            write_path: WritePath::start(&store),
            quota: Quota::of(&config),
            config,
            clock,
            rng,
            store,
            master,
            directory: Directory::default(),
            turns: Turns::default(),
            metrics: Metrics::default(),
            refusals: Refusals::default(),
            usage: Usage::default(),
            minted: Minted::default(),
            suspects: Suspects::default(),
            watch: Watch::default(),
            purge: Notify::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// Runs `attempt`, a whole operation, as [`Store::retry`] does.
    ///
    /// # Errors
    /// The last one of `attempt`.
    pub async fn retry<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.store.retry(attempt).await
    }

    /// Whether the store answers and takes writes, and renewals are taken.
    ///
    /// # Errors
    /// When any of it is not so.
    pub async fn ping(&self) -> Result<(), DbErr> {
        if !self.write_path.is_open() {
            return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed));
        }
        self.store.ping().await
    }

    /// Finishes the renewals that wait, and closes the store.
    pub async fn close(&self) -> Result<()> {
        // Without the jobs nobody else does it: a command changes something and ends.
        let told = self.directory.tell_older_releases(&self.store).await;
        if let Err(error) = told {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "cannot tell processes of the release before of a change"
            );
        }
        Ok(self.store.close().await?)
    }
}
