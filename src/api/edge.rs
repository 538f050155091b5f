//! The outermost layer: gives each request its id, its deadline, its line in the log and its count, and each answer the headers that all
//! have.

use std::{collections::HashMap, marker::PhantomData, sync::Arc, time::Instant};

use entity::RequestId;
use poem::{
    Endpoint, IntoResponse, PathPattern, Request, Response,
    error::NotFoundError,
    http::{HeaderValue, Method, header},
};
use store::deadline;

use crate::{
    api::{
        group::{Ways, call, failed},
        outage::Outage,
        request::{Context, InPath},
        schema::Schemas,
    },
    app::App,
};

const REQUEST_ID: &str = "x-request-id";

/// The method, or that it is none that anybody defined: clients choose the word, and the metrics keep each.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "PUT", "TRACE", "CONNECT",
    ];
    let found = KNOWN.into_iter().find(|name| method.as_str() == *name);
    found.unwrap_or("other")
}

/// Wraps the routes. A request that none of them takes is answered in the ways of `W`.
#[derive(Debug)]
pub struct Edge<W, E> {
    pub routes: E,
    pub app: Arc<App>,
    pub schemas: Arc<Schemas>,
    pub table: RouteTable,
    pub outage: Arc<Outage>,
    pub ways: PhantomData<W>,
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

impl<W: Ways, E: Endpoint> Endpoint for Edge<W, E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        // A request has one deadline, whatever it asks the store for, one after the other.
        deadline::shared(self.answer(request)).await
    }
}

impl<W: Ways, E: Endpoint> Edge<W, E> {
    async fn answer(&self, mut request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let context = Context {
            id: self.request_id(&request).into(),
            app: self.app.clone(),
            outage: self.outage.clone(),
        };
        let method = known(request.method());
        request.set_data(context.clone());
        request.set_data(self.app.clone());
        request.set_data(self.schemas.clone());

        let mut response = match call(&self.routes, request).await {
            Ok(response) => response.into_response(),
            Err(error) => {
                let pattern = error.data::<PathPattern>().cloned();
                let is_elsewhere = |pattern: &PathPattern| !self.table.0.contains_key(&*pattern.0);
                // A method that nobody defined, on a path on which there is nothing.
                let error = match pattern.as_ref().is_some_and(is_elsewhere) {
                    true => NotFoundError.into(),
                    false => error,
                };
                let mut response = failed::<W>(&error, &context);
                if let Some(pattern) = pattern {
                    response.set_data(pattern);
                }
                response
            }
        };
        let pattern = response.data::<PathPattern>();
        let route = pattern.and_then(|pattern| self.table.0.get(&*pattern.0));
        complete(&mut response, &context.id, route);

        let (status, elapsed) = (response.status().as_u16(), started.elapsed());
        let route = route.map_or("-", |route| &route.template);
        self.app
            .metrics
            .answered(method, route, status, elapsed.as_secs_f64());
        let app_id = response.data::<InPath>().and_then(|in_path| in_path.0);
        tracing::info!(
            method,
            route,
            status,
            duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            request_id = &*context.id,
            app_id = app_id.map(|id| id.to_string()),
            "request"
        );
        Ok(response)
    }

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
}

fn complete(response: &mut Response, id: &str, route: Option<&RouteInfo>) {
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
