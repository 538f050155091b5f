//! The one path on which sessions begin, are renewed and end: what waits is decided in one transaction, committed once, then
//! answered. It never waits for more to come.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use entity::{AppId, SessionId, Timestamp, audit_event, session};
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
    statements::{self, Row},
};
use crate::{
    audit::{self, Action, Event},
    clock::Rng,
    error::{Error, Result},
    sessions::renewal::{Outcome, Renewal, decide, decide_missing},
};

/// What may wait before callers do not any more; each takes about half a kilobyte.
const QUEUE: usize = 4096;
/// Operations in a transaction: past this, the cost of one no longer falls.
const BATCH: usize = 256;

/// Takes operations from any number of tasks.
#[derive(Clone, Debug)]
pub struct WritePath(mpsc::Sender<Waiting>);

#[derive(Debug)]
struct Waiting {
    work: Work,
    since: Instant,
    answer: oneshot::Sender<Result<Done, DbErr>>,
}

/// An operation on one session.
#[derive(Debug)]
enum Work {
    Begin(Beginning),
    Renew(Arc<Renewal>),
    End(Ending),
}

/// A session that is to begin.
#[derive(Debug)]
struct Beginning {
    session: Box<session::Model>,
    /// The changes of apps and keys that were known when it was made.
    epoch: i64,
    in_doubt: bool,
}

/// A session that is to end before its time.
#[derive(Debug)]
pub struct Ending {
    pub app_id: AppId,
    pub session_id: SessionId,
    pub now: Timestamp,
    /// What is recorded if this ends it.
    pub event: Option<audit_event::Model>,
}

/// What became of it.
#[derive(Debug)]
enum Done {
    /// `false`: apps or keys were changed meanwhile.
    Begun(bool),
    Renewed(Outcome),
    /// `false`: there was nothing live to end.
    Ended(bool),
}

/// What sessions are written with.
#[derive(Debug)]
pub struct Writing {
    pub db: DatabaseConnection,
    pub rng: Rng,
    /// How long an operation may wait for the store.
    pub timeout: Duration,
}

impl WritePath {
    /// Starts the task that decides. After `stop` it takes nothing more, decides what waits, and ends.
    pub(super) fn start(writing: Writing, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        tasks.spawn(run(writing, queue, stop));
        Self(sender)
    }

    /// Whether anything is taken: not when the server stops, nor when the task that decides has failed.
    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// Decides one renewal, together with what waits beside it. When this answers, the decision is durable; it is made even if
    /// the caller goes away.
    ///
    /// # Errors
    /// When the store does not take the transaction in time.
    pub async fn renew(&self, renewal: Arc<Renewal>) -> Result<Outcome> {
        match self.submit(Work::Renew(renewal)).await? {
            Done::Renewed(outcome) => Ok(outcome),
            other => Err(mismatch(&other)),
        }
    }

    /// Stores a session that begins, which was made when `epoch` changes of apps and keys were known. `false` when there were
    /// more since: it could be dead when it begins.
    ///
    /// # Errors
    /// When the store does not take the transaction in time.
    pub async fn begin(&self, session: session::Model, epoch: i64) -> Result<bool> {
        let beginning = Beginning {
            session: Box::new(session),
            epoch,
            in_doubt: false,
        };
        match self.submit(Work::Begin(beginning)).await? {
            Done::Begun(begun) => Ok(begun),
            other => Err(mismatch(&other)),
        }
    }

    /// Ends a session. `false` when there is nothing live to end.
    ///
    /// # Errors
    /// When the store does not take the transaction in time.
    pub async fn end(&self, ending: Ending) -> Result<bool> {
        match self.submit(Work::End(ending)).await? {
            Done::Ended(ended) => Ok(ended),
            other => Err(mismatch(&other)),
        }
    }

