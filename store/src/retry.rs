//! What others were in the way of is tried again, while the request can wait.

use std::time::Duration;

use ambient::Rng;
use rand::RngExt;
use sea_orm::DbErr;
use tokio::time::{Instant, sleep};

use crate::{Store, deadline, engine};

/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_millis(200);

/// When to try again, and until when.
#[derive(Debug)]
pub struct Backoff {
    deadline: Instant,
    next: Duration,
}

impl Backoff {
    /// Of an operation that has time until `deadline`.
    pub fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            next: Duration::from_millis(2),
        }
    }

    /// Pauses; `false` when there is no time left to try again. Of many that got in each other's way, each pauses for
    /// another time.
    pub async fn pause(&mut self, rng: &Rng) -> bool {
        let part = rng.with(|rng| rng.random_range(0.5..1.0));
        let until = Instant::now() + self.next.mul_f64(part);
        self.next = (self.next * 2).min(LONGEST);
        if until >= self.deadline {
            return false;
        }
        sleep(until - Instant::now()).await;
        true
    }
}

/// How often something is decided anew because others change what it is decided by: at once, for as long as an operation may
/// wait for the store.
#[derive(Debug)]
pub struct Tries {
    timeout: Duration,
    /// Set by the second one: most need but one.
    deadline: Option<Instant>,
    is_first: bool,
}

impl Tries {
    /// Whether there is time to try, or to try again.
    pub fn again(&mut self) -> bool {
        if std::mem::take(&mut self.is_first) {
            return true;
        }
        let now = Instant::now();
        let timeout = self.timeout;
        now < *self.deadline.get_or_insert_with(|| deadline::end(timeout))
    }
}

/// What the store may be to blame for when an operation fails.
#[derive(Clone, Copy, Debug)]
pub enum Trouble<'a> {
    /// Nothing was changed, and it may go better in a moment.
    Passing(&'a DbErr),
    /// The store did not answer when it was asked to commit.
    Unconfirmed(&'a DbErr),
    /// Others changed the same thing at the same time: nothing was changed, and it is to be decided anew.
    Contended,
}

/// The error of an operation that is tried again while the store is to blame.
pub trait Retried {
    /// `None` when the store is not to blame.
    fn trouble(&self) -> Option<Trouble<'_>>;
}

impl Store {
    /// Of an operation that begins now.
    pub fn tries(&self) -> Tries {
        Tries {
            timeout: self.timeout,
            deadline: None,
            is_first: true,
        }
    }

    /// Runs `attempt`, a whole operation, anew while others are in its way or the store cannot be reached, for as long as
    /// an operation may wait for the store. What may have been committed is not run again.
    ///
    /// # Errors
    /// The last one of `attempt`.
    pub async fn retry<T, E, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, E>
    where
        E: Retried,
        F: Future<Output = Result<T, E>>,
    {
        let end = deadline::end(self.timeout);
        let mut backoff = Backoff::until(end);
        let attempts = async {
            loop {
                let done = attempt().await;
                let trouble = done.as_ref().err().and_then(Retried::trouble);
                let is_over = match trouble {
                    Some(Trouble::Passing(error)) => {
                        self.writes.note(error);
                        engine::is_closed(error)
                    }
                    Some(Trouble::Unconfirmed(error)) => {
                        self.writes.note(error);
                        true
                    }
                    Some(Trouble::Contended) => false,
                    None => true,
                };
                if is_over || !backoff.pause(&self.rng).await {
                    return done;
                }
            }
        };
        deadline::until(end, attempts).await
    }
}
