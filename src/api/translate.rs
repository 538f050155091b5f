//! Which problem an error is: the one place that gives the domain's errors a status.

use poem::{
    error::{MethodNotAllowedError, NotFoundError},
    http::StatusCode,
};
use poem_openapi::error::{AuthorizationError, ParseParamError, ParsePathError};

use crate::{
    api::{
        draft::Draft,
        problem::{Code, REFRESH_TOKEN},
        refused::Refused,
    },
    error::{Error, Refusal, RegistrationRefusal},
};

/// The problems of a refused registration token share a type and a title.
const REGISTRATION_TOKEN: &str = "invalid-registration-token";

impl Draft {
    /// The problem that a bare status tells of.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => not_found(),
            StatusCode::METHOD_NOT_ALLOWED => method_not_allowed(),
            StatusCode::PAYLOAD_TOO_LARGE => of_refused(&Refused::BodyTooLarge),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => of_refused(&Refused::UnsupportedMediaType),
            status if status.is_client_error() => invalid_request(),
            _ => internal(),
        }
    }

    /// The problem of any error that reaches the edge.
    pub fn of(error: &poem::Error) -> Self {
        if let Some(error) = error.downcast_ref::<Error>() {
            return of_domain(error);
        }
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return of_refused(refused);
        }
        if error.is::<AuthorizationError>() {
            return of_domain(&Error::InvalidKey);
        }
        if let Some(error) = error.downcast_ref::<ParseParamError>() {
            return of_domain(&Error::invalid(error.name, parameter(&error.reason)));
        }
        // A path names a thing: with a name that nothing can have, there is no such thing.
        if error.is::<ParsePathError>()
            || error.is::<poem::error::ParsePathError>()
            || error.is::<NotFoundError>()
        {
            return not_found();
        }
        if error.is::<MethodNotAllowedError>() {
            return method_not_allowed();
        }
        Self::of_status(error.status())
    }
}

/// What is wrong with a parameter, by what the framework says of it.
fn parameter(reason: &str) -> String {
    let bound = |name: &str| {
        let (_, rest) = reason.split_once(&format!("verification failed. {name}("))?;
        rest.split([',', ')']).next()
    };
    if reason.contains("expects an input value") {
        "is required".to_owned()
    } else if let Some(least) = bound("minimum") {
        format!("must be at least {least}")
    } else if let Some(most) = bound("maximum") {
        format!("must be at most {most}")
    } else {
        "is not of the form that the documentation shows".to_owned()
    }
}

fn of_domain(error: &Error) -> Draft {
    match error {
        Error::Invalid(violations) => Draft {
            errors: violations.clone(),
            ..invalid_request()
        },
        Error::RefreshToken(refusal) => of_refusal(*refusal),
        Error::RegistrationToken(refusal) => of_registration(*refusal),
        Error::NotFound(_) => not_found(),
        Error::Elsewhere(detail) => not_found().detail(*detail),
        Error::InvalidKey => forbidden("invalid-key", "Invalid key", Code::InvalidKey)
            .detail("The Authorization header must hold a valid key of this app, or the root key under /root."),
        Error::InsufficientKey => {
            forbidden("insufficient-key", "Insufficient key", Code::InsufficientKey)
                .detail("This needs a secret app-key.")
        }
        Error::NotEnrolled => {
            forbidden("insufficient-key", "Insufficient key", Code::InsufficientKey).detail(
                "This needs the registration token of an application: POST /v1/auth/register makes the first one.",
            )
        }
        Error::TooMany(detail) => {
            Draft::new(StatusCode::CONFLICT, "limit-reached", "Limit reached", Code::LimitReached)
                .detail(*detail)
        }
        Error::OriginNotAllowed => {
            forbidden("origin-not-allowed", "Origin not allowed", Code::OriginNotAllowed)
                .detail("The app's allowed_origins do not name the Origin of this request.")
        }
        Error::InvalidToken => Draft {
            challenge: Some("Bearer error=\"invalid_token\""),
            ..Draft::new(
                StatusCode::UNAUTHORIZED,
                "invalid-token",
                "Invalid token",
                Code::InvalidToken,
            )
        }
        .detail("The Authorization header must hold a valid auth token."),
        Error::UserSessionRequired => {
            let title = "User session required";
            forbidden("user-session-required", title, Code::UserSessionRequired)
                .detail("The auth token is one of a registered device. This takes those of users only.")
        }
        Error::AudienceNotAllowed => {
            forbidden("audience-not-allowed", "Audience not allowed", Code::AudienceNotAllowed)
                .detail("Neither the audiences of the registration nor the device_audiences of the app have it.")
        }
        Error::DeviceOfAnother => {
            forbidden("device-of-another", "Device of another", Code::DeviceOfAnother)
                .detail("The device is another subject's. Only a secret key ties this session to it.")
        }
        Error::TooManyRequests { retry_after } => Draft {
            retry_after: Some(*retry_after),
            ..Draft::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests",
                Code::TooManyRequests,
            )
        },
        Error::DeviceDisabled => {
            forbidden("device-disabled", "Device disabled", Code::DeviceDisabled)
        }
        Error::AppDisabled => forbidden("app-disabled", "App disabled", Code::AppDisabled),
        Error::Conflict(detail) => {
            Draft::new(StatusCode::CONFLICT, "conflict", "Conflict", Code::Conflict).detail(*detail)
        }
        Error::Unavailable(_) | Error::Unconfirmed(_) | Error::Contended(_) | Error::LeaseLost | Error::Stale => {
            unavailable()
        }
        Error::Internal(_) => internal(),
    }
}

