//! What the documentation shows of the operations on apps.

use entity::{AppId, SigningKeyId, Timestamp};
use poem_openapi::types::Example;
use serde_json::{Map, Value};

use crate::{
    api::{
        app_objects::{
            AppInfoResponse, AppObject, CreateRequest, CreateResponse, ListResponse, UpdateRequest,
        },
        public_key_objects::{PubKeysResponse, PublicKeyObject},
        types::Id,
    },
    apps::NewApp,
};

impl Example for CreateRequest {
    fn example() -> Self {
        Self(NewApp {
            description: "The web shop".to_owned(),
            issuer: Some("https://shop.example.com".to_owned()),
            refresh_grace: 10,
            allowed_origins: vec!["https://shop.example.com".to_owned()],
            device_audiences: vec!["telemetry".to_owned()],
            ..NewApp::named("shop".to_owned())
        })
    }
}

impl UpdateRequest {
    /// A body with two changes, and with every way to say that the rest stays or goes.
    pub fn example_body() -> Value {
        let new = NewApp::default();
        let stays = serde_json::to_value(new).unwrap_or_default();
        let mut body = Map::new();
        for (name, default) in stays.as_object().into_iter().flatten() {
            if !default.is_null() {
                body.insert(name.clone(), Value::Null);
            }
        }
        body.extend([
            ("token_expire".to_owned(), 900.into()),
            ("refresh_grace".to_owned(), 10.into()),
            ("session_expire".to_owned(), Value::Null),
        ]);
        Value::Object(body)
    }
}

impl Example for CreateResponse {
    fn example() -> Self {
        Self {
            app_id: Id(AppId::EXAMPLE),
            app_key: "rnw_sk_01JMWRJEJ71191KP88NDGWVYEW…".to_owned(),
            publishable_key: "rnw_pk_01JMWRJEJ71191KP88NDGWVYEW…".to_owned(),
            public_key: "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0K…".to_owned(),
            key_id: Id(SigningKeyId::EXAMPLE),
            algo: "ES256".to_owned(),
        }
    }
}

fn example_app() -> AppObject {
    let created_at = Timestamp::from_seconds(1_740_427_049);
    let new = NewApp {
        description: "The web shop".to_owned(),
        allowed_origins: vec!["https://shop.example.com".to_owned()],
        device_audiences: vec!["telemetry".to_owned()],
        ..NewApp::named("shop".to_owned())
    };
    AppObject::of(&new.into_row_unchecked(AppId::EXAMPLE, created_at))
}

impl Example for ListResponse {
    fn example() -> Self {
        Self {
            apps: vec![example_app()],
            next_cursor: None,
        }
    }
}

impl Example for AppInfoResponse {
    fn example() -> Self {
        Self { app: example_app() }
    }
}

impl Example for PubKeysResponse {
    fn example() -> Self {
        Self {
            keys: vec![PublicKeyObject {
                key_id: Id(SigningKeyId::EXAMPLE),
                public_key: "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0K…".to_owned(),
                key_type: "ECDSA".to_owned(),
                key_algo: "ES256".to_owned(),
                exp_time: 1_748_203_049,
                is_expired: false,
                is_revoked: false,
            }],
        }
    }
}
