//! What others were in the way of is tried again, while the request can wait.

use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Store, engine};
use crate::{
    clock::Rng,
    error::{Error, Result},
};

/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_millis(200);

/// When to try again, and until when.
#[derive(Debug)]
pub struct Backoff {
    deadline: Instant,
    next: Duration,
}

impl Backoff {
    /// Of an operation that begins now and may take `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            next: Duration::from_millis(2),
        }
    }

    /// The end of the time that the operation has.
    pub fn deadline(&self) -> Instant {
        self.deadline
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

impl Store {
    /// Runs `attempt`, a whole operation, anew while others are in its way or the store cannot be reached, for as long as
    /// an operation may wait for the store. What may have been committed is not run again.
    ///
    /// # Errors
    /// The last one of `attempt`.
    pub async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut backoff = Backoff::new(self.timeout);
        loop {
            // A connection may hang without an end.
            match timeout_at(backoff.deadline(), attempt()).await {
                Ok(Err(Error::Unavailable(error))) => {
                    if engine::is_closed(&error) || !backoff.pause(&self.rng).await {
                        return Err(Error::Unavailable(error));
                    }
                }
                Ok(done) => return done,
                Err(_) => return Err(Error::Unconfirmed(engine::timed_out())),
            }
        }
    }
}