    async fn submit(&self, work: Work) -> Result<Done> {
        let (answer, answered) = oneshot::channel();
        // The server is stopping: another node, or this one again, will take it.
        let stopped = || DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        let waiting = Waiting {
            work,
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

fn mismatch(done: &Done) -> Error {
    Error::internal(format!("the write path answered {done:?}"))
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
    let (mut works, mut answers) = (Vec::new(), Vec::new());
    for one in waiting {
        // Its caller was promised an answer by now: one who waited for a store that came back would be given tokens that
        // nobody takes any more.
        if one.since.elapsed() >= writing.timeout {
            let _ = one.answer.send(Err(engine::timed_out()));
        } else {
            works.push(one.work);
            answers.push(one.answer);
        }
    }
    // A caller that went away does not want its answer: nobody is told then.
    match writing.decide(&mut works).await {
        Ok(all) => {
            for (answer, done) in answers.into_iter().zip(all) {
                let _ = answer.send(Ok(done));
            }
        }
        // One that the store does not take for what it is fails alone.
        Err(error) if engine::failure(&error) == Failure::Defect && answers.len() > 1 => {
            for (mut work, answer) in works.into_iter().zip(answers) {
                let done = writing.decide(std::slice::from_mut(&mut work)).await;
                let _ = answer.send(done.map(|mut all| all.remove(0)));
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
    /// Decides all of `works`, in their order, in one transaction, and commits it.
    async fn decide(&self, works: &mut [Work]) -> Result<Vec<Done>, DbErr> {
        let mut backoff = Backoff::new(self.timeout);
        loop {
            let error = match self.attempt(works, backoff.deadline()).await {
                Ok(Some(done)) => return Ok(done),
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
    /// whether anything was, the operations of which it would be true are in doubt.
    async fn attempt(
        &self,
        works: &mut [Work],
        deadline: Instant,
    ) -> Result<Option<Vec<Done>>, CommitError> {
        let prepared = timeout_at(deadline, self.prepare(works)).await;
        let prepared = prepared
            .unwrap_or_else(|_| Err(engine::timed_out()))
            .map_err(CommitError::Refused)?;
        let Some((transaction, done)) = prepared else {
            return Ok(None);
        };
        let committed = timeout_at(deadline, engine::commit(transaction))
            .await
            .unwrap_or_else(|_| Err(CommitError::Unconfirmed(engine::timed_out())));
        if let Err(CommitError::Unconfirmed(_)) = committed {
            for (work, done) in works.iter_mut().zip(&done) {
                match (work, done) {
                    (Work::Begin(beginning), Done::Begun(begun)) => beginning.in_doubt |= begun,
                    (Work::Renew(renewal), Done::Renewed(outcome))
                        if outcome.follows(renewal.next) =>
                    {
                        Arc::make_mut(renewal).in_doubt = true;
                    }
                    _ => {}
                }
            }
        }
        committed.map(|()| Some(done))
    }

    /// Everything but the commit.
    async fn prepare(
        &self,
        works: &[Work],
    ) -> Result<Option<(DatabaseTransaction, Vec<Done>)>, DbErr> {
        let transaction = engine::begin(&self.db).await?;
        let ids: Vec<_> = works.iter().filter_map(Work::reads).collect();
        let (epoch, stored) = statements::read(&transaction, &ids).await?;
        // In the order of their ids: two that write the same rows do not wait for each other in a circle.
        let mut rows: BTreeMap<SessionId, Row> = stored
            .into_iter()
            .map(|session| (session.id, Row::new(session)))
            .collect();

        let (mut begun, mut events) = (Vec::new(), Vec::new());
        let mut done = Vec::with_capacity(works.len());
        for work in works {
            done.push(match work {
                Work::Begin(beginning) => {
                    let is_there = rows.contains_key(&beginning.session.id);
                    let fits = is_there || beginning.epoch == epoch;
                    if fits && !is_there {
                        begun.push(&*beginning.session);
                    }
                    Done::Begun(fits)
                }
                Work::Renew(renewal) => {
                    let row = rows.get_mut(&renewal.session_id);
                    let outcome = renew(row.map(|row| &mut row.session), renewal, epoch);
                    if outcome == Outcome::Reused {
                        let reuse = Action::SessionReuse;
                        let event = Event::of(reuse, renewal.app_id, renewal.session_id);
                        events.push(event.row(&renewal.actor, renewal.now, &self.rng));
                    }
                    Done::Renewed(outcome)
                }
                Work::End(ending) => {
                    let row = rows.get_mut(&ending.session_id);
                    let ended = end(row.map(|row| &mut row.session), ending);
                    events.extend(ending.event.clone().filter(|_| ended));
                    Done::Ended(ended)
                }
            });
        }

        let changes: Vec<_> = rows.values().filter(|row| row.is_changed()).collect();
        if !statements::advance(&transaction, &changes).await? {
            transaction.rollback().await?;
            return Ok(None);
        }
        statements::insert(&transaction, &begun).await?;
        audit::insert(&transaction, events).await?;
        Ok(Some((transaction, done)))
    }
}

impl Work {
    /// The session whose row is read.
    fn reads(&self) -> Option<SessionId> {
        match self {
            Self::Begin(beginning) => beginning.in_doubt.then_some(beginning.session.id),
            Self::Renew(renewal) => Some(renewal.session_id),
            Self::End(ending) => Some(ending.session_id),
        }
    }
}

fn renew(row: Option<&mut session::Model>, renewal: &Renewal, epoch: i64) -> Outcome {
    match row.filter(|row| row.app_id == renewal.app_id) {
        Some(row) if renewal.is_settled(row) => decide(row, renewal),
        _ if renewal.epoch != epoch => Outcome::Stale,
        Some(row) => decide(row, renewal),
        None => decide_missing(renewal),
    }
}

fn end(row: Option<&mut session::Model>, ending: &Ending) -> bool {
    let live = row.filter(|row| {
        row.app_id == ending.app_id && !row.is_revoked() && ending.now < row.expires_at
    });
    let Some(row) = live else {
        return false;
    };
    row.revoked_at = Some(ending.now);
    row.revoked_for = Some(session::Revocation::Logout);
    true
}
