//! `renewd signing-key`

use clap::Subcommand;
use entity::{AppId, SigningKeyId};

use super::{
    app::readable,
    outcome::Outcome,
    print::{Format, json_of, many, say},
};
use crate::{api::signing_keys::SigningKeysResponse, app::App, audit::Actor, signing};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the signing keys of an app, the last one first
    List {
        /// The app's id
        app_id: AppId,
        #[command(flatten)]
        format: Format,
    },
    /// Publish the next key, which signs as soon as every verifier can have fetched it
    Rotate {
        /// The app's id
        app_id: AppId,
    },
    /// In an emergency: revoke every key and sign with a new one at once; every user signs in again
    Replace {
        /// The app's id
        app_id: AppId,
    },
    /// Revoke one key: its tokens are dead at once, and no session of its tokens renews
    Revoke {
        /// The app's id
        app_id: AppId,
        /// The key's id
        key_id: SigningKeyId,
    },
}

pub async fn run(command: Command, app: &App) -> Outcome {
    let cli = Actor::cli();
    match command {
        Command::List { app_id, format } => {
            let loaded = app.load(app_id).await?;
            let loaded = loaded.ok_or_else(|| format!("there is no app {app_id}"))?;
            let keys = SigningKeysResponse::of(&loaded.keyring, app.clock.now()).signing_keys;
            let shown: Vec<_> = keys.iter().map(json_of).collect();
            let columns = [
                "key_id",
                "algo",
                "state",
                "activates_at",
                "retires_at",
                "revoked_at",
                "gone_at",
            ];
            many(format, "signing_keys", &shown, &columns)
        }
        Command::Rotate { app_id } => {
            let (id, at) = signing::rotate(app, &cli, app_id).await.map_err(readable)?;
            say(&format!(
                "{id} is published and signs from {} on.",
                at.to_rfc3339()
            ))
        }
        Command::Replace { app_id } => {
            let key = signing::rotate_in_emergency(app, &cli, app_id).await;
            let key = key.map_err(readable)?;
            say(&format!(
                "{} signs from now on. All other keys are revoked.",
                key.id
            ))
        }
        Command::Revoke { app_id, key_id } => {
            signing::revoke(app, &cli, app_id, key_id)
                .await
                .map_err(readable)?;
            say(&format!("Revoked {key_id}."))
        }
    }
}
