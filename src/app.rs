//! The one value that everything works on, built in one place.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ambient::{Clock, Rng};
use entity::{AppId, NodeId, PlainSecret};
use sea_orm::{ConnAcquireErr, DbErr};
use store::{Store, StoreError, deadline, file_of};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    apps::{
        Directory, LoadedApp, Turns, Usage,
        root_key::{self, Ensured},
    },
    audit::Refusals,
    config::{Config, Secrets},
    devices::Quota,
    error::{Error, Result},
    jobs,
    master::{self, MasterKeyFault, MasterKeys},
    metrics::Metrics,
    sessions::{Minted, Suspects, WritePath},
};

/// How long somebody who asks for what everybody may know waits for the store, before what is in memory is told.
const PUBLIC: Duration = Duration::from_millis(500);

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
    pub watch: jobs::clock::Watch,
    /// What publishable keys and users have told of devices lately.
    pub quota: Quota,
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
    #[error("RENEWD_ROOT_KEY must have 32 to 256 printable ASCII characters and no space")]
    RootKey,
    #[error(
        "there is no store at {}: `renewd serve` and `renewd migrate` make one, nothing else does. If you have one elsewhere, run \
         this there, or name it by --data-dir or --database-url",
        .0.display()
    )]
    NoFile(PathBuf),
    #[error(
        "the database of database_url has no store: `renewd serve` and `renewd migrate` make one, nothing else does"
    )]
    NoTables,
}

/// What becomes of a store that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// It is made, with its keys.
    Make,
    Refuse,
}

impl App {
    /// Opens the store, which is made if it is missing, brings its tables up to date, and sees that there are a master and a
    /// root key.
    ///
    /// # Errors
    /// When the store cannot be opened, or the master key is not the one that belongs to it.
    pub async fn open(
        config: Config,
        secrets: Secrets,
        clock: Clock,
        rng: Rng,
    ) -> Result<Opened, StartError> {
        Self::open_or(Missing::Make, config, secrets, clock, rng).await
    }

    /// Opens a store that is there: whoever runs a command in a wrong folder is told so, and nothing is made.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and when there is no store or no master key.
    pub async fn open_existing(
        config: Config,
        secrets: Secrets,
        clock: Clock,
        rng: Rng,
    ) -> Result<Opened, StartError> {
        Self::open_or(Missing::Refuse, config, secrets, clock, rng).await
    }

    async fn open_or(
        missing: Missing,
        config: Config,
        mut secrets: Secrets,
        clock: Clock,
        rng: Rng,
    ) -> Result<Opened, StartError> {
        if missing == Missing::Refuse
            && let Some(file) = file_of(&config.database_url())
            // An empty file is what a start leaves that was killed at once.
            && std::fs::metadata(&file).map_or(0, |file| file.len()) == 0
        {
            return Err(StartError::NoFile(
                std::path::absolute(&file).unwrap_or(file),
            ));
        }
        let store = Store::open(&config.store(), &rng).await?;
        let master = master_keys(missing, &store, &config.data_dir, &mut secrets, &rng).await?;
        store.migrate().await.map_err(StartError::Migration)?;
        if !master::claim(&master, &store).await? {
            return Err(MasterKeyFault::Wrong(master.origin()).into());
        }
        let now = clock.now();
        let root_key = match root_key::ensure(&store, &rng, now, secrets.root_key).await? {
            Ensured::Made(shown) => shown,
            Ensured::Malformed => return Err(StartError::RootKey),
            Ensured::Kept => None,
            Ensured::Differs => {
                // Who runs a command has not asked for this; who starts a server may rely on the key.
                if missing == Missing::Make {
                    tracing::warn!(
                        "RENEWD_ROOT_KEY is not the root key of this store, which keeps its own: the variable is for a fresh \
                         store only. `renewd key rotate-root` makes a new one"
                    );
                }
                None
            }
        };
        let quota = Quota::of(&config);
        let node = rng.with(|rng| NodeId::mint(now, rng));
        let app = Self {
            config,
            clock,
            rng,
            write_path: WritePath::start(&store),
            store,
            master,
            directory: Directory::default(),
            turns: Turns::default(),
            metrics: Metrics::default(),
            refusals: Refusals::default(),
            usage: Usage::default(),
            minted: Minted::default(),
            suspects: Suspects::default(),
            watch: jobs::clock::Watch::default(),
            quota,
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
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        // On the heap: what every request carries along is small.
        Box::pin(async {
            let question = self.directory.news.of(id);
            // Of many that want it at once one reads it; the others find it in memory.
            let _asking = self.store.wait(question.lock()).await?;
            self.load_alone(id).await
        })
        .await
    }

    /// The same, for whoever holds the question of this app.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn load_alone(&self, id: AppId) -> Result<Option<Arc<LoadedApp>>> {
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        let now = self.clock.now();
        let load = async || {
            self.directory.freshen(&self.store).await?;
            self.directory.app(&self.store, &self.master, now, id).await
        };
        self.retry(load).await
    }

    fn known(&self, id: AppId) -> Option<Arc<LoadedApp>> {
        let is_fresh = self.directory.freshness.holds();
        is_fresh.then(|| self.directory.known(id)).flatten()
    }

    /// The app for what everybody may know of it: as it was known last, and `false`, while the store does not answer.
    ///
    /// # Errors
    /// Those of the store, of an app that is not in memory.
    pub async fn load_public(&self, id: AppId) -> Result<(Option<Arc<LoadedApp>>, bool)> {
        let is_fresh = self.directory.freshness.holds()
            || Box::pin(deadline::within(
                PUBLIC,
                self.directory.freshen(&self.store),
            ))
            .await
            .is_ok();
        match self.directory.known(id).filter(|_| !is_fresh) {
            Some(known) => Ok((Some(known), false)),
            None => Ok((self.load(id).await?, true)),
        }
    }

    /// The app as it is now, after somebody changed it since `stale` was loaded.
    ///
    /// # Errors
    /// When there is none (any more); those of the store.
    pub async fn reload(&self, stale: &LoadedApp) -> Result<Arc<LoadedApp>> {
        self.directory.drop_stale(stale);
        self.load(stale.app.id).await?.ok_or(Error::InvalidKey)
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
    ///
    /// # Errors
    /// Those of the store.
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

/// The master keys: those of the environment or of the files, else one that is made, when the store has nothing
/// sealed yet.
async fn master_keys(
    missing: Missing,
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
    let has_tables = store.has_table("signing_key").await?;
    if missing == Missing::Refuse && !has_tables {
        return Err(StartError::NoTables);
    }
    match found {
        Some(keys) if has_tables && !master::belong(&keys, &store.reader).await? => {
            Err(MasterKeyFault::Wrong(keys.origin()).into())
        }
        Some(keys) => Ok(keys),
        None if missing == Missing::Refuse
            || has_tables && master::is_claimed(&store.reader).await? =>
        {
            Err(MasterKeyFault::Missing(data_dir.join("master.key")).into())
        }
        None => Ok(MasterKeys::make(data_dir, rng)?),
    }
}
