//! `/app/{app_id}`: what an app may know of itself.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{OpenApi, payload::Json};

use crate::{
    api::{
        app_objects::{AppInfoResponse, AppObject},
        auth::{AnyKey, SecretKey},
        failure::{Failure, may},
        public_key_objects::PubKeysResponse,
        tag::Tag,
    },
    app::App,
    error::Result,
};

/// The operations on the app itself.
#[derive(Debug, Default)]
pub struct AppInfo;

type Reply<T> = Result<Json<T>, Failure<(may::Key,)>>;

#[OpenApi]
impl AppInfo {
    /// Show the app
    #[oai(
        path = "/app/:app_id",
        method = "get",
        operation_id = "get_app",
        tag = "Tag::Keys"
    )]
    async fn show(&self, SecretKey(caller): SecretKey) -> Reply<AppInfoResponse> {
        let app = AppObject::of(&caller.app.app);
        Ok(Json(AppInfoResponse { app }))
    }

    /// List the public keys
    #[oai(
        path = "/app/:app_id/pub-keys",
        method = "get",
        operation_id = "pub_keys",
        tag = "Tag::Keys"
    )]
    async fn pub_keys(
        &self,
        Data(app): Data<&Arc<App>>,
        AnyKey(caller): AnyKey,
    ) -> Reply<PubKeysResponse> {
        Ok(Json(PubKeysResponse::of(&caller.app, app.clock.now())))
    }
}
