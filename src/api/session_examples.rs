//! What the documentation shows of the operations on sessions.

use std::net::{IpAddr, Ipv4Addr};

use entity::{SessionId, SigningKeyId, TokenId};
use poem_openapi::types::{Example, MaybeUndefined};
use serde_json::{Map, Value, json};

use crate::api::{
    session_objects::{
        AmendRequest, GetSessionRequest, GetSessionResponse, GrantResponse, LogoutRequest,
        LogoutResponse, RenewRequest, SessionObject, SignRequest, TokenKind, VerifyRequest,
        VerifyResponse,
    },
    types::{Audience, Id, JsonObject},
};

const EXAMPLE_AUTH_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjAxSk1X…";
const EXAMPLE_REFRESH_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjAxSk1Y…";
const EXAMPLE_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
const EXAMPLE_USER_AGENT: &str = "Mozilla/5.0";
const EXAMPLE_SUBJECT: &str = "user@example.com";

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(members) => JsonObject(members),
        _ => JsonObject(Map::new()),
    }
}

impl Example for SignRequest {
    fn example() -> Self {
        Self {
            sub: EXAMPLE_SUBJECT.to_owned(),
            aud: Audience("web-app".into()),
            ip: EXAMPLE_ADDRESS,
            useragent: EXAMPLE_USER_AGENT.to_owned(),
            personal: Some(object(json!({"name": "Ada"}))),
            device_id: None,
            custom: object(json!({"role": "admin"})),
        }
    }
}

impl Example for RenewRequest {
    fn example() -> Self {
        Self {
            refresh_token: EXAMPLE_REFRESH_TOKEN.to_owned(),
            ip: Some(EXAMPLE_ADDRESS),
            useragent: Some(EXAMPLE_USER_AGENT.to_owned()),
            device_id: None,
        }
    }
}

impl Example for GrantResponse {
    fn example() -> Self {
        Self {
            auth_token: EXAMPLE_AUTH_TOKEN.to_owned(),
            refresh_token: EXAMPLE_REFRESH_TOKEN.to_owned(),
            key_id: Id(SigningKeyId::EXAMPLE),
            public_key: "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0K…".to_owned(),
            session_id: Id(SessionId::EXAMPLE),
            token_type: "Bearer".to_owned(),
            expires_in: 3600,
            refresh_expires_in: 7200,
            renew_after: 3000,
            refresh_grace: 0,
        }
    }
}

impl Example for VerifyRequest {
    fn example() -> Self {
        Self {
            token: EXAMPLE_AUTH_TOKEN.to_owned(),
        }
    }
}

impl Example for VerifyResponse {
    fn example() -> Self {
        Self {
            verified: true,
            claims: Some(object(json!({"sub": EXAMPLE_SUBJECT, "aud": "web-app"}))),
            kind: Some(TokenKind::Auth),
            session_id: Some(Id(SessionId::EXAMPLE)),
        }
    }
}

impl Example for LogoutRequest {
    fn example() -> Self {
        Self {
            token: Some(EXAMPLE_AUTH_TOKEN.to_owned()),
            session_id: None,
            sub: None,
            except_session_id: None,
        }
    }
}

impl Example for LogoutResponse {
    fn example() -> Self {
        Self::of(1)
    }
}

impl Example for GetSessionRequest {
    fn example() -> Self {
        Self {
            sub: EXAMPLE_SUBJECT.to_owned(),
            cursor: None,
            limit: 50,
        }
    }
}

impl Example for GetSessionResponse {
    fn example() -> Self {
        let session = SessionObject {
            token_id: Id(TokenId::EXAMPLE),
            key_id: Id(SigningKeyId::EXAMPLE),
            auth_token_iat: 1_740_427_049,
            auth_token_nbf: 1_740_427_049,
            auth_token_exp: 1_740_430_649,
            refresh_token_iat: 1_740_427_049,
            refresh_token_nbf: 1_740_427_109,
            refresh_token_exp: 1_740_437_849,
            ip_address: EXAMPLE_ADDRESS.to_string(),
            user_agent: EXAMPLE_USER_AGENT.to_owned(),
            session_id: Id(SessionId::EXAMPLE),
            created_at: "2025-02-24T19:57:29Z".to_owned(),
            renewed_at: None,
            renewals: 0,
            device_id: None,
        };
        Self {
            sessions: vec![session],
            next_cursor: None,
        }
    }
}

impl Example for AmendRequest {
    fn example() -> Self {
        Self {
            personal: MaybeUndefined::Value(object(json!({"name": "Ada Lovelace"}))),
            custom: object(json!({"role": null})),
        }
    }
}
