//! The command line. Each command calls what the API calls.

mod app;
mod app_key;
mod audit;
mod bench;
mod key;
mod print;
mod serve;
mod signing_key;
mod store;

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::PathBuf,
};

use ambient::{Clock, Rng};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use entity::PlainSecret;
use serde::Serialize;

use self::print::say;

use crate::{
    api,
    app::App,
    config::{Config, ConfigError, Secrets},
    start::{self, Opened},
};

/// The result of a command; the error is shown to its user.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

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
    /// Make, list, show, flush and delete apps
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

/// Each of these overrides the file `renewd.toml`. `renewd config` shows what is in force.
#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Settings")]
struct Settings {
    /// The settings file; without it, renewd.toml in the working directory, if there is one
    #[arg(long, global = true, env = "RENEWD_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Where the API is served
    #[arg(long, global = true, env = "RENEWD_LISTEN", value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Where the metrics are served, or "off"
    #[arg(
        long,
        global = true,
        env = "RENEWD_METRICS_LISTEN",
        value_name = "ADDRESS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_listen: Option<String>,
    /// Holds the master key and the embedded store
    #[arg(long, global = true, env = "RENEWD_DATA_DIR", value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// The store
    #[arg(
        long,
        global = true,
        env = "RENEWD_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    database_url: Option<String>,
    /// Milliseconds to wait for the store
    #[arg(
        long,
        global = true,
        env = "RENEWD_DATABASE_TIMEOUT_MS",
        value_name = "MS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    database_timeout_ms: Option<u32>,
    /// Milliseconds that a database server may work on one statement
    #[arg(
        long,
        global = true,
        env = "RENEWD_DATABASE_STATEMENT_TIMEOUT_MS",
        value_name = "MS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    database_statement_timeout_ms: Option<u32>,
    /// Connections to a database server
    #[arg(
        long,
        global = true,
        env = "RENEWD_DATABASE_CONNECTIONS",
        value_name = "COUNT"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    database_connections: Option<u32>,
    /// TLS to a database server: url, disable, prefer, require, verify-ca or verify-full
    #[arg(long, global = true, env = "RENEWD_DATABASE_TLS", value_name = "MODE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    database_tls: Option<String>,
    /// The authority that signed the database server's certificate, in PEM
    #[arg(
        long,
        global = true,
        env = "RENEWD_DATABASE_CA_FILE",
        value_name = "FILE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    database_ca_file: Option<PathBuf>,
    /// off, error, warn, info, debug or trace
    #[arg(long, global = true, env = "RENEWD_LOG", value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// text or json
    #[arg(long, global = true, env = "RENEWD_LOG_FORMAT", value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<String>,
    /// Proxies whose X-Forwarded-For is believed, separated by commas
    #[arg(
        long,
        global = true,
        env = "RENEWD_TRUSTED_PROXIES",
        value_name = "NETWORKS",
        value_delimiter = ','
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_proxies: Option<Vec<String>>,
    /// Connections that are open at a time; 0: as many as there are files for
    #[arg(
        long,
        global = true,
        env = "RENEWD_MAX_CONNECTIONS",
        value_name = "COUNT"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<u32>,
    /// Connections of one address; 0: a quarter of all
    #[arg(
        long,
        global = true,
        env = "RENEWD_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "COUNT"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections_per_address: Option<u32>,
    /// Seconds for the head of a request
    #[arg(
        long,
        global = true,
        env = "RENEWD_REQUEST_HEAD_TIMEOUT",
        value_name = "SECONDS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    request_head_timeout: Option<u32>,
    /// Seconds for the body of a request
    #[arg(
        long,
        global = true,
        env = "RENEWD_REQUEST_BODY_TIMEOUT",
        value_name = "SECONDS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    request_body_timeout: Option<u32>,
    /// Seconds for which a client may take nothing of its answer
    #[arg(
        long,
        global = true,
        env = "RENEWD_RESPONSE_TIMEOUT",
        value_name = "SECONDS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    response_timeout: Option<u32>,
    /// Seconds for which a connection may be without a request
    #[arg(
        long,
        global = true,
        env = "RENEWD_IDLE_TIMEOUT",
        value_name = "SECONDS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_timeout: Option<u32>,
    /// Seconds for which requests are still taken after SIGTERM
    #[arg(
        long,
        global = true,
        env = "RENEWD_SHUTDOWN_DELAY",
        value_name = "SECONDS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    shutdown_delay: Option<u32>,
    /// Seconds that what is under way may take after that
    #[arg(
        long,
        global = true,
        env = "RENEWD_SHUTDOWN_TIMEOUT",
        value_name = "SECONDS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    shutdown_timeout: Option<u32>,
    /// Seconds of clock skew that a renewal tolerates
    #[arg(long, global = true, env = "RENEWD_LEEWAY", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    leeway: Option<u32>,
    /// Seconds for which verifiers may keep the public keys
    #[arg(
        long,
        global = true,
        env = "RENEWD_JWKS_MAX_AGE",
        value_name = "SECONDS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_max_age: Option<u32>,
    /// Days for which events of the audit are kept
    #[arg(
        long,
        global = true,
        env = "RENEWD_AUDIT_RETENTION_DAYS",
        value_name = "DAYS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_retention_days: Option<u32>,
    /// How often in an hour a device may use its registration token
    #[arg(
        long,
        global = true,
        env = "RENEWD_REGISTRATION_REFRESHES_PER_HOUR",
        value_name = "COUNT"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_refreshes_per_hour: Option<u32>,
    /// Events of a device that a publishable key may tell of in a minute; 0: not counted
    #[arg(
        long,
        global = true,
        env = "RENEWD_DEVICE_EVENTS_PER_MINUTE",
        value_name = "COUNT"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    device_events_per_minute: Option<u32>,
    /// New devices of an app that a publishable key may tell of in an hour; 0: not counted
    #[arg(
        long,
        global = true,
        env = "RENEWD_NEW_DEVICES_PER_HOUR",
        value_name = "COUNT"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    new_devices_per_hour: Option<u32>,
    /// New devices that a user who is signed in may tell of in an hour; 0: not counted
    #[arg(
        long,
        global = true,
        env = "RENEWD_NEW_DEVICES_OF_SUBJECT_PER_HOUR",
        value_name = "COUNT"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    new_devices_of_subject_per_hour: Option<u32>,
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
        let overrides = toml::Table::try_from(&self.settings)?;
        let path = self.settings.config.clone();
        let is_named = path.is_some();
        let path = path.unwrap_or_else(|| PathBuf::from("renewd.toml"));
        let file = match fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => None,
            Err(source) => return Err(ConfigError::File { path, source }.into()),
        };
        Ok(Config::load(file, overrides)?)
    }
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
        Command::Bench(command) => {
            let store = cli.settings.database_url;
            bench::run(*command, config, store.is_some_and(|url| !url.is_empty())).await
        }
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

