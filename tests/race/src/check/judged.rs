//! How much of a history the checker could judge.
//!
//! An answer is judged when what is known explains or contradicts it; not when it is excused by a request of which nobody knows
//! what became of it. What had no answer is judged when a later answer, or a look at the session, tells what became of it.

use super::{Story, story::Belief};
use crate::history::{Answer, History, Presentation, Refusal};

/// With less than this judged, a run proves nothing.
pub const ENOUGH: f64 = 0.95;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub judged: u64,
    pub all: u64,
    /// Those that were not, by what was answered: nothing or 503, a successor, a refusal.
    pub lost: u64,
    pub won: u64,
    pub refused: u64,
}

pub fn judge(history: &History) -> Judged {
    let mut count = Judged::default();
    for story in Story::all(history) {
        let ended = story.may_end(Belief::Known);
        let sent = story.told.iter();
        for one in sent.filter(|one| one.answer != Answer::Unsent) {
            count.all += 1;
            let is_over = ended.is_some_and(|at| at < one.span.end);
            *if story.is_judged(one, is_over) {
                &mut count.judged
            } else if one.answer.is_lost() {
                &mut count.lost
            } else if one.answer.won().is_some() {
                &mut count.won
            } else {
                &mut count.refused
            } += 1;
        }
    }
    count
}

impl Judged {
    /// 1 when there was nothing to judge.
    pub fn share(self) -> f64 {
        if self.all == 0 {
            1.0
        } else {
            self.judged as f64 / self.all as f64
        }
    }

    pub fn is_enough(self) -> bool {
        self.share() >= ENOUGH
    }
}

impl Story<'_> {
    /// `is_over`: something that is known to have been done had ended the session.
    fn is_judged(&self, one: &Presentation, is_over: bool) -> bool {
        match one.answer {
            // A lost one may have renewed the token, too: the count of renewals tells.
            Answer::Won(_) => {
                let mut others = self.of_token(one.jid).iter();
                let is_doubtful =
                    others.any(|other| other.answer.is_lost() && other.span.begin < one.span.end);
                !is_doubtful || self.is_seen_after(one)
            }
            Answer::Refused(Refusal::Used) => {
                self.reuse_from(one, Belief::Known).is_some()
                    || self.reuse_from(one, Belief::Possible).is_none()
            }
            Answer::Refused(Refusal::Revoked) => {
                is_over
                    || self
                        .may_end(Belief::Possible)
                        .is_none_or(|at| at >= one.span.end)
            }
            Answer::Unknown | Answer::Unavailable => {
                is_over || self.wins(one.jid).next().is_some() || self.is_seen_after(one)
            }
            Answer::Refused(_) | Answer::Forbidden | Answer::Unsent | Answer::Undocumented(_) => {
                true
            }
        }
    }

    fn is_seen_after(&self, one: &Presentation) -> bool {
        let mut reads = self.reads.iter();
        reads.any(|read| read.seen.is_some() && one.span.end <= read.span.begin)
    }
}
