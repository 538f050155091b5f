//! What of apps and keys is kept in memory, parsed once.
//!
//! Every change counts up an epoch in the store. The process that changes something drops its copies at
//! once; the others poll the epoch.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use entity::{AppId, Timestamp, app, app_key, setting, signing_key};

use crate::{error::Result, master::MasterKeys, signing::Keyring, store::Store};

/// An app with its keys, as of one moment.
#[derive(Debug)]
pub struct LoadedApp {
    /// The changes that were seen when it was read: with any further one it may be stale.
    pub epoch: i64,
    pub app: app::Model,
    pub keys: Vec<app_key::Model>,
    pub keyring: Keyring,
}

/// The apps and root keys that were asked for since the last change.
#[derive(Debug, Default)]
pub struct Directory(RwLock<Copies>);

#[derive(Debug, Default)]
struct Copies {
    /// Counts the times that everything was dropped, so that nothing read before is kept after.
    dropped: u64,
    epoch: Option<i64>,
    apps: HashMap<AppId, Arc<LoadedApp>>,
    root_keys: Option<Arc<Vec<app_key::Model>>>,
}

impl Directory {
    /// The app with its keys, if it is in memory.
    pub fn known(&self, id: AppId) -> Option<Arc<LoadedApp>> {
        let copies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        copies.apps.get(&id).cloned()
    }

    /// The app with its keys; `None` when there is none.
    ///
    /// # Errors
    /// Those of the store, and a signing key that does not open.
    pub async fn app(
        &self,
        store: &Store,
        master: &MasterKeys,
        now: Timestamp,
        id: AppId,
    ) -> Result<Option<Arc<LoadedApp>>> {
        let dropped = {
            let copies = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(app) = copies.apps.get(&id) {
                return Ok(Some(app.clone()));
            }
            copies.dropped
        };
        // Read first: what changes meanwhile makes the copy look older than it is, never newer.
        let epoch = setting::epoch(&store.reader).await?;
        // Unknown ids are not kept: anybody can send any number of them.
        let Some(app) = app::find(&store.reader, id).await? else {
            return Ok(None);
        };
        let keys = app_key::list_in(&store.reader, id).await?;
        let signing = signing_key::list_in(&store.reader, id).await?;
        let loaded = Arc::new(LoadedApp {
            epoch,
            keyring: Keyring::open(signing, master, now)?,
            app,
            keys,
        });
        self.keep(dropped, |copies| copies.apps.insert(id, loaded.clone()));
        Ok(Some(loaded))
    }

    /// The root keys.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn root_keys(&self, store: &Store) -> Result<Arc<Vec<app_key::Model>>> {
        let dropped = {
            let copies = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(keys) = &copies.root_keys {
                return Ok(keys.clone());
            }
            copies.dropped
        };
        let keys = Arc::new(app_key::list_root(&store.reader).await?);
        self.keep(dropped, |copies| copies.root_keys.replace(keys.clone()));
        Ok(keys)
    }

    /// Drops everything. Called after each change of an app or a key that was committed.
    pub fn drop_all(&self) {
        let mut copies = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *copies = Copies {
            dropped: copies.dropped + 1,
            epoch: copies.epoch,
            ..Copies::default()
        };
    }

    /// Drops everything if another process changed something since the last call.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn follow(&self, store: &Store) -> Result<()> {
        let epoch = setting::epoch(&store.reader).await?;
        let known = {
            let mut copies = self.0.write().unwrap_or_else(PoisonError::into_inner);
            copies.epoch.replace(epoch)
        };
        if known != Some(epoch) {
            self.drop_all();
        }
        Ok(())
    }

    fn keep<T>(&self, dropped: u64, keep: impl FnOnce(&mut Copies) -> T) {
        let mut copies = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if copies.dropped == dropped {
            keep(&mut copies);
        }
    }
}
