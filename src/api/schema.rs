//! Checks a JSON value against the schema that the OpenAPI document shows, and names every member that
//! breaks it: what is documented is what is enforced.

use std::{collections::BTreeMap, net::IpAddr};

use entity::AppId;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use serde_json::Value;

use crate::{api::draft::SHOWN_ERRORS, error::Violation};

/// Violations that are looked for: one more than are shown, so that it is known that there are more.
const SOUGHT: usize = SHOWN_ERRORS + 1;

/// The named schemas of the document.
#[derive(Debug)]
pub struct Schemas(BTreeMap<String, MetaSchema>);

impl Schemas {
    /// Those that `registry` was told of.
    pub fn new(registry: Registry) -> Self {
        Self(registry.schemas)
    }

    /// Every rule of `schema` that `value` breaks, the first of them if they are many.
    pub fn violations(&self, schema: &MetaSchemaRef, value: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        self.check(schema, value, "", &mut found);
        found.truncate(SOUGHT);
        found
    }

    fn check(&self, schema: &MetaSchemaRef, value: &Value, field: &str, to: &mut Vec<Violation>) {
        if to.len() >= SOUGHT {
            return;
        }
        let schema = match schema {
            MetaSchemaRef::Inline(schema) => schema,
            MetaSchemaRef::Reference(name) => match self.0.get(name) {
                Some(schema) => schema,
                None => return,
            },
        };
        for part in &schema.all_of {
            self.check(part, value, field, to);
        }
        for choices in [&schema.any_of, &schema.one_of] {
            to.extend(self.check_choices(choices, value, field));
        }
        let message = match (schema.ty, value) {
            ("", _) => None,
            ("string", Value::String(text)) => check_text(schema, text),
            ("integer", Value::Number(number)) if number.is_i64() => {
                check_number(schema, number.as_f64().unwrap_or_default())
            }
            ("boolean", Value::Bool(_)) => None,
            ("array", Value::Array(items)) => {
                if let Some(schema) = &schema.items {
                    for (index, item) in items.iter().enumerate() {
                        self.check(schema, item, &format!("{field}[{index}]"), to);
                    }
                }
                check_count(schema, items.len())
            }
            ("object", Value::Object(_)) => {
                self.check_members(schema, value, field, to);
                None
            }
            ("integer", _) => Some("must be a whole number".to_owned()),
            ("array" | "object", _) => Some(format!("must be an {}", schema.ty)),
            (ty, _) => Some(format!("must be a {ty}")),
        };
        to.extend(message.map(|message| Violation::new(field, message)));
    }

    /// One violation that tells what is wrong with each of the choices, unless one fits.
    fn check_choices(
        &self,
        choices: &[MetaSchemaRef],
        value: &Value,
        field: &str,
    ) -> Option<Violation> {
        let mut messages = Vec::new();
        for choice in choices {
            let violation = self.violations(choice, value).into_iter().next()?;
            if !messages.contains(&violation.message) {
                messages.push(violation.message);
            }
        }
        (!choices.is_empty()).then(|| Violation::new(field, messages.join(", or ")))
    }

    fn check_members(
        &self,
        schema: &MetaSchema,
        value: &Value,
        field: &str,
        to: &mut Vec<Violation>,
    ) {
        let path = |name: &str| {
            if field.is_empty() {
                name.to_owned()
            } else {
                format!("{field}.{name}")
            }
        };
        for (name, member) in &schema.properties {
            let required = schema.required.contains(name);
            match value.get(name) {
                // An optional member may be null for absent.
                None | Some(Value::Null) if !required => {}
                None => to.push(Violation::new(path(name), "is required")),
                Some(value) => self.check(member, value, &path(name), to),
            }
        }
        if schema.additional_properties.is_none()
            && let Value::Object(members) = value
        {
            let known = |name: &String| schema.properties.iter().any(|(known, _)| known == name);
            let unknown = members.keys().filter(|name| !known(name));
            for name in unknown.take(SOUGHT) {
                let shown: String = name.chars().take(64).collect();
                to.push(Violation::new(path(&shown), "is not a known field"));
            }
        }
    }
}

fn check_text(schema: &MetaSchema, text: &str) -> Option<String> {
    let length = text.chars().count();
    if let Some(shortest) = schema.min_length
        && length < shortest
    {
        return Some(match shortest {
            1 => "must not be empty".to_owned(),
            _ => format!("must have at least {shortest} characters"),
        });
    }
    if let Some(longest) = schema.max_length
        && length > longest
    {
        return Some(format!("must have at most {longest} characters"));
    }
    if !schema.enum_items.is_empty() && !schema.enum_items.iter().any(|item| item == text) {
        let names: Vec<_> = schema.enum_items.iter().filter_map(Value::as_str).collect();
        return Some(format!("must be one of {}", names.join(", ")));
    }
    // Not every engine can store it; what is stored has a longest length.
    if schema.max_length.is_some() && text.contains('\0') {
        return Some("must not contain NUL".to_owned());
    }
    match schema.format {
        // All identifiers have the same form.
        Some("ulid") if text.parse::<AppId>().is_err() => {
            Some("must be a ULID of 26 upper-case characters".to_owned())
        }
        Some("ip" | "ipv4" | "ipv6") if text.parse::<IpAddr>().is_err() => {
            Some("must be an IPv4 or IPv6 address".to_owned())
        }
        _ => None,
    }
}

fn check_number(schema: &MetaSchema, number: f64) -> Option<String> {
    let below = schema.minimum.filter(|minimum| number < *minimum);
    let above = schema.maximum.filter(|maximum| number > *maximum);
    match (below.or(above), schema.minimum, schema.maximum) {
        (None, ..) => None,
        (Some(_), Some(minimum), Some(maximum)) => Some(format!("must be {minimum} to {maximum}")),
        (Some(_), Some(minimum), None) => Some(format!("must be at least {minimum}")),
        (Some(limit), None, _) => Some(format!("must be at most {limit}")),
    }
}

fn check_count(schema: &MetaSchema, count: usize) -> Option<String> {
    if schema.min_items.is_some_and(|fewest| count < fewest) {
        return Some("has too few items".to_owned());
    }
    let most = schema.max_items.filter(|most| count > *most)?;
    Some(format!("must have at most {most} items"))
}
