//! The settings: built-in defaults, then a file, then environment and flags.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use entity::{PlainSecret, time::Span};
use ipnet::IpNet;
use keys::{MasterKey, MasterKeyError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The documented defaults, which are the program's own.
pub const DEFAULTS: &str = include_str!("../renewd.default.toml");

/// The effective settings; `renewd.default.toml` describes each.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    pub database_tls: DatabaseTls,
    pub database_ca_file: PathBuf,
    pub log: LogLevel,
    pub log_format: LogFormat,
    #[serde(deserialize_with = "read_networks")]
    pub trusted_proxies: Vec<IpNet>,
    pub shutdown_delay: u32,
    pub leeway: u32,
    pub jwks_max_age: u32,
    audit_retention_days: u32,
    #[serde(deserialize_with = "read_positive")]
    pub registration_refreshes_per_hour: u32,
}

/// How the connection to the database is protected.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseTls {
    /// As `database_url` says.
    Url,
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
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

/// What comes from the environment only, so that no process list or file shows it.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Seals the signing keys, in place of the file in the data directory.
    pub master_key: Option<MasterKey>,
    /// The one that `master_key` replaces, until `renewd key rekey` is done.
    pub previous_master_key: Option<MasterKey>,
    /// The root key of a fresh store.
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
    #[error("in {origin}: {source}")]
    Invalid {
        origin: String,
        source: Box<toml::de::Error>,
    },
    #[error("RENEWD_MASTER_KEY or RENEWD_PREVIOUS_MASTER_KEY: {0}")]
    MasterKey(#[from] MasterKeyError),
    #[error("RENEWD_ROOT_KEY must have 32 to 256 printable ASCII characters and no space")]
    RootKey,
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

    /// How long the store may work on one statement.
    pub fn database_statement_timeout(&self) -> Duration {
        Duration::from_millis(self.database_statement_timeout_ms)
    }

    /// How long requests are still taken after the server was told to stop.
    pub fn shutdown_delay(&self) -> Duration {
        Duration::from_secs(u64::from(self.shutdown_delay))
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
        shown.database_url = redact(&self.database_url());
        toml::to_string(&shown)
    }
}

impl Secrets {
    /// Reads them through `variable`, which looks up an environment variable.
    ///
    /// # Errors
    /// When one is set, and is not what it should be.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let root_key = variable("RENEWD_ROOT_KEY");
        if let Some(key) = &root_key
            && !((32..=256).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(ConfigError::RootKey);
        }
        let master_key = |name| {
            let text: Option<String> = variable(name);
            text.map(|text| MasterKey::from_base64(&text)).transpose()
        };
        Ok(Self {
            master_key: master_key("RENEWD_MASTER_KEY")?,
            previous_master_key: master_key("RENEWD_PREVIOUS_MASTER_KEY")?,
            root_key: root_key.map(|key| PlainSecret::from_text(&key)),
        })
    }
}

fn parse(text: &str, origin: &str) -> Result<toml::Table, ConfigError> {
    toml::from_str(text).map_err(|source| invalid(origin, source))
}

fn check(table: toml::Table, origin: &str) -> Result<Config, ConfigError> {
    Config::deserialize(table).map_err(|source| invalid(origin, source))
}

fn invalid(origin: &str, source: toml::de::Error) -> ConfigError {
    ConfigError::Invalid {
        origin: origin.to_owned(),
        source: Box::new(source),
    }
}

/// Replaces the password of a URL by `***`.
fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}")
        }
        None => url.to_owned(),
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
mod tests {
    use super::*;

    fn load(file: &str, overrides: &str) -> Result<Config, String> {
        let file = (!file.is_empty()).then(|| (PathBuf::from("renewd.toml"), file.to_owned()));
        Config::load(file, toml::from_str(overrides).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_defaults_are_the_contract() {
        let config = load("", "").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:2025");
        assert_eq!(config.metrics_listen.unwrap().to_string(), "127.0.0.1:2026");
        assert_eq!(config.database_url(), "sqlite://data/renewd.db?mode=rwc");
        assert_eq!(
            (config.log, config.log_format),
            (LogLevel::Info, LogFormat::Text)
        );
        assert_eq!(config.leeway(), Span::ZERO);
    }

    #[test]
    fn flags_are_stronger_than_the_file() {
        let config = load(
            "listen = '127.0.0.1:1'\nleeway = 2",
            "listen = '127.0.0.1:3'",
        )
        .unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:3");
        assert_eq!(config.leeway(), Span::seconds(2));
    }

    #[test]
    fn a_typo_or_a_wrong_value_is_named() {
        for (file, overrides, expected) in [
            (
                "lisen = '127.0.0.1:1'",
                "",
                "in renewd.toml: unknown field `lisen`",
            ),
            (
                "listen = 'here'",
                "",
                "in renewd.toml: invalid socket address syntax",
            ),
            (
                "leeway = -1",
                "",
                "in renewd.toml: invalid value: integer `-1`",
            ),
            (
                "",
                "log = 'loud'",
                "in the environment or the flags: unknown variant `loud`",
            ),
            (
                "trusted_proxies = ['me']",
                "",
                "\"me\" is not an IP address or network",
            ),
            (
                "registration_refreshes_per_hour = 0",
                "",
                "in renewd.toml: must be 1 or more",
            ),
        ] {
            let error = load(file, overrides).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let config = load("database_url = 'postgres://me:secret@host/db'", "").unwrap();
        let shown = config.to_redacted_toml().unwrap();
        assert!(shown.contains("postgres://me:***@host/db"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_root_key_of_ones_own_is_long_and_printable() {
        let read = |key: &str| {
            let key = key.to_owned();
            Secrets::read(move |name| (name == "RENEWD_ROOT_KEY").then(|| key.clone()))
        };
        assert!(read(&"k".repeat(32)).is_ok());
        for wrong in [
            &"k".repeat(31),
            &"k".repeat(257),
            &" ".repeat(32),
            &"é".repeat(32),
        ] {
            assert!(matches!(read(wrong), Err(ConfigError::RootKey)), "{wrong}");
        }
    }
}
