//! Why a bench ended.

use std::fmt::Display;

/// A sentence for the user. It may be sent between the tasks of the clients.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

/// What was done; the error is shown to the user.
pub type Done<T = ()> = Result<T, Failure>;

impl Failure {
    /// Of this sentence.
    pub fn of(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Says what was being done when an error came.
pub trait During<T> {
    /// The error, as `cannot <what>: <the error>`.
    ///
    /// # Errors
    /// That of `self`.
    fn during(self, what: impl Display) -> Done<T>;
}

impl<T, E: Display> During<T> for Result<T, E> {
    fn during(self, what: impl Display) -> Done<T> {
        self.map_err(|error| Failure(format!("cannot {what}: {error}")))
    }
}
