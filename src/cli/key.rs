//! `renewd key`

use clap::Subcommand;
use serde_json::json;

use super::{
    Outcome,
    app::readable,
    print::{Format, say},
};
use crate::{app::App, apps::root_key, audit::Actor, master};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replace the root key by a new one
    RotateRoot {
        /// Seconds for which the old one still works
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        overlap: i64,
        #[command(flatten)]
        format: Format,
    },
    /// Replace the master key, and seal every signing key anew
    ///
    /// May be interrupted and run again: both keys are accepted until it is done. With the key in the file of the data
    /// directory, a new one is made there. With `RENEWD_MASTER_KEY`, set the new key there and the old one in
    /// `RENEWD_PREVIOUS_MASTER_KEY`, on every node, and then run this.
    Rekey,
}

pub async fn run(command: &Command, app: &App) -> Outcome {
    match command {
        Command::RotateRoot { overlap, format } => {
            let key = root_key::rotate(app, &Actor::cli(), *overlap)
                .await
                .map_err(readable)?;
            if format.json {
                say(&json!({ "new-key": key.reveal() }).to_string())
            } else {
                say(&format!("New root key, shown this once: {}", key.reveal()))
            }
        }
        Command::Rekey => {
            let resealed = master::rekey(app, &Actor::cli()).await?;
            say(&format!(
                "Sealed {resealed} signing keys anew. Back up the master key ({}) now.",
                app.master.origin()
            ))
        }
    }
}
