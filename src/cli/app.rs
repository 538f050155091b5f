//! `renewd app`

use std::io::{self, Write};

use clap::{Args, Subcommand};
use entity::{AppId, app};

use super::{
    outcome::Outcome,
    policy_flags::PolicyFlags,
    print::{Format, json_of, many, one, say},
};
use crate::{
    api::app_objects::{AppObject, CreateResponse, ListResponse},
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
    /// Make an app; prints its app-keys, this once
    Create(Box<Create>),
    /// Change an app; what is not named stays. What was issued before keeps its dates
    ///
    /// A flag sets a value. Only the API removes one: `PATCH /root/{app_id}`, with null or with an empty list.
    Update(Box<Update>),
    /// List the apps, the newest first
    List(List),
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
    #[command(flatten)]
    policy: PolicyFlags,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub struct List {
    /// Apps whose name contains this only, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// A page of so many, 1 to 500; all, unless given
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=500))]
    limit: Option<u64>,
    /// Where the page begins, as the page before says
    #[arg(long, value_name = "APP_ID")]
    cursor: Option<AppId>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub struct Update {
    /// The app's id
    app_id: AppId,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    policy: PolicyFlags,
}

pub async fn run(command: Command, app: &App) -> Outcome {
    let cli = Actor::cli();
    match command {
        Command::Create(options) => {
            let format = options.format;
            let new = NewApp::named(options.name).with(options.policy.0);
            let created = apps::create(app, &cli, new).await.map_err(readable)?;
            if format.json {
                return say(&json_of(&CreateResponse::from(created)).to_string());
            }
            say(&describe(&created))
        }
        Command::Update(options) => {
            let id = options.app_id;
            let mut changes = options.policy.0;
            changes.name = options.name;
            apps::update(app, &cli, id, changes)
                .await
                .map_err(readable)?;
            say(&format!("Changed {id}."))
        }
        Command::List(asked) => list(&asked, app).await,
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

async fn list(asked: &List, app: &App) -> Outcome {
    let name = asked.name.as_deref();
    let page = async |cursor, limit| apps::list(app, name, cursor, limit).await;
    let found = match asked.limit {
        Some(limit) => page(asked.cursor, limit).await?,
        None => Listing {
            items: Listing::all(async |cursor: Option<AppId>| {
                page(cursor.or(asked.cursor), PAGE).await
            })
            .await?,
            next: None,
        },
    };
    let next = found.next;
    let shown = json_of(&ListResponse::from(found));
    if asked.format.json {
        return say(&shown.to_string());
    }
    let apps = shown["apps"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let columns = ["id", "name", "algo", "token_expiry", "refresh_expiry"];
    many(asked.format, "apps", apps, &columns)?;
    if let Some(next) = next {
        writeln!(io::stderr(), "There are more: --cursor {next}")?;
    }
    Ok(())
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
