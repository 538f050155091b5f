//! The HTTP contract: the route tree, and what surrounds it.

mod algorithm_names;
mod app_examples;
mod app_info;
pub mod app_key_objects;
mod app_keys;
pub mod app_objects;
mod app_schemas;
mod apps;
mod auth;
mod body;
mod client;
mod cors;
mod device_objects;
mod device_sessions;
mod devices;
mod document;
mod draft;
mod edge;
mod failure;
mod foreign;
mod group;
mod item;
mod jwks;
mod outage;
mod problem;
mod public_key_objects;
mod refused;
mod request;
pub mod root;
mod schema;
mod service;
mod session_examples;
mod session_objects;
mod sessions;
pub mod signing_keys;
mod tag;
mod translate;
pub mod types;

use std::{marker::PhantomData, sync::Arc};

use poem::{
    Endpoint, EndpointExt, IntoEndpoint, Request, Response, Route, endpoint::make_sync, get,
};
use poem_openapi::{LicenseObject, OpenApi, OpenApiService, registry::Registry};

use crate::{
    api::{
        app_info::AppInfo,
        app_keys::AppKeys,
        apps::Apps,
        cors::Cors,
        device_sessions::DeviceSessions,
        devices::Devices,
        edge::{Edge, RouteInfo, RouteTable},
        foreign::Foreign,
        group::{Group, Ways, is_safe_get, pattern},
        jwks::Jwks,
        root::Root,
        schema::Schemas,
        service::Service,
        sessions::Sessions,
        signing_keys::SigningKeys,
    },
    app::App,
};

/// Every operation, in the ways of its group.
type Api = (
    Group<ByAppKey, (Sessions, AppInfo, Devices)>,
    Group<ByDevice, DeviceSessions>,
    Group<ToEverybody, Jwks>,
    Group<Native, (Apps, AppKeys, SigningKeys, Root, Service)>,
    Foreign,
);

/// The ways of what pages do not call: the administration, and the service itself.
#[derive(Debug)]
enum Native {}

impl Ways for Native {
    const APP_IN_PATH: bool = false;
    const CORS: Cors = Cors::Nobody;
}

/// The ways of what is done with a key of the app in the path.
#[derive(Debug)]
enum ByAppKey {}

impl Ways for ByAppKey {
    const APP_IN_PATH: bool = true;
    const ELSEWHERE: &[&str] = &["/app/", "/app/:param0/", "/app/:param0/*rest"];
    const CORS: Cors = Cors::KeyOfApp;
}

/// The ways of what a device does, which shows its registration token.
#[derive(Debug)]
enum ByDevice {}

impl Ways for ByDevice {
    const APP_IN_PATH: bool = true;
    const CORS: Cors = Cors::App;
}

/// The ways of what everybody may read of an app.
#[derive(Debug)]
enum ToEverybody {}

impl Ways for ToEverybody {
    const APP_IN_PATH: bool = true;
    const CORS: Cors = Cors::Everybody;
}

/// What somebody sees who opens the server in a browser.
const FRONT: &str = include_str!("front.html");

/// The API, and the pages that describe it.
struct Routes<S> {
    service: S,
    pages: Route,
}

// Not the API nested below the root: that would make a new URI for each request.
impl<S: Endpoint<Output = Response>> Endpoint for Routes<S> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let path = request.uri().path();
        if matches!(path, "/" | "/openapi.json" | "/docs") || path.starts_with("/docs/") {
            self.pages.call(request).await
        } else {
            self.service.call(request).await
        }
    }
}

/// Everything that the server answers.
pub fn endpoint(app: Arc<App>) -> impl Endpoint<Output = Response> {
    let service = service();
    let spec = openapi();
    let docs = service.swagger_ui();
    let spec_endpoint = make_sync(move |_| {
        Response::builder()
            .content_type("application/json")
            .body(spec.clone())
    });

    let front = make_sync(|_| {
        Response::builder()
            .content_type("text/html; charset=utf-8")
            .body(FRONT)
    });
    let pages = Route::new()
        .at("/", get(front))
        .nest("/docs", docs)
        .at("/openapi.json", get(spec_endpoint));
    let routes = Routes {
        service: service.into_endpoint(),
        pages,
    };
    Edge {
        routes,
        app,
        schemas: Arc::new(schemas()),
        table: route_table(),
        outage: Default::default(),
        ways: PhantomData::<Native>,
    }
}

/// The metrics of `app`, for a listener of their own.
pub fn metrics_endpoint(app: Arc<App>) -> impl Endpoint<Output = Response> {
    Route::new()
        .at(
            "/metrics",
            get(make_sync(move |_| {
                Response::builder()
                    .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
                    .body(app.metrics.exposition())
            })),
        )
        .map_to_response()
}

/// The OpenAPI document.
pub fn openapi() -> String {
    document::refined(&service().spec())
}

fn service() -> OpenApiService<Api, ()> {
    OpenApiService::new(Api::default(), "renewd", env!("CARGO_PKG_VERSION"))
        .description("JWT sessions with single-use refresh tokens.")
        .license(LicenseObject::new("MIT OR Apache-2.0"))
}

fn schemas() -> Schemas {
    let mut registry = Registry::new();
    <Api as OpenApi>::register(&mut registry);
    Schemas::new(registry)
}

fn route_table() -> RouteTable {
    let paths = <Api as OpenApi>::meta()
        .into_iter()
        .flat_map(|api| api.paths);
    let mut table = RouteTable::default();
    for path in paths {
        let info = table
            .0
            .entry(pattern(&path.path))
            .or_insert_with(|| RouteInfo {
                template: path.path.clone(),
                methods: Vec::new(),
            });
        let methods = path.operations.iter().map(|operation| &operation.method);
        info.methods.extend(methods.map(ToString::to_string));
        if path.operations.iter().any(is_safe_get) {
            info.methods.push("HEAD".to_owned());
        }
        info.methods.sort();
    }
    for (pattern, path) in [
        ("/", "/"),
        ("/docs", "/docs"),
        ("/docs/", "/docs"),
        ("/openapi.json", "/openapi.json"),
    ] {
        table.0.insert(
            pattern.to_owned(),
            RouteInfo {
                template: path.to_owned(),
                methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            },
        );
    }
    table
}
