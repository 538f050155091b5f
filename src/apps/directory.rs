//! What of apps and keys is kept in memory, parsed once.
//!
//! Every change of an app, its app-keys or its signing keys counts up the app's epoch in the store. The process that makes
//! it drops its copy of that app at once; the others ask for the epochs of the apps that they have in memory. What concerns
//! the server as a whole, such as the root keys, has an epoch of its own. What is in memory is believed for two seconds after
//! the epochs were read, and no longer: what another process revoked while the store does not answer here is not taken here.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use entity::{AppId, AppKeyId, Timestamp, app, app_key, setting, signing_key};
use store::{Store, deadline};

use super::{freshness::Freshness, news::News};
use crate::{error::Result, master::MasterKeys, signing::Keyring};

/// Looks at the epochs after which an app is dropped that nobody asked for since as many: an hour. An app in memory costs
/// memory, and a line in the answer to each look.
const IDLE: u32 = 7200;

/// How long the store may take to tell what has changed.
const LOOK: Duration = Duration::from_secs(1);

/// An app with its keys, as of one moment.
#[derive(Debug)]
pub struct LoadedApp {
    /// Those of its app-keys that were not revoked then.
    pub keys: Vec<app_key::Model>,
    pub keyring: Keyring,
    /// Its `epoch` is the one that the keys are of, too: with any further change they may be stale.
    pub app: app::Model,
}

/// The apps and root keys that were asked for since they changed.
#[derive(Debug, Default)]
pub struct Directory {
    copies: RwLock<Copies>,
    pub freshness: Freshness,
    pub news: News,
    /// Whether this process has changed an app since it last told those of the release before.
    has_news: AtomicBool,
}

#[derive(Debug, Default)]
struct Copies {
    /// Names each load, so that one that began before a change keeps nothing after it.
    loads: u64,
    /// Counts the times that everything was dropped, for the same of the root keys.
    dropped: u64,
    /// The epoch of the server that was read last.
    epoch: Option<i64>,
    apps: HashMap<AppId, Slot>,
    root_keys: Option<Arc<Vec<app_key::Model>>>,
    looks: u32,
}

#[derive(Debug)]
enum Slot {
    /// Being read, by whoever knows this number.
    Loading(u64),
    Loaded {
        app: Arc<LoadedApp>,
        is_asked_for: AtomicBool,
    },
}

impl LoadedApp {
    /// The changes that were seen when it was read.
    pub fn epoch(&self) -> i64 {
        self.app.epoch
    }

    /// Whether this key is one of its own.
    pub fn has_key(&self, id: AppKeyId) -> bool {
        self.keys.iter().any(|row| row.id == id)
    }
}

impl Directory {
    /// The app with its keys, if it is in memory.
    pub fn known(&self, id: AppId) -> Option<Arc<LoadedApp>> {
        self.read().known(id)
    }

    /// The app with its keys; `None` when there is none.
    ///
    /// # Errors
    /// When a signing key does not open.
    pub async fn app(
        &self,
        store: &Store,
        master: &MasterKeys,
        now: Timestamp,
        id: AppId,
    ) -> Result<Option<Arc<LoadedApp>>> {
        let load = match self.begin(id) {
            Ok(known) => return Ok(Some(known)),
            Err(load) => load,
        };
        // Read first: what changes meanwhile makes the copy look older than it is, never newer.
        let Some(app) = app::find(&store.reader, id).await? else {
            return Ok(None);
        };
        let keys = app_key::list_unrevoked_in(&store.reader, id).await?;
        let signing = signing_key::list_in(&store.reader, id).await?;
        let loaded = Arc::new(LoadedApp {
            keyring: Keyring::open(signing, master, now)?,
            app,
            keys,
        });
        load.keep(&loaded);
        Ok(Some(loaded))
    }

    /// The root keys.
    pub async fn root_keys(&self, store: &Store) -> Result<Arc<Vec<app_key::Model>>> {
        let dropped = {
            let copies = self.read();
            if let Some(keys) = &copies.root_keys {
                return Ok(keys.clone());
            }
            copies.dropped
        };
        let keys = Arc::new(app_key::list_root(&store.reader).await?);
        let mut copies = self.write();
        if copies.dropped == dropped {
            copies.root_keys = Some(keys.clone());
        }
        Ok(keys)
    }

    /// Drops the app: this process has changed it, and that was committed.
    pub fn drop_changed(&self, id: AppId) {
        self.write().apps.remove(&id);
        self.has_news.store(true, Ordering::Relaxed);
    }

    /// Drops the app if what is in memory is no newer than `stale`, which is not what the store has.
    pub fn drop_stale(&self, stale: &LoadedApp) {
        let mut copies = self.write();
        if let Some(Slot::Loaded { app, .. }) = copies.apps.get(&stale.app.id)
            && app.epoch() <= stale.epoch()
        {
            copies.apps.remove(&stale.app.id);
        }
    }

    /// Drops the app if what is in memory is of another epoch than the store's.
    pub fn drop_other(&self, id: AppId, epoch: Option<i64>) {
        self.write().drop_other(id, epoch);
    }

    /// Drops everything if what is in memory is of another epoch of the server than this one, which the store has.
    pub fn drop_unless(&self, epoch: i64) -> bool {
        let mut copies = self.write();
        let is_other = copies.epoch.replace(epoch) != Some(epoch);
        if is_other {
            copies.clear();
        }
        is_other
    }

