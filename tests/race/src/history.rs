//! What was asked, what was answered, and when.

mod facts;
mod recorder;

use std::{collections::BTreeMap, fmt};

pub use facts::{
    Amendment, AppKey, Cause, Change, Crowd, Ended, Ending, Exchange, Jump, KeyUse, Loss, Outcome,
    Read, Refreshing, Renewed, Revocation, Sensor, SensorAnswer, Signature, Targets, Tenant,
    Trouble,
};
pub use recorder::{Recorder, micros};

/// Microseconds since the start of the run, by a clock that only goes on.
pub type Micros = u64;

/// The id of a token or a key: a ULID's 26 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 26]);

/// From when a request was sent until its answer had arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub begin: Micros,
    pub end: Micros,
}

/// A pair of tokens that was issued, without its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    pub jid: Id,
    pub key: Id,
    pub sid: Id,
    /// `iat`, in seconds of the Unix epoch.
    pub iat: i64,
    /// From the `iat` to the `exp` of the auth token, seconds.
    pub life: i64,
    /// What it says of its holder: a place in [`History::claims`].
    pub claims: usize,
    /// Whether both tokens and the answer around them name one session, one pair and one key.
    pub agrees: bool,
}

/// What the tokens of a session say of its holder: given when it began, or by an amendment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub sub: String,
    pub aud: String,
    /// A custom claim; empty when there is none.
    pub mark: String,
    /// A member of `personal`; empty when there is none.
    pub note: String,
}

/// Who drives a session, and so what may happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Walker,
    Racer,
    Leaver,
    /// Its signing key may be revoked.
    Keyed,
    /// Its subject begins more sessions than the app allows.
    Crowd,
    /// It is on a device.
    Owner,
    /// It is a device's, by a registration token.
    Sensor,
}

/// For how long, at least and at most, the parent of a token may be presented again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grace {
    pub least: Micros,
    pub most: Micros,
}

#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub role: Role,
    /// A place in [`History::tenants`].
    pub app: usize,
    pub grace: Grace,
    /// What its tokens are to say from the begin on: a place in [`History::claims`].
    pub asked: usize,
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
    /// 403: the app-key is none.
    Forbidden,
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
    /// The app-key that it was presented with: a place in [`History::keys`].
    pub key: usize,
    pub node: usize,
    pub span: Span,
    pub answer: Answer,
}

/// A session of which somebody was not told what became of it.
#[derive(Clone, Debug)]
pub struct Lost {
    pub session: usize,
    pub app: usize,
    pub sid: Id,
    pub sub: String,
}

/// Everything that happened in a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The wall clock at the start of the run, seconds of the Unix epoch.
    pub started_at: i64,
    /// By how much the clocks of two nodes may differ when none has jumped.
    pub skew: Micros,
    pub jumps: Vec<Jump>,
    pub tenants: Vec<Tenant>,
    pub claims: Vec<Claims>,
    pub sessions: Vec<Session>,
    pub presentations: Vec<Presentation>,
    pub amendments: Vec<Amendment>,
    pub reads: Vec<Read>,
    pub endings: Vec<Ending>,
    pub revocations: Vec<Revocation>,
    /// The app that each signing key is of, as the app lists them.
    pub signing_keys: BTreeMap<Id, usize>,
    pub signatures: Vec<Signature>,
    pub keys: Vec<AppKey>,
    pub key_uses: Vec<KeyUse>,
    pub changes: Vec<Change>,
    pub crowds: Vec<Crowd>,
    pub targets: Vec<Targets>,
    pub sensors: Vec<Sensor>,
    pub refreshings: Vec<Refreshing>,
    pub exchanges: Vec<Exchange>,
    pub troubles: Vec<(Micros, Trouble, usize)>,
    /// While this lasts, what is under way may wait without an end: a database that is frozen, a network that is silent or slow.
    pub stalls: Vec<Span>,
    /// What went wrong outside of any renewal.
    pub complaints: Vec<(Micros, String)>,
    /// Unavailable or unanswered requests that are no renewals.
    pub other_unanswered: u64,
    /// Sessions that were kept for the end of the run.
    pub held: Vec<usize>,
    /// From when on nothing is broken any more, but one app is changed all the time.
    pub calm_from: Option<Micros>,
    /// From when on nothing happens any more but the last renewals.
    pub quiet_from: Option<Micros>,
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

impl Span {
    pub fn overlaps(self, other: Self) -> bool {
        self.begin <= other.end && other.begin <= self.end
    }
}

impl Grace {
    /// The same all the time, seconds.
    pub fn of(seconds: u64) -> Self {
        let micros = seconds * 1_000_000;
        Self {
            least: micros,
            most: micros,
        }
    }

    pub fn is_none(self) -> bool {
        self.most == 0
    }
}

impl Answer {
    /// Whether it may be that this presentation advanced the session. So it may even if the session is said to be
    /// revoked: the answer to the commit was lost, and when the node asked again, a reuse had ended the session.
    pub fn may_have_advanced(self) -> bool {
        match self {
            Self::Won(_) | Self::Unavailable | Self::Unknown | Self::Undocumented(_) => true,
            Self::Refused(refusal) => refusal == Refusal::Revoked,
            Self::Forbidden | Self::Unsent => false,
        }
    }

    /// Whether the client does not know what became of its token.
    pub fn is_lost(self) -> bool {
        matches!(self, Self::Unknown | Self::Unavailable)
    }

    /// The successor.
    pub fn won(self) -> Option<Issued> {
        match self {
            Self::Won(issued) => Some(issued),
            _ => None,
        }
    }
}
