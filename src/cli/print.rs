//! How results are shown: tables for people, JSON for programs.

use std::io::{self, Write};

use clap::Args;
use poem_openapi::types::ToJSON;
use serde_json::{Value, json};

use super::outcome::Outcome;

/// What programs ask for.
#[derive(Clone, Copy, Debug, Args)]
pub struct Format {
    /// Print JSON, for a program to read
    #[arg(long)]
    pub json: bool,
}

/// Prints what was asked for. A reader that has seen enough is no error.
pub fn say(text: &str) -> Outcome {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// What the API would answer.
pub fn json_of(object: &impl ToJSON) -> Value {
    object.to_json().unwrap_or_default()
}

/// One object: as JSON, or a line a member.
pub fn one(format: Format, object: &Value) -> Outcome {
    if format.json {
        return say(&object.to_string());
    }
    let members = object.as_object().into_iter().flatten();
    let lines = members.map(|(name, value)| format!("{name:<26}{}", cell(value)));
    say(&lines.collect::<Vec<_>>().join("\n"))
}

/// Objects: as JSON under `name`, or a table of these members.
pub fn many(format: Format, name: &str, objects: &[Value], columns: &[&str]) -> Outcome {
    if format.json {
        return say(&json!({ name: objects }).to_string());
    }
    if objects.is_empty() {
        return Ok(());
    }
    let header = columns
        .iter()
        .map(|column| column.replace('_', " "))
        .collect();
    let rows: Vec<Vec<String>> = std::iter::once(header)
        .chain(objects.iter().map(|object| {
            let cells = columns.iter().map(|column| cell(&object[*column]));
            cells.collect()
        }))
        .collect();
    let width = |index: usize| {
        let widths = rows.iter().map(|row| row[index].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    say(&lines.collect::<Vec<_>>().join("\n"))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
