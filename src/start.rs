//! Opens the store and makes the [`App`] that everything works on.

use std::path::{Path, PathBuf};

use ambient::{Clock, Rng};
use entity::PlainSecret;
use sea_orm::DbErr;
use store::{Store, StoreError, file_of};

use crate::{
    app::App,
    apps::root_key::{self, Ensured},
    config::{Config, Secrets},
    error::Error,
    master::{self, MasterKeyFault, MasterKeys},
};

/// The last table of the first migration. On an engine where each table is made by itself, another process may be making them: with this
/// one, all are there that are asked below.
const LAST_TABLE: &str = "setting";

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
    open_or(Missing::Make, config, secrets, clock, rng).await
}

/// Opens a store that is there: whoever runs a command in a wrong folder is told so, and nothing is made.
///
/// # Errors
/// Those of [`open`], and when there is no store or no master key.
pub async fn open_existing(
    config: Config,
    secrets: Secrets,
    clock: Clock,
    rng: Rng,
) -> Result<Opened, StartError> {
    open_or(Missing::Refuse, config, secrets, clock, rng).await
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
    let app = App::new(config, clock, rng, store, master);
    Ok(Opened { app, root_key })
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
    let has_tables = store.has_table(LAST_TABLE).await?;
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
