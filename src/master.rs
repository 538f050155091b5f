//! The master keys: the one that seals, and while it is being replaced the one before.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use entity::{session::TokenMac, setting, signing_key};
use keys::{MasterKey, PrivateKey, SealError};
use sea_orm::{ConnectionTrait, DbErr};
use zeroize::Zeroizing;

use crate::{
    app::{App, StartError},
    audit::{Action, Actor, Event, record},
    clock::Rng,
    error::{Error, Result},
    signing::seal_label,
    store::Store,
};

const FILE: &str = "master.key";
const PREVIOUS_FILE: &str = "master.key.previous";
/// Signing keys that are sealed anew in one transaction.
const BATCH: u64 = 100;

/// What opens the sealed keys.
#[derive(Debug)]
pub struct MasterKeys {
    source: Source,
    loaded: RwLock<Loaded>,
}

#[derive(Debug)]
enum Source {
    /// Given for the life of the process.
    Environment,
    /// Files in this folder, which another process may replace at any time.
    Files(PathBuf),
}

#[derive(Clone, Debug)]
struct Loaded {
    current: Arc<MasterKey>,
    previous: Option<Arc<MasterKey>>,
}

/// Why there is no usable master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyFault {
    #[error(
        "the master key is missing: the store has signing keys that are sealed by it. Put the file back at \
         {0}, or set RENEWD_MASTER_KEY"
    )]
    Missing(PathBuf),
    #[error(
        "the master key is wrong: it does not open the signing keys of this store. Put back the {0} that \
         belongs to the store. Nothing was changed"
    )]
    Wrong(String),
    #[error("the master key file {0} is damaged: it must hold 32 bytes in base64")]
    Damaged(PathBuf),
    #[error("cannot read or write the master key file {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("set RENEWD_MASTER_KEY when you set RENEWD_PREVIOUS_MASTER_KEY")]
    PreviousAlone,
}

impl MasterKeys {
    /// Those of the environment, if there are any, else those in the files of `data_dir`. None is made.
    ///
    /// # Errors
    /// When a file is not readable, or holds no key.
    pub fn find(
        data_dir: &Path,
        given: Option<MasterKey>,
        given_previous: Option<MasterKey>,
    ) -> Result<Option<Self>, MasterKeyFault> {
        let (source, loaded) = match (given, given_previous) {
            (Some(current), previous) => {
                let loaded = Loaded {
                    current: Arc::new(current),
                    previous: previous.map(Arc::new),
                };
                (Source::Environment, Some(loaded))
            }
            (None, Some(_)) => return Err(MasterKeyFault::PreviousAlone),
            (None, None) => (Source::Files(data_dir.to_owned()), read(data_dir)?),
        };
        Ok(loaded.map(|loaded| Self {
            source,
            loaded: RwLock::new(loaded),
        }))
    }

