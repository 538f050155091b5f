//! The master keys: the one that seals, and while it is being replaced the one before.

mod files;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use ambient::Rng;
use entity::{AppId, session::TokenMac, setting, signing_key};
use keys::{MasterKey, PrivateKey, SealError};
use sea_orm::{ConnectionTrait, DbErr};
use store::Store;

use self::files::{FILE, Loaded, PREVIOUS_FILE, generate, read, remove, write_new};
use crate::error::{Error, Result};

pub use self::files::MasterKeyFault;

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
        let sealing = self.sealing(db).await?;
        Ok((sealing.seal(rng, label, plain)?, sealing.fingerprint()))
    }

    /// The key that the store says seals at this time, with the others.
    ///
    /// # Errors
    /// When that is none of ours.
    pub async fn sealing(&self, db: &impl ConnectionTrait) -> Result<Sealing> {
        let wanted = setting::master_key(db).await?;
        let fits = |keys: Loaded| {
            let mut all: Vec<_> = keys.all().cloned().collect();
            let place = match wanted {
                None => 0,
                Some(wanted) => all.iter().position(|key| key.fingerprint() == wanted)?,
            };
            all.swap(0, place);
            Some(Sealing(all))
        };
        match fits(self.get()) {
            Some(sealing) => Ok(sealing),
            None => {
                self.reload()?;
                fits(self.get()).ok_or_else(|| Error::internal(SealError))
            }
        }
    }

    /// The keyed hash by which a refresh token is recognised. It changes with the master key: what was hashed before is
    /// verified in full again.
    pub fn token_mac(&self, token: &str) -> TokenMac {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        TokenMac::new(loaded.current.token_mac(token))
    }

    /// The keyed hash by which the claims of a refresh token are marked. It changes with the master key, too.
    pub fn claims_mac(&self, key: &str, claims: &[u8]) -> [u8; 16] {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.current.claims_mac(key, claims)
    }

    /// Those of this moment.
    pub fn get(&self) -> Loaded {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts a new key in the place of the one in the file, and keeps that as the one before; unless that was done already. Keys of
    /// the environment are replaced there.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn replace(&self, rng: &Rng) -> Result<()> {
        if let Source::Files(folder) = &self.source {
            files::replace(folder, rng).map_err(Error::internal)?;
            self.reload()?;
        }
        Ok(())
    }

    /// Removes the file of the key before, when nothing is sealed by it any more.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_previous(&self) -> Result<()> {
        if let Source::Files(folder) = &self.source {
            // Another that does the same may have been the first to finish.
            remove(&folder.join(PREVIOUS_FILE)).map_err(Error::internal)?;
            self.reload()?;
        }
        Ok(())
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

/// The key that seals at this time, then any other that something may still be sealed by.
#[derive(Clone, Debug)]
pub struct Sealing(Vec<Arc<MasterKey>>);

impl Sealing {
    /// What [`confirm`] wants.
    pub fn fingerprint(&self) -> i64 {
        self.0[0].fingerprint()
    }

    /// Seals `plain` under `label`.
    ///
    /// # Errors
    /// When it is longer than the cipher can take.
    pub fn seal(&self, rng: &Rng, label: &str, plain: &[u8]) -> Result<Vec<u8>> {
        rng.with(|mut rng| self.0[0].seal(&mut rng, label, plain))
            .map_err(Error::internal)
    }

    /// Whether the key that seals at this time sealed it.
    pub fn is_current(&self, label: &str, sealed: &[u8]) -> bool {
        self.0[0].open(label, sealed).is_ok()
    }

    /// The hashes by which a push token of the app is found: the one that is stored from now on comes first.
    pub fn push_macs(&self, app_id: AppId, token: &str) -> Vec<TokenMac> {
        let app = app_id.to_string();
        let macs = self.0.iter().map(|key| key.push_mac(&app, token));
        macs.map(TokenMac::new).collect()
    }
}

/// Sees, in the transaction that stores a sealed key, that its master key still is the one that seals.
///
/// # Errors
/// [`Error::Contended`] when it was replaced meanwhile: trying again helps.
pub async fn confirm(db: &impl ConnectionTrait, fingerprint: i64) -> Result<()> {
    match setting::master_key(db).await? {
        Some(current) if current == fingerprint => Ok(()),
        Some(_) => Err(Error::Contended("the master key is being replaced")),
        None => Ok(setting::set_master_key(db, fingerprint).await?),
    }
}

/// Makes the keys those of the store, unless it has others: of two processes that start at once on a fresh store, each with
/// a key of its own, one goes on. Whether the keys are those of the store now.
pub async fn claim(keys: &MasterKeys, store: &Store) -> Result<bool> {
    let own = keys.get();
    let fingerprint = own.current.fingerprint();
    let claim =
        async || -> Result<_> { Ok(setting::claim_master_key(&store.writer, fingerprint).await?) };
    let claimed = store.retry(claim).await?;
    Ok(own.all().any(|key| key.fingerprint() == claimed))
}

/// Whether the store belongs to a master key already.
pub async fn is_claimed(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    Ok(setting::master_key(db).await?.is_some() || signing_key::any(db).await?.is_some())
}

/// Whether the keys are those of the store; `true` when nothing is sealed in it yet.
pub async fn belong(keys: &MasterKeys, db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    if let Some(wanted) = setting::master_key(db).await? {
        return Ok(keys.get().all().any(|key| key.fingerprint() == wanted));
    }
    let sealed = signing_key::any(db).await?;
    Ok(sealed.is_none_or(|row| {
        keys.get()
            .open(&signing_key::seal_label(row.id), &row.sealed)
            .is_ok()
    }))
}
