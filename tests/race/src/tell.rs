//! What happened to the sessions whose promise was broken; ids and times, no tokens.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::{
    check::{Kind, Story, Violation},
    history::{Answer, History, Micros, Role},
};

/// Violations of a kind that are shown.
const SHOWN: usize = 5;
/// Lines of a history that are shown: the last ones until the violation, and some after it.
const BEFORE: usize = 25;
const AFTER: usize = 8;

/// The first violations of each kind, with what happened to their sessions and around them.
pub fn histories(history: &History, violations: &[Violation]) -> String {
    let stories = Story::all(history);
    let mut shown: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut told = BTreeSet::new();
    let mut text = String::new();
    for violation in violations {
        let shown = shown.entry(violation.kind).or_default();
        *shown += 1;
        if *shown > SHOWN {
            continue;
        }
        let (at, detail) = (seconds(violation.at), &violation.detail);
        let _ = writeln!(text, "\n{at} {}: {detail}", violation.kind);
        if let Some(session) = violation.session
            && told.insert(session)
        {
            let lines = tell(history, &stories[session]);
            let place = lines.partition_point(|(begin, _)| *begin <= violation.at);
            let from = place.saturating_sub(BEFORE);
            let until = lines.len().min(place + AFTER);
            for (_, line) in &lines[from..until] {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    text
}

/// A session's history, in the order of begin.
fn tell(history: &History, story: &Story<'_>) -> Vec<(Micros, String)> {
    let session = story.session;
    let mut lines = vec![(
        session.span.begin,
        format!(
            "{} signed for a {:?} of {}, grace {} s: token {}",
            seconds(session.span.begin),
            session.role,
            history
                .tenants
                .get(session.app)
                .map_or("an app", |tenant| tenant.name),
            session.grace.least / 1_000_000,
            session.first.jid
        ),
    )];
    for one in &story.told {
        let span = one.span;
        let line = format!(
            "{} … {} node {} token {} {}",
            seconds(span.begin),
            seconds(span.end),
            one.node,
            one.jid,
            match one.answer {
                Answer::Won(next) => format!("won {} (key {})", next.jid, next.key),
                other => format!("{other:?}"),
            }
        );
        lines.push((span.begin, line));
    }
    for ending in &story.endings {
        let (begin, end) = (seconds(ending.span.begin), seconds(ending.span.end));
        let line = format!("{begin} … {end} node {} {}", ending.node, ending.told());
        lines.push((ending.span.begin, line));
    }
    for read in &story.reads {
        let (begin, end) = (seconds(read.span.begin), seconds(read.span.end));
        let line = format!("{begin} … {end} seen {:?}", read.seen);
        lines.push((read.span.begin, line));
    }
    let last = story
        .told
        .last()
        .map_or(session.span.end, |one| one.span.end);
    for (at, kind, target) in &history.troubles {
        if (session.span.begin..last + 1_000_000).contains(at) {
            lines.push((*at, format!("{} {kind:?} {target}", seconds(*at))));
        }
    }
    if session.role == Role::Keyed {
        for revocation in &history.revocations {
            let (begin, end) = (seconds(revocation.span.begin), seconds(revocation.span.end));
            let (keys, done) = (&revocation.keys, revocation.outcome);
            let line = format!("{begin} … {end} keys {keys:?} revoked: {done:?}");
            lines.push((revocation.span.begin, line));
        }
    }
    lines.sort();
    lines
}

fn seconds(at: Micros) -> String {
    format!("{:10.6}", at as f64 / 1e6)
}