    /// Makes one, in a file of `data_dir` that only its owner reads.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn make(data_dir: &Path, rng: &Rng) -> Result<Self, MasterKeyFault> {
        let path = data_dir.join(FILE);
        let key = generate(&path, rng)?;
        write_new(&path, &key)?;
        Ok(Self {
            source: Source::Files(data_dir.to_owned()),
            loaded: RwLock::new(Loaded {
                current: Arc::new(key),
                previous: None,
            }),
        })
    }

    /// Where they come from, for people.
    pub fn origin(&self) -> String {
        match &self.source {
            Source::Environment => "RENEWD_MASTER_KEY".to_owned(),
            Source::Files(folder) => folder.join(FILE).display().to_string(),
        }
    }

    /// Opens what either key sealed. Should neither, the files are read anew: another process may be replacing
    /// them.
    ///
    /// # Errors
    /// When no key opens it.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<PrivateKey> {
        self.get().open(label, sealed).or_else(|_| {
            self.reload()?;
            self.get().open(label, sealed).map_err(Error::internal)
        })
    }

    /// Seals with the key that the store says seals at this time; gives the fingerprint of that key, which
    /// [`confirm`] wants.
    ///
    /// # Errors
    /// When that is none of ours.
    pub async fn seal(
        &self,
        db: &impl ConnectionTrait,
        rng: &Rng,
        label: &str,
        plain: &[u8],
    ) -> Result<(Vec<u8>, i64)> {
        let sealing = setting::master_key(db).await?;
        let fits = |keys: &Loaded| match sealing {
            None => Some(keys.current.clone()),
            Some(wanted) => keys.all().find(|key| key.fingerprint() == wanted).cloned(),
        };
        let key = match fits(&self.get()) {
            Some(key) => key,
            None => {
                self.reload()?;
                fits(&self.get()).ok_or_else(|| Error::internal(SealError))?
            }
        };
        let sealed = rng
            .with(|mut rng| key.seal(&mut rng, label, plain))
            .map_err(Error::internal)?;
        Ok((sealed, key.fingerprint()))
    }

    /// The keyed hash by which a refresh token is recognised. It changes with the master key: what was hashed before is
    /// verified in full again.
    pub fn token_mac(&self, token: &str) -> TokenMac {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        TokenMac::new(loaded.current.token_mac(token))
    }

    fn get(&self) -> Loaded {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn reload(&self) -> Result<()> {
        if let Source::Files(folder) = &self.source
            && let Some(loaded) = read(folder).map_err(Error::internal)?
        {
            *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        }
        Ok(())
    }
}

impl Loaded {
    fn all(&self) -> impl Iterator<Item = &Arc<MasterKey>> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    fn open(&self, label: &str, sealed: &[u8]) -> Result<PrivateKey, SealError> {
        self.all()
            .find_map(|key| key.open(label, sealed).ok())
            .ok_or(SealError)
    }
}

/// Sees, in the transaction that stores a sealed key, that its master key still is the one that seals.
///
/// # Errors
/// [`Error::Unavailable`] when it was replaced meanwhile: trying again helps.
pub async fn confirm(db: &impl ConnectionTrait, fingerprint: i64) -> Result<()> {
    match setting::master_key(db).await? {
        Some(current) if current == fingerprint => Ok(()),
        Some(_) => Err(Error::Unavailable(DbErr::Custom(
            "the master key is being replaced".to_owned(),
        ))),
        None => Ok(setting::set_master_key(db, fingerprint).await?),
    }
}

/// Makes the keys those of the store, unless it has others: of two processes that start at once on a fresh store, each with
/// a key of its own, one goes on.
///
/// # Errors
/// When the store has others.
pub async fn claim(keys: &MasterKeys, store: &Store) -> Result<(), StartError> {
    let own = keys.get();
    let claim =
        async || Ok(setting::claim_master_key(&store.writer, own.current.fingerprint()).await?);
    let claimed = store.retry(claim).await?;
    if own.all().any(|key| key.fingerprint() == claimed) {
        Ok(())
    } else {
        Err(MasterKeyFault::Wrong(keys.origin()).into())
    }
}

/// Whether the store belongs to a master key already.
///
/// # Errors
/// Those of the store.
pub async fn is_claimed(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    Ok(setting::master_key(db).await?.is_some() || signing_key::any(db).await?.is_some())
}

/// Whether the keys are those of the store; `true` when nothing is sealed in it yet.
///
/// # Errors
/// Those of the store.
pub async fn belong(keys: &MasterKeys, db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    if let Some(wanted) = setting::master_key(db).await? {
        return Ok(keys.get().all().any(|key| key.fingerprint() == wanted));
    }
    let sealed = signing_key::any(db).await?;
    Ok(sealed.is_none_or(|row| keys.get().open(&seal_label(row.id), &row.sealed).is_ok()))
}

