//! When app-keys were used last.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use entity::{AppKeyId, Timestamp, app_key};
use sea_orm::ConnectionTrait;

use crate::error::Result;

/// When keys were last used, until it is written down: never on the way of a request.
#[derive(Debug, Default)]
pub struct Usage(Mutex<HashMap<AppKeyId, Timestamp>>);

impl Usage {
    /// Notes that the key was used.
    pub fn note(&self, id: AppKeyId, now: Timestamp) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(id, now);
    }

    /// Writes down what was noted since the last time.
    ///
    /// # Errors
    /// When the store fails, what was not written is noted again at the key's next use.
    pub async fn write(&self, db: &impl ConnectionTrait) -> Result<()> {
        let used = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (id, at) in used {
            app_key::used_at(db, id, at).await?;
        }
        Ok(())
    }
}
