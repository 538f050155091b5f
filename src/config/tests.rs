//! What the settings promise.

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
    for shown in [config.to_redacted_toml().unwrap(), format!("{config:?}")] {
        assert!(shown.contains("postgres://me:***@host/db"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[test]
fn a_wrong_file_is_told_without_its_lines() {
    for (file, expected) in [
        (
            "leeway = 1\ndatabase_url = 'postgres://me:secret@host/db\n",
            "in renewd.toml, line 2: invalid literal string",
        ),
        (
            "database_url = postgres://me:secret@host/db",
            "in renewd.toml, line 1: ",
        ),
        (
            "database_url = 'postgres://me:secret@host/db' x",
            "in renewd.toml, line 1: ",
        ),
        (
            "database_tls = 'postgres://me:secret@host/db'",
            "in renewd.toml: unknown variant ***",
        ),
        (
            "'postgres://me:secret@host/db' = 1",
            "in renewd.toml: unknown field ***",
        ),
        (
            "leeway = 'postgres://me:sec ret@host/db'",
            "in renewd.toml: invalid type: string ***",
        ),
    ] {
        let error = load(file, "").unwrap_err();
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains("ret@"), "{error}");
    }
}

#[test]
fn a_root_key_of_ones_own_is_long_and_printable() {
    assert!(may_be_root_key(&"k".repeat(32)));
    assert!(may_be_root_key(&"k".repeat(256)));
    for wrong in [
        &"k".repeat(31),
        &"k".repeat(257),
        &" ".repeat(32),
        &"é".repeat(32),
    ] {
        assert!(!may_be_root_key(wrong), "{wrong}");
    }
}
