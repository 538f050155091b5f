//! The settings as flags and environment variables, made from what `renewd.default.toml` declares.

use std::{fs, io, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use toml::{Table, Value};

use super::outcome::Outcome;
use crate::config::{Config, ConfigError, Declared};

/// What the command line and the environment say of the settings.
#[derive(Debug)]
pub struct Settings {
    file: Option<PathBuf>,
    /// Laid over the file.
    overrides: Table,
}

impl Settings {
    /// The effective settings: these over those of the file over the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is wrong.
    pub fn config(&self) -> Outcome<Config> {
        let path = self.file.clone();
        let is_named = path.is_some();
        let path = path.unwrap_or_else(|| PathBuf::from("renewd.toml"));
        let file = match fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => None,
            Err(source) => return Err(ConfigError::File { path, source }.into()),
        };
        Ok(Config::load(file, self.overrides.clone())?)
    }

    /// Whether the command line or the environment names a store.
    pub fn name_a_store(&self) -> bool {
        let url = self.overrides.get("database_url").and_then(Value::as_str);
        url.is_some_and(|url| !url.is_empty())
    }
}

/// The environment variables of the settings.
pub fn variables() -> impl Iterator<Item = String> {
    let declared = Declared::all().into_iter();
    declared
        .map(|setting| setting.variable())
        .chain(["RENEWD_CONFIG".to_owned()])
}

fn file_flag() -> Arg {
    Arg::new("config")
        .long("config")
        .env("RENEWD_CONFIG")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(
            "The settings file; without it, renewd.toml in the working directory, if there is one",
        )
}

fn flag(setting: &Declared) -> Arg {
    let flag = Arg::new(setting.name.clone())
        .long(setting.name.replace('_', "-"))
        .env(setting.variable())
        // A password may stand in any of them.
        .hide_env_values(true)
        .value_name(setting.value_name())
        .help(setting.summary().to_owned());
    match setting.default {
        Value::Integer(_) => flag.value_parser(value_parser!(u32)),
        Value::Boolean(_) => flag.value_parser(value_parser!(bool)),
        Value::Array(_) => flag.value_delimiter(',').action(ArgAction::Append),
        _ => flag,
    }
}

fn value(setting: &Declared, matches: &ArgMatches) -> Option<Value> {
    let name = &setting.name;
    match setting.default {
        Value::Integer(_) => matches.get_one::<u32>(name).copied().map(Value::from),
        Value::Boolean(_) => matches.get_one::<bool>(name).copied().map(Value::from),
        Value::Array(_) => {
            let texts = matches.get_many::<String>(name)?;
            Some(texts.cloned().collect::<Vec<_>>().into())
        }
        _ => matches.get_one::<String>(name).cloned().map(Value::from),
    }
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let declared = Declared::all();
        let flags = declared.iter().map(flag);
        let flags = [file_flag()].into_iter().chain(flags);
        command.args(flags.map(|flag| flag.global(true).help_heading("Settings")))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let declared = Declared::all().into_iter();
        let overrides = declared.filter_map(|setting| {
            let value = value(&setting, matches)?;
            Some((setting.name, value))
        });
        Ok(Self {
            file: matches.get_one("config").cloned(),
            overrides: overrides.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULTS;

    /// The settings of the documented default, each with a value that it may have.
    fn settings() -> Vec<(String, String)> {
        let table: Table = toml::from_str(DEFAULTS).unwrap();
        let value = |value| match value {
            Value::String(text) if text.is_empty() => "text".to_owned(),
            Value::String(text) => text,
            Value::Array(_) => "::1".to_owned(),
            number => number.to_string(),
        };
        let settings = table.into_iter();
        settings.map(|(name, set)| (name, value(set))).collect()
    }

    #[test]
    fn every_setting_has_a_flag_and_an_environment_variable() {
        let command =
            Settings::augment_args(Command::new("renewd").subcommand(Command::new("list")));
        for (name, value) in settings() {
            let found = command.get_arguments().find(|flag| *flag.get_id() == *name);
            let flag = found.unwrap_or_else(|| panic!("{name} has no flag"));
            let long = name.replace('_', "-");
            assert_eq!(flag.get_long(), Some(&*long));
            let variable = format!("RENEWD_{}", name.to_uppercase());
            assert_eq!(flag.get_env(), Some(variable.as_ref()), "{name}");
            assert!(flag.is_global_set(), "{name}");
            assert!(variables().any(|known| known == variable), "{name}");

            let words = ["renewd", "list", &format!("--{long}"), &value];
            let matches = command.clone().try_get_matches_from(words).unwrap();
            let overrides = Settings::from_arg_matches(&matches).unwrap().overrides;
            assert!(overrides.contains_key(&name), "{name} is not passed on");
            Config::load(None, overrides).unwrap();
        }
    }

    #[test]
    fn a_value_is_read_as_what_the_default_is() {
        for (default, text, expected) in [
            (Value::from(1), "2", Some(Value::from(2))),
            (Value::from(1), "-2", None),
            (Value::from(1), "x", None),
            (Value::from(false), "true", Some(Value::from(true))),
            (Value::from(false), "1", None),
            (Value::from("a"), "2", Some(Value::from("2"))),
            (Value::Array(Vec::new()), "a,b", Some(vec!["a", "b"].into())),
        ] {
            let setting = Declared {
                name: "a_setting".to_owned(),
                default,
                about: String::new(),
            };
            let command = Command::new("renewd").arg(flag(&setting));
            let read = command
                .try_get_matches_from(["renewd", &format!("--a-setting={text}")])
                .ok()
                .and_then(|matches| value(&setting, &matches));
            assert_eq!(read, expected, "{text}");
        }
    }
}
