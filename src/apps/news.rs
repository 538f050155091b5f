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

use entity::{AppId, time::Span};
use store::{Store, deadline};
use tokio::sync;

use crate::error::Result;

/// By how much the clock of the process that made something may differ from the one here.
pub(super) const SKEW: Span = Span::seconds(5);

/// How long the store may take to tell.
const LOOK: Duration = Duration::from_secs(1);

/// The questions that are asked.
#[derive(Debug, Default)]
pub struct News {
    apps: Mutex<HashMap<AppId, Weak<Question>>>,
    /// Of the root keys.
    pub server: Question,
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

/// Asks, unless somebody asked since this was called.
pub(super) async fn once<'a, F: Future<Output = Result<()>>>(
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
