//! The outermost layer: gives each request its id, its line in the log and its count, and makes every
//! failure a problem document.

use std::{collections::HashMap, sync::Arc, time::Instant};

use entity::RequestId;
use poem::{
    Endpoint, IntoResponse, PathPattern, Request, Response,
    http::{HeaderValue, Method, StatusCode, header},
};
use poem_openapi::error::AuthorizationError;
use rand::RngExt;
use store::deadline;

use crate::{
    api::{
        cors::CorsHeaders,
        draft::Draft,
        outage::Outage,
        problem::is_problem,
        refused::Refused,
        request::{RequestName, app_id_in},
        schema::Schemas,
    },
    app::App,
    error::Error,
};

const REQUEST_ID: &str = "x-request-id";
/// Seconds over which clients are spread that come back after an outage.
const JITTER: i64 = 4;

/// The method, or that it is none that anybody defined: clients choose the word, and the metrics keep each.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "PUT", "TRACE", "CONNECT",
    ];
    let found = KNOWN.into_iter().find(|name| method.as_str() == *name);
    found.unwrap_or("other")
}

/// Wraps the routes.
#[derive(Debug)]
pub struct Edge<E> {
    pub routes: E,
    pub app: Arc<App>,
    pub schemas: Arc<Schemas>,
    pub table: RouteTable,
    pub outage: Outage,
}

/// The documented form of each route, and its methods, by the pattern that the router knows it by.
#[derive(Debug, Default)]
pub struct RouteTable(pub HashMap<String, RouteInfo>);

/// A route as it is documented.
#[derive(Debug)]
pub struct RouteInfo {
    pub template: String,
    pub methods: Vec<String>,
}

impl<E: Endpoint> Endpoint for Edge<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        // A request has one deadline, whatever it asks the store for, one after the other.
        deadline::shared(self.answer(request)).await
    }
}

impl<E: Endpoint> Edge<E> {
    async fn answer(&self, mut request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let id = self.request_id(&request);
        let method = known(request.method());
        let app_id = app_id_in(request.uri().path());
        request.set_data(RequestName(id.clone()));
        request.set_data(self.app.clone());
        request.set_data(self.schemas.clone());

        let result = self.routes.call(request).await;
        let pattern = match &result {
            Ok(_) => None,
            Err(error) => error.data::<PathPattern>().cloned(),
        };
        let mut response = match result {
            Ok(response) => response.into_response(),
            Err(error) => {
                if lacks_key(&error) {
                    self.app.metrics.key_refused();
                }
                let mut response = self.problem(&error, &id);
                if let Some(cors) = error.data::<CorsHeaders>() {
                    cors.put_on(&mut response, false);
                }
                response
            }
        };
        let pattern = pattern.or_else(|| response.data::<PathPattern>().cloned());
        if response.status().as_u16() >= 400 && !is_problem(&response) {
            response = Draft::of_status(response.status()).respond(&id, self.jitter());
        }
        let route = pattern.and_then(|pattern| self.table.0.get(&*pattern.0));
        self.complete(&mut response, &id, route);

        let (status, elapsed) = (response.status().as_u16(), started.elapsed());
        let route = route.map_or("-", |route| &route.template);
        self.app
            .metrics
            .answered(method, route, status, elapsed.as_secs_f64());
        tracing::info!(
            method,
            route,
            status,
            duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            request_id = id,
            app_id = app_id.map(|id| id.to_string()),
            "request"
        );
        Ok(response)
    }
}

impl<E> Edge<E> {
    /// The id that the request brings, if it is a sane one, else one of ours.
    fn request_id(&self, request: &Request) -> String {
        let is_sane = |id: &&str| {
            (1..=64).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let given = request
            .headers()
            .get(REQUEST_ID)
            .and_then(|id| id.to_str().ok())
            .filter(is_sane);
        given.map_or_else(
            || {
                let now = self.app.clock.now();
                self.app
                    .rng
                    .with(|rng| RequestId::mint(now, rng))
                    .to_string()
            },
            str::to_owned,
        )
    }

    fn problem(&self, error: &poem::Error, id: &str) -> Response {
        let draft = Draft::of(error);
        if draft.status().is_server_error() {
            // The answer does not tell the cause: it stands here, once.
            let cause: &dyn std::error::Error = match error.downcast_ref::<Error>() {
                Some(Error::Unavailable(cause) | Error::Unconfirmed(cause)) => cause,
                Some(Error::Internal(cause)) => &**cause,
                Some(other) => other,
                None => match error.downcast_ref::<Refused>() {
                    Some(Refused::StoreDown(cause)) => cause,
                    Some(other) => other,
                    None => &UnknownCause,
                },
            };
            if draft.status() != StatusCode::SERVICE_UNAVAILABLE {
                tracing::error!(request_id = id, error = cause, "request failed");
            } else if let Some(left_out) = self.outage.tell(Instant::now()) {
                tracing::error!(request_id = id, error = cause, left_out, "request failed");
            } else {
                tracing::debug!(request_id = id, error = cause, "request failed");
            }
        }
        draft.respond(id, self.jitter())
    }

    fn jitter(&self) -> i64 {
        self.app.rng.with(|rng| rng.random_range(0..=JITTER))
    }

    fn complete(&self, response: &mut Response, id: &str, route: Option<&RouteInfo>) {
        let status = response.status();
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(REQUEST_ID, id);
        }
        // Tokens and keys are in most answers; what may be kept says so itself.
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        if status == 405
            && let Some(route) = route
            && let Ok(methods) = HeaderValue::from_str(&route.methods.join(", "))
        {
            headers.insert(header::ALLOW, methods);
        }
    }
}

/// Whether the request was refused because no key that is good for it was presented, wherever it was to be.
fn lacks_key(error: &poem::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::InvalidKey))
        || matches!(error.downcast_ref(), Some(Refused::InvalidKey))
        || error.is::<AuthorizationError>()
}

#[derive(Debug, thiserror::Error)]
#[error("a failure of the framework")]
struct UnknownCause;