/// Tells the user of an error, with its causes.
pub fn complain(error: &dyn Error) {
    let mut text = format!("renewd: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    // There is nobody left to tell when this fails.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Opens the store for a command that may make it; should it, the root key is shown beside the command's output.
async fn open(config: Config) -> Outcome<App> {
    let opened = start::open(config, secrets()?, Clock::system(), Rng::system()).await;
    beside(opened?)
}

/// Opens the store for a command; in a wrong folder, nothing is made.
async fn open_existing(config: Config) -> Outcome<App> {
    let opened = start::open_existing(config, secrets()?, Clock::system(), Rng::system()).await;
    beside(opened?)
}

fn beside(opened: Opened) -> Outcome<App> {
    if let Some(key) = &opened.root_key {
        write!(io::stderr(), "{}", root_key_notice(key))?;
    }
    Ok(opened.app)
}

fn secrets() -> Result<Secrets, ConfigError> {
    Secrets::read(|name| std::env::var(name).ok())
}

fn root_key_notice(key: &PlainSecret) -> String {
    format!(
        "Root key, shown this once; keep it safe:\n\n  {}\n\n",
        key.reveal()
    )
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
    use crate::config::DEFAULTS;

    /// The settings of the documented default, each with a value that it may have.
    fn settings() -> Vec<(String, String)> {
        let table: toml::Table = toml::from_str(DEFAULTS).unwrap();
        let value = |value| match value {
            toml::Value::String(text) if text.is_empty() => "text".to_owned(),
            toml::Value::String(text) => text,
            toml::Value::Array(_) => "::1".to_owned(),
            number => number.to_string(),
        };
        let settings = table.into_iter();
        settings.map(|(name, set)| (name, value(set))).collect()
    }

    #[test]
    fn every_setting_has_a_flag_and_an_environment_variable() {
        let command = command();
        for (name, value) in settings() {
            let found = command.get_arguments().find(|flag| *flag.get_id() == *name);
            let flag = found.unwrap_or_else(|| panic!("{name} has no flag"));
            let long = name.replace('_', "-");
            assert_eq!(flag.get_long(), Some(&*long));
            let variable = format!("RENEWD_{}", name.to_uppercase());
            assert_eq!(flag.get_env(), Some(variable.as_ref()), "{name}");
            assert!(flag.is_global_set(), "{name}");

            let words = ["renewd", "app", "list", &format!("--{long}"), &value];
            let matches = super::command().try_get_matches_from(words).unwrap();
            let cli = Cli::from_arg_matches(&matches).unwrap();
            let overrides = toml::Table::try_from(&cli.settings).unwrap();
            assert!(overrides.contains_key(&name), "{name} is not passed on");
            Config::load(None, overrides).unwrap();
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
        for (name, _) in settings() {
            let flag = format!("--{} <", name.replace('_', "-"));
            assert!(serve.contains(&flag) && all.contains(&flag), "{flag}");
            let is_shown = SHOWN_BY_EVERY_COMMAND.contains(&&*name);
            assert_eq!(list.contains(&flag), is_shown, "{flag}");
        }
        assert!(list.contains("--config <"));
    }
}
