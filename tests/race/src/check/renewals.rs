//! Who may renew a token, and who may not.

use super::{Kind, ROUNDING, Story, Violation, story::Belief};
use crate::history::{Answer, Cause, Ended, Ending, Jump, Micros, Presentation, Refusal, Role};

/// Seconds. What expired is purged no earlier than so long after.
const DAY: i64 = 86_400;

impl Story<'_> {
    pub fn check_renewals(&self, found: &mut Vec<Violation>) {
        self.check_winners(found);
        let may_end = self.may_end(Belief::Possible);
        let ended = self.ended();
        for one in &self.told {
            let mut violation =
                |kind, detail: String| found.push(self.violation(kind, one, &detail));
            match one.answer {
                Answer::Won(_) => {
                    let begin = one.span.begin;
                    // By a clock that is behind, what has expired elsewhere is alive.
                    for (kind, at) in self.left(begin).filter(|_| !self.is_at_a_jump(one)) {
                        violation(kind, after(begin, at));
                    }
                    if let Some(at) = ended.filter(|at| *at < begin) {
                        violation(Kind::RenewedAfterReuse, after(begin, at));
                    }
                    if let Some(at) = self.key_revoked(one, begin) {
                        violation(Kind::RenewedAfterKeyRevocation, after(begin, at));
                    }
                    if let Some(at) = self.closed(one).filter(|at| *at < begin) {
                        violation(Kind::RenewedTooLate, after(begin, at));
                    }
                }
                Answer::Refused(Refusal::Used)
                    if self.reuse_from(one, Belief::Possible).is_none() =>
                {
                    violation(Kind::FalseReuse, String::new());
                }
                Answer::Refused(Refusal::Used) => {}
                Answer::Refused(Refusal::Revoked)
                    if may_end.is_some_and(|at| at < one.span.end) => {}
                Answer::Refused(refusal) if self.is_by_a_jump(one, refusal) => {}
                Answer::Refused(refusal) => {
                    violation(Kind::LostSession, format!("{refusal:?}"));
                }
                Answer::Undocumented(status) => {
                    violation(Kind::UndocumentedStatus, status.to_string());
                }
                // Whether its key was good is looked at with the keys.
                Answer::Forbidden => {}
                Answer::Unavailable | Answer::Unknown | Answer::Unsent => {
                    if let Some(kind) = self.should_be_answered(one) {
                        violation(kind, format!("{:?}", one.answer));
                    }
                }
            }
        }
    }

    pub fn violation(&self, kind: Kind, at: &Presentation, detail: &str) -> Violation {
        Violation {
            session: Some(self.index),
            ..Violation::new(
                kind,
                at.span.end,
                format!("token {} at node {} {detail}", at.jid, at.node),
            )
        }
    }

    /// Nothing is broken any more, and its app is not the one that is changed.
    fn should_be_answered(&self, one: &Presentation) -> Option<Kind> {
        let is_after = |from: Option<Micros>| from.is_some_and(|from| from < one.span.begin);
        let tenant = self.history.tenants.get(self.session.app);
        if is_after(self.history.quiet_from) {
            Some(Kind::UnansweredInQuiet)
        } else if is_after(self.history.calm_from) && tenant.is_none_or(|one| !one.is_changed) {
            Some(Kind::Disturbed)
        } else {
            None
        }
    }

    fn check_winners(&self, found: &mut Vec<Violation>) {
        for presented in self.by_token.values() {
            let mut winners = presented
                .iter()
                .filter_map(|one| Some((one, one.answer.won()?.jid)));
            let Some((_, first)) = winners.next() else {
                continue;
            };
            for (one, next) in winners {
                if next != first || self.session.grace.is_none() {
                    let detail = format!("has the successors {first} and {next}");
                    found.push(self.violation(Kind::DoubleWin, one, &detail));
                }
            }
        }
    }

    /// From when on this presentation may have been a reuse, which ends the session; `None` when it was none: nobody
    /// else can have used the token before it, or only within the grace.
    pub fn reuse_from(&self, one: &Presentation, belief: Belief) -> Option<Micros> {
        if matches!(
            one.answer,
            Answer::Won(_) | Answer::Unsent | Answer::Forbidden
        ) {
            return None;
        }
        // The first other one that may have advanced the session.
        let used = self.first_use(one.jid, Some(one), belief)?;
        let mut from = match self.session.grace.least {
            0 => used,
            _ if self.is_grace_off(one) => used,
            grace => (used + grace).saturating_sub(ROUNDING + self.history.skew),
        };
        // The use of a successor closes the grace.
        for next in self.successors(one.jid) {
            let use_of_next = self.first_use(next.jid, None, belief);
            from = from.min(use_of_next.unwrap_or(Micros::MAX));
        }
        let from = from.max(one.span.begin);
        (from < self.over(one)).then_some(from)
    }

    /// Whether it may have met a node whose clock was days off.
    fn is_at_a_jump(&self, one: &Presentation) -> bool {
        let is = |jump: &Jump| jump.node == one.node && jump.span.overlaps(one.span);
        self.history.jumps.iter().any(is)
    }

    /// Whether any date of the session may have been given by a node whose clock was days off.
    pub fn is_off(&self) -> bool {
        let jumps = &self.history.jumps;
        !jumps.is_empty()
            && (jumps
                .iter()
                .any(|jump| jump.span.overlaps(self.session.span))
                || self.told.iter().any(|one| self.is_at_a_jump(one)))
    }

    /// Whether the token is refused for a date that a node has given or read by a clock that was days off.
    pub fn is_by_a_jump(&self, one: &Presentation, refusal: Refusal) -> bool {
        let earlier = |other: &&Presentation| {
            other.answer.may_have_advanced() && other.span.begin < one.span.end
        };
        let signed = |jump: &Jump| jump.span.overlaps(self.session.span);
        let is_purged = refusal == Refusal::Revoked && self.is_long_over();
        is_purged
            || matches!(refusal, Refusal::Expired | Refusal::NotYetValid)
                && (self.is_at_a_jump(one)
                    || self.history.jumps.iter().any(signed)
                    || self
                        .told
                        .iter()
                        .copied()
                        .filter(earlier)
                        .any(|other| self.is_at_a_jump(other)))
    }

    /// Whether a node whose clock was days behind has dated the session so long ago that by every right clock it has been over
    /// for a day and more: then it may have been purged, and the node that knows no better calls it ended.
    fn is_long_over(&self) -> bool {
        let won = self.told.iter().filter_map(|one| one.answer.won());
        let mut issued = won.chain([self.session.first]);
        issued.any(|pair| pair.iat + pair.life + DAY < self.history.started_at)
    }

    /// Whether the end of the grace of a token was given or read by such a clock: it may be over at once, or go on.
    fn is_grace_off(&self, one: &Presentation) -> bool {
        let used = |other: &&Presentation| other.answer.may_have_advanced();
        let told = self.of_token(one.jid).iter().copied();
        self.is_at_a_jump(one) || told.filter(used).any(|other| self.is_at_a_jump(other))
    }

    /// From when on the session was ended, or may have been, by what its clients did.
    pub fn may_end(&self, belief: Belief) -> Option<Micros> {
        let reuses = self.told.iter().filter(|one| match one.answer {
            Answer::Refused(refusal) => refusal == Refusal::Used,
            _ => belief == Belief::Possible,
        });
        let reuses = reuses.filter_map(|one| self.reuse_from(one, belief));
        let believed = |is_done, may_be_done| match belief {
            Belief::Known => is_done,
            Belief::Possible => may_be_done,
        };
        let endings = self.endings.iter();
        let endings =
            endings.filter(|ending| believed(ending.is_done(), ending.outcome.may_be_done()));
        let endings = endings.map(|ending| ending.span.begin);
        let keys = self.history.revocations.iter().filter(|revocation| {
            let outcome = revocation.outcome;
            let mut keys = self.keys.values();
            believed(outcome.is_done(), outcome.may_be_done())
                && keys.any(|key| revocation.keys.contains(key))
        });
        let keys = keys.map(|revocation| revocation.span.begin);
        reuses.chain(endings).chain(keys).min()
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

    /// What had surely ended the session before `begin`, and when.
    fn left(&self, begin: Micros) -> impl Iterator<Item = (Kind, Micros)> {
        let surely = self.endings.iter().filter(move |ending| {
            ending.is_done() && self.concerns_surely(ending) && ending.span.end < begin
        });
        surely.map(|ending| {
            let kind = match ending.cause {
                Cause::Logout | Cause::Limit => Kind::RenewedAfterLogout,
                Cause::Flush => Kind::RenewedAfterFlush,
                Cause::Device => Kind::RenewedAfterDevice,
            };
            (kind, ending.span.end)
        })
    }

    /// One that began while its app was flushed may have begun after it.
    fn concerns_surely(&self, ending: &Ending) -> bool {
        match ending.of {
            Ended::Session(_) => ending.is_sure,
            Ended::App(_) => ending.is_sure && self.session.span.end < ending.span.begin,
        }
    }

    /// When the key of the token was acknowledged to be revoked, if that was before `begin`.
    fn key_revoked(&self, one: &Presentation, begin: Micros) -> Option<Micros> {
        let key = self.keys.get(&one.jid)?;
        let done = self
            .history
            .revocations
            .iter()
            .filter(|revocation| revocation.outcome.is_done() && revocation.keys.contains(key));
        done.map(|revocation| revocation.span.end)
            .find(|end| *end < begin)
    }

    /// When this token can renew no more: another presentation won, and the grace since then is over or the successor
    /// was renewed itself.
    fn closed(&self, one: &Presentation) -> Option<Micros> {
        let grace = self.session.grace.most;
        let others = self
            .wins(one.jid)
            .filter(|other| !std::ptr::eq(*other, one));
        let others = others.filter(|_| grace == 0 || !self.is_grace_off(one));
        let over = others
            .map(|other| other.span.end + grace + ROUNDING + self.history.skew)
            .min();
        let successors = self.successors(one.jid);
        let renewed = successors.flat_map(|next| self.wins(next.jid));
        let renewed = renewed.map(|other| other.span.end).min();
        over.into_iter().chain(renewed).min()
    }
}

fn after(begin: Micros, at: Micros) -> String {
    format!("renewed {} ms after", (begin - at) / 1_000)
}
