//! Cross-origin requests, as each app allows them; the public keys are open to all.

use std::sync::Arc;

use poem::{
    Endpoint, IntoResponse, Request, Response,
    http::{HeaderValue, Method, StatusCode, header},
};

use crate::{api::auth::app_id_in, app::App};

/// Seconds for which a browser may keep the answer to a preflight.
const MAX_AGE: &str = "600";

/// Wraps the routes.
#[derive(Debug)]
pub struct Cors<E> {
    pub routes: E,
    pub app: Arc<App>,
}

impl<E: Endpoint> Endpoint for Cors<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let path = request.uri().path();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let allowed = if path.starts_with("/app/") && path.ends_with("/.well-known/jwks.json") {
            // Without an Origin, too: a shared cache may hand the answer to a browser later.
            Some(HeaderValue::from_static("*"))
        } else {
            let Some(origin) = origin.filter(|_| path.starts_with("/app/")) else {
                return Ok(self.routes.call(request).await?.into_response());
            };
            self.allows(path, &origin).await?.then_some(origin)
        };

        let is_preflight = request.method() == Method::OPTIONS
            && request
                .headers()
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let mut response = if is_preflight {
            StatusCode::NO_CONTENT.into_response()
        } else {
            match self.routes.call(request).await {
                Ok(response) => response.into_response(),
                Err(mut error) => {
                    // The edge makes the answer; it puts these on it.
                    error.set_data(CorsHeaders(allowed));
                    return Err(error);
                }
            }
        };
        CorsHeaders(allowed).put_on(&mut response, is_preflight);
        Ok(response)
    }
}

impl<E> Cors<E> {
    async fn allows(&self, path: &str, origin: &HeaderValue) -> poem::Result<bool> {
        let Some(id) = app_id_in(path) else {
            return Ok(false);
        };
        let loaded = self.app.load(id).await?;
        Ok(loaded.is_some_and(|loaded| {
            loaded
                .app
                .allowed_origins()
                .any(|allowed| allowed.as_bytes() == origin.as_bytes())
        }))
    }
}

/// What tells a browser whether the page may read the answer.
#[derive(Clone, Debug)]
pub struct CorsHeaders(Option<HeaderValue>);

impl CorsHeaders {
    /// Puts them on `response`.
    pub fn put_on(&self, response: &mut Response, is_preflight: bool) {
        let headers = response.headers_mut();
        // Also when the origin is refused: another one's answer differs.
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(allowed) = &self.0 else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
        if is_preflight {
            for (name, value) in [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PATCH"),
                (
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    "authorization, content-type, if-none-match, x-request-id",
                ),
                (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
        } else {
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("etag, retry-after, x-request-id"),
            );
        }
    }
}
