//! Whether a history keeps what renewd promises. Pure.
//!
//! A presentation is carried out at some moment between its begin and its end; one without an answer, at some
//! moment until [`HORIZON`] after its begin. Whatever some order of these moments explains is no violation.

mod story;
#[cfg(test)]
mod tests;

use std::fmt;

pub use story::Story;

use crate::history::{Answer, History, Logout, Micros, Presentation, Refusal, Revocation, Role};

/// For how long a request that was not answered may be under way: a node has its own patience with its store.
const HORIZON: Micros = 30_000_000;
/// renewd's clock has milliseconds, ours has microseconds.
const ROUNDING: Micros = 2_000;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two successors of one token, or a token that renewed twice without a grace.
    DoubleWin,
    /// A token that was acknowledged is not renewed, though nothing ended its session.
    LostSession,
    /// A token is said to be used, though nothing can have used it.
    FalseReuse,
    RenewedAfterLogout,
    /// A reuse was refused, or the session said to be revoked, and it went on.
    RenewedAfterReuse,
    RenewedAfterKeyRevocation,
    /// Its grace was over, or its successor had been used.
    RenewedTooLate,
    /// A status that the API does not document.
    UndocumentedStatus,
    /// No answer, or 503, when nothing was broken.
    UnansweredInQuiet,
    /// What was seen beside the renewals.
    Complaint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub at: Micros,
    pub session: Option<usize>,
    pub detail: String,
}

/// Everything that is wrong, in the order of time.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found: Vec<_> = history
        .complaints
        .iter()
        .map(|(at, what)| Violation {
            kind: Kind::Complaint,
            at: *at,
            session: None,
            detail: what.clone(),
        })
        .collect();
    for story in Story::all(history) {
        story.check(history, &mut found);
    }
    found.sort_by_key(|violation| violation.at);
    found
}

