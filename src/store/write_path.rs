//! The one path on which sessions are renewed: what waits is decided in one transaction, committed once,
//! then answered. It never waits for more to come.

use std::{collections::BTreeMap, time::Duration};

use entity::{SessionId, audit_event, session, setting};
use sea_orm::{ConnAcquireErr, DatabaseConnection, DatabaseTransaction, DbErr};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    engine::{self, CommitError, Failure},
    retry::Backoff,
};
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

/// Takes renewals from any number of tasks.
#[derive(Clone, Debug)]
pub struct WritePath(mpsc::Sender<Waiting>);

#[derive(Debug)]
struct Waiting {
    renewal: Renewal,
    since: Instant,
    answer: oneshot::Sender<Result<Outcome, DbErr>>,
}

/// What renewals are written with.
#[derive(Debug)]
pub struct Writing {
    pub db: DatabaseConnection,
    pub rng: Rng,
    /// How long a renewal may wait for the store.
    pub timeout: Duration,
}

impl WritePath {
    /// Starts the task that decides. After `stop` it takes nothing more, decides what waits, and ends.
    pub(super) fn start(writing: Writing, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        tasks.spawn(run(writing, queue, stop));
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
    /// When the store does not take the transaction in time.
    pub async fn renew(&self, renewal: Renewal) -> Result<Outcome> {
        let (answer, answered) = oneshot::channel();
        // The server is stopping: another node, or this one again, will take it.
        let stopped = || DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        let waiting = Waiting {
            renewal,
            since: Instant::now(),
            answer,
        };
        self.0.try_send(waiting).map_err(|error| match error {
            // More than the store takes: the memory of this process has an end.
            TrySendError::Full(_) => engine::timed_out(),
            TrySendError::Closed(_) => stopped(),
        })?;
        Ok(answered.await.map_err(|_| stopped())??)
    }
}

async fn run(writing: Writing, mut queue: mpsc::Receiver<Waiting>, stop: CancellationToken) {
    let mut waiting = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = stop.cancelled(), if !queue.is_closed() => queue.close(),
            count = queue.recv_many(&mut waiting, BATCH) => {
                if count == 0 {
                    return;
                }
                answer(&writing, waiting.drain(..)).await;
            }
        }
    }
}

async fn answer(writing: &Writing, waiting: impl Iterator<Item = Waiting>) {
    let (mut renewals, mut answers) = (Vec::new(), Vec::new());
    for one in waiting {
        // Its caller was promised an answer by now: one who waited for a store that came back would be given tokens that
        // nobody takes any more.
        if one.since.elapsed() >= writing.timeout {
            let _ = one.answer.send(Err(engine::timed_out()));
        } else {
            renewals.push(one.renewal);
            answers.push(one.answer);
        }
    }
    // A caller that went away does not want its answer: nobody is told then.
    match writing.renew_many(&mut renewals).await {
        Ok(outcomes) => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                let _ = answer.send(Ok(outcome));
            }
        }
        // One that the store does not take for what it is fails alone.
        Err(error) if engine::failure(&error) == Failure::Defect && answers.len() > 1 => {
            for (mut renewal, answer) in renewals.into_iter().zip(answers) {
                let decided = writing.renew_many(std::slice::from_mut(&mut renewal)).await;
                let _ = answer.send(decided.map(|mut outcomes| outcomes.remove(0)));
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

impl Writing {
    /// Decides all of `renewals`, in their order, in one transaction, and commits it. One outcome each.
    ///
    /// # Errors
    /// When the store does not take the transaction in time.
    pub async fn renew_many(&self, renewals: &mut [Renewal]) -> Result<Vec<Outcome>, DbErr> {
        let mut backoff = Backoff::new(self.timeout);
        loop {
            let error = match self.try_renew_many(renewals, backoff.deadline()).await {
                Ok(Some(outcomes)) => return Ok(outcomes),
                // Somebody else wrote one of the rows: decided anew, by what is there now.
                Ok(None) => None,
                Err(CommitError::Refused(error)) => Some(error),
                Err(CommitError::Unconfirmed(error)) => Some(error),
            };
            let is_final = error.as_ref().is_some_and(|error| {
                engine::failure(error) == Failure::Defect || engine::is_closed(error)
            });
            if is_final || !backoff.pause(&self.rng).await {
                return Err(error.unwrap_or_else(engine::timed_out));
            }
        }
    }

    /// `None` when another writer changed one of the rows in between: nothing was changed then. When it is not known
    /// whether anything was, the renewals of which it would be true are in doubt.
    async fn try_renew_many(
        &self,
        renewals: &mut [Renewal],
        deadline: Instant,
    ) -> Result<Option<Vec<Outcome>>, CommitError> {
        let prepared = timeout_at(deadline, self.prepare(renewals)).await;
        let prepared = prepared
            .unwrap_or_else(|_| Err(engine::timed_out()))
            .map_err(CommitError::Refused)?;
        let Some((transaction, outcomes)) = prepared else {
            return Ok(None);
        };
        let committed = timeout_at(deadline, engine::commit(transaction))
            .await
            .unwrap_or_else(|_| Err(CommitError::Unconfirmed(engine::timed_out())));
        if let Err(CommitError::Unconfirmed(_)) = committed {
            for (renewal, outcome) in renewals.iter_mut().zip(&outcomes) {
                renewal.in_doubt |= outcome.follows(renewal.next);
            }
        }
        committed.map(|()| Some(outcomes))
    }

    /// Everything but the commit.
    async fn prepare(
        &self,
        renewals: &[Renewal],
    ) -> Result<Option<(DatabaseTransaction, Vec<Outcome>)>, DbErr> {
        let transaction = engine::begin(&self.db).await?;
        let epoch = setting::epoch(&transaction).await?;
        let ids = renewals.iter().map(|renewal| renewal.session_id);
        let stored = session::find_many(&transaction, ids).await?;
        // In the order of their ids: two that write the same rows do not wait for each other in a circle.
        let before: BTreeMap<SessionId, session::Model> =
            stored.into_iter().map(|row| (row.id, row)).collect();
        let mut after = before.clone();

        let outcomes: Vec<_> = renewals
            .iter()
            .map(|renewal| {
                let row = after.get_mut(&renewal.session_id);
                match row.filter(|row| row.app_id == renewal.app_id) {
                    Some(row) if renewal.is_settled(row) => decide(row, renewal),
                    _ if renewal.epoch != epoch => Outcome::Stale,
                    Some(row) => decide(row, renewal),
                    None => decide_missing(renewal),
                }
            })
            .collect();

        for (before, after) in before.values().zip(after.values()) {
            if after != before && !session::advance(&transaction, before, after).await? {
                transaction.rollback().await?;
                return Ok(None);
            }
        }
        audit::insert(&transaction, reuses(renewals, &outcomes, &self.rng)).await?;
        Ok(Some((transaction, outcomes)))
    }
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
