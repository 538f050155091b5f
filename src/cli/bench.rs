//! `renewd bench`: the crate `bench`, and the store that it cannot know.

mod own_store;

use bench::{Bench, Options};
use clap::Args;

use self::own_store::OwnStore;
use super::{outcome::Outcome, print::Format, serve::stop_signal};
use crate::config::Config;

#[derive(Debug, Args)]
pub struct Command {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    format: Format,
}

/// Measures. `has_store`: the user named the store, which is in `config`, and did so for this command.
pub async fn run(command: Command, config: Config, has_store: bool) -> Outcome {
    let bench = Bench::new(command.options, command.format.json)?;
    // From here on a signal ends the bench by way of what tidies up.
    let stop = stop_signal()?;
    if let Some(url) = bench.url() {
        return Ok(bench.elsewhere(url, stop).await?);
    }
    let store = OwnStore::new(config, has_store)?;
    let server = store.server()?;
    let app = store.create_app().await?;
    let done = bench.own(server, &app, stop).await;
    let deleted = store.delete_app(&app).await;
    done?;
    Ok(deleted?)
}
