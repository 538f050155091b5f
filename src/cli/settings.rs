//! The settings as flags and environment variables.

use std::{fs, io, path::PathBuf};

use clap::Args;
use serde::Serialize;

use super::outcome::Outcome;
use crate::config::{Config, ConfigError};

/// Each of these overrides the file `renewd.toml`. `renewd config` shows what is in force.
#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// The settings file; without it, renewd.toml in the working directory, if there is one
    #[arg(long, global = true, env = "RENEWD_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
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
    pub database_url: Option<String>,
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

impl Settings {
    /// The effective settings: these over those of the file over the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is wrong.
    pub fn config(&self) -> Outcome<Config> {
        let overrides = toml::Table::try_from(self)?;
        let path = self.config.clone();
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
