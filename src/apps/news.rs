//! What another process may have made a moment ago is asked of the store before anybody says that it does not exist.
//!
//! What is in memory of apps and keys is as old as the last look at the epochs. An id tells when it was made: one that is older
//! than that look, and unknown, is not there. One that may be newer is asked for: one question at a time of an app, for all that
//! came before it was asked. A signing key that is unknown is always asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use entity::{AppId, SigningKeyId, Timestamp, app, app_key, setting, time::Span};
use store::{Store, deadline};
use tokio::sync;

use crate::{app::App, apps::LoadedApp, error::Result};

/// By how much the clock of the process that made something may differ from the one here.
const SKEW: Span = Span::seconds(5);

/// How long the store may take to tell.
const LOOK: Duration = Duration::from_secs(1);

/// The questions that are asked.
#[derive(Debug, Default)]
pub struct News {
    apps: Mutex<HashMap<AppId, Weak<Question>>>,
    /// Of the root keys.
    server: Question,
}

/// Held by who asks. The others wait for the answer.
pub type Question = sync::Mutex<Option<Answer>>;

/// The last answer.
#[derive(Debug)]
pub struct Answer {
    /// When it was asked for: what was committed before is known.
    asked: Instant,
    /// Whether the store told.
    is_told: bool,
}

impl News {
    /// What is asked of this app. Whoever holds it reads the app, too.
    pub fn of(&self, id: AppId) -> Arc<Question> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = apps.get(&id).and_then(Weak::upgrade) {
            return known;
        }
        // What nobody asks is forgotten.
        apps.retain(|_, question| question.strong_count() > 0);
        let new = Arc::default();
        apps.insert(id, Arc::downgrade(&new));
        new
    }
}

impl App {
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

/// Asks, unless somebody asked since this was called.
async fn once<'a, F: Future<Output = Result<()>>>(
    question: &'a Question,
    store: &Store,
    ask: impl Fn() -> F,
) -> Result<sync::MutexGuard<'a, Option<Answer>>> {
    let came = Instant::now();
    let mut last = store.wait(question.lock()).await?;
    if let Some(answer) = last.as_ref()
        && answer.asked > came
    {
        let is_told = answer.is_told;
        return if is_told {
            Ok(last)
        } else {
            Err(deadline::over().into())
        };
    }
    let asked = Instant::now();
    let told = deadline::within(LOOK, store.retry(ask)).await;
    let is_told = told.is_ok();
    *last = Some(Answer { asked, is_told });
    told.map(|()| last)
}
