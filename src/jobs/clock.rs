//! Whether this process's clock is believed. What a clock says that is wrong, by a day or by years, must not remove anything:
//! so before a job removes rows or rotates keys, the clock is compared with the newest time that the store knows.

use std::sync::{Mutex, PoisonError};

use entity::{
    Timestamp, audit_event, lease,
    setting::{self, Claim, Clock},
    time::Span,
};

use crate::{app::App, error::Result};

/// By how much a clock may differ from the newest time that the store knows, and be believed. What the jobs remove has been
/// over for at least so long.
pub const TOLERANCE: Span = Span::seconds(86_400);
/// For how long servers must have run by a clock that nothing speaks for, before it is believed: a store that was off for
/// long is purged a day later, and somebody had a day to see that the clock is wrong.
const PROOF: Span = Span::seconds(86_400);
/// The newest time is written down no more often than this.
const STEP: Span = Span::seconds(30);

/// What this process saw of its clock when it looked last.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Option<Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Timestamp,
    uptime: Span,
    is_believed: bool,
}

impl Watch {
    /// Whether the clock was believed when it was looked at last.
    pub fn is_believed(&self) -> bool {
        self.get().is_none_or(|seen| seen.is_believed)
    }

    fn get(&self) -> Option<Seen> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, seen: Seen) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }
}

/// Looks at the clock, and notes in the store what is known of the time. Gives what it showed; `None` when it is not believed:
/// then nothing may be removed, and no key be made, by what it says. Nor by what it shows later: it may be set in between.
///
/// # Errors
/// Those of the store.
pub async fn look(app: &App) -> Result<Option<Timestamp>> {
    let seen = Seen {
        at: app.clock.now(),
        uptime: app.clock.uptime(),
        is_believed: false,
    };
    let before = app.watch.get();
    let attempt = async || {
        let stored = setting::clock(&app.store.reader).await?;
        let known = match stored.newest {
            Some(_) => stored,
            None => Clock {
                newest: traces(app).await?,
                ..stored
            },
        };
        let (is_believed, learnt) = judge(known, before, seen);
        if learnt.claim.is_some() || is_news(stored, learnt) {
            let transaction = app.store.begin().await?;
            setting::set_clock(&transaction, stored, learnt).await?;
            app.store.commit(transaction).await?;
        }
        Ok((is_believed, known))
    };
    let (is_believed, known) = app.retry(attempt).await?;
    app.watch.set(Seen {
        is_believed,
        ..seen
    });
    app.metrics.believes_clock(is_believed);
    let was_believed = before.is_none_or(|before| before.is_believed);
    if was_believed && !is_believed {
        tracing::warn!(
            clock = seen.at.to_rfc3339(),
            newest_in_store = known.newest.map(Timestamp::to_rfc3339),
            "the clock is far from the newest time that the store knows: nothing is purged and no signing key rotated until the \
             clock is set, or servers have run by it for 24 hours"
        );
    } else if is_believed && !was_believed {
        tracing::info!("the clock is believed again: jobs go on");
    }
    Ok(is_believed.then_some(seen.at))
}

/// The newest time of which a store of an earlier release has a trace. A fresh store was made a moment ago.
async fn traces(app: &App) -> Result<Option<Timestamp>> {
    let runs = lease::list(&app.store.reader).await?;
    let runs = runs.iter().filter_map(|lease| lease.last_run_at).max();
    Ok(runs.max(audit_event::last_at(&app.store.reader).await?))
}

fn is_news(stored: Clock, learnt: Clock) -> bool {
    stored.claim.is_some()
        || match (stored.newest, learnt.newest) {
            (Some(stored), Some(learnt)) => stored.distance(learnt) >= STEP,
            (stored, learnt) => stored != learnt,
        }
}

/// Whether the clock is believed that shows `now`, and what is known of the time from then on.
fn judge(known: Clock, before: Option<Seen>, now: Seen) -> (bool, Clock) {
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
