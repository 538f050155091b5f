//! `/root/{app_id}/keys`: the app-keys.

use std::sync::Arc;

use entity::{AppId, AppKeyId, SecretKind, Timestamp, app_key};
use poem::web::Data;
use poem_openapi::{
    Enum, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
    types::Example,
};

use crate::{
    api::{
        Tag,
        auth::RootKey,
        body::{Body, MaybeBody},
        failure::{Failure, KeyedChange, KeyedItem, KeyedItemChange, KeyedItemQuery, Open},
        types::{Id, StatusResponse, default_limit},
    },
    app::App,
    apps::{
        MadeKey, NewAppKey,
        keys::{self, DEFAULT_OVERLAP},
    },
    audit::Actor,
    error::Result,
    page::Listing,
};

/// The operations on app-keys.
#[derive(Debug)]
pub struct AppKeys;

type Reply<T, S> = Result<Json<T>, Failure<S>>;

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

#[OpenApi(prefix_path = "/root", tag = "Tag::Administration")]
impl AppKeys {
    /// Replace an app's main key
    ///
    /// The old one works for `overlap` seconds more: a day, unless something else is asked for. With the secret key and an overlap
    /// of 0, the tokens of all applications of SCAEM end, too.
    #[oai(
        path = "/:app_id/rotate/key",
        method = "post",
        operation_id = "rotate_app_key"
    )]
    async fn rotate(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
        body: MaybeBody<RotateKeyRequest>,
    ) -> Reply<RotateKeyResponse, KeyedItemChange> {
        let Id(id) = app_id.0;
        Ok(Json(rotate(app, &actor, id, &body.0).await?))
    }

    /// Replace an app's main key (as JWTPlus has it)
    #[oai(
        path = "/:app_id/rotate/key",
        method = "get",
        operation_id = "rotate_app_key_get",
        deprecated
    )]
    async fn rotate_get(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
    ) -> Reply<RotateKeyResponse, KeyedChange> {
        let Id(id) = app_id.0;
        Ok(Json(
            rotate(app, &actor, id, &RotateKeyRequest::default()).await?,
        ))
    }

    #[oai(path = "/:app_id/rotate/key", method = "head", hidden)]
    async fn rotate_get_head(&self) -> Result<(), Failure<Open>> {
        Err(Failure::no_head())
    }

    /// List the app-keys
    ///
    /// The newest first, with those that ended.
    #[oai(path = "/:app_id/keys", method = "get", operation_id = "list_app_keys")]
    async fn list(
        &self,
        Data(app): Data<&Arc<App>>,
        _root: RootKey,
        app_id: Path<Id<AppId>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Id<AppKeyId>>>,
        /// Keys on a page.
        #[oai(
            default = "default_limit",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Reply<KeysResponse, KeyedItemQuery> {
        let Id(id) = app_id.0;
        let cursor: Option<AppKeyId> = cursor.0.map(|Id(id)| id);
        Ok(Json(keys::list(app, id, cursor, limit.0).await?.into()))
    }

    /// Make an app-key
    ///
    /// Beside those that there are: 100 may live at once. It is shown this once.
    #[oai(
        path = "/:app_id/keys",
        method = "post",
        operation_id = "create_app_key"
    )]
    async fn create(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
        body: Body<CreateKeyRequest>,
    ) -> Reply<CreateKeyResponse, KeyedItemChange> {
        let (Id(id), request) = (app_id.0, body.value);
        let new = NewAppKey {
            kind: request.kind.into(),
            name: request.name,
            expires_in: request.expires_in,
            registration_id: None,
        };
        let made = keys::create(app, &actor, id, new).await?;
        Ok(Json(CreateKeyResponse {
            app_key: made.secret.reveal().to_owned(),
            key: made.row.into(),
        }))
    }

    /// Revoke an app-key
    ///
    /// It ends at once.
    #[oai(
        path = "/:app_id/keys/:key_id",
        method = "delete",
        operation_id = "revoke_app_key"
    )]
    async fn revoke(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
        key_id: Path<Id<AppKeyId>>,
    ) -> Reply<StatusResponse, KeyedItem> {
        let (Id(id), Id(key)) = (app_id.0, key_id.0);
        keys::revoke(app, &actor, id, key).await?;
        Ok(Json(StatusResponse::ok()))
    }
}

async fn rotate(
    app: &App,
    actor: &Actor,
    id: AppId,
    request: &RotateKeyRequest,
) -> Result<RotateKeyResponse> {
    let made = keys::rotate(app, actor, id, request.kind.into(), request.overlap).await?;
    Ok(RotateKeyResponse::of(id, &made, request.kind))
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
    fn of(app_id: AppId, made: &MadeKey, kind: AppKeyKind) -> Self {
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
