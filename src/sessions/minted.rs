//! The ids of sessions, in the order in which they began.

use std::sync::{Mutex, PoisonError};

use ambient::Rng;
use entity::{SessionId, Timestamp};

/// The id of the session that began last in this process: those of one millisecond are in their order, too.
#[derive(Debug, Default)]
pub struct Minted(Mutex<Option<SessionId>>);

impl Minted {
    /// The id of a session that begins now.
    pub fn next(&self, now: Timestamp, rng: &Rng) -> SessionId {
        let minted = rng.with(|rng| SessionId::mint(now, rng));
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match *last {
            Some(last) if last >= minted && last.minted_at() == minted.minted_at() => last.next(),
            _ => minted,
        };
        *last = Some(next);
        next
    }
}