fn of_refusal(refusal: Refusal) -> Draft {
    let refused = |code| {
        Draft::new(
            StatusCode::BAD_REQUEST,
            REFRESH_TOKEN,
            "Invalid refresh token",
            code,
        )
    };
    match refusal {
        Refusal::Expired => refused(Code::RefreshTokenExpired),
        Refusal::NotYetValid { retry_after } => Draft {
            retry_after: Some(retry_after),
            ..refused(Code::RefreshTokenNotYetValid)
        },
        Refusal::Used => refused(Code::RefreshTokenUsed)
            .detail("The refresh token was used before. Its session has been revoked."),
        Refusal::Revoked => refused(Code::RefreshTokenRevoked),
        Refusal::Invalid => refused(Code::RefreshTokenInvalid),
    }
}

fn of_registration(refusal: RegistrationRefusal) -> Draft {
    let gone = |code| {
        let title = "Invalid registration token";
        Draft::new(StatusCode::GONE, REGISTRATION_TOKEN, title, code)
    };
    match refusal {
        RegistrationRefusal::Invalid => gone(Code::RegistrationTokenInvalid)
            .detail("It is no registration token, or it was refreshed and its grace is over, or another took its place."),
        RegistrationRefusal::Expired => gone(Code::RegistrationTokenExpired),
        RegistrationRefusal::Revoked => gone(Code::RegistrationTokenRevoked),
        RegistrationRefusal::TooOften { retry_after } => Draft {
            retry_after: Some(retry_after),
            ..Draft::new(
                StatusCode::PRECONDITION_FAILED,
                "too-many-refreshes",
                "Too many refreshes",
                Code::TooManyRefreshes,
            )
        },
    }
}

fn of_refused(refused: &Refused) -> Draft {
    match refused {
        Refused::DeviceLocked => Draft::new(
            StatusCode::LOCKED,
            "device-disabled",
            "Device disabled",
            Code::DeviceDisabled,
        ),
        Refused::MalformedJson(reason) => Draft::new(
            StatusCode::BAD_REQUEST,
            "malformed-json",
            "Malformed JSON",
            Code::MalformedJson,
        )
        .detail(reason),
        Refused::BodyTooLarge => Draft::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "Body too large",
            Code::BodyTooLarge,
        )
        .detail("A body has at most 64 KiB."),
        Refused::UnsupportedMediaType => Draft::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Unsupported media type",
            Code::UnsupportedMediaType,
        )
        .detail("Send application/json."),
        Refused::InvalidKey => Draft {
            challenge: Some("Api-Key"),
            ..Draft::new(
                StatusCode::UNAUTHORIZED,
                "invalid-key",
                "Invalid key",
                Code::InvalidKey,
            )
        }
        .detail("tenant_id must be the id of an app, and api_key a valid key of it."),
        // JWTPlus's word for it.
        Refused::StoreDown(_) => unavailable().message("db-down"),
        Refused::Stopping => unavailable().message("stopping"),
    }
}

const fn invalid_request() -> Draft {
    Draft::new(
        StatusCode::BAD_REQUEST,
        "invalid-request",
        "Invalid request",
        Code::InvalidRequest,
    )
}

const fn not_found() -> Draft {
    Draft::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "Not found",
        Code::NotFound,
    )
}

const fn method_not_allowed() -> Draft {
    Draft::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "Method not allowed",
        Code::MethodNotAllowed,
    )
}

const fn internal() -> Draft {
    Draft::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Internal error",
        Code::Internal,
    )
}

const fn unavailable() -> Draft {
    Draft::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "Unavailable",
        Code::Unavailable,
    )
}

const fn forbidden(kind: &'static str, title: &'static str, code: Code) -> Draft {
    Draft::new(StatusCode::FORBIDDEN, kind, title, code)
}
