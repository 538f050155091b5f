//! The command line. Each command calls what the API calls.

mod app;
mod app_key;
mod audit;
mod bench;
mod key;
mod open;
mod outcome;
mod policy_flags;
mod print;
mod serve;
mod settings;
mod signing_key;
mod store;

use std::io;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::outcome::{Outcome, complain};
use self::{
    open::{open, open_existing},
    print::say,
    settings::Settings,
};
use crate::{
    api,
    app::App,
    config::{Config, ConfigError, SECRETS},
};

/// Self-hosted JWT sessions with single-use refresh tokens
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API; the default. Makes the store if it is missing
    Serve,
    /// Make the store if it is missing, and bring it to the tables of this release
    Migrate,
    /// Make, change, list, show, flush and delete apps
    #[command(subcommand)]
    App(app::Command),
    /// Make, list, replace and revoke the keys that backends and front ends present
    #[command(subcommand)]
    AppKey(app_key::Command),
    /// List, rotate and revoke the keys that sign an app's tokens
    #[command(subcommand)]
    SigningKey(signing_key::Command),
    /// Replace the root key or the master key
    #[command(subcommand)]
    Key(key::Command),
    /// Show who did what
    Audit(audit::Command),
    /// Copy the embedded store, while it serves, into a new file
    Backup(store::Backup),
    /// Put a copy in place of the embedded store, which must not exist
    ///
    /// The master key that was in force when the copy was made must be in its place. If this fails, do not serve: an empty store
    /// would be made, with a new root key.
    ///
    /// In the copy, everything stands as it stood when the copy was made. App-keys, root keys, signing keys and registration
    /// tokens that were revoked since then work again, and so do sessions that were signed out: end all of these keys and tokens
    /// with --revoke-keys. Devices that were disabled since then are enabled again. A refresh token that was used since then works
    /// again, once; the one that its client holds now is taken for a reuse, and ends the session: end the sessions of which this
    /// may be true with --revoke-sessions-after, and the time of the copy. Both flags may be given.
    Restore(store::Restore),
    /// Measure how fast sessions are renewed here, and what that costs
    Bench(Box<bench::Command>),
    /// Print the OpenAPI document
    Openapi,
    /// Print the effective settings, secrets left out
    Config,
    /// Print completions for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

/// What the help of every command shows of the settings: where the store is. The help of `serve` shows them all.
const SHOWN_BY_EVERY_COMMAND: [&str; 3] = ["config", "data_dir", "database_url"];

impl Cli {
    /// Reads the command line of this process. What is wrong with it, or the help that it asks for, is printed, and the process
    /// ends.
    pub fn read() -> Self {
        Self::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// The effective settings.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is wrong.
    pub fn config(&self) -> Outcome<Config> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        if let Some(name) = unknown_variable(names) {
            return Err(ConfigError::UnknownVariable(name).into());
        }
        self.settings.config()
    }
}

/// The first variable of the environment that looks like a setting and is none. What Kubernetes and Docker tell of a service of
/// this name (`RENEWD_PORT…`, `RENEWD_SERVICE_…`) is passed over, and so is what tests are told.
fn unknown_variable(mut names: impl Iterator<Item = String>) -> Option<String> {
    const OF_OTHERS: [&str; 3] = ["RENEWD_PORT", "RENEWD_SERVICE_", "RENEWD_TEST_"];
    let settings: Vec<_> = settings::variables().collect();
    names.find(|name| {
        name.starts_with("RENEWD_")
            && !OF_OTHERS.iter().any(|prefix| name.starts_with(prefix))
            && !SECRETS.contains(&&**name)
            && !settings.contains(name)
    })
}

/// The command line. Every command takes all settings, but only `serve` has a use for most of them.
fn command() -> clap::Command {
    let mut command = Cli::command();
    let hidden: Vec<_> = command
        .get_arguments()
        .filter(|setting| setting.is_global_set())
        .filter(|setting| !SHOWN_BY_EVERY_COMMAND.contains(&setting.get_id().as_str()))
        .map(|setting| setting.clone().hide(true))
        .collect();
    // A global argument is not given to a command that has one of its name.
    for other in command.get_subcommands_mut() {
        if other.get_name() != "serve" {
            *other = std::mem::take(other).args(hidden.clone());
        }
    }
    command
}

