//! `/root`: the administration of apps.

use std::sync::Arc;

use entity::{AppId, DeviceId};
use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};

use crate::{
    api::{
        app_objects::{CreateRequest, CreateResponse, ListResponse, UpdateRequest},
        auth::RootKey,
        body::Body,
        device_objects::DevicesResponse,
        failure::{Failure, may},
        tag::Tag,
        types::{Id, StatusResponse, default_limit},
    },
    app::App,
    apps, devices,
    error::{Error, Result},
};

/// The operations on apps.
#[derive(Debug, Default)]
pub struct Apps;

type Reply<T, S> = Result<Json<T>, Failure<S>>;

#[OpenApi]
impl Apps {
    /// Make an app
    ///
    /// With its signing key, a secret and a publishable app-key. The keys are shown this once.
    #[oai(
        path = "/root/create",
        method = "post",
        operation_id = "create_app",
        tag = "Tag::Administration"
    )]
    async fn create(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        body: Body<CreateRequest>,
    ) -> Reply<CreateResponse, (may::Key, may::Body)> {
        let created = apps::create(app, &actor, body.value.0).await?;
        Ok(Json(created.into()))
    }

    /// List the apps
    ///
    /// The newest first.
    #[oai(
        path = "/root/list",
        method = "get",
        operation_id = "list_apps",
        tag = "Tag::Administration"
    )]
    async fn list(
        &self,
        Data(app): Data<&Arc<App>>,
        _root: RootKey,
        /// Apps whose name contains this only, in upper or lower case.
        name: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Id<AppId>>>,
        /// Apps on a page.
        #[oai(
            default = "default_limit",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Reply<ListResponse, (may::Key, may::Query)> {
        // What no name can be is a mistake.
        let is_name = |name: &String| !name.is_empty() && !name.contains('\0');
        if !name.0.iter().all(is_name) {
            return Err(Error::invalid("name", "must not be empty or contain NUL").into());
        }
        let cursor: Option<AppId> = cursor.0.map(|Id(id)| id);
        let page = apps::list(app, name.0.as_deref(), cursor, limit.0).await?;
        Ok(Json(page.into()))
    }

    /// Change an app
    ///
    /// Any subset of its policy. What was issued before keeps its dates.
    #[oai(
        path = "/root/:app_id",
        method = "patch",
        operation_id = "update_app",
        tag = "Tag::Administration"
    )]
    async fn update(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
        body: Body<UpdateRequest>,
    ) -> Reply<StatusResponse, (may::Key, may::Item, may::Body)> {
        let Id(id) = app_id.0;
        apps::update(app, &actor, id, body.value.0).await?;
        Ok(Json(StatusResponse::ok()))
    }

    /// Delete an app
    ///
    /// Its keys and tokens are worth nothing from now on. There is no way back.
    #[oai(
        path = "/root/:app_id",
        method = "delete",
        operation_id = "delete_app",
        tag = "Tag::Administration"
    )]
    async fn delete(
        &self,
        Data(app): Data<&Arc<App>>,
        RootKey(actor): RootKey,
        app_id: Path<Id<AppId>>,
    ) -> Reply<StatusResponse, (may::Key, may::Item)> {
        let Id(id) = app_id.0;
        apps::delete(app, &actor, id).await?;
        Ok(Json(StatusResponse::ok()))
    }

    /// List the devices of an app, with the root key
    #[oai(
        path = "/root/:app_id/devices",
        method = "get",
        operation_id = "list_devices_of_app",
        tag = "Tag::Administration"
    )]
    async fn list_devices(
        &self,
        Data(app): Data<&Arc<App>>,
        _root: RootKey,
        app_id: Path<Id<AppId>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Id<DeviceId>>>,
        /// Devices on a page.
        #[oai(
            default = "default_limit",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Reply<DevicesResponse, (may::Key, may::Item, may::Query)> {
        let (Id(id), cursor) = (app_id.0, cursor.0.map(|Id(id)| id));
        let page = devices::list(app, id, None, cursor, limit.0).await?;
        Ok(Json(page.into()))
    }
}
