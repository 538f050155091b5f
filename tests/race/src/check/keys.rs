//! Whether app-keys are good for as long as they should be, and the signatures are those of the keys that are named.

use super::{HORIZON, KNOWN, Kind, Violation};
use crate::history::{Answer, History, Span};

pub fn check(history: &History, found: &mut Vec<Violation>) {
    for one in &history.presentations {
        let is_refused = match one.answer {
            Answer::Won(_) => false,
            Answer::Forbidden => true,
            _ => continue,
        };
        let violation = wrong(history, one.key, one.span, is_refused, "renew");
        found.extend(violation.map(|violation| Violation {
            session: Some(one.session),
            ..violation
        }));
    }
    for one in &history.key_uses {
        let violation = wrong(history, one.key, one.span, one.is_refused, one.verb);
        found.extend(violation);
    }
    for one in history.signatures.iter().filter(|one| !one.is_good) {
        found.push(Violation {
            session: Some(one.session),
            ..Violation::new(Kind::WrongSignature, one.at, format!("by {}", one.key))
        });
    }
}

fn wrong(
    history: &History,
    key: usize,
    span: Span,
    is_refused: bool,
    verb: &str,
) -> Option<Violation> {
    let row = history.keys.get(key)?;
    if is_refused {
        // One that was just made is not known everywhere yet.
        let is_new = span.begin < history.stalled(span, row.made + KNOWN + HORIZON);
        let may_be_revoked = row.revoking.is_some_and(|at| at < span.end);
        (!is_new && !may_be_revoked).then(|| {
            let detail = format!("{verb} with key {key}");
            Violation::new(Kind::GoodKeyRefused, span.end, detail)
        })
    } else {
        let at = row.revoked.filter(|at| *at < span.begin)?;
        let late = (span.begin - at) / 1_000;
        let detail = format!("{verb} with key {key}, {late} ms after");
        Some(Violation::new(Kind::RevokedKeyAccepted, span.end, detail))
    }
}
