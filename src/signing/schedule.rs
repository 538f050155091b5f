//! The life of signing keys, pure: what each key is at a moment follows from its dates, and nobody has to be
//! awake for a key to begin to sign.
//!
//! ```text
//!  made ──► published ──► active ──► retired ──► gone
//!              │             │           │
//!              └─────────────┴───────────┴──► revoked ──► gone
//! ```

use entity::{Timestamp, time::Span};

use crate::watch::TOLERANCE;

/// How long a change takes to reach every process; part of every promise about keys.
pub const CACHE_BOUND: Span = Span::seconds(1);
/// By how much the clocks of verifiers may differ from ours, and ours be set.
pub const CLOCK_SKEW: Span = Span::seconds(60);

/// For how much longer than it is needed a key is kept: the clock that removes it may be ahead, by less than is noticed, and
/// with a key go the sessions whose tokens it signed.
pub const KEPT_GONE: Span = TOLERANCE;

/// Keys that an app has at most which are gone: as many as may be retired, and are taken to be gone by a clock that is ahead.
const MOST_GONE: usize = 100;

/// Retired keys that an app has at most, but for those that are rotated by hand.
const MOST_RETIRED: i64 = 100;

/// The dates of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDates {
    pub created_at: Timestamp,
    /// From when it signs, unless a later one does.
    pub activates_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    /// The longest life of a token that it may have signed.
    pub token_life: Span,
}

/// What a key is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Verifiers can fetch it; it does not sign yet.
    Published,
    /// The one that signs.
    Active,
    /// It signed; tokens of it may live until `gone_at`.
    Retired { at: Timestamp, gone_at: Timestamp },
    /// Its tokens are dead. Remembered until `gone_at`, so that they are known for what they were.
    Revoked { at: Timestamp, gone_at: Timestamp },
    /// Nothing that it signed can live, since then. It is removed [`KEPT_GONE`] later.
    Gone { at: Timestamp },
}

/// What an app's policy says of its keys.
#[derive(Clone, Copy, Debug)]
pub struct RotationPolicy {
    /// Between two keys.
    pub period: Span,
    /// For how long verifiers may keep the public keys.
    pub jwks_max_age: Span,
}

/// What is to be done about the keys of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a key that signs from then on.
    Publish { activates_at: Timestamp },
    /// Nothing before this time.
    Wait(Timestamp),
}

impl KeyDates {
    /// Whether its dates let it sign at some time: it was not revoked before.
    fn signs(&self) -> bool {
        self.revoked_at.is_none_or(|at| at > self.activates_at)
    }
}

impl State {
    /// Its name in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Active => "active",
            Self::Retired { .. } => "retired",
            Self::Revoked { .. } => "revoked",
            Self::Gone { .. } => "gone",
        }
    }

    /// Whether its tokens are good, and verifiers are told of it.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::Published | Self::Active | Self::Retired { .. })
    }
}

impl RotationPolicy {
    /// The policy of an app with this rotation period and this longest life of a token, both in seconds.
    ///
    /// A key is kept for as long as its tokens live: the period is stretched where an app would have more keys than
    /// a verifier cares to fetch.
    pub fn new(rotation_period: i64, token_life: i64, jwks_max_age: Span) -> Self {
        Self {
            period: Span::seconds(rotation_period.max(token_life / MOST_RETIRED)),
            jwks_max_age,
        }
    }

    /// For how long a key is published before it signs: until every verifier has fetched it, also when our clock is
    /// set forward meanwhile.
    pub fn lead(&self) -> Span {
        self.jwks_max_age + CACHE_BOUND + CLOCK_SKEW.min(self.jwks_max_age)
    }
}

