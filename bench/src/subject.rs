//! What is measured.

use serde::Serialize;

/// As the user is told.
#[derive(Debug, Serialize)]
pub struct Subject {
    pub server: String,
    /// `None` for a server elsewhere, which may have any.
    pub store: Option<String>,
}
