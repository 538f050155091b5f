//! `/root/{app_id}/keys`: the app-keys.

use std::sync::Arc;

use entity::{AppId, AppKeyId};
use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};

use crate::{
    api::{
        app_key_objects::{
            CreateKeyRequest, CreateKeyResponse, KeysResponse, RotateKeyRequest, RotateKeyResponse,
        },
        auth::RootKey,
        body::{Body, MaybeBody},
        failure::{Failure, may},
        tag::Tag,
        types::{Id, StatusResponse, default_limit},
    },
    app::App,
    apps::{NewAppKey, keys},
    audit::Actor,
    error::Result,
};

/// The operations on app-keys.
#[derive(Debug, Default)]
pub struct AppKeys;

type Reply<T, S> = Result<Json<T>, Failure<S>>;

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
    ) -> Reply<RotateKeyResponse, (may::Key, may::Item, may::Body, may::Conflict)> {
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
    ) -> Reply<RotateKeyResponse, (may::Key, may::Item, may::Conflict)> {
        let Id(id) = app_id.0;
        Ok(Json(
            rotate(app, &actor, id, &RotateKeyRequest::default()).await?,
        ))
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
    ) -> Reply<KeysResponse, (may::Key, may::Item, may::Query)> {
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
    ) -> Reply<CreateKeyResponse, (may::Key, may::Item, may::Body, may::Conflict)> {
        let (Id(id), request) = (app_id.0, body.value);
        let new = NewAppKey {
            kind: request.kind.into(),
            name: request.name,
            expires_in: request.expires_in,
            application_id: None,
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
    ) -> Reply<StatusResponse, (may::Key, may::Item)> {
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
