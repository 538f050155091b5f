//! The fields of an app's policy as flags.

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind, value_parser,
};
use serde_json::{Map, Value};

use crate::apps::{AppChanges, FIELDS, Field, Limits, NewApp};

/// What the command line says of a policy. The name is not among the flags: each command has it in a place of its own.
#[derive(Debug)]
pub struct PolicyFlags(pub AppChanges);

fn fields() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(|field| field.name != "name")
}

/// One item of a list is given at a time, and called so.
fn flag_name(field: &Field) -> String {
    let name = field.name.replace('_', "-");
    match field.limits {
        Limits::List(_) => name.trim_end_matches('s').to_owned(),
        _ => name,
    }
}

fn flag(field: &'static Field, default: Option<&Value>) -> Arg {
    let name = flag_name(field);
    let last_word = name.rsplit('-').next().unwrap_or_default().to_uppercase();
    let mut notes = Vec::new();
    match field.limits {
        Limits::Seconds(least, most) => notes.push(format!("{least} to {most} seconds")),
        Limits::Count(least, most) => notes.push(format!("{least} to {most}")),
        Limits::List(_) => notes.push("may be given several times".to_owned()),
        Limits::Title(_) | Limits::Text(..) | Limits::Switch | Limits::Name => {}
    }
    match default {
        Some(Value::Null) => notes.push("a new app: none".to_owned()),
        Some(Value::String(text)) if !text.is_empty() => notes.push(format!("a new app: {text}")),
        Some(default @ (Value::Number(_) | Value::Bool(_))) => {
            notes.push(format!("a new app: {default}"));
        }
        _ => {}
    }
    let mut help = field.about.trim_end_matches('.').replace('`', "");
    if !notes.is_empty() {
        help = format!("{help} [{}]", notes.join("; "));
    }
    let flag = Arg::new(field.name).long(name).help(help);
    match field.limits {
        Limits::Title(_) | Limits::Text(..) | Limits::Name => flag.value_name(last_word),
        Limits::Seconds(..) => flag.value_parser(value_parser!(i64)).value_name("SECONDS"),
        Limits::Count(..) => flag.value_parser(value_parser!(i64)).value_name("COUNT"),
        Limits::Switch => flag
            .value_parser(value_parser!(bool))
            .num_args(0..=1)
            // Without it, what follows the flag would be taken for its value.
            .require_equals(true)
            .default_missing_value("true")
            .hide_possible_values(true)
            .value_name("BOOL"),
        Limits::List(_) => flag.action(ArgAction::Append).value_name(last_word),
    }
}

fn value(field: &Field, matches: &ArgMatches) -> Option<Value> {
    let name = field.name;
    match field.limits {
        Limits::Title(_) | Limits::Text(..) | Limits::Name => {
            matches.get_one::<String>(name).cloned().map(Value::from)
        }
        Limits::Seconds(..) | Limits::Count(..) => {
            matches.get_one::<i64>(name).copied().map(Value::from)
        }
        Limits::Switch => matches.get_one::<bool>(name).copied().map(Value::from),
        Limits::List(_) => {
            let texts = matches.get_many::<String>(name)?;
            Some(texts.cloned().collect::<Vec<_>>().into())
        }
    }
}

impl Args for PolicyFlags {
    fn augment_args(command: Command) -> Command {
        let defaults = serde_json::to_value(NewApp::default()).unwrap_or_default();
        command.args(fields().map(|field| flag(field, defaults.get(field.name))))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PolicyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let members: Map<_, _> = fields()
            .filter_map(|field| Some((field.name.to_owned(), value(field, matches)?)))
            .collect();
        AppChanges::from_json(members)
            .map(Self)
            .map_err(|error| clap::Error::raw(ErrorKind::InvalidValue, format!("{error}\n")))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
