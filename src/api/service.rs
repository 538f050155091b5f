//! The service itself: is it up, and the public keys that everybody may read.

use std::sync::Arc;

use entity::AppId;
use poem::{Request, http::header, web::Data};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::Path,
    payload::{Json, PlainText},
    types::Example,
};

use crate::{
    api::{
        failure::{Failure, Health, Open, OpenApp},
        refused::Refused,
        tag::Tag,
        types::{Id, JsonObject, StatusResponse},
    },
    app::App,
    error::Error,
};

/// Seconds for which the public keys may be kept that are told while the store does not answer.
const OUTAGE_MAX_AGE: u32 = 5;

/// The operations that need no key.
#[derive(Debug)]
pub struct Service;

/// All is well.
#[derive(Debug, Object)]
#[oai(example)]
pub struct HealthResponse {
    /// Always `ok`.
    pub message: String,
}

/// The public keys, or that they are the ones that the caller has.
#[derive(Debug, ApiResponse)]
pub enum JwksResponse {
    /// A JWK Set (RFC 7517)
    #[oai(status = 200)]
    Keys(
        Json<JsonObject>,
        /// For how long they may be kept.
        #[oai(header = "Cache-Control")]
        String,
        /// Names this state of the set.
        #[oai(header = "ETag")]
        String,
    ),
    /// The caller has them: its `If-None-Match` names them
    #[oai(status = 304)]
    Unchanged(
        /// For how long they may be kept.
        #[oai(header = "Cache-Control")]
        String,
        /// Names this state of the set.
        #[oai(header = "ETag")]
        String,
    ),
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
    async fn ping(&self) -> Result<PlainText<&'static str>, Failure<Open>> {
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
    ) -> Result<Json<HealthResponse>, Failure<Health>> {
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
    async fn livez(&self) -> Result<Json<StatusResponse>, Failure<Open>> {
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
    ) -> Result<Json<StatusResponse>, Failure<Health>> {
        if app.stopping.is_cancelled() {
            return Err(Refused::Stopping.into());
        }
        app.ping().await.map_err(Refused::StoreDown)?;
        Ok(Json(StatusResponse::ok()))
    }

    /// Get the public keys of an app
    ///
    /// As JWK Set, for verifiers. Keys that are about to sign are there before they do.
    #[oai(
        path = "/app/:app_id/.well-known/jwks.json",
        method = "get",
        operation_id = "jwks",
        tag = "Tag::Keys"
    )]
    async fn jwks(
        &self,
        Data(app): Data<&Arc<App>>,
        request: &Request,
        app_id: Path<Id<AppId>>,
    ) -> Result<JwksResponse, Failure<OpenApp>> {
        let Id(id) = app_id.0;
        let (loaded, is_fresh) = app.load_public(id).await?;
        let loaded = loaded.ok_or(Error::NotFound("app"))?;
        let jwks = &loaded.keyring.jwks;
        // Verifiers do not fall with the store; what may have changed since, they ask for again soon.
        let seconds = if is_fresh {
            app.config.jwks_max_age
        } else {
            app.config.jwks_max_age.min(OUTAGE_MAX_AGE)
        };
        let max_age = format!("public, max-age={seconds}");
        let known = request
            .headers()
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','))
            // A weak tag matches as well as a strong one (RFC 9110 section 13.1.2).
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag == jwks.etag);
        if known {
            return Ok(JwksResponse::Unchanged(max_age, jwks.etag.clone()));
        }
        let set = JsonObject(jwks.set.clone());
        Ok(JwksResponse::Keys(Json(set), max_age, jwks.etag.clone()))
    }
}

impl Example for HealthResponse {
    fn example() -> Self {
        Self {
            message: "ok".to_owned(),
        }
    }
}