    /// Drops everything. Called after each change of the server as a whole that was committed.
    pub fn drop_all(&self) {
        self.write().clear();
    }

    /// Drops what another process changed since it was read, and tells processes of the release before what this one did.
    pub async fn follow(&self, store: &Store) -> Result<()> {
        self.look(store).await?;
        self.tell_older_releases(store).await
    }

    /// Sees that what is in memory may be believed: asks what has changed if nobody did so of late.
    ///
    /// # Errors
    /// When the store does not tell.
    pub async fn freshen(&self, store: &Store) -> Result<()> {
        let freshness = &self.freshness;
        if freshness.holds() {
            return Ok(());
        }
        let arrived = freshness.now();
        let _alone = store.wait(freshness.looking.lock()).await?;
        if freshness.holds() {
            return Ok(());
        }
        if freshness.has_failed_since(arrived) {
            return Err(deadline::over().into());
        }
        self.look(store).await
    }

    /// Asks what has changed, and notes whether and when there was an answer.
    async fn look(&self, store: &Store) -> Result<()> {
        let began = self.freshness.now();
        let looked = deadline::within(LOOK, self.drop_what_changed(store)).await;
        match looked {
            Ok(()) => self.freshness.answered(began),
            Err(_) => self.freshness.failed(began),
        }
        looked
    }

    /// Drops what another process changed since it was read.
    async fn drop_what_changed(&self, store: &Store) -> Result<()> {
        let ids: Vec<AppId> = self.read().apps.keys().copied().collect();
        let server = setting::server_epoch(&store.watching).await?;
        let epochs = app::epochs(&store.watching, &ids).await?;
        if self.drop_unless(server) {
            return Ok(());
        }
        let mut copies = self.write();
        for id in ids {
            copies.drop_other(id, epochs.get(&id).copied());
        }
        copies.drop_idle();
        Ok(())
    }

    /// Counts up the epoch that processes of the release before this one follow, if this process has changed an app. It is done
    /// beside the changes: in their transactions the one row would let all apps wait for each other.
    ///
    /// # Errors
    /// When the store fails, the next call does it.
    pub async fn tell_older_releases(&self, store: &Store) -> Result<()> {
        if self.has_news.swap(false, Ordering::Relaxed)
            && let Err(error) = setting::tell_older_releases(&store.writer).await
        {
            self.has_news.store(true, Ordering::Relaxed);
            return Err(error.into());
        }
        Ok(())
    }

    /// The app if it is in memory by now, else the right to put it there.
    fn begin(&self, id: AppId) -> Result<Arc<LoadedApp>, Load<'_>> {
        let mut copies = self.write();
        if let Some(known) = copies.known(id) {
            return Ok(known);
        }
        copies.loads += 1;
        let next = copies.loads;
        // Of two that read it at once, both may put it there.
        let number = match copies.apps.entry(id).or_insert(Slot::Loading(next)) {
            Slot::Loading(number) => *number,
            Slot::Loaded { .. } => next,
        };
        Err(Load {
            directory: self,
            id,
            number,
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Copies> {
        self.copies.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Copies> {
        self.copies.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copies {
    fn known(&self, id: AppId) -> Option<Arc<LoadedApp>> {
        let Some(Slot::Loaded { app, is_asked_for }) = self.apps.get(&id) else {
            return None;
        };
        // Written once, not each time: it is on the way of every request, on every core.
        if !is_asked_for.load(Ordering::Relaxed) {
            is_asked_for.store(true, Ordering::Relaxed);
        }
        Some(app.clone())
    }

    fn clear(&mut self) {
        self.dropped += 1;
        self.apps.clear();
        self.root_keys = None;
    }

    fn drop_other(&mut self, id: AppId, epoch: Option<i64>) {
        if let Some(Slot::Loaded { app, .. }) = self.apps.get(&id)
            && epoch != Some(app.epoch())
        {
            self.apps.remove(&id);
        }
    }

    fn drop_idle(&mut self) {
        self.looks += 1;
        if self.looks >= IDLE {
            self.looks = 0;
            self.apps.retain(|_, slot| match slot {
                Slot::Loading(_) => true,
                Slot::Loaded { is_asked_for, .. } => mem::take(is_asked_for.get_mut()),
            });
        }
    }
}

/// An app that is being read. Unknown ids are not kept: anybody can send any number of them.
struct Load<'a> {
    directory: &'a Directory,
    id: AppId,
    number: u64,
}

impl Load<'_> {
    /// Puts the app into memory, unless it was changed since its reading began, or a newer copy is there.
    fn keep(&self, loaded: &Arc<LoadedApp>) {
        let mut copies = self.directory.write();
        let is_next = match copies.apps.get(&self.id) {
            Some(Slot::Loading(number)) => *number == self.number,
            Some(Slot::Loaded { app, .. }) => app.epoch() < loaded.epoch(),
            None => false,
        };
        if is_next {
            let slot = Slot::Loaded {
                app: loaded.clone(),
                is_asked_for: AtomicBool::new(true),
            };
            copies.apps.insert(self.id, slot);
        }
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        let mut copies = self.directory.write();
        let ours = copies.apps.get(&self.id);
        if matches!(ours, Some(Slot::Loading(number)) if *number == self.number) {
            copies.apps.remove(&self.id);
        }
    }
}
