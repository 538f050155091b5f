//! `/app/{app_id}/devices`: the devices of an app, and where to push.

use std::sync::Arc;

use entity::DeviceId;
use poem::web::Data;
use poem_openapi::{OpenApi, param::Query, payload::Json};

use crate::{
    api::{
        auth::SecretKey,
        body::Body,
        device_objects::{
            DeviceObject, DevicesResponse, PushFeedbackRequest, PushFeedbackResponse,
            PushTargetsResponse, UpdateDeviceRequest,
        },
        failure::{Failure, may},
        item::Item,
        session_objects::LogoutResponse,
        tag::Tag,
        types::{Id, Subject, default_limit},
    },
    app::App,
    devices,
    error::Result,
};

/// The operations on devices.
#[derive(Debug, Default)]
pub struct Devices;

type Reply<T, S> = Result<Json<T>, Failure<S>>;

#[OpenApi(tag = "Tag::Devices")]
impl Devices {
    /// List the devices of an app
    ///
    /// All of them, or those of a user; the newest first.
    #[oai(
        path = "/app/:app_id/devices",
        method = "get",
        operation_id = "list_devices"
    )]
    async fn list(
        &self,
        Data(app): Data<&Arc<App>>,
        SecretKey(caller): SecretKey,
        /// Devices of this user only.
        sub: Query<Option<Subject>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Id<DeviceId>>>,
        /// Devices on a page.
        #[oai(
            default = "default_limit",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Reply<DevicesResponse, (may::Key, may::Item, may::Query)> {
        let cursor = cursor.0.map(|Id(id)| id);
        let sub = sub.0.as_ref().map(|Subject(sub)| sub.as_str());
        let page = devices::list(app, caller.app.app.id, sub, cursor, limit.0).await?;
        Ok(Json(page.into()))
    }

    /// Show a device
    #[oai(
        path = "/app/:app_id/devices/:device_id",
        method = "get",
        operation_id = "show_device"
    )]
    async fn show(
        &self,
        Data(app): Data<&Arc<App>>,
        SecretKey(caller): SecretKey,
        device_id: Item<Id<DeviceId>>,
    ) -> Reply<DeviceObject, (may::Key, may::Item)> {
        let Id(id) = device_id.0;
        let device = devices::show(app, caller.app.app.id, id).await?;
        Ok(Json(device.into()))
    }

    /// Change a device, or disable it
    #[oai(
        path = "/app/:app_id/devices/:device_id",
        method = "patch",
        operation_id = "update_device"
    )]
    async fn update(
        &self,
        Data(app): Data<&Arc<App>>,
        SecretKey(caller): SecretKey,
        device_id: Item<Id<DeviceId>>,
        body: Body<UpdateDeviceRequest>,
    ) -> Reply<DeviceObject, (may::Key, may::Item, may::Body)> {
        let Id(id) = device_id.0;
        let changes = body.value.changes();
        let device = devices::update(app, &caller, id, changes).await?;
        Ok(Json(device.into()))
    }

    /// Forget a device
    ///
    /// What lives on it ends, and it is not known any more.
    #[oai(
        path = "/app/:app_id/devices/:device_id",
        method = "delete",
        operation_id = "delete_device"
    )]
    async fn delete(
        &self,
        Data(app): Data<&Arc<App>>,
        SecretKey(caller): SecretKey,
        device_id: Item<Id<DeviceId>>,
    ) -> Reply<LogoutResponse, (may::Key, may::Item)> {
        let Id(id) = device_id.0;
        let revoked = devices::delete(app, &caller, id).await?;
        Ok(Json(LogoutResponse::of(revoked)))
    }

    /// End everything of a device
    ///
    /// Its sessions, its registration tokens and its push token, together. When this has answered, none of them renews. The
    /// device stays known, and its user may sign in on it again.
    #[oai(
        path = "/app/:app_id/devices/:device_id/revoke",
        method = "post",
        operation_id = "revoke_device"
    )]
    async fn revoke(
        &self,
        Data(app): Data<&Arc<App>>,
        SecretKey(caller): SecretKey,
        device_id: Item<Id<DeviceId>>,
    ) -> Reply<LogoutResponse, (may::Key, may::Item)> {
        let Id(id) = device_id.0;
        let revoked = devices::revoke(app, &caller, id).await?;
        Ok(Json(LogoutResponse::of(revoked)))
    }

    /// List where to push messages for a user
    ///
    /// The user's devices that have a push token and are not disabled, with the tokens: for who sends the messages.
    #[oai(
        path = "/app/:app_id/push-targets",
        method = "get",
        operation_id = "push_targets"
    )]
    async fn push_targets(
        &self,
        Data(app): Data<&Arc<App>>,
        SecretKey(caller): SecretKey,
        /// The user.
        sub: Query<Subject>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<Id<DeviceId>>>,
        /// Devices on a page.
        #[oai(
            default = "default_limit",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Reply<PushTargetsResponse, (may::Key, may::Query)> {
        let (Subject(sub), cursor) = (&sub.0, cursor.0.map(|Id(id)| id));
        let page = devices::push_targets(app, caller.app.app.id, sub, cursor, limit.0).await?;
        Ok(Json(page.into()))
    }

    /// Tell which push tokens are dead
    ///
    /// They are forgotten. Where the app's `push_binding` says so, the sessions on their devices end, too.
    #[oai(
        path = "/app/:app_id/push-feedback",
        method = "post",
        operation_id = "push_feedback"
    )]
    async fn push_feedback(
        &self,
        Data(app): Data<&Arc<App>>,
        SecretKey(caller): SecretKey,
        body: Body<PushFeedbackRequest>,
    ) -> Reply<PushFeedbackResponse, (may::Key, may::Body)> {
        let tokens = body.value.tokens();
        Ok(Json(
            devices::unregister(app, &caller, &tokens).await?.into(),
        ))
    }
}
