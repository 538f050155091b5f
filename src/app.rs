//! The one value that everything works on, built in one place.

use std::{path::Path, sync::Arc};

use entity::{AppId, NodeId, PlainSecret};
use migration::SchemaManager;
use sea_orm::DbErr;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    apps::{Directory, LoadedApp, Usage, root_key},
    audit::Refusals,
    clock::{Clock, Rng},
    config::{Config, Secrets},
    error::{Error, Result},
    master::{self, MasterKeyFault, MasterKeys},
    metrics::Metrics,
    sessions::Minted,
    store::{Store, StoreError, migrate},
};

/// The server's parts.
#[derive(Debug)]
pub struct App {
    pub config: Config,
    pub clock: Clock,
    pub rng: Rng,
    pub store: Store,
    pub master: MasterKeys,
    /// Names this process where several share a store.
    pub node: NodeId,
    pub directory: Directory,
    pub metrics: Metrics,
    pub refusals: Refusals,
    pub usage: Usage,
    pub minted: Minted,
    /// Told when there is something to purge.
    pub purge: Notify,
    /// Cancelled when the server was told to stop: nothing new is to come here.
    pub stopping: CancellationToken,
}

/// An app that was opened, and what must be shown this once.
#[derive(Debug)]
pub struct Opened {
    pub app: App,
    /// The root key, when this start made it.
    pub root_key: Option<PlainSecret>,
}

/// Why the server does not start. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot bring the store to the tables of this release: {0}")]
    Migration(DbErr),
    #[error("cannot read the store: {0}")]
    Database(#[from] DbErr),
    #[error("cannot use the store: {0}")]
    Setup(#[from] Error),
    #[error(transparent)]
    MasterKey(#[from] MasterKeyFault),
    #[error(transparent)]
    RootKey(#[from] root_key::RootKeyError),
}

impl App {
    /// Opens the store, brings its tables up to date, and sees that there are a master and a root key.
    ///
    /// # Errors
    /// When the store cannot be opened, or a key is not the one that belongs to it.
    pub async fn open(
        config: Config,
        mut secrets: Secrets,
        clock: Clock,
        rng: Rng,
    ) -> Result<Opened, StartError> {
        let store = Store::open(&config, &rng).await?;
        let master = master_keys(&store, &config.data_dir, &mut secrets, &rng).await?;
        migrate(&store.writer)
            .await
            .map_err(StartError::Migration)?;
        master::claim(&master, &store).await?;
        let now = clock.now();
        let root_key = root_key::ensure(&store, &rng, now, secrets.root_key).await?;
        let node = rng.with(|rng| NodeId::mint(now, rng));
        let app = Self {
            config,
            clock,
            rng,
            store,
            master,
            directory: Directory::default(),
            metrics: Metrics::default(),
            refusals: Refusals::default(),
            usage: Usage::default(),
            minted: Minted::default(),
            purge: Notify::new(),
            stopping: CancellationToken::new(),
            node,
        };
        Ok(Opened { app, root_key })
    }

    /// The app with its keys, from memory if it is there; `None` when there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn load(&self, id: AppId) -> Result<Option<Arc<LoadedApp>>> {
        if let Some(known) = self.directory.known(id) {
            return Ok(Some(known));
        }
        let now = self.clock.now();
        let load = || self.directory.app(&self.store, &self.master, now, id);
        // On the heap: what every request carries along is small.
        Box::pin(self.store.retry(load)).await
    }

    /// The app as it is now, after somebody changed apps or keys.
    ///
    /// # Errors
    /// When there is none (any more); those of the store.
    pub async fn reload(&self, id: AppId) -> Result<Arc<LoadedApp>> {
        let follow = || self.directory.follow(&self.store);
        self.store.retry(follow).await?;
        self.load(id).await?.ok_or(Error::InvalidKey)
    }

    /// Finishes the renewals that wait, and closes the store.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn close(&self) -> Result<()> {
        Ok(self.store.close().await?)
    }
}

/// The master keys: those of the environment or of the files, else one that is made, when the store has nothing
/// sealed yet.
async fn master_keys(
    store: &Store,
    data_dir: &Path,
    secrets: &mut Secrets,
    rng: &Rng,
) -> Result<MasterKeys, StartError> {
    let (given, previous) = (
        secrets.master_key.take(),
        secrets.previous_master_key.take(),
    );
    let found = MasterKeys::find(data_dir, given, previous)?;
    // A fresh store has no tables yet.
    let has_tables = SchemaManager::new(&store.reader)
        .has_table("signing_key")
        .await?;
    match found {
        Some(keys) if has_tables && !master::belong(&keys, &store.reader).await? => {
            Err(MasterKeyFault::Wrong(keys.origin()).into())
        }
        Some(keys) => Ok(keys),
        None if has_tables && master::is_claimed(&store.reader).await? => {
            Err(MasterKeyFault::Missing(data_dir.join("master.key")).into())
        }
        None => Ok(MasterKeys::make(data_dir, rng)?),
    }
}
