//! App-keys as JSON.

use entity::{AppId, AppKeyId, SecretKind, Timestamp, app_key};
use poem_openapi::{Enum, Object, types::Example};

use crate::{
    api::types::Id,
    apps::{MadeKey, keys::DEFAULT_OVERLAP},
    page::Listing,
};

/// What an app-key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum AppKeyKind {
    /// Everything of the app: for backends.
    Secret,
    /// What a browser may: renew, logout, pub-keys, verify.
    Publishable,
}

/// Which key to replace, and how fast.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RotateKeyRequest {
    /// Seconds for which the old key still works; 0 ends it at once.
    #[oai(
        default = "default_overlap",
        validator(minimum(value = "0"), maximum(value = "2592000"))
    )]
    pub overlap: i64,
    #[oai(default = "default_kind")]
    pub kind: AppKeyKind,
}

/// A key that replaced another. It is shown this once.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RotateKeyResponse {
    pub app_id: Id<AppId>,
    pub app_key: String,
    pub id: Id<AppKeyId>,
    pub kind: AppKeyKind,
}

/// A key that is to be made.
#[derive(Debug, Object)]
#[oai(example)]
pub struct CreateKeyRequest {
    pub kind: AppKeyKind,
    /// What people call it.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub name: String,
    /// Seconds until it ends by itself.
    #[oai(
        nullable,
        validator(minimum(value = "60"), maximum(value = "315360000"))
    )]
    pub expires_in: Option<i64>,
}

/// A key that was made. It is shown this once.
#[derive(Debug, Object)]
#[oai(example)]
pub struct CreateKeyResponse {
    pub app_key: String,
    #[oai(flatten)]
    pub key: AppKeyObject,
}

/// A page of app-keys.
#[derive(Debug, Object)]
#[oai(example)]
pub struct KeysResponse {
    pub keys: Vec<AppKeyObject>,
    /// Where the next page begins; null on the last.
    #[oai(nullable)]
    pub next_cursor: Option<Id<AppKeyId>>,
}

/// An app-key, but for its secret. Times in RFC 3339.
#[derive(Debug, Object)]
pub struct AppKeyObject {
    pub id: Id<AppKeyId>,
    pub kind: AppKeyKind,
    /// Empty for the app's main keys.
    pub name: String,
    pub created_at: String,
    #[oai(nullable)]
    pub expires_at: Option<String>,
    /// To the minute.
    #[oai(nullable)]
    pub last_used_at: Option<String>,
    #[oai(nullable)]
    pub revoked_at: Option<String>,
}

const fn default_overlap() -> i64 {
    DEFAULT_OVERLAP
}

const fn default_kind() -> AppKeyKind {
    AppKeyKind::Secret
}

impl Default for RotateKeyRequest {
    fn default() -> Self {
        Self {
            overlap: default_overlap(),
            kind: default_kind(),
        }
    }
}

impl RotateKeyResponse {
    /// The answer to who asked for it.
    pub fn of(app_id: AppId, made: &MadeKey, kind: AppKeyKind) -> Self {
        Self {
            app_id: Id(app_id),
            app_key: made.secret.reveal().to_owned(),
            id: Id(made.row.id),
            kind,
        }
    }
}

impl From<AppKeyKind> for SecretKind {
    fn from(kind: AppKeyKind) -> Self {
        match kind {
            AppKeyKind::Secret => Self::Secret,
            AppKeyKind::Publishable => Self::Publishable,
        }
    }
}

impl From<app_key::Kind> for AppKeyKind {
    fn from(kind: app_key::Kind) -> Self {
        match kind {
            app_key::Kind::Publishable => Self::Publishable,
            // A root key is no key of an app, and not listed as one.
            app_key::Kind::Secret | app_key::Kind::Root => Self::Secret,
        }
    }
}

impl From<app_key::Model> for AppKeyObject {
    fn from(row: app_key::Model) -> Self {
        Self {
            id: Id(row.id),
            kind: row.kind.into(),
            name: row.name,
            created_at: row.created_at.to_rfc3339(),
            expires_at: row.expires_at.map(Timestamp::to_rfc3339),
            last_used_at: row.last_used_at.map(Timestamp::to_rfc3339),
            revoked_at: row.revoked_at.map(Timestamp::to_rfc3339),
        }
    }
}

impl From<Listing<app_key::Model, AppKeyId>> for KeysResponse {
    fn from(page: Listing<app_key::Model, AppKeyId>) -> Self {
        Self {
            keys: page.items.into_iter().map(AppKeyObject::from).collect(),
            next_cursor: page.next.map(Id),
        }
    }
}

impl Example for RotateKeyRequest {
    fn example() -> Self {
        Self::default()
    }
}

impl Example for RotateKeyResponse {
    fn example() -> Self {
        Self {
            app_id: Id(AppId::EXAMPLE),
            app_key: "rnw_sk_01JMWRJEJ71191KP88NDGWVYEW…".to_owned(),
            id: Id(AppKeyId::EXAMPLE),
            kind: AppKeyKind::Secret,
        }
    }
}

impl Example for CreateKeyRequest {
    fn example() -> Self {
        Self {
            kind: AppKeyKind::Secret,
            name: "billing service".to_owned(),
            expires_in: Some(31_536_000),
        }
    }
}

fn example_key() -> AppKeyObject {
    AppKeyObject {
        id: Id(AppKeyId::EXAMPLE),
        kind: AppKeyKind::Secret,
        name: "billing service".to_owned(),
        created_at: "2026-11-20T12:00:00Z".to_owned(),
        expires_at: Some("2027-11-20T12:00:00Z".to_owned()),
        last_used_at: None,
        revoked_at: None,
    }
}

impl Example for CreateKeyResponse {
    fn example() -> Self {
        Self {
            app_key: "rnw_sk_01JMWRJEJ71191KP88NDGWVYEW…".to_owned(),
            key: example_key(),
        }
    }
}

impl Example for KeysResponse {
    fn example() -> Self {
        Self {
            keys: vec![example_key()],
            next_cursor: None,
        }
    }
}