/// Replaces the master key, and seals every signing key anew. May be interrupted at any point and called again:
/// both keys are accepted until it is done. Gives the number of keys that were sealed anew.
///
/// With keys from the environment, the old one must be in `RENEWD_PREVIOUS_MASTER_KEY`.
///
/// # Errors
/// When a file cannot be written, or a signing key does not open; those of the store.
pub async fn rekey(app: &App, actor: &Actor) -> Result<u64> {
    if let Source::Files(folder) = &app.master.source {
        begin(folder, &app.rng).map_err(Error::internal)?;
        app.master.reload()?;
    }
    let keys = app.master.get();
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    setting::set_master_key(&transaction, keys.current.fingerprint()).await?;
    setting::advance_epoch(&transaction).await?;
    let event = Event::of_server(Action::MasterKeyReplace);
    record(&transaction, &app.rng, now, actor, [event]).await?;
    app.store.commit(transaction).await?;

    let mut resealed = 0;
    let mut after = None;
    loop {
        let rows = signing_key::page(&app.store.reader, after, BATCH).await?;
        let Some(last) = rows.last().map(|row| row.id) else {
            break;
        };
        let transaction = app.store.begin().await?;
        for row in &rows {
            let label = seal_label(row.id);
            if keys.current.open(&label, &row.sealed).is_err() {
                let private = keys.open(&label, &row.sealed).map_err(Error::internal)?;
                let sealed = app
                    .rng
                    .with(|mut rng| keys.current.seal(&mut rng, &label, &private))
                    .map_err(Error::internal)?;
                resealed += u64::from(signing_key::reseal(&transaction, row, sealed).await?);
            }
        }
        app.store.commit(transaction).await?;
        after = Some(last);
    }
    if let Source::Files(folder) = &app.master.source {
        // Another that does the same may have been the first to finish.
        remove(&folder.join(PREVIOUS_FILE)).map_err(Error::internal)?;
        app.master.reload()?;
    }
    Ok(resealed)
}

/// Puts a new key into the file, the one before beside it; unless that was done already.
fn begin(folder: &Path, rng: &Rng) -> Result<(), MasterKeyFault> {
    let (path, previous) = (folder.join(FILE), folder.join(PREVIOUS_FILE));
    let Some(loaded) = read(folder)? else {
        return Err(MasterKeyFault::Missing(path));
    };
    match &loaded.previous {
        // Interrupted after the new key was in place.
        Some(key) if key.fingerprint() != loaded.current.fingerprint() => return Ok(()),
        // Interrupted before.
        Some(_) => {}
        None => write_new(&previous, &loaded.current)?,
    }
    let next = folder.join("master.key.next");
    remove(&next)?;
    write_new(&next, &generate(&next, rng)?)?;
    // Nothing is sealed by the new key before a power cut can no longer bring the old one back.
    fs::rename(&next, &path)
        .and_then(|()| fs::File::open(folder)?.sync_all())
        .map_err(|source| fault(&path, source))
}

fn read(folder: &Path) -> Result<Option<Loaded>, MasterKeyFault> {
    let Some(current) = read_key(&folder.join(FILE))? else {
        return Ok(None);
    };
    let previous = read_key(&folder.join(PREVIOUS_FILE))?;
    Ok(Some(Loaded {
        current: Arc::new(current),
        previous: previous.map(Arc::new),
    }))
}

fn read_key(path: &Path) -> Result<Option<MasterKey>, MasterKeyFault> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(fault(path, source)),
    };
    let metadata = fs::metadata(path).map_err(|source| fault(path, source))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others can read the master key: chmod 600 it");
    }
    MasterKey::from_base64(&text)
        .map(Some)
        .map_err(|_| MasterKeyFault::Damaged(path.to_owned()))
}

fn generate(path: &Path, rng: &Rng) -> Result<MasterKey, MasterKeyFault> {
    rng.with(|mut rng| MasterKey::generate(&mut rng))
        .map_err(|_| MasterKeyFault::Damaged(path.to_owned()))
}

fn write_new(path: &Path, key: &MasterKey) -> Result<(), MasterKeyFault> {
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
        // Signing keys are sealed by it from now on: it must outlive a power cut as they do.
        file.sync_all()?;
        path.parent()
            .map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().map_err(|source| fault(path, source))
}

/// Removes a file, if there is one.
fn remove(path: &Path) -> Result<(), MasterKeyFault> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(fault(path, source)),
        _ => Ok(()),
    }
}

fn fault(path: &Path, source: io::Error) -> MasterKeyFault {
    MasterKeyFault::File {
        path: path.to_owned(),
        source,
    }
}
