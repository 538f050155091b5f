//! The one path on which sessions begin, are renewed and end: what waits is decided in one transaction, committed once, then
//! answered. It never waits for more to come.

use std::{sync::Arc, time::Duration};

use sea_orm::{ConnAcquireErr, DbErr};
use store::{Failure, Store, deadline, engine};
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
    renewal::{Outcome, Renewal},
    work::{Beginning, Begun, Done, Ended, Ending, Work},
    writing::Writing,
};
use crate::error::{Error, Result};

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
    match writing.carry_out(&mut works, end).await {
        Ok(all) => {
            for ((answer, work), done) in answers.into_iter().zip(works).zip(all) {
                tell(doubts, answer, work, Ok(done));
            }
        }
        // One that the store does not take for what it is fails alone.
        Err(error) if engine::failure(&error) == Failure::Defect && answers.len() > 1 => {
            for (mut work, answer) in works.into_iter().zip(answers) {
                let done = writing
                    .carry_out(std::slice::from_mut(&mut work), end)
                    .await;
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
