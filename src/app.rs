//! The one value that everything works on, built in one place.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use entity::{AppId, PlainSecret, signing_key};
use keys::MasterKey;
use migration::{Migrator, MigratorTrait, SchemaManager};
use sea_orm::DbErr;
use tokio::sync::Notify;

use crate::{
    apps::{Directory, LoadedApp, root_key},
    clock::{Clock, Rng},
    config::{Config, Secrets},
    error::{Error, Result},
    metrics::Metrics,
    signing::seal_label,
    store::{Store, StoreError},
};

/// The server's parts.
#[derive(Debug)]
pub struct App {
    pub config: Config,
    pub clock: Clock,
    pub rng: Rng,
    pub store: Store,
    pub master: MasterKey,
    pub directory: Directory,
    pub metrics: Metrics,
    /// Told when there is something to purge.
    pub purge: Notify,
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
    #[error(
        "the master key is missing: the store has signing keys that are sealed by it. Put the file back at \
         {0}, or set RENEWD_MASTER_KEY"
    )]
    MissingMasterKey(PathBuf),
    #[error(
        "the master key is wrong: it does not open the signing keys of this store. Put back the {0} that \
         belongs to the store. Nothing was changed"
    )]
    WrongMasterKey(String),
    #[error("the master key file {0} is damaged: it must hold 32 bytes in base64")]
    DamagedMasterKey(PathBuf),
    #[error("cannot read or write the master key file {path}: {source}")]
    MasterKeyFile { path: PathBuf, source: io::Error },
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
        secrets: Secrets,
        clock: Clock,
        rng: Rng,
    ) -> Result<Opened, StartError> {
        let store = Store::open(&config).await?;
        let (master, origin) =
            master_key(&store, &config.data_dir, secrets.master_key, &rng).await?;
        Migrator::up(&store.writer, None)
            .await
            .map_err(StartError::Migration)?;
        tracing::debug!(origin, "master key read");
        let root_key = root_key::ensure(&store, &rng, clock.now(), secrets.root_key).await?;
        let app = Self {
            config,
            clock,
            rng,
            store,
            master,
            directory: Directory::default(),
            metrics: Metrics::default(),
            purge: Notify::new(),
        };
        Ok(Opened { app, root_key })
    }

    /// The app with its keys, from memory if it is there; `None` when there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn load(&self, id: AppId) -> Result<Option<Arc<LoadedApp>>> {
        self.directory.app(&self.store, &self.master, id).await
    }

    /// Finishes the renewals that wait, and closes the store.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn close(&self) -> Result<()> {
        Ok(self.store.close().await?)
    }
}

/// The master key, and where it comes from: the environment, else the file, which is made when the store
/// has nothing sealed yet.
async fn master_key(
    store: &Store,
    data_dir: &Path,
    given: Option<MasterKey>,
    rng: &Rng,
) -> Result<(MasterKey, String), StartError> {
    let path = data_dir.join("master.key");
    // A fresh store has no tables yet.
    let has_tables = SchemaManager::new(&store.reader)
        .has_table("signing_key")
        .await?;
    let sealed = if has_tables {
        signing_key::any(&store.reader).await?
    } else {
        None
    };
    let (key, origin) = match given {
        Some(key) => (key, "RENEWD_MASTER_KEY".to_owned()),
        None => match read_key(&path)? {
            Some(key) => (key, path.display().to_string()),
            None if sealed.is_some() => return Err(StartError::MissingMasterKey(path)),
            None => (make_key(&path, rng)?, path.display().to_string()),
        },
    };
    if let Some(row) = sealed
        && key.open(&seal_label(row.id), &row.sealed).is_err()
    {
        return Err(StartError::WrongMasterKey(origin));
    }
    Ok((key, origin))
}

fn read_key(path: &Path) -> Result<Option<MasterKey>, StartError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(file_error(path, source)),
    };
    let mode = fs::metadata(path)
        .map_err(|source| file_error(path, source))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others can read the master key: chmod 600 it");
    }
    MasterKey::from_base64(&text)
        .map(Some)
        .map_err(|_| StartError::DamagedMasterKey(path.to_owned()))
}

fn make_key(path: &Path, rng: &Rng) -> Result<MasterKey, StartError> {
    let key = rng
        .with(|mut rng| MasterKey::generate(&mut rng))
        .map_err(|_| StartError::DamagedMasterKey(path.to_owned()))?;
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{}", key.to_base64().as_str())?;
        // Sessions are sealed by it from now on: it must outlive a power cut as they do.
        file.sync_all()
    };
    write().map_err(|source| file_error(path, source))?;
    Ok(key)
}

fn file_error(path: &Path, source: io::Error) -> StartError {
    StartError::MasterKeyFile {
        path: path.to_owned(),
        source,
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Self::internal(error)
    }
}
