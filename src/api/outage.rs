//! How an outage of the store is logged: now and then, not once a request.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The time between two lines.
const PAUSE: Duration = Duration::from_secs(5);

/// What of an outage was logged.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    left_out: u64,
}

impl Outage {
    /// How many failures were not logged since the last one that was; `None` when this one is not, either.
    pub fn tell(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.at.is_some_and(|at| now.duration_since(at) < PAUSE) {
            told.left_out += 1;
            return None;
        }
        told.at = Some(now);
        Some(std::mem::take(&mut told.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_stands_for_many() {
        let (outage, begun) = (Outage::default(), Instant::now());
        assert_eq!(outage.tell(begun), Some(0));
        for millis in [1, 2, 4_999] {
            assert_eq!(outage.tell(begun + Duration::from_millis(millis)), None);
        }
        assert_eq!(outage.tell(begun + PAUSE), Some(3));
        assert_eq!(outage.tell(begun + PAUSE), None);
    }
}
