//! What is measured.

use serde::Serialize;

use super::app::Place;

/// As the user is told.
#[derive(Debug, Serialize)]
pub struct Subject {
    pub server: String,
    /// `None` for a server elsewhere, which may have any.
    pub store: Option<String>,
}

impl Subject {
    pub fn new(place: &Place) -> Self {
        match place {
            Place::At { address, .. } => Self {
                server: address.to_string(),
                store: None,
            },
            Place::Own(own) => {
                let url = own.config.database_url();
                let engine = match url.split(':').next().unwrap_or_default() {
                    "sqlite" => "SQLite",
                    "mysql" | "mariadb" => "MariaDB or MySQL",
                    _ => "PostgreSQL",
                };
                let store = match &own.temporary {
                    Some(folder) => format!("{engine} in {}", folder.path().display()),
                    None => format!("{engine}, as the database URL says"),
                };
                Self {
                    server: "self".to_owned(),
                    store: Some(store),
                }
            }
        }
    }
}
