//! The files of the master key.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use ambient::Rng;
use keys::{MasterKey, PrivateKey, SealError};
use zeroize::Zeroizing;

pub(super) const FILE: &str = "master.key";
pub(super) const PREVIOUS_FILE: &str = "master.key.previous";

/// The key that seals, and the one that it replaces.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub(super) current: Arc<MasterKey>,
    pub(super) previous: Option<Arc<MasterKey>>,
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

impl Loaded {
    /// The one that seals.
    pub fn current(&self) -> &MasterKey {
        &self.current
    }

    /// Both.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<MasterKey>> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Opens what either sealed.
    ///
    /// # Errors
    /// When neither did.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<PrivateKey, SealError> {
        self.all()
            .find_map(|key| key.open(label, sealed).ok())
            .ok_or(SealError)
    }
}

pub(super) fn read(folder: &Path) -> Result<Option<Loaded>, MasterKeyFault> {
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

pub(super) fn generate(path: &Path, rng: &Rng) -> Result<MasterKey, MasterKeyFault> {
    rng.with(|mut rng| MasterKey::generate(&mut rng))
        .map_err(|_| MasterKeyFault::Damaged(path.to_owned()))
}

pub(super) fn write_new(path: &Path, key: &MasterKey) -> Result<(), MasterKeyFault> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        // Signing keys are sealed by it from now on: it must outlive a power cut as they do.
        let written = writeln!(file, "{}", key.to_base64().as_str());
        written.and_then(|()| file.sync_all()).inspect_err(|_| {
            // Half a key would keep the next start from making one.
            let _ = fs::remove_file(path);
        })?;
        path.parent()
            .map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().map_err(|source| fault(path, source))
}

/// Removes a file, if there is one.
pub(super) fn remove(path: &Path) -> Result<(), MasterKeyFault> {
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

/// Puts a new key into the file, the one before beside it; unless that was done already.
pub(super) fn replace(folder: &Path, rng: &Rng) -> Result<(), MasterKeyFault> {
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
