//! Whose turn it is with an app that is changed without a pause.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use entity::AppId;
use store::Store;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::error::Result;

/// Orders the changes of an app, and what comes too late because of them.
///
/// What is decided by an app is decided anew if the app was changed meanwhile. Where one change follows another without an end,
/// that would have none either, above all on the embedded store: everybody waits there for the one writer, in the order of
/// arrival, and while one waits the next change is made. So whoever was late once waits for a turn, in which this process
/// does not change the app. The changes themselves wait for each other in any case, in the store if not here.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<AppId, Weak<RwLock<()>>>>);

/// While this is held, nobody else changes the app in this process.
#[derive(Debug)]
pub enum Turn {
    /// With others of those that change nothing.
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Turns {
    /// Waits for a turn of something that does not change the app.
    ///
    /// # Errors
    /// When it does not come in the time that an operation may wait for the store.
    pub async fn shared(&self, store: &Store, id: AppId) -> Result<Turn> {
        let turn = store.wait(self.of(id).read_owned()).await?;
        Ok(Turn::Shared(turn))
    }

    /// Waits for a turn of something that may change the app.
    ///
    /// # Errors
    /// When it does not come in the time that an operation may wait for the store.
    pub async fn alone(&self, store: &Store, id: AppId) -> Result<Turn> {
        let turn = store.wait(self.of(id).write_owned()).await?;
        Ok(Turn::Alone(turn))
    }

    fn of(&self, id: AppId) -> Arc<RwLock<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = turns.get(&id).and_then(Weak::upgrade) {
            return known;
        }
        // What nobody waits for or holds is forgotten.
        turns.retain(|_, turn| turn.strong_count() > 0);
        let new = Arc::default();
        turns.insert(id, Arc::downgrade(&new));
        new
    }
}
