//! A group of routes and its ways: which app a request is for, which pages of other origins may read the answer, and in which
//! dialect a failure is told. A new dialect is a type that implements [`Ways`], and a group of it in the type `Api`.

use std::{
    collections::{HashMap, HashSet},
    marker::PhantomData,
    panic::AssertUnwindSafe,
};

use entity::AppId;
use futures_util::FutureExt;
use poem::{
    Endpoint, EndpointExt, IntoResponse, Request, Response,
    endpoint::BoxEndpoint,
    error::{MethodNotAllowedError, NotFoundError},
    http::{Method, StatusCode},
};
use poem_openapi::{
    OpenApi,
    error::AuthorizationError,
    registry::{MetaApi, MetaOperation, MetaOperationParam, MetaParamIn, Registry},
    types::Type,
};

use crate::{
    api::{
        cors::{Cors, is_preflight},
        draft::Draft,
        refused::Refused,
        request::{Context, InPath},
        types::Id,
    },
    error::Error,
};

/// The ways of a group.
pub trait Ways: Send + Sync + 'static {
    /// Whether the first parameter of each path of the group is the id of the app that a request is for.
    const APP_IN_PATH: bool;
    /// Which pages of other origins may read the answers.
    const CORS: Cors;
    /// Paths, as the router writes them, on which there is nothing, and which are to be answered in these ways all the same: a page is
    /// told that a path is wrong.
    const ELSEWHERE: &[&str] = &[];

    /// What the caller is told of a failure: a problem document (RFC 9457), unless the group has another dialect.
    fn answer(error: &poem::Error, context: &Context) -> Response {
        Draft::of(error).respond(&context.id, context.jitter())
    }
}

/// The answer to a request that failed. The cause of a failure of ours is in the log alone.
pub fn failed<W: Ways>(error: &poem::Error, context: &Context) -> Response {
    let lacks_key = matches!(error.downcast_ref(), Some(Error::InvalidKey))
        || matches!(error.downcast_ref(), Some(Refused::InvalidKey))
        || error.is::<AuthorizationError>();
    if lacks_key {
        context.app.metrics.key_refused();
    }
    let response = W::answer(error, context);
    if response.status().is_server_error() {
        let is_outage = response.status() == StatusCode::SERVICE_UNAVAILABLE;
        context.log_failure(is_outage, cause(error));
    }
    response
}

