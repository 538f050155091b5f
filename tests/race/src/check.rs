//! Whether a history keeps what renewd promises. Pure.
//!
//! A request is carried out at some moment between its begin and its end; one without an answer, at some moment until
//! [`HORIZON`] after its begin, or after what it was stalled by. Whatever some order of these moments explains is no violation.
//! What only a request explains of which nobody knows what became of it is not judged, and that is counted.

mod claims;
mod devices;
mod judged;
mod keys;
mod reads;
mod renewals;
mod sensors;
mod story;
#[cfg(test)]
mod tests;

use std::fmt;

pub use judged::{ENOUGH, Judged, judge};
pub use story::Story;

use crate::history::{Answer, History, Micros, Outcome, Span};

/// For how long a request that was not answered may be under way: for as long as a node may wait for its store
/// (`RENEWD_DATABASE_TIMEOUT_MS`), and two seconds for what is between. A client waits as long.
pub const HORIZON: Micros = 5_000_000;
/// renewd's clock has milliseconds, ours has microseconds.
const ROUNDING: Micros = 2_000;
/// A change of an app is known to every node then.
const KNOWN: Micros = 2_000_000;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two successors of one token, or a token that renewed twice without a grace.
    DoubleWin,
    /// It was renewed more often than anybody was told, or less often.
    WrongCount,
    /// A token that was acknowledged is not renewed, though nothing ended its session.
    LostSession,
    /// A token is said to be used, though nothing can have used it.
    FalseReuse,
    RenewedAfterLogout,
    RenewedAfterFlush,
    RenewedAfterDevice,
    /// A reuse was refused, or the session said to be revoked, and it went on.
    RenewedAfterReuse,
    RenewedAfterKeyRevocation,
    /// Its grace was over, or its successor had been used.
    RenewedTooLate,
    /// The tokens of an answer, and what stands beside them, name different sessions, pairs or keys.
    TokensDisagree,
    /// An answer has the tokens of another session.
    WrongSession,
    SubjectChanged,
    WrongClaims,
    /// An `iat` before the request, after the answer, or before the one of the token before.
    WrongTime,
    /// A token lives as long as a policy said that was replaced.
    StalePolicy,
    /// A signing key that is none of the app's.
    WrongKey,
    WrongSignature,
    RevokedKeyAccepted,
    GoodKeyRefused,
    SessionLimit,
    PushTokenLost,
    PushTokenTwice,
    /// Two children of one registration token are good.
    TwoChildren,
    LostRegistration,
    /// A status that the API does not document.
    UndocumentedStatus,
    /// No answer, or 503, when nothing was broken, and another app was changed.
    Disturbed,
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
        .map(|(at, what)| Violation::new(Kind::Complaint, *at, what.clone()))
        .collect();
    for story in Story::all(history) {
        story.check_renewals(&mut found);
        story.check_claims(&mut found);
        story.check_reads(&mut found);
    }
    keys::check(history, &mut found);
    devices::check(history, &mut found);
    sensors::check(history, &mut found);
    found.sort_by_key(|violation| violation.at);
    found
}

impl Violation {
    fn new(kind: Kind, at: Micros, detail: impl Into<String>) -> Self {
        Self {
            kind,
            at,
            session: None,
            detail: detail.into(),
        }
    }
}

impl History {
    /// Until when a presentation may be carried out.
    fn over(&self, span: Span, answer: Answer) -> Micros {
        match answer {
            Answer::Unknown => self.over_unanswered(span),
            // What the node gave up may still be on its way to its store.
            Answer::Unavailable => self.stalled(span, span.end),
            _ => span.end,
        }
    }

    /// Until when any other request may be.
    fn done(&self, span: Span, outcome: Outcome) -> Micros {
        match outcome {
            Outcome::Unknown => self.over_unanswered(span),
            Outcome::Unavailable => self.stalled(span, span.end),
            Outcome::Done | Outcome::Refused => span.end,
        }
    }

    fn over_unanswered(&self, span: Span) -> Micros {
        let until = span.begin + HORIZON;
        // A node that is later than it may be, because the machine is busy, is given as long again.
        let is_late = span.end >= until;
        self.stalled(span, if is_late { span.end + HORIZON } else { until })
    }

    /// What was under way in a stall goes on after it.
    fn stalled(&self, span: Span, until: Micros) -> Micros {
        let mut until = until;
        loop {
            let stalls = self.stalls.iter();
            let meanwhile = stalls.filter(|stall| stall.begin < until && span.begin < stall.end);
            let later = meanwhile.map(|stall| stall.end + HORIZON).max();
            match later.filter(|later| *later > until) {
                Some(later) => until = later,
                None => return until,
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::DoubleWin => "double wins",
            Self::WrongCount => "renewals that nobody was told of",
            Self::LostSession => "lost sessions",
            Self::FalseReuse => "false reuses",
            Self::RenewedAfterLogout => "renewals after a logout",
            Self::RenewedAfterFlush => "renewals after a flush",
            Self::RenewedAfterDevice => "renewals after the end of the device",
            Self::RenewedAfterReuse => "renewals after a refused reuse",
            Self::RenewedAfterKeyRevocation => "renewals after the revocation of the key",
            Self::RenewedTooLate => "renewals of a token whose grace was over",
            Self::TokensDisagree => "answers that contradict themselves",
            Self::WrongSession => "tokens of another session",
            Self::SubjectChanged => "changed subjects",
            Self::WrongClaims => "wrong claims",
            Self::WrongTime => "wrong times of issue",
            Self::StalePolicy => "tokens of a replaced policy",
            Self::WrongKey => "signing keys of no such app",
            Self::WrongSignature => "wrong signatures",
            Self::RevokedKeyAccepted => "successes with a revoked app-key",
            Self::GoodKeyRefused => "good app-keys refused",
            Self::SessionLimit => "session limits missed",
            Self::PushTokenLost => "push tokens lost",
            Self::PushTokenTwice => "push tokens of two devices",
            Self::TwoChildren => "registration tokens with two good children",
            Self::LostRegistration => "lost registrations",
            Self::UndocumentedStatus => "undocumented statuses",
            Self::Disturbed => "unanswered while another app was changed",
            Self::UnansweredInQuiet => "unanswered when nothing was broken",
            Self::Complaint => "other complaints",
        })
    }
}

impl Kind {
    /// In the order of the report.
    pub const ALL: [Self; 29] = [
        Self::DoubleWin,
        Self::WrongCount,
        Self::LostSession,
        Self::FalseReuse,
        Self::RenewedAfterLogout,
        Self::RenewedAfterFlush,
        Self::RenewedAfterDevice,
        Self::RenewedAfterReuse,
        Self::RenewedAfterKeyRevocation,
        Self::RenewedTooLate,
        Self::TokensDisagree,
        Self::WrongSession,
        Self::SubjectChanged,
        Self::WrongClaims,
        Self::WrongTime,
        Self::StalePolicy,
        Self::WrongKey,
        Self::WrongSignature,
        Self::RevokedKeyAccepted,
        Self::GoodKeyRefused,
        Self::SessionLimit,
        Self::PushTokenLost,
        Self::PushTokenTwice,
        Self::TwoChildren,
        Self::LostRegistration,
        Self::UndocumentedStatus,
        Self::Disturbed,
        Self::UnansweredInQuiet,
        Self::Complaint,
    ];
}
