//! `renewd app`

use clap::{Args, Subcommand};
use entity::{AppId, app};

use super::{
    outcome::Outcome,
    print::{Format, json_of, many, one, say},
};
use crate::{
    api::app_objects::{AppObject, CreateResponse},
    app::App,
    apps::{self, Created, NewApp},
    audit::Actor,
    error::Error,
    page::Listing,
};

/// Apps that are read from the store at a time.
const PAGE: u64 = 500;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an app with ES256 keys; prints its app-keys, this once
    ///
    /// What has no option here (other algorithms, `push_binding`, `registration_grace`, `registration_expire`) is a setting of
    /// the app in the API: `POST /root/create`, and `PATCH /root/{app_id}`, which changes any setting of an app.
    Create(Box<Create>),
    /// List the apps, the newest first
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Show an app
    Show {
        /// The app's id
        app_id: AppId,
        #[command(flatten)]
        format: Format,
    },
    /// End every session of an app: all tokens issued so far are dead
    Flush {
        /// The app's id
        app_id: AppId,
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
    /// Seconds that an auth token lives [default: 1 hour]
    #[arg(long, value_name = "SECONDS")]
    token_expire: Option<i64>,
    /// Seconds after signing before an auth token becomes valid [default: 0]
    #[arg(long, value_name = "SECONDS")]
    token_notbefore: Option<i64>,
    /// Seconds that a refresh token lives, if it is not used [default: 14 days]
    #[arg(long, value_name = "SECONDS")]
    refresh_expire: Option<i64>,
    /// Seconds after signing before a refresh token may be used, below --token-expire [default: 0]
    #[arg(long, value_name = "SECONDS")]
    refresh_notbefore: Option<i64>,
    /// Seconds for which the refresh token that was just replaced is answered again, 0 to 60; 10 forgives lost answers [default: 0]
    #[arg(long, value_name = "SECONDS")]
    refresh_grace: Option<i64>,
    /// Seconds after which a session ends, however often it is renewed [default: none]
    #[arg(long, value_name = "SECONDS")]
    session_expire: Option<i64>,
    /// Sessions of a subject before its oldest ends [default: none]
    #[arg(long, value_name = "COUNT")]
    max_sessions_per_subject: Option<i64>,
    /// Seconds between signing-key rotations [default: 90 days]
    #[arg(long, value_name = "SECONDS")]
    rotation_period: Option<i64>,
    /// An origin of web pages that may use publishable keys; may be given several times
    #[arg(long = "allowed-origin", value_name = "ORIGIN")]
    allowed_origins: Vec<String>,
    /// An audience that sessions of registered devices may have; may be given several times
    #[arg(long = "device-audience", value_name = "AUDIENCE")]
    device_audiences: Vec<String>,
    #[command(flatten)]
    format: Format,
}

pub async fn run(command: Command, app: &App) -> Outcome {
    let cli = Actor::cli();
    match command {
        Command::Create(options) => {
            let format = options.format;
            let created = apps::create(app, &cli, (*options).into())
                .await
                .map_err(readable)?;
            if format.json {
                return say(&json_of(&CreateResponse::from(created)).to_string());
            }
            say(&describe(&created))
        }
        Command::List { format } => {
            let rows = Listing::all(async |cursor| apps::list(app, cursor, PAGE).await).await?;
            let shown: Vec<_> = rows
                .iter()
                .map(|row| json_of(&AppObject::of(row)))
                .collect();
            let columns = ["id", "name", "algo", "token_expiry", "refresh_expiry"];
            many(format, "apps", &shown, &columns)
        }
        Command::Show { app_id, format } => {
            let found = app::find(&app.store.reader, app_id).await?;
            let row = found.ok_or_else(|| format!("there is no app {app_id}"))?;
            one(format, &json_of(&AppObject::of(&row)))
        }
        Command::Delete { app_id } => {
            apps::delete(app, &cli, app_id).await.map_err(readable)?;
            say(&format!("Deleted {app_id}."))
        }
        Command::Flush { app_id } => {
            apps::flush(app, &cli, app_id).await.map_err(readable)?;
            say(&format!(
                "Every token of {app_id} that was issued until now is dead."
            ))
        }
    }
}

fn describe(created: &Created) -> String {
    format!(
        "app id           {}\nsecret key       {}\npublishable key  {}\n\
         The keys are shown this once. The secret one is for your backend, the publishable one for your front end.",
        created.id,
        created.secret_key.reveal(),
        created.publishable_key.reveal(),
    )
}

/// Names the options that are wrong.
pub fn readable(error: Error) -> Box<dyn std::error::Error> {
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
            registration_grace: default.registration_grace,
            registration_expire: default.registration_expire,
            push_binding: default.push_binding,
            device_audiences: options.device_audiences,
            name: default.name,
            key_type: default.key_type,
            algorithm: default.algorithm,
        }
    }
}
