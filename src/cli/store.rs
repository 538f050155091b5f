//! `renewd backup` and `renewd restore`

use std::{path::PathBuf, time::Duration};

use clap::Args;
use entity::{PlainSecret, Timestamp, session};
use store::{CopyError, deadline, restore};

use super::{audit::time, open::open_existing, outcome::Outcome, print::say};
use crate::{
    app::App,
    apps,
    audit::{Action, Actor, Event, record},
    config::Config,
};

/// How long it may take to end what is not to live in a restored store: it can be every session.
const REVOCATION: Duration = Duration::from_hours(6);

/// What no flag ends.
const ENABLED: &str =
    "Whatever the flags, devices that were disabled since then are enabled again.";

#[derive(Debug, Args)]
pub struct Backup {
    /// The new file
    file: PathBuf,
}

/// What is restored, and what is ended in it.
#[derive(Debug, Args)]
pub struct Restore {
    /// The copy
    file: PathBuf,
    /// End every session that could have been renewed after this time, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    revoke_sessions_after: Option<Timestamp>,
    /// Revoke every app-key, root key and signing key, and end the registration of every device, since any may have been revoked
    /// after the copy was made
    ///
    /// A new root key is shown. Every app signs with a new key, so that all sessions are to begin anew. Make its app-keys anew
    /// with `renewd app-key rotate`, one for each --kind. Devices with a registration token are answered 410 until their backend
    /// registers them again; an application of SCAEM registers again.
    #[arg(long)]
    revoke_keys: bool,
}

pub async fn backup(command: &Backup, app: &App) -> Outcome {
    app.store.backup(&command.file).await?;
    say(&format!(
        "Copied the store to {}. It is worth nothing without the master key ({}): back that up, too, elsewhere.",
        command.file.display(),
        app.master.origin(),
    ))
}

pub async fn restore(command: &Restore, mut config: Config) -> Outcome {
    let arriving = restore::stage(&command.file, &config.database_url())?;
    config.database_url = arriving.url();
    if !restore::is_a_store(&config.database_url).await? {
        return Err(CopyError::NotAStore(command.file.clone()).into());
    }
    let app = open_existing(config).await?;
    let revoked = deadline::within(REVOCATION, revoke(&app, command)).await;
    app.close().await?;
    let Revoked { sessions, root_key } = revoked?;
    let mut said = format!("Restored {}", arriving.arrive()?.display());
    said += &match sessions {
        Some(count) => format!(", and ended {count} sessions."),
        None => ".\n\nSessions stand where they stood when the copy was made: those that were signed out since then live, and \
                 refresh tokens that were used since then work again, once. To end them, remove the store and restore with \
                 --revoke-sessions-after."
            .to_owned(),
    };
    said += &match root_key {
        Some(key) => format!(
            "\n\nEvery app-key, root key and signing key of the copy is revoked, and the registration of every device is ended: \
             devices with a registration token are answered 410 until their backend registers them again. {ENABLED}\n\n\
             New root key, shown this once: {}",
            key.reveal()
        ),
        None => format!(
            "\n\nApp-keys, root keys, signing keys and registration tokens that were revoked or replaced since the copy was made are \
             good again. To end them all, remove the store and restore with --revoke-keys. {ENABLED}"
        ),
    };
    say(&said)
}

/// What was ended in the copy.
struct Revoked {
    sessions: Option<u64>,
    /// The new one, if the keys were revoked.
    root_key: Option<PlainSecret>,
}

async fn revoke(app: &App, command: &Restore) -> Outcome<Revoked> {
    let (now, actor) = (app.clock.now(), Actor::cli());
    let transaction = app.store.begin().await?;
    let sessions = match command.revoke_sessions_after {
        Some(since) => Some(session::revoke_renewable_after(&transaction, since, now).await?),
        None => None,
    };
    let event = Event::of_server(Action::StoreRestore);
    record(&transaction, &app.rng, now, &actor, [event]).await?;
    app.store.commit(transaction).await?;
    let root_key = match command.revoke_keys {
        true => Some(apps::revoke_all(app, &actor).await?),
        false => None,
    };
    Ok(Revoked { sessions, root_key })
}
