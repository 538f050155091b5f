//! What is refused before the domain is asked.

use poem::http::StatusCode;

/// What the edge refuses before the domain is asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    #[error("malformed JSON")]
    MalformedJson(String),
    #[error("body too large")]
    BodyTooLarge,
    #[error("unsupported media type")]
    UnsupportedMediaType,
    /// A key within the body, where the surface has a status of its own for it.
    #[error("no valid key in the body")]
    InvalidKey,
    /// A device that is disabled, where its system calls that locked.
    #[error("the device is disabled")]
    DeviceLocked,
    /// The answer of a health check.
    #[error("the store does not answer")]
    StoreDown(#[source] sea_orm::DbErr),
    /// The same: other processes are to be asked.
    #[error("the server stops")]
    Stopping,
}

impl From<Refused> for poem::Error {
    fn from(refused: Refused) -> Self {
        Self::new(refused, StatusCode::BAD_REQUEST)
    }
}
