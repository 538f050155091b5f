//! What a field of a policy may be.

use serde_json::Value;

/// The kind of a field, and the bounds of its value.
#[derive(Clone, Copy, Debug)]
pub enum Limits {
    /// A text of 1 to so many characters, not all of them blank.
    Title(usize),
    /// A text of so many characters.
    Text(usize, usize),
    /// A time.
    Seconds(i64, i64),
    /// A number of things.
    Count(i64, i64),
    /// Yes or no.
    Switch,
    /// One of the names that its type has.
    Name,
    /// So many texts at most.
    List(usize),
}

impl Limits {
    /// What is wrong with `value`, the JSON of a field of this kind, if anything is. `null` is no value.
    pub fn complaint(self, value: &Value) -> Option<String> {
        let (holds, rule) = match (self, value) {
            (Self::Title(longest), Value::String(text)) => (
                !text.trim().is_empty() && fits(text, 1, longest),
                format!("must have 1 to {longest} characters, none of them a control character"),
            ),
            (Self::Text(shortest, longest), Value::String(text)) => {
                let length = match shortest {
                    0 => "at most".to_owned(),
                    shortest => format!("{shortest} to"),
                };
                let rule = format!(
                    "must have {length} {longest} characters, none of them a control character"
                );
                (fits(text, shortest, longest), rule)
            }
            (Self::Seconds(least, most), Value::Number(number)) => (
                is_in(number.as_i64(), least, most),
                format!("must be {least} to {most} seconds"),
            ),
            (Self::Count(least, most), Value::Number(number)) => (
                is_in(number.as_i64(), least, most),
                format!("must be {least} to {most}"),
            ),
            // What is in a list is looked at where the list is made.
            _ => return None,
        };
        (!holds).then_some(rule)
    }
}

fn fits(text: &str, shortest: usize, longest: usize) -> bool {
    (shortest..=longest).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn is_in(number: Option<i64>, least: i64, most: i64) -> bool {
    number.is_some_and(|number| (least..=most).contains(&number))
}
