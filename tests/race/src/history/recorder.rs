//! Writes the history, from any number of tasks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{Claims, History, Lost, Micros, Span, Trouble};

#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    history: Mutex<History>,
}

impl Recorder {
    pub fn start() -> Self {
        let history = History {
            started_at: wall_clock(),
            ..History::default()
        };
        Self {
            start: Instant::now(),
            history: Mutex::new(history),
        }
    }

    pub fn now(&self) -> Micros {
        micros(self.start.elapsed())
    }

    /// From `begin` until now.
    pub fn since(&self, begin: Micros) -> Span {
        let end = self.now();
        Span { begin, end }
    }

    /// Adds to the history.
    pub fn write<T>(&self, with: impl FnOnce(&mut History) -> T) -> T {
        with(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn trouble(&self, kind: Trouble, target: usize) {
        let now = self.now();
        self.write(|history| history.troubles.push((now, kind, target)));
    }

    /// Until now, what was under way may have waited without an end: a database was frozen, or a network silent or slow.
    pub fn stalled_since(&self, begin: Micros) {
        let span = self.since(begin);
        self.write(|history| history.stalls.push(span));
    }

    /// Something is wrong that no renewal shows.
    pub fn complain(&self, what: impl Into<String>) {
        let now = self.now();
        self.write(|history| history.complaints.push((now, what.into())));
    }
}

impl History {
    /// The sessions of which an answer was lost that nobody has looked at since.
    pub fn lost(&self) -> Vec<Lost> {
        let mut lost: BTreeMap<usize, Micros> = BTreeMap::new();
        for one in self.presentations.iter().filter(|one| one.answer.is_lost()) {
            let at = lost.entry(one.session).or_default();
            *at = one.span.end.max(*at);
        }
        for read in self.reads.iter().filter(|read| read.seen.is_some()) {
            if lost
                .get(&read.session)
                .is_some_and(|at| *at <= read.span.begin)
            {
                lost.remove(&read.session);
            }
        }
        let all = lost.into_keys().map(|session| {
            let row = &self.sessions[session];
            Lost {
                session,
                app: row.app,
                sid: row.first.sid,
                sub: self.claims[row.asked].sub.clone(),
            }
        });
        all.collect()
    }

    /// The place of these claims, which are added.
    pub fn claim(&mut self, claims: Claims) -> usize {
        self.claims.push(claims);
        self.claims.len() - 1
    }
}

/// Seconds of the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "what the nodes write into their tokens is compared with the clock of the machine"
)]
fn wall_clock() -> i64 {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = clock.map_or(0, |since| since.as_secs());
    i64::try_from(seconds).unwrap_or_default()
}

pub fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
