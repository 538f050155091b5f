//! The settings: built-in defaults, then a file, then environment and flags.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use entity::{PlainSecret, time::Span};
use ipnet::IpNet;
use keys::{MasterKey, MasterKeyError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use store::Tls;

mod declared;

pub use self::declared::{DEFAULTS, Declared};
use crate::database_url;

/// The effective settings: the type of each, and its bounds. Its default and its documentation are in `renewd.default.toml`, from
/// which the command line makes its flag.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "read_listen", serialize_with = "write_listen")]
    pub metrics_listen: Option<SocketAddr>,
    pub data_dir: PathBuf,
    pub database_url: String,
    pub database_timeout_ms: u64,
    pub database_statement_timeout_ms: u64,
    #[serde(deserialize_with = "read_connections")]
    pub database_connections: u32,
    pub database_tls: Tls,
    pub database_ca_file: PathBuf,
    pub log: LogLevel,
    pub log_format: LogFormat,
    #[serde(deserialize_with = "read_networks")]
    pub trusted_proxies: Vec<IpNet>,
    pub max_connections: u32,
    pub max_connections_per_address: u32,
    #[serde(deserialize_with = "read_positive")]
    pub request_head_timeout: u32,
    #[serde(deserialize_with = "read_positive")]
    pub request_body_timeout: u32,
    #[serde(deserialize_with = "read_positive")]
    pub response_timeout: u32,
    #[serde(deserialize_with = "read_positive")]
    pub idle_timeout: u32,
    pub shutdown_delay: u32,
    pub shutdown_timeout: u32,
    pub leeway: u32,
    pub jwks_max_age: u32,
    audit_retention_days: u32,
    #[serde(deserialize_with = "read_positive")]
    pub registration_refreshes_per_hour: u32,
    pub device_events_per_minute: u32,
    pub new_devices_per_hour: u32,
    pub new_devices_of_subject_per_hour: u32,
}

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// The names of what comes from the environment only.
pub const SECRETS: [&str; 3] = [
    "RENEWD_MASTER_KEY",
    "RENEWD_PREVIOUS_MASTER_KEY",
    "RENEWD_ROOT_KEY",
];

/// What comes from the environment only, so that no process list or file shows it.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Seals the signing keys, in place of the file in the data directory.
    pub master_key: Option<MasterKey>,
    /// The one that `master_key` replaces, until `renewd key rekey` is done.
    pub previous_master_key: Option<MasterKey>,
    /// The root key of a fresh store, which is told when it has not the form of one.
    pub root_key: Option<PlainSecret>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings file {path}: {source}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("in {origin}: {message}")]
    Invalid { origin: String, message: String },
    #[error(
        "the environment variable {0} is no setting: see `renewd serve --help` for their names"
    )]
    UnknownVariable(String),
    #[error("RENEWD_MASTER_KEY or RENEWD_PREVIOUS_MASTER_KEY: {0}")]
    MasterKey(#[from] MasterKeyError),
}

impl Config {
    /// Lays `file` (its path, and its text) and then `overrides` over the defaults.
    ///
    /// # Errors
    /// When a name is unknown or a value is not of its type, with the place where it stands.
    pub fn load(
        file: Option<(PathBuf, String)>,
        overrides: toml::Table,
    ) -> Result<Self, ConfigError> {
        let mut table = parse(DEFAULTS, "the built-in defaults")?;
        if let Some((path, text)) = file {
            let origin = path.display().to_string();
            table.extend(parse(&text, &origin)?);
            // Asked for here already, so that the message names the file.
            check(table.clone(), &origin)?;
        }
        table.extend(overrides);
        check(table, "the environment or the flags")
    }

    /// The URL of the store.
    pub fn database_url(&self) -> String {
        if self.database_url.is_empty() {
            format!(
                "sqlite://{}?mode=rwc",
                self.data_dir.join("renewd.db").display()
            )
        } else {
            self.database_url.clone()
        }
    }

