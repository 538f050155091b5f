//! The one path on which sessions begin, are renewed and end: what waits is decided in one transaction, committed once, then
//! answered. It never waits for more to come.

#[cfg(test)]
mod model_tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ambient::Rng;
use entity::{AppId, SessionId, Timestamp, audit_event, session, setting};
use rand::RngExt;
use sea_orm::{ConnAcquireErr, DbErr, SqlErr};
use store::{
    Backoff, CommitError, Connections, Failure, Store, Transaction, Writes, deadline, engine,
};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    doubts::{Doubts, Untold},
    renewal::{Outcome, Renewal, decide, decide_missing},
    statements::{self, Row},
};
use crate::{
    audit::{self, Action, Event},
    error::{Error, Refusal, Result},
};

/// What may wait before callers do not any more; each takes about half a kilobyte.
const QUEUE: usize = 4096;
/// Operations in a transaction: past this, the cost of one no longer falls.
const BATCH: usize = 256;

/// Takes operations from any number of tasks.
#[derive(Clone, Debug)]
pub struct WritePath {
    queue: mpsc::Sender<Waiting>,
    /// How long an operation may wait for the store in all.
    timeout: Duration,
}

#[derive(Debug)]
struct Waiting {
    work: Work,
    /// Until when its caller waits.
    until: Instant,
    answer: oneshot::Sender<Result<Handed, DbErr>>,
}

/// An operation on one session.
#[derive(Debug)]
enum Work {
    Begin(Beginning),
    Renew(Arc<Renewal>),
    End(Ending),
}

/// A session that is to begin.
#[derive(Clone, Debug)]
pub struct Beginning {
    pub session: Box<session::Model>,
    /// The changes of its app that were known when it was made.
    pub epoch: i64,
    /// Whether a session of this id may be stored already, as this says or as an earlier one of the same caller said: the store
    /// did not answer when it was committed.
    pub in_doubt: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Begun {
    /// It is stored as it was made.
    Stored,
    /// An earlier one of its id, which was in doubt, was stored after all: this.
    Earlier(Box<session::Model>),
    /// The app was changed meanwhile: to be made anew, with the same id. Else it could be dead when it begins.
    Stale { in_doubt: bool },
}

/// A session that is to end before its time.
#[derive(Clone, Debug)]
pub struct Ending {
    pub app_id: AppId,
    pub session_id: SessionId,
    /// The changes of the app that were known when this was made.
    pub epoch: i64,
    /// How often the app was known to have been flushed.
    pub flush_count: i64,
    pub now: Timestamp,
    /// What is recorded if this ends it. A box, because few have one.
    pub event: Option<Box<audit_event::Model>>,
    /// Whether this may have ended it already: the store did not answer when it was committed.
    pub in_doubt: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// This ended it.
    Now,
    /// There was nothing live to end.
    Nothing,
    /// The app was changed meanwhile: to be made anew.
    Stale { in_doubt: bool },
}

/// What became of any.
#[derive(Debug)]
enum Done {
    Begun(Begun),
    Renewed(Outcome),
    Ended(Ended),
}

/// What sessions are written with.
#[derive(Debug)]
pub struct Writing {
    pub db: Connections,
    pub writes: Arc<Writes>,
    pub rng: Rng,
    /// How long an attempt may take, before it is made anew on another connection.
    pub patience: Duration,
}

impl WritePath {
    /// Starts the task that decides. When the store is to close, it takes nothing more, decides what waits, and ends.
    pub fn start(store: &Store) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let (timeout, stop) = (store.timeout, store.closing());
        let writing = Writing {
            db: store.renewing.clone(),
            writes: store.writes.clone(),
            rng: store.rng.clone(),
            patience: store.patience(),
        };
        store.spawn(async move {
            let (doubts, over) = (Arc::new(Doubts::default()), CancellationToken::new());
            let deciding = async {
                run(&writing, &doubts, queue, stop).await;
                over.cancel();
            };
            tokio::join!(deciding, doubts.run(&writing, &over));
        });
        Self {
            queue: sender,
            timeout,
        }
    }

