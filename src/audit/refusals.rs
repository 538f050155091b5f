//! Refused attempts, of which only so many are recorded.

use std::sync::{Mutex, PoisonError};

use entity::{Timestamp, time::Span};

/// Refused attempts that are recorded in a minute; past it they are counted in the metrics only, so that
/// nobody fills the store by knocking.
const REFUSALS_A_MINUTE: u32 = 60;
/// Counts refusals of the minute.
#[derive(Debug)]
pub struct Refusals(Mutex<(Timestamp, u32)>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new((Timestamp::from_millis(0), 0)))
    }
}

impl Refusals {
    /// Whether one more is to be recorded.
    pub fn admits(&self, now: Timestamp) -> bool {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(minute.0) >= Span::seconds(60) {
            *minute = (now, 0);
        }
        minute.1 += 1;
        minute.1 <= REFUSALS_A_MINUTE
    }
}
