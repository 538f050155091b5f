//! What can go wrong in the domain. Nothing here knows HTTP.

use entity::time::Span;
use sea_orm::DbErr;

use store::{CommitError, Failure, Retried, Trouble, failure};

/// The result of a verb of the domain.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a verb of the domain did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input breaks the rules named in the list, which is not empty.
    #[error("the input is invalid")]
    Invalid(Vec<Violation>),
    /// A refresh token that does not renew.
    #[error("the refresh token is refused: {0}")]
    RefreshToken(#[from] Refusal),
    /// A registration token that is good for nothing, or for nothing now.
    #[error("the registration token is refused: {0}")]
    RegistrationToken(#[from] RegistrationRefusal),
    /// The registration token is good, but its app was deleted.
    #[error("the app is no more")]
    AppDisabled,
    /// There is no such thing, or not in this app.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// Something else is to be called, which the text names.
    #[error("{0}")]
    Elsewhere(&'static str),
    /// The key that was presented is missing, wrong, or of another app.
    #[error("no valid key")]
    InvalidKey,
    /// The key is good, but may not do this.
    #[error("the key may not do this")]
    InsufficientKey,
    /// The key is good, but belongs to no application that was registered.
    #[error("the key belongs to no application")]
    NotEnrolled,
    /// The app was changed since the key of the caller was looked at: to be done anew, once that was done again. Nothing was
    /// changed.
    #[error("the app was changed meanwhile")]
    Stale,
    /// There are as many as there may be; the text says of what, and what to do.
    #[error("{0}")]
    TooMany(&'static str),
    /// A browser of an origin that the app does not allow.
    #[error("the origin is not allowed")]
    OriginNotAllowed,
    /// An auth token that is not good, or not for this.
    #[error("no valid auth token")]
    InvalidToken,
    /// The auth token is good, but a device's: only a user may do this.
    #[error("this is for users only")]
    UserSessionRequired,
    /// A device that is asked for an audience that neither its registration nor its app has.
    #[error("the audience is not allowed")]
    AudienceNotAllowed,
    /// The device is another subject's: only a secret key gives it away.
    #[error("the device is another subject's")]
    DeviceOfAnother,
    /// Asked too often: good again after this time.
    #[error("asked too often")]
    TooManyRequests { retry_after: Span },
    /// The device was disabled.
    #[error("the device is disabled")]
    DeviceDisabled,
    /// Somebody else changed the same thing at the same time, and won: nothing was changed.
    #[error("{0}")]
    Conflict(&'static str),
    /// Others changed the same thing at the same time, which the text names: nothing was changed, and it is to be decided anew.
    #[error("{0}")]
    Contended(&'static str),
    /// The store cannot be reached, or does not answer in time: nothing was changed.
    #[error("the store is not available")]
    Unavailable(#[source] DbErr),
    /// The store did not answer when it was asked to commit: it may have done so or not.
    #[error("the store did not confirm")]
    Unconfirmed(#[source] DbErr),
    /// Another process does the work of a job now: nothing was changed.
    #[error("the lease was lost")]
    LeaseLost,
    /// A defect of ours, or a damaged store.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A rule that an input field breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub field: String,
    pub message: String,
}

/// Why a refresh token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("expired")]
    Expired,
    /// Presented too early: good again after this time.
    #[error("not yet valid")]
    NotYetValid { retry_after: Span },
    /// Presented a second time: its session is revoked.
    #[error("used before")]
    Used,
    /// Its session was ended.
    #[error("revoked")]
    Revoked,
    /// Not a refresh token of this app.
    #[error("invalid")]
    Invalid,
}

/// Why a registration token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationRefusal {
    /// Not one of ours, or another one took its place.
    #[error("invalid")]
    Invalid,
    #[error("expired")]
    Expired,
    /// Its token family was ended.
    #[error("revoked")]
    Revoked,
    /// Its device has used it too often in this hour: good again after this time.
    #[error("used too often")]
    TooOften { retry_after: Span },
}

impl Error {
    /// One broken rule.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, message)])
    }

    /// Apps or keys were changed again and again while something was decided by them.
    pub const fn too_many_changes() -> Self {
        Self::Contended("apps or keys are being changed all the time")
    }

    /// What was committed cannot be told any more.
    pub fn unconfirmed() -> Self {
        let message = "the session was renewed on before it could be read";
        Self::Unconfirmed(DbErr::Custom(message.to_owned()))
    }

    /// A state that cannot be, told by `message`.
    pub fn internal(message: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(message.into())
    }
}

impl Violation {
    /// `message` continues the sentence that `field` begins.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl Retried for Error {
    fn trouble(&self) -> Option<Trouble<'_>> {
        match self {
            Self::Unavailable(error) => Some(Trouble::Passing(error)),
            Self::Unconfirmed(error) => Some(Trouble::Unconfirmed(error)),
            Self::Contended(_) => Some(Trouble::Contended),
            _ => None,
        }
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        match failure(&error) {
            Failure::Contention | Failure::Outage => Self::Unavailable(error),
            Failure::Defect => Self::Internal(Box::new(error)),
        }
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(error) => error.into(),
            CommitError::Unconfirmed(error) => Self::Unconfirmed(error),
        }
    }
}