fn cause(error: &poem::Error) -> &(dyn std::error::Error + 'static) {
    if let Some(error) = error.downcast_ref::<Error>() {
        return match error {
            Error::Unavailable(cause) | Error::Unconfirmed(cause) => cause,
            Error::Internal(cause) => &**cause,
            other => other,
        };
    }
    match error.downcast_ref::<Refused>() {
        Some(Refused::StoreDown(cause)) => cause,
        Some(other) => other,
        None => &UnknownCause,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a failure of the framework")]
struct UnknownCause;

/// The operations of `T`, in the ways of `W`.
#[derive(Debug)]
pub struct Group<W, T>(pub T, pub PhantomData<W>);

impl<W, T: Default> Default for Group<W, T> {
    fn default() -> Self {
        Self(T::default(), PhantomData)
    }
}

type Routes = HashMap<String, HashMap<Method, BoxEndpoint<'static>>>;

impl<W: Ways, T: OpenApi> OpenApi for Group<W, T> {
    fn meta() -> Vec<MetaApi> {
        let mut metadata = T::meta();
        if W::APP_IN_PATH {
            let paths = metadata.iter_mut().flat_map(|api| &mut api.paths);
            for operation in paths.flat_map(|path| &mut path.operations) {
                let is_app_id = |param: &MetaOperationParam| param.name == APP_ID;
                if !operation.params.iter().any(is_app_id) {
                    operation.params.insert(0, app_id_in_path());
                }
            }
        }
        metadata
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, routes: &mut Routes) {
        for path in W::ELSEWHERE {
            let nothing = METHODS.map(|method| (method, Grouped::<W, _>::new(Nothing).boxed()));
            routes.insert((*path).to_owned(), nothing.into());
        }
        let mut own = Routes::new();
        self.0.add_routes(&mut own);
        let paths = T::meta().into_iter().flat_map(|api| api.paths);
        let safe: HashSet<_> = paths
            .filter(|path| path.operations.iter().any(is_safe_get))
            .map(|path| pattern(&path.path))
            .collect();
        for (path, methods) in own {
            let has_head = safe.contains(&path);
            let all = routes.entry(path).or_default();
            for (method, endpoint) in methods {
                all.insert(method, Grouped::<W, _>::new(endpoint).boxed());
            }
            // What the router would refuse by itself would be refused in no group's dialect.
            for method in METHODS {
                // The router serves HEAD by GET.
                if method != Method::HEAD || !has_head {
                    let refusing = || Grouped::<W, _>::new(NoSuchMethod).boxed();
                    all.entry(method).or_insert_with(refusing);
                }
            }
        }
    }
}

/// Whether this serves HEAD as well. A GET that is deprecated changes something, which a HEAD must not (RFC 9110 section 9.2.1).
pub fn is_safe_get(operation: &MetaOperation) -> bool {
    operation.method == Method::GET && !operation.deprecated
}

/// The name by which the router knows a path of the document: it calls the parameters `:param0` and so on.
pub fn pattern(path: &str) -> String {
    let mut count = 0;
    let segments = path.split('/').map(|segment| {
        if segment.starts_with('{') {
            count += 1;
            format!(":param{}", count - 1)
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

const APP_ID: &str = "app_id";

fn app_id_in_path() -> MetaOperationParam {
    MetaOperationParam {
        name: APP_ID.to_owned(),
        schema: Id::<AppId>::schema_ref(),
        in_type: MetaParamIn::Path,
        description: None,
        required: true,
        deprecated: false,
        explode: true,
        style: None,
    }
}

const METHODS: [Method; 9] = [
    Method::CONNECT,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

/// What the endpoint answers; a panic is a failure as any other.
pub async fn call<E: Endpoint>(endpoint: &E, request: Request) -> poem::Result<E::Output> {
    let answer = AssertUnwindSafe(endpoint.call(request)).catch_unwind();
    let panicked = |_| Err(Error::internal("a request panicked").into());
    answer.await.unwrap_or_else(panicked)
}

/// What a path answers to a method that it does not have.
struct NoSuchMethod;

impl Endpoint for NoSuchMethod {
    type Output = Response;

    async fn call(&self, _: Request) -> poem::Result<Response> {
        Err(MethodNotAllowedError.into())
    }
}

/// What a path answers where there is nothing.
struct Nothing;

impl Endpoint for Nothing {
    type Output = Response;

    async fn call(&self, _: Request) -> poem::Result<Response> {
        Err(NotFoundError.into())
    }
}

/// An operation in the ways of its group.
struct Grouped<W, E> {
    operation: E,
    ways: PhantomData<W>,
}

impl<W, E> Grouped<W, E> {
    fn new(operation: E) -> Self {
        Self {
            operation,
            ways: PhantomData,
        }
    }
}

impl<W: Ways, E: Endpoint<Output = Response>> Endpoint for Grouped<W, E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        // By this name the router knows the first parameter of a path.
        let first = W::APP_IN_PATH
            .then(|| request.raw_path_param("param0"))
            .flatten();
        let app_id = InPath(first.and_then(|id| id.parse().ok()));
        request.set_data(app_id);
        let context = Context::of(&request)?;

        let is_preflight = is_preflight(&request);
        let mut response = match W::CORS.reader(&mut request, app_id).await {
            Ok(reader) if is_preflight && reader.is_asked() => {
                let mut response = StatusCode::NO_CONTENT.into_response();
                reader.put_on(&mut response, true);
                response
            }
            Ok(reader) => {
                // A panic, too, is told in the group's ways.
                let (reader, mut response) = match call(&self.operation, request).await {
                    Ok(response) => (reader, response),
                    Err(error) => (reader.of_failure(&error), failed::<W>(&error, &context)),
                };
                reader.put_on(&mut response, false);
                response
            }
            Err(error) => failed::<W>(&error, &context),
        };
        response.set_data(app_id);
        Ok(response)
    }
}
