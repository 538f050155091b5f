//! Opens the store for a command.

use std::io::{self, Write};

use ambient::{Clock, Rng};
use entity::PlainSecret;

use super::outcome::Outcome;
use crate::{
    app::App,
    config::{Config, ConfigError, Secrets},
    start::{self, Opened},
};

/// Opens the store for a command that may make it; should it, the root key is shown beside the command's output.
///
/// # Errors
/// When the store cannot be opened.
pub async fn open(config: Config) -> Outcome<App> {
    let opened = start::open(config, secrets()?, Clock::system(), Rng::system()).await;
    beside(opened?)
}

/// Opens the store for a command; in a wrong folder, nothing is made.
///
/// # Errors
/// When the store cannot be opened, or there is none.
pub async fn open_existing(config: Config) -> Outcome<App> {
    let opened = start::open_existing(config, secrets()?, Clock::system(), Rng::system()).await;
    beside(opened?)
}

fn beside(opened: Opened) -> Outcome<App> {
    if let Some(key) = &opened.root_key {
        write!(io::stderr(), "{}", root_key_notice(key))?;
    }
    Ok(opened.app)
}

/// What comes from the environment only.
///
/// # Errors
/// When a key there is not one.
pub fn secrets() -> Result<Secrets, ConfigError> {
    Secrets::read(|name| std::env::var(name).ok())
}

/// What is shown of a root key that was made.
pub fn root_key_notice(key: &PlainSecret) -> String {
    format!(
        "Root key, shown this once; keep it safe:\n\n  {}\n\n",
        key.reveal()
    )
}