    /// How long an operation may wait for the store.
    pub fn database_timeout(&self) -> Duration {
        Duration::from_millis(self.database_timeout_ms)
    }

    /// Which store, and how it is opened.
    pub fn store(&self) -> store::Options {
        store::Options {
            url: self.database_url(),
            timeout: self.database_timeout(),
            statement_timeout: Duration::from_millis(self.database_statement_timeout_ms),
            connections: self.database_connections,
            tls: self.database_tls,
            ca_file: self.database_ca_file.clone(),
        }
    }

    /// How long requests are still taken after the server was told to stop.
    pub fn shutdown_delay(&self) -> Duration {
        Duration::from_secs(u64::from(self.shutdown_delay))
    }

    /// How long what is under way may take after that.
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.shutdown_timeout))
    }

    /// The clock skew that is tolerated at a renewal.
    pub fn leeway(&self) -> Span {
        Span::seconds(i64::from(self.leeway))
    }

    /// For how long verifiers may keep the public keys.
    pub fn jwks_max_age(&self) -> Span {
        Span::seconds(i64::from(self.jwks_max_age))
    }

    /// For how long events of the audit are kept.
    pub fn audit_retention(&self) -> Span {
        Span::seconds(i64::from(self.audit_retention_days) * 86_400)
    }

    /// The settings as TOML, passwords left out.
    ///
    /// # Errors
    /// Never, but for a defect of ours.
    pub fn to_redacted_toml(&self) -> Result<String, toml::ser::Error> {
        let mut shown = self.clone();
        shown.database_url = database_url::redacted(&self.database_url());
        toml::to_string(&shown)
    }
}

/// Whether this has the form of a root key, of ours or of its owner's making.
pub fn may_be_root_key(text: &str) -> bool {
    (32..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Secrets {
    /// Reads them through `variable`, which looks up an environment variable.
    ///
    /// # Errors
    /// When one is set, and is not what it should be.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let master_key = |name| {
            let text: Option<String> = variable(name);
            text.map(|text| MasterKey::from_base64(&text)).transpose()
        };
        Ok(Self {
            master_key: master_key(SECRETS[0])?,
            previous_master_key: master_key(SECRETS[1])?,
            root_key: variable(SECRETS[2]).map(|key| PlainSecret::from_text(&key)),
        })
    }
}

fn parse(text: &str, origin: &str) -> Result<toml::Table, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        invalid(&format!("{origin}, line {line}"), error.message())
    })
}

fn check(table: toml::Table, origin: &str) -> Result<Config, ConfigError> {
    Config::deserialize(table).map_err(|error| invalid(origin, error.to_string().trim_end()))
}

/// The line that is wrong is not shown, nor a value that may be a URL: a password may stand in either.
fn invalid(origin: &str, message: &str) -> ConfigError {
    let before_url = message.split_once("://").map(|(before, _)| {
        let is_around = |character: char| character.is_whitespace() || "`'\"".contains(character);
        let end = before.rfind(is_around).unwrap_or(0);
        format!("{} ***", before[..end].trim_end())
    });
    ConfigError::Invalid {
        origin: origin.to_owned(),
        message: before_url.unwrap_or_else(|| message.to_owned()),
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_redacted_toml().unwrap_or_default())
    }
}

fn read_listen<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn write_listen<S: Serializer>(listen: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
    match listen {
        Some(address) => to.collect_str(address),
        None => to.serialize_str("off"),
    }
}

fn read_connections<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(from)?;
    if (1..=1000).contains(&count) {
        Ok(count)
    } else {
        Err(serde::de::Error::custom("must be 1 to 1000"))
    }
}

fn read_positive<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        0 => Err(serde::de::Error::custom("must be 1 or more")),
        count => Ok(count),
    }
}

fn read_networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: String| {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
            .map_err(|_| {
                serde::de::Error::custom(format!("{text:?} is not an IP address or network"))
            })
    };
    Vec::<String>::deserialize(from)?
        .into_iter()
        .map(network)
        .collect()
}

#[cfg(test)]
mod tests;
