//! `renewd key`

use clap::Subcommand;
use serde_json::json;

use super::{
    app::readable,
    outcome::Outcome,
    print::{Format, say},
};
use crate::{app::App, apps::root_key, audit::Actor, rekey::rekey};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replace the root key by a new one; the old one is not needed
    RotateRoot {
        /// Seconds for which the old one still works
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        overlap: i64,
        #[command(flatten)]
        format: Format,
    },
    /// Replace the master key, and encrypt every signing key and push token anew
    ///
    /// Back up the old key first, because this removes it from the data directory. Keep it for as long as you keep copies of the
    /// store from before: they open with it alone.
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
            let resealed = rekey(app, &Actor::cli()).await?;
            say(&format!(
                "Encrypted {resealed} signing keys and all push tokens anew. Back up the new master key ({}) now, and keep your \
                 backup of the old one: copies of the store from before open with that alone.",
                app.master.origin()
            ))
        }
    }
}
