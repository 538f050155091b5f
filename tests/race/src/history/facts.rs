//! What happened beside the renewals.

use super::{Id, Micros, Span};

/// An app.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    pub name: &'static str,
    /// Whether it is changed by somebody, so that what waits for the change may be a 503.
    pub is_changed: bool,
}

/// What became of a request that is no renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// 503: it may have been done, and is over.
    Unavailable,
    /// No answer: it may have been done, or be done still.
    Unknown,
    /// It was not done.
    Refused,
}

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A place in [`super::History::sessions`].
    Session(usize),
    /// Every session of the app that began before.
    App(usize),
}

/// Why it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Logout,
    Flush,
    /// Its device was revoked, disabled or deleted.
    Device,
    /// Its subject began more sessions than the app allows.
    Limit,
}

/// Sessions were to end.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    pub of: Ended,
    pub cause: Cause,
    /// Whether it surely concerns the session: one that may have been tied to another device is not surely ended with it.
    pub is_sure: bool,
    pub node: usize,
    pub span: Span,
    pub outcome: Outcome,
}

/// Signing keys were revoked.
#[derive(Clone, Debug)]
pub struct Revocation {
    pub keys: Vec<Id>,
    pub span: Span,
    pub outcome: Outcome,
}

/// The signature of a pair of tokens, verified by the public key that its app lists.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    pub session: usize,
    pub key: Id,
    pub at: Micros,
    pub is_good: bool,
}

/// An app-key, and the request that revoked it.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppKey {
    /// It was made by then.
    pub made: Micros,
    /// It may have been revoked from then on.
    pub revoking: Option<Micros>,
    /// It was acknowledged to be revoked.
    pub revoked: Option<Micros>,
}

/// An app-key was used for something that is no renewal.
#[derive(Clone, Copy, Debug)]
pub struct KeyUse {
    pub key: usize,
    pub verb: &'static str,
    pub span: Span,
    /// 403; anything else but a success is not told here.
    pub is_refused: bool,
}

/// The policy of an app was changed.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub app: usize,
    /// `token_expire` from then on.
    pub life: i64,
    pub span: Span,
    pub outcome: Outcome,
}

/// The claims of a session were replaced.
#[derive(Clone, Copy, Debug)]
pub struct Amendment {
    pub session: usize,
    /// A place in [`super::History::claims`].
    pub claims: usize,
    pub span: Span,
    pub outcome: Outcome,
}

/// A session as the store has it; nothing when it cannot be renewed.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    pub session: usize,
    pub span: Span,
    pub seen: Option<Renewed>,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    pub jid: Id,
    pub renewals: u64,
}

/// How many live sessions a subject had when nothing happened any more, and may have had.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// From the begin of the first session until they were counted.
    pub span: Span,
    pub live: u64,
    pub least: u64,
    pub most: u64,
}

/// The push tokens of a user when nothing happened any more: which devices have which.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    pub at: Micros,
    pub app: usize,
    pub sub: String,
    /// The one that the user's device was given last, when that is known.
    pub expected: Option<String>,
    /// Device and push token.
    pub seen: Vec<(String, String)>,
}

/// A lineage of registration tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sensor {
    /// When its registration or its device may have been ended, or made anew.
    pub ending: Option<Micros>,
}

/// A registration token was refreshed. Its tokens are numbered as they were seen.
#[derive(Clone, Copy, Debug)]
pub struct Refreshing {
    pub sensor: usize,
    pub token: usize,
    pub span: Span,
    pub answer: SensorAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorAnswer {
    /// 201, with a child.
    Advanced(usize),
    /// 200, with another child.
    Replaced(usize),
    /// 410.
    Gone(Loss),
    /// 403 or 412: nothing became of it.
    Refused,
    Unavailable,
    Unknown,
    Unsent,
    Undocumented(u16),
}

/// Why a registration token is not taken any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Invalid,
    Expired,
    Revoked,
    Unnamed,
}

/// A registration token was exchanged for a session.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub sensor: usize,
    pub token: usize,
    pub span: Span,
    /// The session that began, or why none did.
    pub began: Result<usize, SensorAnswer>,
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
    /// It holds what it holds, and says nothing.
    DatabaseFrozen,
    /// Taken off the other servers of its cluster, not off the nodes.
    DatabaseCutOff,
    /// The same three, of whichever server is the primary.
    PrimaryKilled,
    PrimaryFrozen,
    PrimaryCutOff,
    /// Between a node and its database: nothing passes.
    Silence,
    QuestionsHeldBack,
    AnswersHeldBack,
    Delay,
    /// The clock of a node is days off, and back.
    ClockJumped,
    ClockBack,
    DiskFull,
    /// Errors of writes, or of syncs.
    DiskFails,
    /// All nodes are killed at once, and what was not synced is gone.
    PowerLost,
}

/// The clock of a node was days off.
#[derive(Clone, Copy, Debug)]
pub struct Jump {
    pub node: usize,
    pub span: Span,
}

impl Outcome {
    pub fn is_done(self) -> bool {
        self == Self::Done
    }

    /// Whether it may be that it was done.
    pub fn may_be_done(self) -> bool {
        self != Self::Refused
    }
}

impl Ending {
    pub fn is_done(&self) -> bool {
        self.outcome.is_done()
    }

    /// For the history that is printed.
    pub fn told(&self) -> String {
        let sure = if self.is_sure { "" } else { " perhaps" };
        format!("{:?}{sure} {:?}", self.cause, self.outcome)
    }
}