/// The state of each of an app's keys, which are given in the order of `activates_at`.
///
/// At most one is active; exactly one, if any is not revoked.
pub fn states(keys: &[KeyDates], now: Timestamp) -> Vec<State> {
    let active = active(keys, now);
    let state = |(index, key): (usize, &KeyDates)| {
        if let Some(at) = key.revoked_at {
            let gone_at = at + key.token_life + CLOCK_SKEW;
            return ended(State::Revoked { at, gone_at }, gone_at, now);
        }
        match active {
            Some(active) if index < active => {
                let later = &keys[index + 1..=active];
                let at = later.iter().find(|later| later.signs());
                let at = at.map_or(key.activates_at, |successor| successor.activates_at);
                // Another process may have signed with it for so much longer.
                let gone_at = at + CACHE_BOUND + key.token_life + CLOCK_SKEW;
                ended(State::Retired { at, gone_at }, gone_at, now)
            }
            Some(active) if index == active => State::Active,
            _ => State::Published,
        }
    };
    keys.iter().enumerate().map(state).collect()
}

/// The places of the keys that may be removed at `now`: those that are gone for long enough, and of those that are gone the
/// oldest, where an app that changes its keys every minute has very many.
pub fn over(states: &[State], now: Timestamp) -> Vec<usize> {
    let gone: Vec<_> = states
        .iter()
        .enumerate()
        .filter_map(|(index, state)| match state {
            State::Gone { at } => Some((index, *at)),
            _ => None,
        })
        .collect();
    let spare = gone.len().saturating_sub(MOST_GONE);
    let over = gone.iter().enumerate();
    over.filter(|(place, (_, at))| *place < spare || now >= *at + KEPT_GONE)
        .map(|(_, (index, _))| *index)
        .collect()
}

/// The place of the key that signs at `now`: the last one whose time has come. A key that was followed by one that
/// signed never signs again, not even where a clock stands before its successor's time.
pub fn active(keys: &[KeyDates], now: Timestamp) -> Option<usize> {
    let followed = |key: &KeyDates| key.revoked_at.is_some() && key.signs();
    let first = keys.iter().rposition(followed).map_or(0, |last| last + 1);
    let usable = |index: &usize| keys[*index].revoked_at.is_none();
    let candidates = || (first..keys.len()).filter(usable);
    candidates()
        .rfind(|index| keys[*index].activates_at <= now)
        .or_else(|| candidates().next())
}

/// When a further key begins to sign that is wanted at `wanted`: after each of `keys` that signs, whatever became of the
/// clock, so that one follows the other.
pub fn place<'a>(keys: impl IntoIterator<Item = &'a KeyDates>, wanted: Timestamp) -> Timestamp {
    let signing = keys.into_iter().filter(|key| key.signs());
    let last = signing.map(|key| key.activates_at).max();
    last.map_or(wanted, |last| wanted.max(last + Span::MILLISECOND))
}

/// When the key at `index` signs that is to sign at `wanted` already: after those before it, and no later than it would
/// anyway.
pub fn hurry(keys: &[KeyDates], index: usize, wanted: Timestamp) -> Timestamp {
    place(&keys[..index], wanted).min(keys[index].activates_at)
}

/// What is to be done at `now`, that no token of an honest client ever fails to verify.
pub fn next_step(keys: &[KeyDates], policy: RotationPolicy, now: Timestamp) -> Step {
    let Some(active) = active(keys, now) else {
        // All are revoked. There is no time to tell the verifiers: nothing else is left.
        return Step::Publish { activates_at: now };
    };
    let states = states(keys, now);
    let gone = states.iter().filter_map(|state| match state {
        State::Retired { gone_at, .. } | State::Revoked { gone_at, .. } => Some(*gone_at),
        State::Gone { at } => Some(*at + KEPT_GONE),
        State::Published | State::Active => None,
    });
    let published = keys
        .iter()
        .zip(&states)
        .filter(|(_, state)| **state == State::Published)
        .map(|(key, _)| key.activates_at);
    let rotation = match published.min() {
        Some(activates_at) => activates_at,
        None => {
            let due = keys[active].activates_at + policy.period;
            if now >= due.before(policy.lead()) {
                return Step::Publish {
                    activates_at: due.max(now + policy.lead()),
                };
            }
            due.before(policy.lead())
        }
    };
    Step::Wait(gone.fold(rotation, Timestamp::min))
}

fn ended(state: State, gone_at: Timestamp, now: Timestamp) -> State {
    if now >= gone_at {
        State::Gone { at: gone_at }
    } else {
        state
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "schedule_year_tests.rs"]
mod year_tests;
