//! Whether this process's clock is believed, by what the store knows of the time and for how long the process has run.

use std::sync::{Mutex, PoisonError};

use entity::{
    Timestamp,
    setting::{Claim, Clock},
    time::Span,
};

/// By how much a clock may differ from the newest time that the store knows, and be believed. What the jobs remove has been
/// over for at least so long.
pub const TOLERANCE: Span = Span::seconds(86_400);
/// For how long servers must have run by a clock that nothing speaks for, before it is believed: a store that was off for
/// long is purged a day later, and somebody had a day to see that the clock is wrong.
const PROOF: Span = Span::seconds(86_400);

/// What this process saw of its clock when it looked last.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Option<Seen>>);

/// A clock at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub at: Timestamp,
    pub uptime: Span,
    pub is_believed: bool,
}

impl Watch {
    /// Whether the clock was believed when it was looked at last.
    pub fn is_believed(&self) -> bool {
        self.get().is_none_or(|seen| seen.is_believed)
    }

    /// What was seen.
    pub fn get(&self) -> Option<Seen> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was seen.
    pub fn set(&self, seen: Seen) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }
}

/// Whether the clock is believed that shows `now`, and what is known of the time from then on.
pub fn judge(known: Clock, before: Option<Seen>, now: Seen) -> (bool, Clock) {
    let is_near = |time: Timestamp| time.distance(now.at) <= TOLERANCE;
    // The clock was not set since this process looked last.
    let ran = before.map(|before| now.uptime.saturating_sub(before.uptime));
    let steady = before
        .zip(ran)
        .filter(|(before, ran)| is_near(before.at + *ran));
    let was_believed = steady.is_some_and(|(before, _)| before.is_believed);
    let fits = known.newest.is_some_and(is_near);
    if fits || was_believed {
        let newest = known
            .newest
            .filter(|_| fits)
            .map_or(now.at, |newest| newest.max(now.at));
        let learnt = Clock {
            newest: Some(newest),
            claim: None,
        };
        return (true, learnt);
    }
    // It may have been on for a moment only, or been set again: what counts is for how long servers have run by it.
    let set_again = before.is_some() && steady.is_none();
    let held_before = known
        .claim
        .filter(|claim| !set_again && claim.at <= now.at + TOLERANCE);
    let held_since = steady.map_or(Span::ZERO, |(_, ran)| ran);
    let held_for = held_before.map_or(Span::ZERO, |claim| claim.held_for + held_since);
    if held_for >= PROOF {
        let learnt = Clock {
            newest: Some(now.at),
            claim: None,
        };
        return (true, learnt);
    }
    let claim = Claim {
        at: now.at,
        held_for,
    };
    let learnt = Clock {
        claim: Some(claim),
        ..known
    };
    (false, learnt)
}