    /// Whether anything is taken: not when the server stops, nor when the task that decides has failed.
    pub fn is_open(&self) -> bool {
        !self.queue.is_closed()
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

    /// Stores a session that begins.
    ///
    /// # Errors
    /// When the store does not take the transaction in time.
    pub async fn begin(&self, beginning: Beginning) -> Result<Begun> {
        match self.submit(Work::Begin(beginning)).await? {
            Done::Begun(begun) => Ok(begun),
            other => Err(mismatch(&other)),
        }
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the store does not take the transaction in time.
    pub async fn end(&self, ending: Ending) -> Result<Ended> {
        match self.submit(Work::End(ending)).await? {
            Done::Ended(ended) => Ok(ended),
            other => Err(mismatch(&other)),
        }
    }

    async fn submit(&self, work: Work) -> Result<Done> {
        let (answer, answered) = oneshot::channel();
        // The server is stopping: another node, or this one again, will take it.
        let stopped = || DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        let until = deadline::end(self.timeout);
        let waiting = Waiting {
            work,
            until,
            answer,
        };
        self.queue.try_send(waiting).map_err(|error| match error {
            // More than the store takes: the memory of this process has an end.
            TrySendError::Full(_) => deadline::over(),
            TrySendError::Closed(_) => stopped(),
        })?;
        match timeout_at(until, answered).await {
            Ok(answered) => {
                let handed = answered.map_err(|_| stopped())??;
                Ok(handed.take())
            }
            Err(_) => Err(Error::Unconfirmed(deadline::over())),
        }
    }
}

fn mismatch(done: &Done) -> Error {
    Error::internal(format!("the write path answered {done:?}"))
}

async fn run(
    writing: &Writing,
    doubts: &Arc<Doubts>,
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
                answer(writing, doubts, waiting.drain(..)).await;
            }
        }
    }
}

async fn answer(writing: &Writing, doubts: &Arc<Doubts>, waiting: impl Iterator<Item = Waiting>) {
    let (mut works, mut answers) = (Vec::new(), Vec::new());
    let mut end = Instant::now();
    for one in waiting {
        // Its caller was promised an answer by now: one who waited for a store that came back would be given tokens that
        // nobody takes any more.
        let is_in_doubt = one.work.renews().is_some_and(|id| doubts.concern(id));
        if is_in_doubt || one.until <= Instant::now() {
            let _ = one.answer.send(Err(deadline::over()));
        } else {
            end = end.max(one.until);
            works.push(one.work);
            answers.push(one.answer);
        }
    }
    match writing.decide(&mut works, end).await {
        Ok(all) => {
            for ((answer, work), done) in answers.into_iter().zip(works).zip(all) {
                tell(doubts, answer, work, Ok(done));
            }
        }
        // One that the store does not take for what it is fails alone.
        Err(error) if engine::failure(&error) == Failure::Defect && answers.len() > 1 => {
            for (mut work, answer) in works.into_iter().zip(answers) {
                let done = writing.decide(std::slice::from_mut(&mut work), end).await;
                tell(doubts, answer, work, done.map(|mut all| all.remove(0)));
            }
        }
        Err(error) => {
            for (work, answer) in works.into_iter().zip(answers) {
                tell(doubts, answer, work, Err(error.clone()));
            }
        }
    }
}

/// Tells the caller what became of its operation. A renewal of which nobody is told is remembered.
fn tell(
    doubts: &Arc<Doubts>,
    answer: oneshot::Sender<Result<Handed, DbErr>>,
    work: Work,
    done: Result<Done, DbErr>,
) {
    let renewal = match (work, &done) {
        (Work::Renew(renewal), Ok(Done::Renewed(outcome)))
            if outcome.follows(renewal.next) || renewal.has_doubts() =>
        {
            Some(renewal)
        }
        (Work::Renew(renewal), Err(_)) if renewal.has_doubts() => Some(renewal),
        _ => None,
    };
    let untold = renewal.map(|renewal| Untold::new(renewal, doubts));
    let _ = match done {
        Ok(done) => answer.send(Ok(Handed { done, untold })),
        // It is dropped here.
        Err(error) => answer.send(Err(error)),
    };
}

/// An answer on its way to the caller, who may be gone.
#[derive(Debug)]
struct Handed {
    done: Done,
    untold: Option<Untold>,
}

