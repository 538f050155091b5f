//! Apps with their keys, from memory or from the store.

use std::{sync::Arc, time::Duration};

use entity::{AppId, SigningKeyId, Timestamp, app, app_key, setting};
use store::deadline;

use super::{
    directory::LoadedApp,
    news::{SKEW, once},
};
use crate::{
    app::App,
    error::{Error, Result},
};

/// How long somebody who asks for what everybody may know waits for the store, before what is in memory is told.
const PUBLIC: Duration = Duration::from_millis(500);

impl App {
    /// The app with its keys, from memory if it is there; `None` when there is none.
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
    /// When the store fails, unless the app is in memory.
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
    /// When there is none (any more).
    pub async fn reload(&self, stale: &LoadedApp) -> Result<Arc<LoadedApp>> {
        self.directory.drop_stale(stale);
        self.load(stale.app.id).await?.ok_or(Error::InvalidKey)
    }

    /// The app as the store has it now, if it is another than `loaded`, and something that was made at `made` may be in it that
    /// is not in `loaded`.
    ///
    /// # Errors
    /// When the store does not tell.
    pub async fn load_newer(
        &self,
        loaded: &Arc<LoadedApp>,
        made: Timestamp,
    ) -> Result<Option<Arc<LoadedApp>>> {
        if !self.may_be_news(made) {
            return Ok(None);
        }
        Box::pin(self.load_newest(loaded)).await
    }

    /// The app as the store has it now, if it is another than `loaded`.
    ///
    /// # Errors
    /// When the store does not tell.
    async fn load_newest(&self, loaded: &Arc<LoadedApp>) -> Result<Option<Arc<LoadedApp>>> {
        let (id, directory) = (loaded.app.id, &self.directory);
        let ask = async || {
            // What a process of the release before has changed is not in the epoch of the app.
            let server = setting::server_epoch(&self.store.reader).await?;
            let epochs = app::epochs(&self.store.reader, &[id]).await?;
            directory.drop_unless(server);
            directory.drop_other(id, epochs.get(&id).copied());
            Ok(())
        };
        let question = directory.news.of(id);
        // Held while the app is loaded: the others find it in memory.
        let _asked = once(&question, &self.store, ask).await?;
        let newest = self.load_alone(id).await?;
        Ok(newest.filter(|newest| !Arc::ptr_eq(newest, loaded)))
    }

    /// The app as the store has it now, if this signing key is unknown in `loaded`. However old its id is: where the answer to
    /// its commit was lost, it may have been committed long after it was made, and another process signs with it from then on. (Of
    /// an app-key that was made in that way nobody has the secret.)
    ///
    /// # Errors
    /// When the store does not tell.
    pub async fn load_for_key(
        &self,
        loaded: &Arc<LoadedApp>,
        key: SigningKeyId,
    ) -> Result<Option<Arc<LoadedApp>>> {
        if loaded.keyring.has(key) {
            return Ok(None);
        }
        Box::pin(self.load_newest(loaded)).await
    }

    /// The root keys as the store has them now, if one of them that was made at `made` may be unknown here.
    ///
    /// # Errors
    /// When the store does not tell.
    pub async fn newer_root_keys(
        &self,
        made: Timestamp,
    ) -> Result<Option<Arc<Vec<app_key::Model>>>> {
        if !self.may_be_news(made) {
            return Ok(None);
        }
        let directory = &self.directory;
        let ask = async || {
            let epoch = setting::server_epoch(&self.store.reader).await?;
            directory.drop_unless(epoch);
            Ok(())
        };
        let _asked = once(&directory.news.server, &self.store, ask).await?;
        let load = async || directory.root_keys(&self.store).await;
        Ok(Some(Box::pin(self.retry(load)).await?))
    }

    fn may_be_news(&self, made: Timestamp) -> bool {
        let now = self.clock.now();
        let age = self.directory.freshness.age();
        made <= now + SKEW && now <= made + SKEW + age
    }
}
