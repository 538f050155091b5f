//! What a connection is waiting for, and since when: noted by whoever serves it, looked at by whoever closes it.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{counts::Reason, limits::Deadlines};

/// Bits of the state that hold the phase; the others hold the time.
const PHASE_BITS: u32 = 3;

/// A share of one. Parts of it tell two waits apart that began a moment after each other, however long they may last.
pub const WHOLE: u64 = 1 << 32;

/// How far the exchange on a connection has come. All of it is written by the one task that serves the connection.
#[derive(Debug)]
pub struct Progress {
    accepted: Instant,
    /// The phase, and when it began, in microseconds since the accept.
    state: AtomicU64,
    /// When the client was last seen to take no more of an answer, in microseconds since the accept, plus 1; 0 while it does.
    blocked: AtomicU64,
    /// Whether what was read last ended as a head does.
    is_head_whole: AtomicBool,
    /// Whether a part of the next request is here already.
    has_more: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not a byte was received.
    New,
    /// A part of a head was received.
    Head,
    /// The head was received, a part of the body was not.
    Body,
    /// The server works on the answer.
    Busy,
    /// The answer is made, and not sent yet.
    Answered,
    /// The answer was sent.
    Idle,
}

/// Why a connection waits for its client, and which share of the time for that is over.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub reason: Reason,
    pub share: u64,
}

impl Progress {
    pub fn begin() -> Self {
        Self {
            accepted: Instant::now(),
            state: AtomicU64::new(Phase::New as u64),
            blocked: AtomicU64::new(0),
            is_head_whole: AtomicBool::new(false),
            has_more: AtomicBool::new(false),
        }
    }

    /// Bytes of the client were read; whether they end as a head does.
    pub fn received(&self, ends_head: bool) {
        match self.phase() {
            // The time for the first head runs from the accept.
            Phase::New => self.state.store(Phase::Head as u64, Relaxed),
            Phase::Idle => self.enter(Phase::Head),
            Phase::Busy | Phase::Answered => self.has_more.store(true, Relaxed),
            Phase::Head | Phase::Body => {}
        }
        self.is_head_whole.store(ends_head, Relaxed);
    }

    /// A head is complete.
    pub fn asked(&self, has_body: bool) {
        let has_more = !has_body && !self.is_head_whole.load(Relaxed);
        self.has_more.store(has_more, Relaxed);
        self.enter(if has_body { Phase::Body } else { Phase::Busy });
    }

    /// The body is complete, or nobody wants the rest.
    pub fn body_ended(&self) {
        if self.phase() == Phase::Body {
            self.enter(Phase::Busy);
        }
    }

    /// The answer was made.
    pub fn answered(&self) {
        self.enter(Phase::Answered);
    }

    /// All that was to be sent was.
    pub fn flushed(&self) {
        if self.phase() == Phase::Answered {
            let next_began = self.has_more.load(Relaxed);
            self.enter(if next_began { Phase::Head } else { Phase::Idle });
        }
    }

    /// The client takes no more for now.
    pub fn blocked(&self) {
        self.blocked.store(self.now() + 1, Relaxed);
    }

    /// The client took something.
    pub fn unblocked(&self) {
        self.blocked.store(0, Relaxed);
    }

    /// Why the connection waits for its client at `now`; none while the client waits for the server.
    pub fn wait(&self, now: Instant, deadlines: &Deadlines) -> Option<Wait> {
        let now = micros(now.saturating_duration_since(self.accepted));
        let of = |reason, since: u64, limit: Duration| {
            let over = u128::from(now.saturating_sub(since));
            let share = over * u128::from(WHOLE) / limit.as_micros().max(1);
            let share = u64::try_from(share).unwrap_or(u64::MAX);
            Some(Wait { reason, share })
        };
        let blocked = self.blocked.load(Relaxed);
        if blocked > 0 {
            return of(Reason::Write, blocked - 1, deadlines.write);
        }
        let (phase, since) = split(self.state.load(Relaxed));
        match phase {
            Phase::New | Phase::Head => of(Reason::Head, since, deadlines.head),
            Phase::Body => of(Reason::Body, since, deadlines.body),
            Phase::Idle => of(Reason::Idle, since, deadlines.idle),
            Phase::Busy | Phase::Answered => None,
        }
    }

