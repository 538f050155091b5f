//! The bodies of the operations on apps. The members of a policy follow from its fields.

use std::borrow::Cow;

use entity::{AppId, SigningKeyId, Timestamp, app};
use poem_openapi::{
    Object,
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{Example, ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde_json::{Map, Value};

use crate::{
    api::{
        app_schemas::{created, register_names, shown, shown_name, updated},
        types::Id,
    },
    apps::{AppChanges, Created, NewApp, members},
    page::Listing,
};

/// An app that is to be made.
#[derive(Debug)]
pub struct CreateRequest(pub NewApp);

/// Changes of an app.
#[derive(Debug)]
pub struct UpdateRequest(pub AppChanges);

/// An app and its policy.
#[derive(Debug)]
pub struct AppObject(pub Map<String, Value>);

/// An app that was made. Its keys are shown this once.
#[derive(Debug, Object)]
#[oai(example)]
pub struct CreateResponse {
    pub app_id: Id<AppId>,
    /// The secret app-key, for backends.
    pub app_key: String,
    /// The publishable app-key, for front ends.
    pub publishable_key: String,
    /// Base64 of the PEM of the public signing key.
    pub public_key: String,
    pub key_id: Id<SigningKeyId>,
    pub algo: String,
}

/// A page of apps.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ListResponse {
    pub apps: Vec<AppObject>,
    /// Where the next page begins; null on the last.
    #[oai(nullable)]
    pub next_cursor: Option<Id<AppId>>,
}

/// The app.
#[derive(Debug, Object)]
#[oai(example)]
pub struct AppInfoResponse {
    pub app: AppObject,
}

/// A named schema of the document.
macro_rules! named_schema {
    ($type:ty, $name:literal, $schema:expr) => {
        impl Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                $name.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Reference($name.to_owned())
            }

            fn register(registry: &mut Registry) {
                registry.create_schema::<Self, _>($name.to_owned(), |registry| {
                    register_names(registry);
                    MetaSchema {
                        title: Some($name.to_owned()),
                        ..$schema
                    }
                });
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(self.as_raw_value().into_iter())
            }
        }
    };
}

named_schema!(
    CreateRequest,
    "CreateRequest",
    MetaSchema {
        description: Some("An app that is to be made. All times in seconds."),
        example: Self::example().to_json(),
        ..created()
    }
);
named_schema!(
    UpdateRequest,
    "UpdateRequest",
    MetaSchema {
        description: Some(
            "Changes of an app; what is left out stays. `null` removes `issuer`, `session_expire`,\n\
             `max_sessions_per_subject` or `registration_expire`."
        ),
        example: Some(Self::example_body()),
        ..updated()
    }
);
named_schema!(
    AppObject,
    "AppObject",
    MetaSchema {
        description: Some(
            "An app and its policy. Durations in seconds, points in time in seconds of the Unix epoch."
        ),
        ..shown()
    }
);

impl ParseFromJSON for CreateRequest {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self(NewApp::default().with(read(value)?)))
    }
}

impl ParseFromJSON for UpdateRequest {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        read(value).map(Self)
    }
}

impl ParseFromJSON for AppObject {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::Object(members)) => Ok(Self(members)),
            _ => Err(ParseError::custom("not an object")),
        }
    }
}

impl ToJSON for CreateRequest {
    fn to_json(&self) -> Option<Value> {
        serde_json::to_value(&self.0).ok()
    }
}

impl ToJSON for AppObject {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Object(self.0.clone()))
    }
}

fn read<T: Type>(value: Option<Value>) -> Result<AppChanges, ParseError<T>> {
    let Some(Value::Object(members)) = value else {
        return Err(ParseError::custom("not an object"));
    };
    AppChanges::from_json(members).map_err(ParseError::custom)
}

impl From<Created> for CreateResponse {
    fn from(created: Created) -> Self {
        Self {
            app_id: Id(created.id),
            app_key: created.secret_key.reveal().to_owned(),
            publishable_key: created.publishable_key.reveal().to_owned(),
            public_key: created.public_key,
            key_id: Id(created.signing_key_id),
            algo: created.algorithm,
        }
    }
}

impl From<Listing<app::Model, AppId>> for ListResponse {
    fn from(page: Listing<app::Model, AppId>) -> Self {
        Self {
            apps: page.items.iter().map(AppObject::of).collect(),
            next_cursor: page.next.map(Id),
        }
    }
}

impl AppObject {
    /// What the contract shows of an app.
    pub fn of(app: &app::Model) -> Self {
        let seconds = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_seconds).into();
        let own: [(&str, Value); 6] = [
            ("id", app.id.to_string().into()),
            // By the name that the store has, also when this release does not know it.
            ("algo", app.algorithm.clone().into()),
            ("issuer", app.issuer().into()),
            ("add_time", seconds(Some(app.created_at))),
            ("update_time", seconds(app.updated_at)),
            ("last_key_rotate", seconds(app.last_key_rotate)),
        ];
        let mut shown = Map::new();
        for (name, value) in members(app) {
            shown.insert(shown_name(&name).to_owned(), value);
        }
        shown.extend(own.map(|(name, value)| (name.to_owned(), value)));
        Self(shown)
    }
}
