//! `renewd app`

use clap::{Args, Subcommand};
use entity::{AppId, app};
use serde_json::{Value, json};

use super::{Outcome, say};
use crate::{
    api::{app_to_json, created_to_json},
    app::App,
    apps::{self, Created, NewApp},
    audit::Actor,
    error::Error,
};

/// Apps that are read from the store at a time.
const PAGE: u64 = 500;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an app; prints its keys, this once
    Create(Box<Create>),
    /// List the apps, the newest first
    List {
        /// Print JSON, for a program to read
        #[arg(long)]
        json: bool,
    },
    /// Show an app
    Show {
        /// The app's id
        app_id: AppId,
        /// Print JSON, for a program to read
        #[arg(long)]
        json: bool,
    },
    /// Delete an app, its keys and its sessions; there is no way back
    Delete {
        /// The app's id
        app_id: AppId,
    },
}

#[derive(Debug, Args)]
pub struct Create {
    /// What people call it
    name: String,
    /// More about it
    #[arg(long)]
    description: Option<String>,
    /// `iss` of its tokens; its name, unless given
    #[arg(long)]
    issuer: Option<String>,
    /// Life of an auth token, seconds [default: 1 hour]
    #[arg(long, value_name = "SECONDS")]
    token_expire: Option<i64>,
    /// Until an auth token is valid, seconds [default: 0]
    #[arg(long, value_name = "SECONDS")]
    token_notbefore: Option<i64>,
    /// Life of a refresh token, seconds [default: 14 days]
    #[arg(long, value_name = "SECONDS")]
    refresh_expire: Option<i64>,
    /// Until a refresh token may be used, seconds [default: 0]
    #[arg(long, value_name = "SECONDS")]
    refresh_notbefore: Option<i64>,
    /// For how long a used refresh token is answered again, seconds [default: 0]
    #[arg(long, value_name = "SECONDS")]
    refresh_grace: Option<i64>,
    /// Absolute life of a session, seconds [default: none]
    #[arg(long, value_name = "SECONDS")]
    session_expire: Option<i64>,
    /// Sessions of a subject before its oldest ends [default: none]
    #[arg(long, value_name = "COUNT")]
    max_sessions_per_subject: Option<i64>,
    /// Between two signing keys, seconds [default: 90 days]
    #[arg(long, value_name = "SECONDS")]
    rotation_period: Option<i64>,
    /// An origin of web pages that may use publishable keys; may be given several times
    #[arg(long = "allowed-origin", value_name = "ORIGIN")]
    allowed_origins: Vec<String>,
    /// Print JSON, for a program to read
    #[arg(long)]
    json: bool,
}

pub async fn run(command: Command, app: &App) -> Outcome {
    match command {
        Command::Create(options) => {
            let json = options.json;
            let created = apps::create(app, &Actor::cli(), (*options).into())
                .await
                .map_err(readable)?;
            say(&if json {
                created_to_json(created).to_string()
            } else {
                describe_created(&created)
            })
        }
        Command::List { json } => list(app, json).await,
        Command::Show { app_id, json } => {
            let found = app::find(&app.store.reader, app_id).await?;
            let row = found.ok_or_else(|| format!("there is no app {app_id}"))?;
            let shown = app_to_json(&row);
            say(&if json {
                shown.to_string()
            } else {
                describe(&shown)
            })
        }
        Command::Delete { app_id } => {
            apps::delete(app, &Actor::cli(), app_id)
                .await
                .map_err(readable)?;
            say(&format!("Deleted {app_id}."))
        }
    }
}

async fn list(app: &App, as_json: bool) -> Outcome {
    let mut rows = Vec::new();
    let mut cursor = None;
    loop {
        let page = apps::list(app, cursor, PAGE).await?;
        rows.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if as_json {
        let apps: Vec<_> = rows.iter().map(app_to_json).collect();
        return say(&json!({ "apps": apps }).to_string());
    }
    for row in rows {
        say(&format!("{}  {}", row.id, row.name))?;
    }
    Ok(())
}

fn describe_created(created: &Created) -> String {
    format!(
        "app id           {}\nsecret key       {}\npublishable key  {}\n\
         The keys are shown this once. The secret one is for your backend, the publishable one for your front end.",
        created.id,
        created.secret_key.reveal(),
        created.publishable_key.reveal(),
    )
}

/// A line a member.
fn describe(app: &Value) -> String {
    let lines = app.as_object().into_iter().flatten().map(|(name, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!("{name:<26}{value}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names the options that are wrong.
fn readable(error: Error) -> Box<dyn std::error::Error> {
    match error {
        Error::Invalid(violations) => violations
            .iter()
            .map(|violation| {
                format!(
                    "{} {}",
                    violation.field.replace('_', "-"),
                    violation.message
                )
            })
            .collect::<Vec<_>>()
            .join("; ")
            .into(),
        other => other.into(),
    }
}

impl From<Create> for NewApp {
    fn from(options: Create) -> Self {
        let default = Self::named(options.name);
        Self {
            description: options.description.unwrap_or(default.description),
            issuer: options.issuer,
            token_expire: options.token_expire.unwrap_or(default.token_expire),
            token_notbefore: options.token_notbefore.unwrap_or(default.token_notbefore),
            refresh_expire: options.refresh_expire.unwrap_or(default.refresh_expire),
            refresh_notbefore: options
                .refresh_notbefore
                .unwrap_or(default.refresh_notbefore),
            refresh_grace: options.refresh_grace.unwrap_or(default.refresh_grace),
            session_expire: options.session_expire,
            max_sessions_per_subject: options.max_sessions_per_subject,
            rotation_period: options.rotation_period.unwrap_or(default.rotation_period),
            allowed_origins: options.allowed_origins,
            name: default.name,
            key_type: default.key_type,
            algorithm: default.algorithm,
        }
    }
}
