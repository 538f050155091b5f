//! Types of the contract that OpenAPI has no name for.

use std::{borrow::Cow, fmt::Display, str::FromStr};

use poem::{IntoResponse, Response};
use poem_openapi::{
    ApiResponse, Object,
    payload::{Json, Payload},
    registry::{MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::{Example, ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type},
};
use serde::Serialize;
use serde_json::{Map, Value};

/// An identifier of ours: a ULID.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub struct Id<T>(pub T);

/// A JSON object with any members.
#[derive(Clone, Debug, Default)]
pub struct JsonObject(pub Map<String, Value>);

/// A user, by the name that resource servers know.
#[derive(Clone, Debug)]
pub struct Subject(pub String);

/// `aud`: one audience, or a list of them (RFC 7519 section 4.1.3).
#[derive(Clone, Debug)]
pub struct Audience(pub Value);

/// A JSON body that is written member by member, without a tree of values in between: for what is answered most.
#[derive(Debug)]
pub struct Written<T>(pub T);

impl<T: Type> Payload for Written<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn check_content_type(content_type: &str) -> bool {
        Json::<T>::check_content_type(content_type)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Serialize + Send> IntoResponse for Written<T> {
    fn into_response(self) -> Response {
        poem::web::Json(self.0).into_response()
    }
}

impl<T: Type + ToJSON> ApiResponse for Written<T> {
    fn meta() -> MetaResponses {
        Json::<T>::meta()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// What every type of ours says to poem-openapi.
macro_rules! openapi_type {
    ([$($generics:tt)*] $type:ty, $name:literal, $schema:expr) => {
        impl<$($generics)*> Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                $name.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
            }

            fn register(_: &mut Registry) {}

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(self.as_raw_value().into_iter())
            }
        }
    };
}

openapi_type!(
    [T: Send + Sync] Id<T>,
    "ulid",
    MetaSchema {
        pattern: Some("^[0-7][0-9A-HJKMNP-TV-Z]{25}$".to_owned()),
        ..MetaSchema::new_with_format("string", "ulid")
    }
);
openapi_type!(
    [] JsonObject,
    "object",
    MetaSchema {
        additional_properties: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema::ANY)))),
        ..MetaSchema::new("object")
    }
);
openapi_type!(
    [] Subject,
    "subject",
    MetaSchema {
        min_length: Some(1),
        max_length: Some(255),
        ..MetaSchema::new("string")
    }
);
openapi_type!([] Audience, "audience", audience_schema());

fn audience_schema() -> MetaSchema {
    let one = MetaSchema {
        min_length: Some(1),
        max_length: Some(255),
        ..MetaSchema::new("string")
    };
    let one = || MetaSchemaRef::Inline(Box::new(one.clone()));
    let many = MetaSchema {
        items: Some(Box::new(one())),
        min_items: Some(1),
        max_items: Some(50),
        ..MetaSchema::new("array")
    };
    MetaSchema {
        description: Some("one audience, or a list of 1 to 50; each of 1 to 255 characters"),
        any_of: vec![one(), MetaSchemaRef::Inline(Box::new(many))],
        ..MetaSchema::ANY
    }
}

impl<T: FromStr<Err: Display> + Send + Sync> ParseFromJSON for Id<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::String(text)) => Ok(Self(text.parse()?)),
            _ => Err(ParseError::custom("not a string")),
        }
    }
}

impl<T: FromStr<Err: Display> + Send + Sync> ParseFromParameter for Id<T> {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Ok(Self(value.parse()?))
    }
}

impl<T: Display + Send + Sync> ToJSON for Id<T> {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.0.to_string()))
    }
}

impl ParseFromParameter for Subject {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        // Not every engine can store NUL, or look for it.
        if (1..=255).contains(&value.chars().count()) && !value.contains('\0') {
            Ok(Self(value.to_owned()))
        } else {
            Err(ParseError::custom("not a subject"))
        }
    }
}

impl ParseFromJSON for JsonObject {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::Object(members)) => Ok(Self(members)),
            _ => Err(ParseError::custom("not an object")),
        }
    }
}

impl ToJSON for JsonObject {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Object(self.0.clone()))
    }
}

impl ParseFromJSON for Audience {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self(value.unwrap_or_default()))
    }
}

impl ToJSON for Audience {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.clone())
    }
}

/// Done.
#[derive(Debug, Object)]
#[oai(example)]
pub struct StatusResponse {
    /// Always `ok`.
    pub status: String,
}

impl StatusResponse {
    /// That it was done.
    pub fn ok() -> Self {
        Self {
            status: "ok".to_owned(),
        }
    }
}

impl Example for StatusResponse {
    fn example() -> Self {
        Self::ok()
    }
}

/// Items of a list on a page, when nothing else is asked for.
pub const fn default_limit() -> u64 {
    50
}
