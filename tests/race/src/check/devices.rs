//! Whether users have the sessions and the push tokens that they should have.

use std::collections::BTreeMap;

use super::{Kind, Violation};
use crate::history::{History, Jump};

pub fn check(history: &History, found: &mut Vec<Violation>) {
    for crowd in &history.crowds {
        let is_off = |jump: &Jump| jump.span.overlaps(crowd.span);
        if !(crowd.least..=crowd.most).contains(&crowd.live) && !history.jumps.iter().any(is_off) {
            let detail = format!(
                "{} live sessions, and not {} to {}",
                crowd.live, crowd.least, crowd.most
            );
            found.push(Violation::new(Kind::SessionLimit, crowd.span.end, detail));
        }
    }
    let mut devices: BTreeMap<(usize, &str), &str> = BTreeMap::new();
    for targets in &history.targets {
        let mut tokens = targets.seen.iter().map(|(_, token)| token);
        if let Some(expected) = &targets.expected
            && !tokens.any(|token| token == expected)
        {
            let detail = format!("{} has no {expected}", targets.sub);
            found.push(Violation::new(Kind::PushTokenLost, targets.at, detail));
        }
        for (device, token) in &targets.seen {
            let before = devices.insert((targets.app, token), device);
            if let Some(other) = before.filter(|other| other != device) {
                let detail = format!("{token} is of {other} and of {device}");
                found.push(Violation::new(Kind::PushTokenTwice, targets.at, detail));
            }
        }
    }
}
