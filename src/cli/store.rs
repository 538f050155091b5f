//! `renewd backup` and `renewd restore`

use std::{fs, path::PathBuf};

use clap::Args;
use entity::{Timestamp, session};

use super::{Outcome, audit::time, open, print::say};
use crate::{
    app::App,
    audit::{Action, Actor, Event, record},
    config::Config,
    store::backup,
};

#[derive(Debug, Args)]
pub struct Backup {
    /// The new file
    file: PathBuf,
}

/// Put a copy in place of the embedded store, which must not exist
///
/// In the copy, each session stands where it stood when the copy was made. A refresh token that was used since then works
/// again, once; the one that its client holds now is taken for a reuse, and ends the session. End the sessions of which
/// this may be true: --revoke-sessions-after, with the time of the copy.
#[derive(Debug, Args)]
pub struct Restore {
    /// The copy
    file: PathBuf,
    /// End every session that could have been renewed after this time, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    revoke_sessions_after: Option<Timestamp>,
}

pub async fn backup(command: &Backup, app: &App) -> Outcome {
    app.store.backup(&command.file).await?;
    say(&format!(
        "Copied the store to {}. It is worth nothing without the master key ({}): back that up, too, elsewhere.",
        command.file.display(),
        app.master.origin(),
    ))
}

pub async fn restore(command: &Restore, config: Config) -> Outcome {
    let place = backup::restore(&command.file, &config.database_url())?;
    let app = match open(config).await {
        Ok(app) => app,
        Err(error) => {
            // A copy that does not open leaves nothing behind.
            fs::remove_file(&place)?;
            return Err(error);
        }
    };
    let ended = revoke(&app, command.revoke_sessions_after).await;
    app.close().await?;
    say(&match ended? {
        Some(count) => format!("Restored {}, and ended {count} sessions.", place.display()),
        None => format!(
            "Restored {}. Sessions stand where they stood when the copy was made: refresh tokens that were used since then \
             work again, once. To end them, remove the store and restore with --revoke-sessions-after.",
            place.display()
        ),
    })
}

async fn revoke(app: &App, since: Option<Timestamp>) -> Outcome<Option<u64>> {
    let now = app.clock.now();
    let transaction = app.store.begin().await?;
    let ended = match since {
        Some(since) => Some(session::revoke_renewable_after(&transaction, since, now).await?),
        None => None,
    };
    let event = Event::of_server(Action::StoreRestore);
    record(&transaction, &app.rng, now, &Actor::cli(), [event]).await?;
    app.store.commit(transaction).await?;
    Ok(ended)
}
