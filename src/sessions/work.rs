//! What is done to one session, and what becomes of it: decided by the row, the rule and the epoch of the app. Pure.

#[cfg(test)]
mod model_tests;

use std::sync::Arc;

use entity::{AppId, SessionId, Timestamp, audit_event, session};

use super::renewal::{Outcome, Renewal, decide, decide_missing};
use crate::error::Refusal;

/// An operation on one session.
#[derive(Debug)]
pub enum Work {
    Begin(Beginning),
    Renew(Arc<Renewal>),
    End(Ending),
}

/// A session that is to begin.
#[derive(Clone, Debug)]
pub struct Beginning {
    pub session: Box<session::Model>,
    /// The changes of its app that were known when it was made.
    pub epoch: i64,
    /// Whether a session of this id may be stored already, as this says or as an earlier one of the same caller said: the store
    /// did not answer when it was committed.
    pub in_doubt: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Begun {
    /// It is stored as it was made.
    Stored,
    /// An earlier one of its id, which was in doubt, was stored after all: this.
    Earlier(Box<session::Model>),
    /// The app was changed meanwhile: to be made anew, with the same id. Else it could be dead when it begins.
    Stale { in_doubt: bool },
}

/// A session that is to end before its time.
#[derive(Clone, Debug)]
pub struct Ending {
    pub app_id: AppId,
    pub session_id: SessionId,
    /// The changes of the app that were known when this was made.
    pub epoch: i64,
    /// How often the app was known to have been flushed.
    pub flush_count: i64,
    pub now: Timestamp,
    /// What is recorded if this ends it. A box, because few have one.
    pub event: Option<Box<audit_event::Model>>,
    /// Whether this may have ended it already: the store did not answer when it was committed.
    pub in_doubt: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// This ended it.
    Now,
    /// There was nothing live to end.
    Nothing,
    /// The app was changed meanwhile: to be made anew.
    Stale { in_doubt: bool },
}

/// What became of any.
#[derive(Debug)]
pub enum Done {
    Begun(Begun),
    Renewed(Outcome),
    Ended(Ended),
}

impl Work {
    /// The session whose row is read.
    pub fn reads(&self) -> Option<SessionId> {
        match self {
            Self::Begin(beginning) => beginning.in_doubt.then_some(beginning.session.id),
            Self::Renew(renewal) => Some(renewal.session_id),
            Self::End(ending) => Some(ending.session_id),
        }
    }

    /// The session that is renewed.
    pub fn renews(&self) -> Option<SessionId> {
        match self {
            Self::Renew(renewal) => Some(renewal.session_id),
            Self::Begin(_) | Self::End(_) => None,
        }
    }

    /// The app of the session.
    pub fn app_id(&self) -> AppId {
        match self {
            Self::Begin(beginning) => beginning.session.app_id,
            Self::Renew(renewal) => renewal.app_id,
            Self::End(ending) => ending.app_id,
        }
    }

    /// The app whose epoch is read though no row of it may be there.
    pub fn asks(&self) -> Option<AppId> {
        match self {
            Self::Begin(beginning) => Some(beginning.session.app_id),
            Self::Renew(_) | Self::End(_) => None,
        }
    }

    /// It is not known whether what was done was committed.
    pub fn doubt(&mut self, done: &Done) {
        match (self, done) {
            (Self::Begin(beginning), Done::Begun(Begun::Stored)) => beginning.in_doubt = true,
            (Self::Renew(renewal), Done::Renewed(outcome)) if outcome.follows(renewal.next) => {
                Arc::make_mut(renewal).doubt();
            }
            (Self::End(ending), Done::Ended(Ended::Now)) => ending.in_doubt = true,
            _ => {}
        }
    }
}

impl Done {
    /// Whether its caller is told to rely on what is stored, or on there being nothing.
    pub fn is_kept(&self) -> bool {
        match self {
            Self::Begun(begun) => !matches!(begun, Begun::Stale { .. }),
            Self::Renewed(outcome) => matches!(
                outcome,
                Outcome::Renewed(_) | Outcome::Refused(Refusal::Revoked)
            ),
            Self::Ended(ended) => !matches!(ended, Ended::Stale { .. }),
        }
    }
}

/// The app of all of them, if that is one.
pub fn only_app(works: &[Work]) -> Option<AppId> {
    let first = works.first()?.app_id();
    let is_only = works.iter().all(|work| work.app_id() == first);
    is_only.then_some(first)
}

/// What becomes of a session that begins, where `row` is stored by its id.
pub fn begin(row: Option<&session::Model>, beginning: &Beginning, epoch: Option<i64>) -> Begun {
    match row {
        // This very one, as it was made.
        Some(row) if row.token_id == beginning.session.token_id => Begun::Stored,
        Some(row) => Begun::Earlier(Box::new(row.clone())),
        None if Some(beginning.epoch) == epoch => Begun::Stored,
        None => Begun::Stale {
            in_doubt: beginning.in_doubt,
        },
    }
}

/// What becomes of a renewal of the session that is stored as `row`.
pub fn renew(row: Option<&mut session::Model>, renewal: &Renewal, epoch: Option<i64>) -> Outcome {
    match row.filter(|row| row.app_id == renewal.app_id) {
        Some(row) if renewal.is_settled(row) => decide(row, renewal),
        Some(_) if Some(renewal.epoch) != epoch => Outcome::Stale {
            in_doubt: renewal.in_doubt.clone(),
        },
        Some(row) => decide(row, renewal),
        // There is nothing that a change of the app could alter.
        None => decide_missing(renewal),
    }
}

/// What becomes of the end of the session that is stored as `row`.
pub fn end(row: Option<&mut session::Model>, ending: &Ending, epoch: Option<i64>) -> Ended {
    let Some(row) = row.filter(|row| row.app_id == ending.app_id) else {
        return Ended::Nothing;
    };
    let reason = Some(session::Revocation::Logout);
    if ending.in_doubt && row.revoked_at == Some(ending.now) && row.revoked_for == reason {
        return Ended::Now;
    }
    if Some(ending.epoch) != epoch {
        return Ended::Stale {
            in_doubt: ending.in_doubt,
        };
    }
    // The dates of the session do not count: a node whose clock is behind, or the leeway, may still renew it.
    if row.is_revoked() || row.flush_count < ending.flush_count {
        return Ended::Nothing;
    }
    row.revoked_at = Some(ending.now);
    row.revoked_for = reason;
    Ended::Now
}
