//! What was asked, what was answered, and when.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Microseconds since the start of the run, by a clock that only goes on.
pub type Micros = u64;

/// The id of a token or a key: a ULID's 26 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 26]);

/// From when a request was sent until its answer had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub begin: Micros,
    pub end: Micros,
}

/// A refresh token that was issued, without its secret: its `jid` and the key that signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    pub jid: Id,
    pub key: Id,
}

/// Who drives a session, and so what may happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Walker,
    Racer,
    Leaver,
    Keyed,
}

#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub role: Role,
    /// The grace of its app.
    pub grace: Micros,
    pub first: Issued,
    pub span: Span,
}

/// Why a refresh token was refused: the `code` of the problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Used,
    Revoked,
    Expired,
    NotYetValid,
    Invalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200, with the successor.
    Won(Issued),
    Refused(Refusal),
    /// 503: nothing is known about the token but that this request is over.
    Unavailable,
    /// No answer: the request may have been carried out, or be so still.
    Unknown,
    /// There was no connection to send it on.
    Unsent,
    /// Any other answer.
    Undocumented(u16),
}

/// A refresh token was presented.
#[derive(Clone, Copy, Debug)]
pub struct Presentation {
    pub session: usize,
    pub jid: Id,
    pub node: usize,
    pub span: Span,
    pub answer: Answer,
}

#[derive(Clone, Copy, Debug)]
pub struct Logout {
    pub session: usize,
    pub node: usize,
    pub span: Span,
    pub acknowledged: bool,
}

/// Signing keys were revoked.
#[derive(Clone, Debug)]
pub struct Revocation {
    pub keys: Vec<Id>,
    pub span: Span,
    pub acknowledged: bool,
}

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    NodeKilled,
    NodeRestarted,
    DatabaseKilled,
    DatabaseRestarted,
    Cut,
    CommitAnswersLost,
    AnswersLost,
    ConnectionsRefused,
    DatabaseLags,
}

/// Everything that happened in a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub sessions: Vec<Session>,
    pub presentations: Vec<Presentation>,
    pub logouts: Vec<Logout>,
    pub revocations: Vec<Revocation>,
    pub troubles: Vec<(Micros, Trouble, usize)>,
    /// What went wrong outside of any renewal.
    pub complaints: Vec<(Micros, String)>,
    /// Unavailable or unanswered requests that are no renewals.
    pub other_unanswered: u64,
    /// Sessions that were kept for the end of the run.
    pub held: Vec<usize>,
    /// From when on nothing is broken any more.
    pub quiet_from: Option<Micros>,
}

/// Writes the history, from any number of tasks.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    history: Mutex<History>,
}

impl Id {
    /// `None` when the text has not 26 ASCII characters.
    pub fn read(text: &str) -> Option<Self> {
        text.is_ascii()
            .then(|| text.as_bytes().try_into().ok())
            .flatten()
            .map(Self)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

impl Answer {
    /// Whether it may be that this presentation advanced the session. So it may even if the session is said to be
    /// revoked: the answer to the commit was lost, and when the node asked again, a reuse had ended the session.
    pub fn may_have_advanced(self) -> bool {
        match self {
            Self::Won(_) | Self::Unavailable | Self::Unknown | Self::Undocumented(_) => true,
            Self::Refused(refusal) => refusal == Refusal::Revoked,
            Self::Unsent => false,
        }
    }

    /// Whether the client does not know what became of its token.
    pub fn is_lost(self) -> bool {
        matches!(self, Self::Unknown | Self::Unavailable)
    }
}

impl Recorder {
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            history: Mutex::default(),
        }
    }

    pub fn now(&self) -> Micros {
        micros(self.start.elapsed())
    }

    /// Adds to the history.
    pub fn write<T>(&self, with: impl FnOnce(&mut History) -> T) -> T {
        with(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn trouble(&self, kind: Trouble, target: usize) {
        let now = self.now();
        self.write(|history| history.troubles.push((now, kind, target)));
    }

    /// Something is wrong that no renewal shows.
    pub fn complain(&self, what: impl Into<String>) {
        let now = self.now();
        self.write(|history| history.complaints.push((now, what.into())));
    }
}

pub fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
