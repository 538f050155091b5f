//! The one path on which sessions are renewed: what waits is decided in one transaction, committed once,
//! then answered. It never waits for more to come.

use std::collections::BTreeMap;

use entity::{SessionId, audit_event, session, setting};
use sea_orm::{ConnAcquireErr, DatabaseConnection, DbErr};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::engine;
use crate::{
    audit::{self, Action, Event},
    clock::Rng,
    error::Result,
    sessions::renewal::{Outcome, Renewal, decide, decide_missing},
};

/// Renewals that may wait before callers do; each takes about half a kilobyte.
const QUEUE: usize = 4096;
/// Renewals in a transaction: past this, the cost of a renewal no longer falls.
const BATCH: usize = 256;
/// Attempts at a transaction that others got in the way of.
const ATTEMPTS: usize = 8;

/// Takes renewals from any number of tasks.
#[derive(Clone, Debug)]
pub struct WritePath(mpsc::Sender<Waiting>);

#[derive(Debug)]
struct Waiting {
    renewal: Renewal,
    answer: oneshot::Sender<Result<Outcome, DbErr>>,
}

impl WritePath {
    /// Starts the task that decides. After `stop` it takes nothing more, decides what waits, and ends.
    pub(super) fn start(
        db: DatabaseConnection,
        rng: Rng,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        tasks.spawn(run(db, rng, queue, stop));
        Self(sender)
    }

    /// Whether renewals are taken: not when the server stops, nor when the task that decides has failed.
    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// Decides one renewal, together with those that wait beside it. When this answers, the decision is
    /// durable; it is made even if the caller goes away.
    ///
    /// # Errors
    /// When the store does not take the transaction: then nothing was changed.
    pub async fn renew(&self, renewal: Renewal) -> Result<Outcome> {
        let (answer, answered) = oneshot::channel();
        // The server is stopping: another node, or this one again, will take it.
        let stopped = || DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        self.0
            .send(Waiting { renewal, answer })
            .await
            .map_err(|_| stopped())?;
        Ok(answered.await.map_err(|_| stopped())??)
    }
}

async fn run(
    db: DatabaseConnection,
    rng: Rng,
    mut queue: mpsc::Receiver<Waiting>,
    stop: CancellationToken,
) {
    let mut waiting = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = stop.cancelled(), if !queue.is_closed() => queue.close(),
            count = queue.recv_many(&mut waiting, BATCH) => {
                if count == 0 {
                    return;
                }
                answer(&db, &rng, waiting.drain(..)).await;
            }
        }
    }
}

async fn answer(db: &DatabaseConnection, rng: &Rng, waiting: impl Iterator<Item = Waiting>) {
    let (renewals, answers): (Vec<_>, Vec<_>) =
        waiting.map(|one| (one.renewal, one.answer)).unzip();
    // A caller that went away does not want its answer: nobody is told then.
    match renew_many(db, rng, &renewals).await {
        Ok(outcomes) => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                let _ = answer.send(Ok(outcome));
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

/// Decides all of `renewals`, in their order, in one transaction, and commits it. One outcome each.
///
/// # Errors
/// When the store does not take the transaction: then nothing was changed.
pub async fn renew_many(
    db: &DatabaseConnection,
    rng: &Rng,
    renewals: &[Renewal],
) -> Result<Vec<Outcome>, DbErr> {
    for _ in 0..ATTEMPTS {
        if let Some(outcomes) = try_renew_many(db, rng, renewals).await? {
            return Ok(outcomes);
        }
    }
    Err(DbErr::RecordNotUpdated)
}

/// `None` when another writer changed one of the rows in between: nothing was changed then.
async fn try_renew_many(
    db: &DatabaseConnection,
    rng: &Rng,
    renewals: &[Renewal],
) -> Result<Option<Vec<Outcome>>, DbErr> {
    let transaction = engine::begin(db).await?;
    let epoch = setting::epoch(&transaction).await?;
    let ids = renewals.iter().map(|renewal| renewal.session_id);
    let stored = session::find_many(&transaction, ids).await?;
    let mut rows: BTreeMap<SessionId, session::Model> =
        stored.iter().map(|row| (row.id, row.clone())).collect();

    let outcomes: Vec<_> = renewals
        .iter()
        .map(|renewal| match rows.get_mut(&renewal.session_id) {
            _ if renewal.epoch != epoch => Outcome::Stale,
            Some(row) if row.app_id == renewal.app_id => decide(row, renewal),
            _ => decide_missing(renewal),
        })
        .collect();

    for before in &stored {
        let Some(after) = rows.get(&before.id) else {
            continue;
        };
        if after != before && !session::advance(&transaction, before, after).await? {
            transaction.rollback().await?;
            return Ok(None);
        }
    }
    audit::insert(&transaction, reuses(renewals, &outcomes, rng)).await?;
    transaction.commit().await?;
    Ok(Some(outcomes))
}

/// The events of what was reused.
fn reuses(renewals: &[Renewal], outcomes: &[Outcome], rng: &Rng) -> Vec<audit_event::Model> {
    let mut events = Vec::new();
    for (renewal, outcome) in renewals.iter().zip(outcomes) {
        if *outcome == Outcome::Reused {
            let event = Event::of(Action::SessionReuse, renewal.app_id, renewal.session_id);
            events.push(event.row(&renewal.actor, renewal.now, rng));
        }
    }
    events
}