impl Handed {
    /// Takes the answer: now it was told.
    fn take(self) -> Done {
        if let Some(untold) = self.untold {
            untold.was_told();
        }
        self.done
    }
}

impl Writing {
    /// Decides all of `works`, in their order, in one transaction, and commits it, until `end`.
    async fn decide(&self, works: &mut [Work], end: Instant) -> Result<Vec<Done>, DbErr> {
        let mut backoff = Backoff::until(end);
        loop {
            let attempt = deadline::within(self.patience, self.attempt(works));
            let error = match deadline::until(end, attempt).await {
                Ok(Some(done)) => return Ok(done),
                // Somebody else wrote one of the rows: decided anew, by what is there now.
                Ok(None) => None,
                Err(CommitError::Refused(error)) => Some(error),
                Err(CommitError::Unconfirmed(error)) => Some(error),
            };
            if let Some(error) = &error {
                self.writes.note(error);
            }
            let is_final = error.as_ref().is_some_and(|error| {
                engine::failure(error) == Failure::Defect || engine::is_closed(error)
            });
            if is_final || !backoff.pause(&self.rng).await {
                return Err(error.unwrap_or_else(deadline::over));
            }
        }
    }

    /// `None` when another writer changed one of the rows in between: nothing was changed then. When it is not known
    /// whether anything was, the operations of which it would be true are in doubt.
    async fn attempt(&self, works: &mut [Work]) -> Result<Option<Vec<Done>>, CommitError> {
        let prepared = self.prepare(works).await.map_err(CommitError::Refused)?;
        let Some((transaction, done)) = prepared else {
            return Ok(None);
        };
        let committed = engine::commit(transaction).await;
        if let Err(CommitError::Unconfirmed(_)) = committed {
            for (work, done) in works.iter_mut().zip(&done) {
                work.doubt(done);
            }
        }
        committed.map(|()| Some(done))
    }

    /// Everything but the commit.
    async fn prepare(&self, works: &[Work]) -> Result<Option<(Transaction, Vec<Done>)>, DbErr> {
        let transaction = self.db.begin().await?;
        let ids: Vec<_> = works.iter().filter_map(Work::reads).collect();
        let apps = works.iter().filter_map(Work::asks).collect();
        let stored = statements::read(&transaction, &ids, only_app(works), &apps).await?;
        let epochs = stored.epochs;
        // In the order of their ids: two that write the same rows do not wait for each other in a circle.
        let mut rows: BTreeMap<SessionId, Row> = stored
            .sessions
            .into_iter()
            .map(|session| (session.id, Row::new(session)))
            .collect();

        let (mut begun, mut events) = (Vec::new(), Vec::new());
        let mut done = Vec::with_capacity(works.len());
        for work in works {
            // None of an app that is no more.
            let epoch = epochs.get(&work.app_id()).copied();
            done.push(match work {
                Work::Begin(beginning) => {
                    let row = rows.get(&beginning.session.id).map(|row| &row.session);
                    let outcome = begin(row, beginning, epoch);
                    if matches!(outcome, Begun::Stored) && row.is_none() {
                        begun.push(&*beginning.session);
                    }
                    Done::Begun(outcome)
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
                    let was_live = row.as_ref().is_some_and(|row| !row.session.is_revoked());
                    let outcome = end(row.map(|row| &mut row.session), ending, epoch);
                    // Where it was in doubt, it was recorded when it was done.
                    let is_new = outcome == Ended::Now && was_live;
                    events.extend(ending.event.as_deref().cloned().filter(|_| is_new));
                    Done::Ended(outcome)
                }
            });
        }

        let changes: Vec<_> = rows.values().filter(|row| row.is_changed()).collect();
        if !statements::advance(&transaction, &changes).await? {
            transaction.rollback().await?;
            return Ok(None);
        }
        if let Err(error) = statements::insert(&transaction, &begun).await {
            let is_there = matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)));
            let in_doubt = |work: &Work| matches!(work, Work::Begin(begun) if begun.in_doubt);
            if !(is_there && works.iter().any(in_doubt)) {
                return Err(error);
            }
            // A commit that waits for a synchronous standby is seen by nobody until that has it: it came after the rows
            // were read. They are read again.
            transaction.rollback().await?;
            return Ok(None);
        }
        let writes = !(changes.is_empty() && begun.is_empty() && events.is_empty());
        if !writes && done.iter().any(Done::is_kept) {
            // What is answered is as durable as what is made, also where it was there already, and what is missing is missing
            // at the primary: a commit that writes nothing waits for no standby, and may tell of a row that the one before it has
            // not brought to any, or be that of a server that has not noticed yet that another took its place.
            setting::write_probe(&transaction, self.rng.with(|rng| rng.random())).await?;
        }
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

    /// The session that is renewed.
    fn renews(&self) -> Option<SessionId> {
        match self {
            Self::Renew(renewal) => Some(renewal.session_id),
            Self::Begin(_) | Self::End(_) => None,
        }
    }

    fn app_id(&self) -> AppId {
        match self {
            Self::Begin(beginning) => beginning.session.app_id,
            Self::Renew(renewal) => renewal.app_id,
            Self::End(ending) => ending.app_id,
        }
    }

    /// The app whose epoch is read though no row of it may be there.
    fn asks(&self) -> Option<AppId> {
        match self {
            Self::Begin(beginning) => Some(beginning.session.app_id),
            Self::Renew(_) | Self::End(_) => None,
        }
    }

    /// It is not known whether what was done was committed.
    fn doubt(&mut self, done: &Done) {
        match (self, done) {
            (Self::Begin(beginning), Done::Begun(Begun::Stored)) => beginning.in_doubt = true,
            (Self::Renew(renewal), Done::Renewed(outcome)) if outcome.follows(renewal.next) => {
                Arc::make_mut(renewal).doubt();
            }
            (Self::End(ending), Done::Ended(Ended::Now)) => ending.in_doubt = true,
            _ => {}
        }
    }
}

