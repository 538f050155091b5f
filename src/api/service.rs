//! The service itself: is it up.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    payload::{Json, PlainText},
    types::Example,
};

use crate::{
    api::{
        failure::{Failure, may},
        refused::Refused,
        tag::Tag,
        types::StatusResponse,
    },
    app::App,
};

/// The operations that need no key.
#[derive(Debug, Default)]
pub struct Service;

/// All is well.
#[derive(Debug, Object)]
#[oai(example)]
pub struct HealthResponse {
    /// Always `ok`.
    pub message: String,
}

#[OpenApi]
impl Service {
    /// Tell that the server answers
    #[oai(
        path = "/ping",
        method = "get",
        operation_id = "ping",
        tag = "Tag::Service"
    )]
    async fn ping(&self) -> Result<PlainText<&'static str>, Failure<()>> {
        Ok(PlainText("pong"))
    }

    /// Tell that the server and its store answer
    #[oai(
        path = "/health",
        method = "get",
        operation_id = "health",
        tag = "Tag::Service"
    )]
    async fn health(
        &self,
        Data(app): Data<&Arc<App>>,
    ) -> Result<Json<HealthResponse>, Failure<(may::Store,)>> {
        app.ping().await.map_err(Refused::StoreDown)?;
        Ok(Json(HealthResponse::example()))
    }

    /// Tell that the process is alive
    #[oai(
        path = "/livez",
        method = "get",
        operation_id = "livez",
        tag = "Tag::Service"
    )]
    async fn livez(&self) -> Result<Json<StatusResponse>, Failure<()>> {
        Ok(Json(StatusResponse::ok()))
    }

    /// Tell that requests can be served
    #[oai(
        path = "/readyz",
        method = "get",
        operation_id = "readyz",
        tag = "Tag::Service"
    )]
    async fn readyz(
        &self,
        Data(app): Data<&Arc<App>>,
    ) -> Result<Json<StatusResponse>, Failure<(may::Store,)>> {
        if app.stopping.is_cancelled() {
            return Err(Refused::Stopping.into());
        }
        app.ping().await.map_err(Refused::StoreDown)?;
        Ok(Json(StatusResponse::ok()))
    }
}

impl Example for HealthResponse {
    fn example() -> Self {
        Self {
            message: "ok".to_owned(),
        }
    }
}
