//! `renewd key`

use clap::Subcommand;

use super::{Outcome, say};
use crate::{app::App, apps::root_key, audit::Actor};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replace the root key by a new one; the old one fails at once
    RotateRoot {
        /// Print JSON, for a program to read
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(command: &Command, app: &App) -> Outcome {
    match command {
        Command::RotateRoot { json } => {
            let key = root_key::rotate(app, &Actor::cli(), 0).await?;
            if *json {
                say(&serde_json::json!({ "new-key": key.reveal() }).to_string())
            } else {
                say(&format!("New root key, shown this once: {}", key.reveal()))
            }
        }
    }
}
