//! Whether what is in memory of apps and keys may still be believed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use entity::time::Span;
use tokio::sync::Mutex;

/// How long it may be ago that the store was asked what has changed. A key that was revoked at another node is taken here no
/// longer than that, whatever lies between this node and the store.
const LIMIT: Duration = Duration::from_secs(2);

/// When the store was asked last, by a clock that nobody can set.
#[derive(Debug)]
pub struct Freshness {
    began: Instant,
    /// The beginning of the last look that got an answer; 0 before the first one.
    answered: AtomicU64,
    /// The beginning of the last look that got none.
    failed: AtomicU64,
    /// Held by the request that looks because it was too long ago. The others wait for what that finds.
    pub looking: Mutex<()>,
}

/// A moment: milliseconds since the process began to count, and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Default for Freshness {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            looking: Mutex::default(),
        }
    }
}

impl Freshness {
    /// Whether what is in memory is what the store had a moment ago.
    pub fn holds(&self) -> bool {
        let answered = self.answered.load(Ordering::Acquire);
        let limit = u64::try_from(LIMIT.as_millis()).unwrap_or(0);
        answered > 0 && self.now().0.saturating_sub(answered) < limit
    }

    /// How long ago the last look began that got an answer.
    pub fn age(&self) -> Span {
        let age = self
            .now()
            .0
            .saturating_sub(self.answered.load(Ordering::Acquire));
        Span::millis(i64::try_from(age).unwrap_or(i64::MAX))
    }

    /// What a look that begins now is told with.
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_millis()).map_or(u64::MAX, |now| now + 1))
    }

    /// A look that began then has got its answer: everything that was committed before it began is known.
    pub fn answered(&self, began: Moment) {
        self.answered.fetch_max(began.0, Ordering::AcqRel);
    }

    /// A look that began then has got none.
    pub fn failed(&self, began: Moment) {
        self.failed.fetch_max(began.0, Ordering::AcqRel);
    }

    /// Whether a look that began then, or later, has got no answer.
    pub fn has_failed_since(&self, began: Moment) -> bool {
        self.failed.load(Ordering::Acquire) >= began.0
    }
}
