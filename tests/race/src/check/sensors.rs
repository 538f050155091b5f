//! Whether registration tokens follow each other one by one, and always speak for the same device.

use std::{collections::BTreeMap, fmt::Write};

use super::{Kind, Violation};
use crate::history::{Exchange, History, Micros, Refreshing, SensorAnswer, Span};

/// Uses of tokens that are shown with a violation.
const TOLD: usize = 12;

pub fn check(history: &History, found: &mut Vec<Violation>) {
    let count = history.sensors.len();
    let mut lineages = vec![Lineage::default(); count];
    for one in &history.refreshings {
        lineages[one.sensor].refreshings.push(one);
    }
    for one in &history.exchanges {
        lineages[one.sensor].exchanges.push(one);
    }
    for (index, lineage) in lineages.iter().enumerate() {
        let ending = history.sensors[index].ending.unwrap_or(Micros::MAX);
        lineage.check(history, ending, found);
    }
}

#[derive(Clone, Debug, Default)]
struct Lineage<'a> {
    refreshings: Vec<&'a Refreshing>,
    exchanges: Vec<&'a Exchange>,
}

impl Lineage<'_> {
    fn check(&self, history: &History, ending: Micros, found: &mut Vec<Violation>) {
        let mut violation = |kind, at, detail: String| {
            found.push(Violation::new(kind, at, detail));
        };
        let mut advanced: BTreeMap<usize, usize> = BTreeMap::new();
        for one in &self.refreshings {
            if let SensorAnswer::Advanced(child) = one.answer
                && let Some(other) = advanced.insert(one.token, child)
            {
                let detail = format!("token {} was refreshed to {other} and {child}", one.token);
                violation(Kind::DoubleWin, one.span.end, detail);
            }
            if let SensorAnswer::Undocumented(status) = one.answer {
                violation(Kind::UndocumentedStatus, one.span.end, status.to_string());
            }
        }
        let mut subject = None;
        for one in &self.exchanges {
            match one.began {
                Ok(session) => {
                    let said = &history.claims[history.sessions[session].first.claims];
                    let before = *subject.get_or_insert(&said.sub);
                    if *before != said.sub {
                        let detail = format!("of {before} to {}", said.sub);
                        violation(Kind::SubjectChanged, one.span.end, detail);
                    }
                }
                Err(SensorAnswer::Undocumented(status)) => {
                    violation(Kind::UndocumentedStatus, one.span.end, status.to_string());
                }
                Err(_) => {}
            }
        }
        for (token, span, is_good) in self.uses() {
            if is_good && let Some(at) = self.displaced(token, span) {
                let detail = format!("{token} was good {} ms after", (span.begin - at) / 1_000);
                violation(Kind::TwoChildren, span.end, detail);
            }
            if !is_good && span.end < ending && self.is_live(history, token, span) {
                let detail = format!("token {token}{}", self.tell(history, span.end));
                violation(Kind::LostRegistration, span.end, detail);
            }
        }
        for (token, at) in self.two_good(history) {
            violation(Kind::TwoChildren, at, format!("of token {token}"));
        }
    }

    /// Every use of a token with an answer that tells whether it is good.
    fn uses(&self) -> impl Iterator<Item = (usize, Span, bool)> {
        let good = |answer| match answer {
            SensorAnswer::Advanced(_) | SensorAnswer::Replaced(_) => Some(true),
            SensorAnswer::Gone(_) => Some(false),
            _ => None,
        };
        let refreshings = self.refreshings.iter();
        let refreshings =
            refreshings.filter_map(move |one| Some((one.token, one.span, good(one.answer)?)));
        let exchanges = self.exchanges.iter().filter_map(move |one| {
            let is_good = one.began.map_or_else(good, |_| Some(true))?;
            Some((one.token, one.span, is_good))
        });
        refreshings.chain(exchanges)
    }

    /// What was last done with the tokens until then.
    fn tell(&self, history: &History, until: Micros) -> String {
        let refreshings = self.refreshings.iter();
        let refreshings = refreshings.map(|one| {
            (
                one.span,
                format!("refresh of {}: {:?}", one.token, one.answer),
            )
        });
        let exchanges = self.exchanges.iter();
        let exchanges = exchanges.map(|one| {
            (
                one.span,
                format!("exchange of {}: {:?}", one.token, one.began),
            )
        });
        let mut all: Vec<_> = refreshings.chain(exchanges).collect();
        all.retain(|(span, _)| span.begin <= until);
        all.sort_by_key(|(span, _)| span.begin);
        let seconds = |at: Micros| at as f64 / 1e6;
        let last = all.iter().skip(all.len().saturating_sub(TOLD));
        let mut text = String::new();
        for (span, what) in last {
            let _ = write!(
                text,
                "\n  {:.3}-{:.3} {what}",
                seconds(span.begin),
                seconds(span.end)
            );
        }
        for jump in &history.jumps {
            let (begin, end) = (seconds(jump.span.begin), seconds(jump.span.end));
            let _ = write!(
                text,
                "\n  {begin:.3}-{end:.3} the clock of node {} is wrong",
                jump.node
            );
        }
        text
    }

    /// When another child had surely taken the place of this one, if that was before `span`.
    fn displaced(&self, token: usize, span: Span) -> Option<Micros> {
        let (parent, made) = self.made(token)?;
        let mut others = self.refreshings.iter().filter(|one| {
            let is_other = matches!(one.answer, SensorAnswer::Replaced(child) if child != token);
            one.token == parent
                && is_other
                && made.end < one.span.begin
                && one.span.end < span.begin
        });
        others.next().map(|one| one.span.end)
    }

    /// Whether the token is surely the one that lives: the last child of its parent, and nothing was made of it.
    fn is_live(&self, history: &History, token: usize, span: Span) -> bool {
        let is_used = self
            .refreshings
            .iter()
            .any(|one| one.token == token && one.span.begin < span.end && one.may_have_done());
        let is_last = match self.made(token) {
            // The first one.
            None => token == 0,
            Some((parent, made)) => {
                made.end < span.begin
                    && self.refreshings.iter().all(|one| {
                        one.token != parent
                            || one.span == made
                            || !one.may_have_done()
                            || one.over(history) < made.begin
                            || one.span.begin > span.end
                    })
            }
        };
        is_last && !is_used
    }

    /// The parent of a token, and when it was refreshed to it.
    fn made(&self, token: usize) -> Option<(usize, Span)> {
        let made = self.refreshings.iter().find(|one| {
            matches!(one.answer, SensorAnswer::Advanced(child) | SensorAnswer::Replaced(child) if child == token)
        });
        made.map(|one| (one.token, one.span))
    }

    /// Parents of which two children were good, when the parent had been presented for the last time before.
    fn two_good(&self, history: &History) -> Vec<(usize, Micros)> {
        let mut good: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let mut found = Vec::new();
        for one in self.exchanges.iter().filter(|one| one.began.is_ok()) {
            let Some((parent, _)) = self.made(one.token) else {
                continue;
            };
            let of_parent = self.refreshings.iter();
            let of_parent =
                of_parent.filter(|other| other.token == parent && other.may_have_done());
            let (mut before, mut is_settled) = (0, true);
            for other in of_parent {
                if other.over(history) < one.span.begin {
                    before += 1;
                } else {
                    is_settled &= one.span.end < other.span.begin;
                }
            }
            if is_settled {
                let child = *good.entry((parent, before)).or_insert(one.token);
                if child != one.token {
                    found.push((parent, one.span.end));
                }
            }
        }
        found
    }
}

impl Refreshing {
    fn may_have_done(&self) -> bool {
        !matches!(
            self.answer,
            SensorAnswer::Gone(_) | SensorAnswer::Refused | SensorAnswer::Unsent
        )
    }

    fn over(&self, history: &History) -> Micros {
        match self.answer {
            SensorAnswer::Unknown => history.over_unanswered(self.span),
            SensorAnswer::Unavailable => history.stalled(self.span, self.span.end),
            _ => self.span.end,
        }
    }
}
