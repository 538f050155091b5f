//! Cross-origin requests, as each app allows them; the public keys are open to all.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use entity::app;
use poem::{
    Endpoint, IntoResponse, Request, Response,
    http::{HeaderValue, Method, StatusCode, header},
};

use crate::{api::request::app_id_in, app::App, apps::origin, error::Error};

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
        } else if let Some(origin) = origin.clone().filter(|_| names_app_inside(path)) {
            return self.ask_inside(request, origin).await;
        } else {
            let Some(origin) = origin.clone().filter(|_| path.starts_with("/app/")) else {
                return Ok(self.routes.call(request).await?.into_response());
            };
            // It shows no key, and without it the page would not learn why the request is refused.
            let is_open = is_preflight(&request) && takes_key(path);
            (is_open || self.allows(path, &origin).await?).then_some(origin)
        };

        let is_preflight = is_preflight(&request);
        let mut response = if is_preflight {
            StatusCode::NO_CONTENT.into_response()
        } else {
            match self.routes.call(request).await {
                Ok(response) => response.into_response(),
                Err(mut error) => {
                    let is_origin = matches!(error.downcast_ref(), Some(Error::OriginNotAllowed));
                    // The edge makes the answer; it puts these on it.
                    error.set_data(CorsHeaders(allowed.or(origin.filter(|_| is_origin))));
                    return Err(error);
                }
            }
        };
        CorsHeaders(allowed).put_on(&mut response, is_preflight);
        Ok(response)
    }
}

impl<E: Endpoint> Cors<E> {
    /// Where the app is named within the request. A preflight does not show it, and tells nothing: it is allowed to all; the
    /// answer itself may be read by who is allowed by the app that it turns out to be.
    async fn ask_inside(
        &self,
        mut request: Request,
        origin: HeaderValue,
    ) -> poem::Result<Response> {
        if is_preflight(&request) {
            let mut response = StatusCode::NO_CONTENT.into_response();
            CorsHeaders(Some(origin)).put_on(&mut response, true);
            return Ok(response);
        }
        let shown = Shown::default();
        request.set_data(shown.clone());
        let result = self.routes.call(request).await;
        let headers = CorsHeaders(shown.0.load(Ordering::Relaxed).then_some(origin));
        match result {
            Ok(response) => {
                let mut response = response.into_response();
                headers.put_on(&mut response, false);
                Ok(response)
            }
            Err(mut error) => {
                error.set_data(headers);
                Err(error)
            }
        }
    }
}

fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether a key is asked for at this path of an app, so that pages of other origins are refused there by the request itself.
/// A device shows its registration token instead.
fn takes_key(path: &str) -> bool {
    app_id_in(path).is_some() && !path.ends_with("/devices/session")
}

/// The paths of other systems that browsers use, which name no app.
fn names_app_inside(path: &str) -> bool {
    path == "/events" || path == "/devices/refresh-token" || path.starts_with("/web/json/plugin/")
}

/// Whether the page that asks may read the answer: known when the app is.
#[derive(Clone, Debug, Default)]
struct Shown(Arc<AtomicBool>);

/// Lets the page that sent `request`, which names no app in its path, read the answer, if the app allows its origin.
pub fn show(request: &Request, app: &app::Model) {
    let origin = request.headers().get(header::ORIGIN);
    let is_allowed = origin.is_some_and(|origin| is_allowed(app, origin));
    if let Some(shown) = request.data::<Shown>() {
        shown.0.store(is_allowed, Ordering::Relaxed);
    }
}

fn is_allowed(app: &app::Model, origin: &HeaderValue) -> bool {
    origin
        .to_str()
        .is_ok_and(|origin| origin::is_allowed(app, origin))
}

impl<E> Cors<E> {
    async fn allows(&self, path: &str, origin: &HeaderValue) -> poem::Result<bool> {
        let Some(id) = app_id_in(path) else {
            return Ok(false);
        };
        let loaded = self.app.load(id).await?;
        Ok(loaded.is_some_and(|loaded| is_allowed(&loaded.app, origin)))
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
                (
                    header::ACCESS_CONTROL_ALLOW_METHODS,
                    "GET, POST, PUT, PATCH",
                ),
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
