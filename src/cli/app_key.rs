//! `renewd app-key`

use clap::{Subcommand, ValueEnum};
use entity::{AppId, AppKeyId, SecretKind};
use serde_json::json;

use super::{
    app::readable,
    outcome::Outcome,
    print::{Format, json_of, many, say},
};
use crate::{
    api::app_key_objects::AppKeyObject,
    app::App,
    apps::{
        MadeKey, NewAppKey,
        keys::{self, DEFAULT_OVERLAP},
    },
    audit::Actor,
    page::Listing,
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the keys of an app, the newest first
    List {
        /// The app's id
        app_id: AppId,
        #[command(flatten)]
        format: Format,
    },
    /// Make a further key; prints it, this once
    Create {
        /// The app's id
        app_id: AppId,
        /// What people call it
        name: String,
        #[arg(long, value_enum, default_value_t = Kind::Secret)]
        kind: Kind,
        /// Seconds until it ends by itself [default: never]
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<i64>,
        #[command(flatten)]
        format: Format,
    },
    /// Replace a main key, one of the two that the app was made with; prints the new one, this once
    ///
    /// A key that has a name is not replaced by this: make another one (create), and revoke the old one when nobody uses it
    /// any more. With the secret key and an overlap of 0, the tokens of all applications of SCAEM end, too.
    Rotate {
        /// The app's id
        app_id: AppId,
        #[arg(long, value_enum, default_value_t = Kind::Secret)]
        kind: Kind,
        /// Seconds for which the old one still works
        #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_OVERLAP)]
        overlap: i64,
        #[command(flatten)]
        format: Format,
    },
    /// End a key at once
    Revoke {
        /// The app's id
        app_id: AppId,
        /// The key's id
        key_id: AppKeyId,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// Everything of the app: for backends
    Secret,
    /// What a browser may
    Publishable,
}

pub async fn run(command: Command, app: &App) -> Outcome {
    let cli = Actor::cli();
    match command {
        Command::List { app_id, format } => {
            let rows = Listing::all(async |cursor| keys::list(app, app_id, cursor, 500).await)
                .await
                .map_err(readable)?;
            let shown: Vec<_> = rows
                .into_iter()
                .map(|row| json_of(&AppKeyObject::from(row)))
                .collect();
            let columns = [
                "id",
                "kind",
                "name",
                "created_at",
                "expires_at",
                "last_used_at",
                "revoked_at",
            ];
            many(format, "keys", &shown, &columns)
        }
        Command::Create {
            app_id,
            name,
            kind,
            expires_in,
            format,
        } => {
            let new = NewAppKey {
                kind: kind.into(),
                name,
                expires_in,
                application_id: None,
            };
            let made = keys::create(app, &cli, app_id, new)
                .await
                .map_err(readable)?;
            show(format, &made)
        }
        Command::Rotate {
            app_id,
            kind,
            overlap,
            format,
        } => {
            let made = keys::rotate(app, &cli, app_id, kind.into(), overlap).await;
            show(format, &made.map_err(readable)?)
        }
        Command::Revoke { app_id, key_id } => {
            keys::revoke(app, &cli, app_id, key_id)
                .await
                .map_err(readable)?;
            say(&format!("Revoked {key_id}."))
        }
    }
}

fn show(format: Format, made: &MadeKey) -> Outcome {
    let (id, secret) = (made.row.id, made.secret.reveal());
    if format.json {
        say(&json!({ "id": id, "app_key": secret }).to_string())
    } else {
        say(&format!(
            "key id  {id}\nkey     {secret}\nThe key is shown this once."
        ))
    }
}

impl From<Kind> for SecretKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Secret => Self::Secret,
            Kind::Publishable => Self::Publishable,
        }
    }
}
