//! Whether each answer has what its session is to have.

use super::{Kind, Story, Violation};
use crate::history::{Issued, Micros, Outcome, Span};

/// `token_expire` of every app, until somebody changes it.
pub const LIFE: i64 = 3_600;
/// An `iat` is in whole seconds, and so is the clock that it is compared with.
const SECONDS: i64 = 1;

impl Story<'_> {
    pub fn check_claims(&self, found: &mut Vec<Violation>) {
        let session = self.session;
        self.check_issued(session.first, session.span, None, found);
        for (jid, presented) in &self.by_token {
            // What was answered at last may have been made by any of them.
            let sent = presented.iter().map(|one| one.span.begin).min();
            let parent = self.issued(*jid);
            for one in presented {
                if let Some(issued) = one.answer.won() {
                    let span = Span {
                        begin: sent.unwrap_or(one.span.begin),
                        ..one.span
                    };
                    self.check_issued(issued, span, parent, found);
                }
            }
        }
    }

    fn check_issued(
        &self,
        issued: Issued,
        span: Span,
        parent: Option<Issued>,
        found: &mut Vec<Violation>,
    ) {
        let history = self.history;
        let mut violation = |kind, detail: String| {
            found.push(Violation {
                session: Some(self.index),
                ..Violation::new(kind, span.end, format!("token {} {detail}", issued.jid))
            });
        };
        if !issued.agrees {
            violation(Kind::TokensDisagree, String::new());
        }
        if issued.sid != self.session.first.sid {
            let detail = format!("has sid {}", issued.sid);
            violation(Kind::WrongSession, detail);
        }
        if !self.may_say(issued.claims, span) {
            let said = &history.claims[issued.claims];
            let asked = &history.claims[self.session.asked];
            let kind = if said.sub == asked.sub {
                Kind::WrongClaims
            } else {
                Kind::SubjectChanged
            };
            violation(kind, format!("says {said:?}"));
        }
        let seconds = |micros: Micros| {
            history.started_at + i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX / 2)
        };
        let skew = i64::try_from(history.skew / 1_000_000).unwrap_or_default();
        let slack = skew + SECONDS;
        let earliest = parent.map_or(i64::MIN, |parent| parent.iat - skew);
        let earliest = earliest.max(seconds(span.begin) - slack);
        if !(earliest..=seconds(span.end) + slack).contains(&issued.iat) && !self.is_off() {
            violation(Kind::WrongTime, format!("has iat {}", issued.iat));
        }
        if !self.may_live(issued.life, span) {
            violation(Kind::StalePolicy, format!("lives {} s", issued.life));
        }
        let app = history.signing_keys.get(&issued.key);
        if !history.signing_keys.is_empty() && app != Some(&self.session.app) {
            violation(Kind::WrongKey, format!("is signed by {}", issued.key));
        }
    }

    /// The token, as it was issued.
    fn issued(&self, jid: crate::history::Id) -> Option<Issued> {
        let first = Some(self.session.first).filter(|first| first.jid == jid);
        first.or_else(|| {
            let mut won = self.told.iter().filter_map(|one| one.answer.won());
            won.find(|issued| issued.jid == jid)
        })
    }

    fn may_say(&self, claims: usize, span: Span) -> bool {
        let amendments = self.amendments.iter();
        let values = amendments.map(|one| (one.claims, one.span, one.outcome));
        let said = &self.history.claims;
        possible(self.history, self.session.asked, values, span)
            .into_iter()
            .any(|may| may == claims || said.get(may) == said.get(claims))
    }

    fn may_live(&self, life: i64, span: Span) -> bool {
        let changes = self.history.changes.iter();
        let changes = changes.filter(|change| change.app == self.session.app);
        let values = changes.map(|change| (change.life, change.span, change.outcome));
        possible(self.history, LIFE, values, span).contains(&life)
    }
}

/// The values that may have been in force at some moment of `span`: the first one, or those that replaced it.
fn possible<T: Copy>(
    history: &crate::history::History,
    first: T,
    values: impl Iterator<Item = (T, Span, Outcome)> + Clone,
    span: Span,
) -> Vec<T> {
    // Whatever was over before this one had begun was replaced.
    let replaced = values
        .clone()
        .filter(|(_, at, outcome)| outcome.is_done() && at.end < span.begin)
        .map(|(_, at, _)| at.begin)
        .max();
    let first = replaced.is_none().then_some(first);
    let others = values.filter(|(_, at, outcome)| {
        outcome.may_be_done()
            && at.begin < span.end
            && replaced.is_none_or(|replaced| history.done(*at, *outcome) >= replaced)
    });
    first
        .into_iter()
        .chain(others.map(|(value, ..)| value))
        .collect()
}
