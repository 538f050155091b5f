//! What the documentation shows of the operations on apps.

use entity::{AppId, SigningKeyId};
use poem_openapi::types::{Example, MaybeUndefined};

use crate::api::{
    algorithm_names::{AlgorithmName, KeyTypeName},
    app_objects::{
        AppInfoResponse, AppObject, CreateRequest, CreateResponse, ListResponse, UpdateRequest,
    },
    public_key_objects::{PubKeysResponse, PublicKeyObject},
    types::Id,
};

impl Example for CreateRequest {
    fn example() -> Self {
        Self {
            name: "shop".to_owned(),
            description: "The web shop".to_owned(),
            token_expire: 3600,
            token_notbefore: 0,
            refresh_expire: 1_209_600,
            refresh_notbefore: 0,
            key_type: KeyTypeName::Ecdsa,
            algo: AlgorithmName::Es256,
            rotation_period: 7_776_000,
            issuer: Some("https://shop.example.com".to_owned()),
            refresh_grace: 10,
            session_expire: None,
            max_sessions_per_subject: None,
            allowed_origins: vec!["https://shop.example.com".to_owned()],
            registration_grace: 86_400,
            registration_expire: None,
            push_binding: false,
            device_audiences: vec!["telemetry".to_owned()],
        }
    }
}

impl Example for UpdateRequest {
    fn example() -> Self {
        Self {
            name: None,
            description: None,
            token_expire: Some(900),
            token_notbefore: None,
            refresh_expire: None,
            refresh_notbefore: None,
            key_type: None,
            algo: None,
            rotation_period: None,
            issuer: MaybeUndefined::Undefined,
            refresh_grace: Some(10),
            session_expire: MaybeUndefined::Null,
            max_sessions_per_subject: MaybeUndefined::Undefined,
            allowed_origins: None,
            registration_grace: None,
            registration_expire: MaybeUndefined::Undefined,
            push_binding: None,
            device_audiences: None,
        }
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
    AppObject {
        id: Id(AppId::EXAMPLE),
        name: "shop".to_owned(),
        description: "The web shop".to_owned(),
        token_expiry: 3600,
        token_notbefore: 0,
        refresh_expiry: 1_209_600,
        refresh_notbefore: 0,
        key_type: "ECDSA".to_owned(),
        algo: "ES256".to_owned(),
        rotation_period: 7_776_000,
        add_time: 1_740_427_049,
        update_time: 0,
        last_key_rotate: 0,
        issuer: "shop".to_owned(),
        refresh_grace: 0,
        session_expire: None,
        max_sessions_per_subject: None,
        allowed_origins: vec!["https://shop.example.com".to_owned()],
        registration_grace: 86_400,
        registration_expire: None,
        push_binding: false,
        device_audiences: vec!["telemetry".to_owned()],
    }
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
