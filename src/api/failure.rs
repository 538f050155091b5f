//! Which errors an operation may have, as the OpenAPI document shows them.

use std::marker::PhantomData;

use poem::http::StatusCode;
use poem_openapi::{
    ApiResponse,
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};

use crate::{
    api::{
        problem::{PROBLEM_JSON, Problem},
        refused::Refused,
    },
    error::Error,
};

/// The statuses that an operation may fail with.
pub trait Statuses: Send + Sync + 'static {
    /// In ascending order.
    const LIST: &'static [u16];
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident: [$($status:literal),*])*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Statuses for $name {
            const LIST: &'static [u16] = &[$($status),*];
        }
    )*};
}

statuses! {
    /// Needs no key and no store.
    Open: [500]
    /// Needs no key, but names an app.
    OpenApp: [404, 500, 503]
    /// Asks the store.
    Health: [500, 503]
    /// Needs a key.
    Keyed: [403, 500, 503]
    /// Needs a key, and takes parameters.
    KeyedQuery: [400, 403, 500, 503]
    /// Needs a key, and takes a body.
    KeyedBody: [400, 403, 413, 415, 500, 503]
    /// Needs a key, takes a body, and may be in conflict with what there is.
    KeyedBodyChange: [400, 403, 409, 413, 415, 500, 503]
    /// Needs a key, and names something.
    KeyedItem: [403, 404, 500, 503]
    /// Needs a key, names something, and takes parameters.
    KeyedItemQuery: [400, 403, 404, 500, 503]
    /// Needs a key, and changes something that others may be changing.
    KeyedChange: [403, 404, 409, 500, 503]
    /// Needs a key, names something, and takes a body.
    KeyedItemBody: [400, 403, 404, 413, 415, 500, 503]
    /// Needs a key, names something, takes a body, and may be in conflict with what there is.
    KeyedItemChange: [400, 403, 404, 409, 413, 415, 500, 503]
    /// Needs a key within its body, and is counted.
    BodyKeyed: [400, 401, 403, 413, 415, 429, 500, 503]
    /// Needs a key within its body, names something, and may be in conflict with something.
    BodyKeyedChange: [400, 401, 403, 404, 409, 413, 415, 500, 503]
    /// Needs an auth token, and a header.
    Signed: [400, 401, 403, 500, 503]
    /// Needs an auth token, a header, and a body, and is counted.
    SignedBody: [400, 401, 403, 413, 415, 429, 500, 503]
    /// Takes a registration token, which it refreshes.
    Refresh: [400, 403, 410, 412, 413, 415, 500, 503]
    /// Takes a registration token, and names an app.
    Exchange: [400, 403, 404, 410, 412, 413, 415, 500, 503]
    /// Needs a key, and registers a device.
    Registration: [400, 403, 404, 409, 413, 415, 423, 500, 503]
}

/// An error of an operation that may fail with the statuses `S`.
#[derive(Debug)]
pub struct Failure<S>(poem::Error, PhantomData<S>);

impl<S> From<Error> for Failure<S> {
    fn from(error: Error) -> Self {
        Self(error.into(), PhantomData)
    }
}

impl<S> From<Refused> for Failure<S> {
    fn from(refused: Refused) -> Self {
        Self(refused.into(), PhantomData)
    }
}

impl<S> From<Failure<S>> for poem::Error {
    fn from(failure: Failure<S>) -> Self {
        failure.0
    }
}

impl From<Error> for poem::Error {
    fn from(error: Error) -> Self {
        Self::new(error, StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl<S: Statuses> ApiResponse for Failure<S> {
    fn meta() -> MetaResponses {
        let response = |status: &u16| MetaResponse {
            description: describe(*status),
            status: Some(*status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: PROBLEM_JSON,
                schema: Problem::schema_ref(),
            }],
            headers: Vec::new(),
        };
        MetaResponses {
            responses: S::LIST.iter().map(response).collect(),
        }
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}

const fn describe(status: u16) -> &'static str {
    match status {
        400 => "The input is invalid, or the refresh token does not renew",
        401 => "The key or token that this takes is missing or wrong",
        403 => {
            "The key is missing, wrong, or may not do this; or the device, or its app, is disabled"
        }
        404 => "There is no such thing",
        409 => "Something else is in the way",
        410 => "The registration token is invalid, expired or revoked",
        412 => "The device has used its registration token too often: try again after Retry-After",
        413 => "The body is larger than 64 KiB",
        415 => "The body is not JSON",
        423 => "The device is disabled",
        429 => "This was asked too often: try again after Retry-After",
        503 => "The store cannot be reached: try again after Retry-After",
        _ => "Internal error",
    }
}
