//! Whether a session is as its clients left it.

use std::collections::BTreeSet;

use super::{Kind, Story, Violation, story::Belief};
use crate::history::{Answer, Id, Read};

impl Story<'_> {
    pub fn check_reads(&self, found: &mut Vec<Violation>) {
        for read in &self.reads {
            let mut violation = |kind, detail: String| {
                found.push(Violation {
                    session: Some(self.index),
                    ..Violation::new(kind, read.span.end, detail)
                });
            };
            let Some(seen) = read.seen else {
                // A node may not know for a moment how often the app was flushed.
                let tenant = self.history.tenants.get(self.session.app);
                let is_steady = tenant.is_none_or(|one| !one.is_changed);
                let may_end = self.may_end(Belief::Possible);
                // By a clock that is days ahead, it has expired.
                let mut jumps = self.history.jumps.iter();
                let is_off = self.is_off() || jumps.any(|jump| jump.span.overlaps(read.span));
                if is_steady && !is_off && may_end.is_none_or(|at| at >= read.span.end) {
                    violation(Kind::LostSession, "is not listed".to_owned());
                }
                continue;
            };
            let (known, possible) = self.advanced(read);
            let (least, most) = (known.len() as u64, possible.len() as u64);
            if !(least..=most).contains(&seen.renewals) {
                let detail = format!("{} renewals, and not {least} to {most}", seen.renewals);
                violation(Kind::WrongCount, detail);
            } else if least == most && !self.is_current(seen.jid, &known) {
                violation(Kind::LostSession, format!("is at token {}", seen.jid));
            }
        }
    }

    /// The tokens that had surely been renewed when the session was read, and those that may have been.
    fn advanced(&self, read: &Read) -> (BTreeSet<Id>, BTreeSet<Id>) {
        let (mut known, mut possible) = (BTreeSet::new(), BTreeSet::new());
        for one in &self.told {
            if one.span.begin < read.span.end && one.answer.may_have_advanced() {
                possible.insert(one.jid);
            }
            if one.span.end < read.span.begin && matches!(one.answer, Answer::Won(_)) {
                known.insert(one.jid);
            }
        }
        (known, possible)
    }

    /// Whether it is the token that follows those.
    fn is_current(&self, jid: Id, renewed: &BTreeSet<Id>) -> bool {
        let successors = renewed.iter().flat_map(|one| self.successors(*one));
        let mut all = successors
            .map(|next| next.jid)
            .chain([self.session.first.jid]);
        !renewed.contains(&jid) && all.any(|one| one == jid)
    }
}