impl Story<'_> {
    fn check(&self, history: &History, found: &mut Vec<Violation>) {
        self.check_winners(found);
        let may_end = self.may_end(&history.revocations);
        let ended = self.ended();
        let left = self.logouts.iter().filter(|logout| logout.acknowledged);
        let left = left.map(|logout| logout.span.end).min();
        for one in &self.told {
            let mut violation =
                |kind, detail: String| found.push(self.violation(kind, one, &detail));
            match one.answer {
                Answer::Won(_) => {
                    let begin = one.span.begin;
                    if let Some(at) = left.filter(|at| *at < begin) {
                        violation(Kind::RenewedAfterLogout, after(begin, at));
                    }
                    if let Some(at) = ended.filter(|at| *at < begin) {
                        violation(Kind::RenewedAfterReuse, after(begin, at));
                    }
                    if let Some(at) = self.key_revoked(one, &history.revocations, begin) {
                        violation(Kind::RenewedAfterKeyRevocation, after(begin, at));
                    }
                    if let Some(at) = self.closed(one).filter(|at| *at < begin) {
                        violation(Kind::RenewedTooLate, after(begin, at));
                    }
                }
                Answer::Refused(Refusal::Used) if self.reuse_from(one).is_none() => {
                    violation(Kind::FalseReuse, String::new());
                }
                Answer::Refused(Refusal::Used) => {}
                Answer::Refused(Refusal::Revoked)
                    if may_end.is_some_and(|at| at < one.span.end) => {}
                Answer::Refused(refusal) => {
                    violation(Kind::LostSession, format!("{refusal:?}"));
                }
                Answer::Undocumented(status) => {
                    violation(Kind::UndocumentedStatus, status.to_string());
                }
                Answer::Unavailable | Answer::Unknown | Answer::Unsent => {
                    if history.quiet_from.is_some_and(|from| from < one.span.begin) {
                        violation(Kind::UnansweredInQuiet, format!("{:?}", one.answer));
                    }
                }
            }
        }
    }

    fn violation(&self, kind: Kind, at: &Presentation, detail: &str) -> Violation {
        Violation {
            kind,
            at: at.span.end,
            session: Some(self.index),
            detail: format!("token {} at node {} {detail}", at.jid, at.node),
        }
    }

    fn check_winners(&self, found: &mut Vec<Violation>) {
        for presented in self.by_token.values() {
            let mut winners = presented.iter().filter_map(|one| match one.answer {
                Answer::Won(next) => Some((one, next.jid)),
                _ => None,
            });
            let Some((_, first)) = winners.next() else {
                continue;
            };
            for (one, next) in winners {
                if next != first || self.session.grace == 0 {
                    let detail = format!("has the successors {first} and {next}");
                    found.push(self.violation(Kind::DoubleWin, one, &detail));
                }
            }
        }
    }

    /// From when on this presentation may have been a reuse, which ends the session; `None` when it was none: nobody
    /// else can have used the token before it, or only within the grace.
    fn reuse_from(&self, one: &Presentation) -> Option<Micros> {
        if matches!(one.answer, Answer::Won(_) | Answer::Unsent) {
            return None;
        }
        let until = match one.answer {
            Answer::Unknown => one.span.end.max(one.span.begin + HORIZON),
            _ => one.span.end,
        };
        // The first other one that may have advanced the session.
        let used = self.first_use(one.jid, Some(one))?;
        let mut from = match self.session.grace {
            0 => used,
            grace => used + grace - ROUNDING,
        };
        // The use of a successor closes the grace.
        for next in self.successors(one.jid) {
            from = from.min(self.first_use(next, None).unwrap_or(Micros::MAX));
        }
        let from = from.max(one.span.begin);
        (from < until).then_some(from)
    }

    /// From when on the session may have been ended by what its clients did.
    fn may_end(&self, revocations: &[Revocation]) -> Option<Micros> {
        let reuses = self.told.iter().filter(
            |one| !matches!(one.answer, Answer::Refused(refusal) if refusal != Refusal::Used),
        );
        let reuses = reuses.filter_map(|one| self.reuse_from(one));
        let logouts = self.logouts.iter().map(|logout| logout.span.begin);
        let keys = revocations.iter().filter(|revocation| {
            let mut keys = self.keys.values();
            keys.any(|key| revocation.keys.contains(key))
        });
        let keys = keys.map(|revocation| revocation.span.begin);
        reuses.chain(logouts).chain(keys).min()
    }

    /// When a client was told that the session is ended. The key of a token says nothing of its session.
    fn ended(&self) -> Option<Micros> {
        let told = self.told.iter().filter(|one| match one.answer {
            Answer::Refused(Refusal::Used) => true,
            Answer::Refused(Refusal::Revoked) => self.session.role != Role::Keyed,
            _ => false,
        });
        told.map(|one| one.span.end).min()
    }

    /// When the key of the token was acknowledged to be revoked, if that was before `begin`.
    fn key_revoked(
        &self,
        one: &Presentation,
        revocations: &[Revocation],
        begin: Micros,
    ) -> Option<Micros> {
        let key = self.keys.get(&one.jid)?;
        let done = revocations
            .iter()
            .filter(|revocation| revocation.acknowledged && revocation.keys.contains(key));
        done.map(|revocation| revocation.span.end)
            .find(|end| *end < begin)
    }

    /// When this token can renew no more: another presentation won, and the grace since then is over or the successor
    /// was renewed itself.
    fn closed(&self, one: &Presentation) -> Option<Micros> {
        let grace = self.session.grace;
        let others = self
            .wins(one.jid)
            .filter(|other| !std::ptr::eq(*other, one));
        let over = others.map(|other| other.span.end + grace + ROUNDING).min();
        let successors = self.successors(one.jid);
        let renewed = successors.flat_map(|next| self.wins(next));
        let renewed = renewed.map(|other| other.span.end).min();
        over.into_iter().chain(renewed).min()
    }
}

fn after(begin: Micros, at: Micros) -> String {
    format!("renewed {} ms after", (begin - at) / 1_000)
}

impl Logout {
    /// For the history that is printed.
    pub fn outcome(&self) -> &'static str {
        if self.acknowledged {
            "acknowledged"
        } else {
            "not answered"
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::DoubleWin => "double wins",
            Self::LostSession => "lost sessions",
            Self::FalseReuse => "false reuses",
            Self::RenewedAfterLogout => "renewals after a logout",
            Self::RenewedAfterReuse => "renewals after a refused reuse",
            Self::RenewedAfterKeyRevocation => "renewals after the revocation of the key",
            Self::RenewedTooLate => "renewals of a token whose grace was over",
            Self::UndocumentedStatus => "undocumented statuses",
            Self::UnansweredInQuiet => "unanswered when nothing was broken",
            Self::Complaint => "other complaints",
        })
    }
}