/// Runs the command.
///
/// # Errors
/// Whatever kept it from being done.
pub async fn run(cli: Cli, config: Config) -> Outcome {
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(config).await,
        Command::Migrate => {
            open(config).await?.close().await?;
            say("The store has the tables of this release.")
        }
        Command::App(command) => on_store(config, async |app| app::run(command, app).await).await,
        Command::AppKey(command) => {
            on_store(config, async |app| app_key::run(command, app).await).await
        }
        Command::SigningKey(command) => {
            on_store(config, async |app| signing_key::run(command, app).await).await
        }
        Command::Key(command) => on_store(config, async |app| key::run(&command, app).await).await,
        Command::Audit(command) => {
            on_store(config, async |app| audit::run(&command, app).await).await
        }
        Command::Backup(command) => {
            on_store(config, async |app| store::backup(&command, app).await).await
        }
        Command::Restore(command) => store::restore(&command, config).await,
        Command::Bench(command) => bench::run(*command, config, cli.settings.name_a_store()).await,
        Command::Openapi => say(&api::openapi()),
        Command::Config => show(&config),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "renewd", &mut io::stdout());
            Ok(())
        }
    }
}

/// Opens the store, which must exist, brought up to date, for one piece of work.
async fn on_store(config: Config, work: impl AsyncFnOnce(&App) -> Outcome) -> Outcome {
    let app = open_existing(config).await?;
    let done = work(&app).await;
    app.close().await?;
    done
}

fn show(config: &Config) -> Outcome {
    let set = |name| match std::env::var(name) {
        Ok(_) => "set, not shown",
        Err(_) => "not set",
    };
    say(&format!(
        "{}\n# RENEWD_MASTER_KEY: {}\n# RENEWD_ROOT_KEY: {}",
        config.to_redacted_toml()?,
        set("RENEWD_MASTER_KEY"),
        set("RENEWD_ROOT_KEY"),
    ))
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;
    use crate::config::Declared;

    #[test]
    fn what_looks_like_a_setting_and_is_none_is_told_from_what_others_set() {
        for known in [
            "RENEWD_LISTEN",
            "RENEWD_CONFIG",
            "RENEWD_MASTER_KEY",
            "RENEWD_PREVIOUS_MASTER_KEY",
            "RENEWD_ROOT_KEY",
            "RENEWD_SERVICE_HOST",
            "RENEWD_PORT_8080_TCP_ADDR",
            "RENEWD_TEST_ENGINE",
            "PATH",
        ] {
            assert_eq!(unknown_variable([known.to_owned()].into_iter()), None);
        }
        for unknown in ["RENEWD_LISTNE", "RENEWD_", "RENEWD_DATABASE"] {
            let found = unknown_variable([unknown.to_owned()].into_iter());
            assert_eq!(found.as_deref(), Some(unknown));
        }
    }

    #[test]
    fn the_help_of_a_command_shows_where_the_store_is_and_that_of_serve_every_setting() {
        let help = |words: &[&str]| {
            let words = ["renewd"].iter().chain(words).chain(&["--help"]);
            let asked = command().try_get_matches_from(words).unwrap_err();
            assert_eq!(asked.kind(), ErrorKind::DisplayHelp);
            asked.to_string()
        };
        let (serve, all, list) = (help(&["serve"]), help(&[]), help(&["app", "list"]));
        for Declared { name, .. } in Declared::all() {
            let flag = format!("--{} <", name.replace('_', "-"));
            assert!(serve.contains(&flag) && all.contains(&flag), "{flag}");
            let is_shown = SHOWN_BY_EVERY_COMMAND.contains(&&*name);
            assert_eq!(list.contains(&flag), is_shown, "{flag}");
        }
        assert!(list.contains("--config <"));
    }
}