    /// Whether the client has asked for nothing that is not answered yet.
    pub fn is_silent(&self) -> bool {
        matches!(self.phase(), Phase::New | Phase::Idle)
    }

    fn phase(&self) -> Phase {
        split(self.state.load(Relaxed)).0
    }

    fn enter(&self, phase: Phase) {
        let state = (self.now() << PHASE_BITS) | phase as u64;
        self.state.store(state, Relaxed);
    }

    fn now(&self) -> u64 {
        micros(self.accepted.elapsed())
    }
}

fn split(state: u64) -> (Phase, u64) {
    let phase = match state % (1 << PHASE_BITS) {
        0 => Phase::New,
        1 => Phase::Head,
        2 => Phase::Body,
        3 => Phase::Busy,
        4 => Phase::Answered,
        _ => Phase::Idle,
    };
    (phase, state >> PHASE_BITS)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINES: Deadlines = Deadlines {
        head: Duration::from_secs(10),
        body: Duration::from_secs(30),
        write: Duration::from_secs(20),
        idle: Duration::from_secs(120),
    };

    /// Why it waits, and how many seconds from now it is closed.
    fn closes(progress: &Progress) -> Option<(Reason, u64)> {
        let at = |seconds| progress.wait(Instant::now() + Duration::from_secs(seconds), &DEADLINES);
        let wait = at(0)?;
        let seconds = (0..200).find(|seconds| at(*seconds).is_some_and(|wait| wait.share >= WHOLE));
        Some((wait.reason, seconds.unwrap()))
    }

    #[test]
    fn every_phase_that_waits_for_the_client_has_an_end() {
        let progress = Progress::begin();
        assert_eq!(closes(&progress), Some((Reason::Head, 10)));
        progress.received(false);
        assert_eq!(closes(&progress), Some((Reason::Head, 10)));
        progress.asked(true);
        assert_eq!(closes(&progress), Some((Reason::Body, 30)));
        progress.received(false);
        progress.body_ended();
        assert_eq!(closes(&progress), None);
        progress.answered();
        assert_eq!(closes(&progress), None);
        progress.blocked();
        assert_eq!(closes(&progress), Some((Reason::Write, 20)));
        progress.unblocked();
        progress.flushed();
        assert_eq!(closes(&progress), Some((Reason::Idle, 120)));
        assert!(progress.is_silent());
        progress.received(true);
        assert!(!progress.is_silent());
        assert_eq!(closes(&progress), Some((Reason::Head, 10)));
    }

    /// Which of two goes first depends on it.
    #[test]
    fn waits_that_began_a_moment_after_each_other_differ() {
        let now = Instant::now();
        let deadlines = Deadlines {
            head: Duration::from_secs(86_400),
            ..DEADLINES
        };
        let share = |waited| {
            let progress = Progress {
                accepted: now.checked_sub(Duration::from_micros(waited)).unwrap(),
                ..Progress::begin()
            };
            progress.wait(now, &deadlines).unwrap().share
        };
        assert!(share(300_150) > share(300_100));
    }

    /// What comes before its turn is the beginning of a head as well.
    #[test]
    fn a_next_head_that_has_begun_has_no_more_time_than_any() {
        for (first_read_is_whole, read_while_busy, expected) in [
            (true, false, Reason::Idle),
            (false, false, Reason::Head),
            (true, true, Reason::Head),
        ] {
            let progress = Progress::begin();
            progress.received(first_read_is_whole);
            progress.asked(false);
            if read_while_busy {
                progress.received(false);
            }
            progress.answered();
            progress.flushed();
            assert_eq!(closes(&progress).unwrap().0, expected);
        }
    }
}