impl Done {
    /// Whether its caller is told to rely on what is stored, or on there being nothing.
    fn is_kept(&self) -> bool {
        match self {
            Self::Begun(begun) => !matches!(begun, Begun::Stale { .. }),
            Self::Renewed(outcome) => matches!(
                outcome,
                Outcome::Renewed(_) | Outcome::Refused(Refusal::Revoked)
            ),
            Self::Ended(ended) => !matches!(ended, Ended::Stale { .. }),
        }
    }
}

/// The app of all of them, if that is one.
fn only_app(works: &[Work]) -> Option<AppId> {
    let first = works.first()?.app_id();
    let is_only = works.iter().all(|work| work.app_id() == first);
    is_only.then_some(first)
}

fn begin(row: Option<&session::Model>, beginning: &Beginning, epoch: Option<i64>) -> Begun {
    match row {
        // This very one, as it was made.
        Some(row) if row.token_id == beginning.session.token_id => Begun::Stored,
        Some(row) => Begun::Earlier(Box::new(row.clone())),
        None if Some(beginning.epoch) == epoch => Begun::Stored,
        None => Begun::Stale {
            in_doubt: beginning.in_doubt,
        },
    }
}

fn renew(row: Option<&mut session::Model>, renewal: &Renewal, epoch: Option<i64>) -> Outcome {
    match row.filter(|row| row.app_id == renewal.app_id) {
        Some(row) if renewal.is_settled(row) => decide(row, renewal),
        Some(_) if Some(renewal.epoch) != epoch => Outcome::Stale {
            in_doubt: renewal.in_doubt.clone(),
        },
        Some(row) => decide(row, renewal),
        // There is nothing that a change of the app could alter.
        None => decide_missing(renewal),
    }
}

fn end(row: Option<&mut session::Model>, ending: &Ending, epoch: Option<i64>) -> Ended {
    let Some(row) = row.filter(|row| row.app_id == ending.app_id) else {
        return Ended::Nothing;
    };
    let reason = Some(session::Revocation::Logout);
    if ending.in_doubt && row.revoked_at == Some(ending.now) && row.revoked_for == reason {
        return Ended::Now;
    }
    if Some(ending.epoch) != epoch {
        return Ended::Stale {
            in_doubt: ending.in_doubt,
        };
    }
    // Whatever its dates: a node whose clock is behind, or the leeway, may still renew it.
    if row.is_revoked() || row.flush_count < ending.flush_count {
        return Ended::Nothing;
    }
    row.revoked_at = Some(ending.now);
    row.revoked_for = reason;
    Ended::Now
}
