//! The public keys of an app, which everybody may read.

use std::sync::Arc;

use entity::AppId;
use poem::{Request, http::header, web::Data};
use poem_openapi::{ApiResponse, OpenApi, param::Path, payload::Json};

use crate::{
    api::{
        failure::{Failure, may},
        tag::Tag,
        types::{Id, JsonObject},
    },
    app::App,
    error::Error,
};

/// Seconds for which the public keys may be kept that are told while the store does not answer.
const OUTAGE_MAX_AGE: u32 = 5;

/// The operation on public keys that needs no key.
#[derive(Debug, Default)]
pub struct Jwks;

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
impl Jwks {
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
    ) -> Result<JwksResponse, Failure<(may::Item, may::Store)>> {
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
