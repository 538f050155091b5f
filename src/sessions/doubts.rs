//! Renewals that may have been carried out and that nobody was told of: the store did not answer in time, or the client had gone.
//! Each is settled as soon as the store answers, so that the token that was presented works again. Until then nothing else is
//! decided here on its session: a client that presents the token once more would be taken for a thief.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use entity::{SessionId, Timestamp, session, time::Span};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, UpdateMany,
};
use store::{Failure, deadline, engine};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{renewal::Renewal, writing::Writing};

/// How many are remembered, half a kilobyte each.
const MOST: usize = 10_000;
/// Between two attempts while the store does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// Those that are not settled.
#[derive(Debug, Default)]
pub struct Doubts {
    known: Mutex<BTreeMap<SessionId, Doubt>>,
    /// Whether there is any: asked for each renewal.
    is_any: AtomicBool,
    news: Notify,
}

#[derive(Clone, Debug)]
struct Doubt {
    renewal: Renewal,
    since: Instant,
}

/// A renewal that is in doubt unless its caller is told of it before this is dropped.
#[derive(Debug)]
pub struct Untold(Option<(Arc<Renewal>, Arc<Doubts>)>);

impl Untold {
    /// One that may have been carried out.
    pub fn new(renewal: Arc<Renewal>, doubts: &Arc<Doubts>) -> Self {
        Self(Some((renewal, doubts.clone())))
    }

    /// The caller has its answer.
    pub fn was_told(mut self) {
        self.0 = None;
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        if let Some((renewal, doubts)) = self.0.take() {
            let mut renewal = Arc::unwrap_or_clone(renewal);
            renewal.doubt();
            doubts.add(renewal);
        }
    }
}

impl Doubts {
    /// Remembers a renewal that nobody was told of.
    fn add(&self, renewal: Renewal) {
        let mut known = self.lock();
        if known.len() < MOST {
            let since = Instant::now();
            known.insert(renewal.session_id, Doubt { renewal, since });
            self.is_any.store(true, Ordering::Relaxed);
            self.news.notify_one();
        }
    }

    /// Whether it is not known yet what became of the session.
    pub fn concern(&self, id: SessionId) -> bool {
        self.is_any.load(Ordering::Relaxed) && self.lock().contains_key(&id)
    }

    /// Settles them until `stop`, and then once more.
    pub async fn run(&self, writing: &Writing, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = self.news.notified() => {}
                () = stop.cancelled() => {}
            }
            while self.settle_all(writing).await > 0 && !stop.is_cancelled() {
                sleep(PAUSE).await;
            }
        }
    }

    /// Gives the number of those that are left.
    async fn settle_all(&self, writing: &Writing) -> usize {
        let known: Vec<Doubt> = self.lock().values().cloned().collect();
        for doubt in known {
            let settled = deadline::within(writing.patience, doubt.settle(writing)).await;
            if let Err(error) = settled {
                writing.writes.note(&error);
                // One that the store does not take for what it is never will be settled.
                if engine::failure(&error) != Failure::Defect {
                    break;
                }
            }
            let mut known = self.lock();
            known.remove(&doubt.renewal.session_id);
            self.is_any.store(!known.is_empty(), Ordering::Relaxed);
        }
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Doubt>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doubt {
    /// Lets the token that was presented be good for one renewal, if it was used up by this one.
    async fn settle(&self, writing: &Writing) -> Result<(), DbErr> {
        let renewal = &self.renewal;
        let transaction = writing.db.begin().await?;
        // Behind the transaction in doubt: what that did not commit by now it never will.
        let row = session::Entity::find_by_id(renewal.session_id)
            .lock_exclusive()
            .one(&transaction)
            .await?;
        let row = row.filter(|row| {
            row.app_id == renewal.app_id
                && !row.is_revoked()
                && renewal.in_doubt.contains(&row.token_id)
        });
        let Some(row) = row else {
            return transaction.rollback().await;
        };
        let now = renewal.now + Span::millis(millis(self.since.elapsed()));
        let update = change(&row, renewal, now)
            .filter(session::Column::Id.eq(row.id))
            .filter(session::Column::TokenId.eq(row.token_id))
            .filter(session::Column::RevokedAt.is_null());
        update.exec(&transaction).await?;
        transaction.commit().await
    }
}

/// What is made of a row that the renewal was written to.
fn change(row: &session::Model, renewal: &Renewal, now: Timestamp) -> UpdateMany<session::Entity> {
    let change = if row.parent_id.is_some() {
        // Within its grace somebody else may have got the successor: it stays, and the grace begins anew.
        session::ActiveModel {
            parent_until: Set(Some(now + renewal.grace)),
            ..Default::default()
        }
    } else {
        // Nobody has the successor, nor can get it.
        session::ActiveModel {
            token_id: Set(renewal.presented),
            refresh_mac: Set(Some(renewal.mac.clone())),
            generation: Set(row.generation - 1),
            ..Default::default()
        }
    };
    session::Entity::update_many().set(change)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
