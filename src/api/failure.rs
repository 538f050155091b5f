//! Which errors an operation may have, as the OpenAPI document shows them.

use std::{collections::BTreeSet, marker::PhantomData};

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

/// The statuses that an operation may fail with: those of what it takes and does, a tuple of the types in [`may`].
pub trait Statuses: Send + Sync + 'static {
    /// Without 500, which each may fail with.
    const LISTS: &[&[u16]];
}

/// What may fail.
pub mod may {
    macro_rules! parts {
        ($($(#[$doc:meta])* $name:ident: [$($status:literal),*])*) => {$(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}

            impl super::Part for $name {
                const LIST: &[u16] = &[$($status),*];
            }
        )*};
    }

    parts! {
        /// To ask the store.
        Store: [503]
        /// To show a key.
        Key: [403, 503]
        /// To show a credential where a missing or wrong one has a status of its own.
        Credential: [401, 403, 503]
        /// To show a registration token.
        DeviceToken: [403, 410, 412, 503]
        /// To name something in the path.
        Item: [404]
        /// To send parameters.
        Query: [400]
        /// To send a body.
        Body: [400, 413, 415]
        /// To be counted.
        Counted: [429]
        /// To be in conflict with what there is, or with what others change.
        Conflict: [409]
        /// To be about a device that is disabled, where that has a status of its own.
        Locked: [423]
    }
}

/// One of the types in [`may`].
pub trait Part: Send + Sync + 'static {
    const LIST: &[u16];
}

macro_rules! tuples {
    ($($($part:ident)*;)*) => {$(
        impl<$($part: Part),*> Statuses for ($($part,)*) {
            const LISTS: &[&[u16]] = &[$($part::LIST),*];
        }
    )*};
}

tuples! {
    ;
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
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
        let all = S::LISTS.iter().copied().flatten().copied();
        let statuses: BTreeSet<_> = all.chain([500]).collect();
        MetaResponses {
            responses: statuses.iter().map(response).collect(),
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
