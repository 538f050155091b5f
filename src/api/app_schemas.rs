//! What the OpenAPI document says of an app's policy, made from its fields.

use entity::AppId;
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde_json::Value;

use crate::{
    api::{
        algorithm_names::{AlgorithmName, KeyTypeName},
        types::Id,
    },
    apps::{FIELDS, Field, Limits, NewApp},
};

/// Members of an answer that are no fields of the policy, and stand before `issuer`.
const TIMES: [(&str, Option<&str>); 3] = [
    ("add_time", None),
    ("update_time", Some("0 when it was never changed.")),
    ("last_key_rotate", Some("0 when its key was never rotated.")),
];

/// What the answer calls a field: two have another name there than in a request.
pub fn shown_name(field: &str) -> &str {
    match field {
        "token_expire" => "token_expiry",
        "refresh_expire" => "refresh_expiry",
        other => other,
    }
}

/// Tells `registry` of what the fields refer to.
pub fn register_names(registry: &mut Registry) {
    KeyTypeName::register(registry);
    AlgorithmName::register(registry);
}

/// The schema of a policy that is to be made.
pub fn created() -> MetaSchema {
    let default = |field: &Field| default_of(field).filter(|_| !field.is_required);
    MetaSchema {
        required: FIELDS
            .iter()
            .filter(|field| field.is_required)
            .map(|field| field.name)
            .collect(),
        properties: properties(|field| MetaSchema {
            description: Some(field.about),
            nullable: is_nullable(field),
            default: default(field),
            ..bounds(field.limits)
        }),
        ..MetaSchema::new("object")
    }
}

/// The schema of changes of a policy.
pub fn updated() -> MetaSchema {
    MetaSchema {
        properties: properties(|field| MetaSchema {
            description: Some(field.about),
            nullable: true,
            ..bounds(field.limits)
        }),
        ..MetaSchema::new("object")
    }
}

/// The schema of an answer.
pub fn shown() -> MetaSchema {
    let mut properties = vec![("id", Id::<AppId>::schema_ref())];
    for field in FIELDS {
        if field.name == "issuer" {
            properties.extend(TIMES.map(|(name, about)| {
                let described = MetaSchema {
                    description: about,
                    ..MetaSchema::ANY
                };
                (name, i64::schema_ref().merge(described))
            }));
        }
        let nullable = MetaSchema {
            // An app always has an issuer: its name, if nothing else.
            nullable: is_nullable(field) && field.name != "issuer",
            ..MetaSchema::ANY
        };
        let shown = plain(field.limits).merge(nullable);
        properties.push((shown_name(field.name), shown));
    }
    let is_required = |schema: &MetaSchemaRef| match schema {
        MetaSchemaRef::Inline(schema) => !schema.nullable,
        MetaSchemaRef::Reference(_) => true,
    };
    MetaSchema {
        required: properties
            .iter()
            .filter(|(_, schema)| is_required(schema))
            .map(|(name, _)| *name)
            .collect(),
        properties,
        ..MetaSchema::new("object")
    }
}

fn properties(more: impl Fn(&Field) -> MetaSchema) -> Vec<(&'static str, MetaSchemaRef)> {
    let property = |field: &'static Field| {
        let schema = match field.name {
            "key_type" => KeyTypeName::schema_ref(),
            "algo" => AlgorithmName::schema_ref(),
            _ => plain(field.limits),
        };
        (field.name, schema.merge(more(field)))
    };
    FIELDS.iter().map(property).collect()
}

/// The type alone.
fn plain(limits: Limits) -> MetaSchemaRef {
    match limits {
        Limits::Title(_) | Limits::Text(..) | Limits::Name => String::schema_ref(),
        Limits::Seconds(..) | Limits::Count(..) => i64::schema_ref(),
        Limits::Switch => bool::schema_ref(),
        Limits::List(_) => Vec::<String>::schema_ref(),
    }
}

/// The bounds alone.
fn bounds(limits: Limits) -> MetaSchema {
    let any = MetaSchema::ANY;
    match limits {
        Limits::Title(longest) => MetaSchema {
            min_length: Some(1),
            max_length: Some(longest),
            ..any
        },
        Limits::Text(shortest, longest) => MetaSchema {
            min_length: (shortest > 0).then_some(shortest),
            max_length: Some(longest),
            ..any
        },
        Limits::Seconds(least, most) | Limits::Count(least, most) => MetaSchema {
            minimum: Some(least as f64),
            maximum: Some(most as f64),
            ..any
        },
        Limits::List(most) => MetaSchema {
            max_items: Some(most),
            ..any
        },
        Limits::Switch | Limits::Name => any,
    }
}

fn default_of(field: &Field) -> Option<Value> {
    let defaults = serde_json::to_value(NewApp::default()).ok()?;
    let default = defaults.get(field.name)?;
    (!default.is_null()).then(|| default.clone())
}

fn is_nullable(field: &Field) -> bool {
    default_of(field).is_none()
}
