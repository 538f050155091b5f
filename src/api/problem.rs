//! Errors as the HTTP contract has them: RFC 9457 problem documents.

use entity::time::Span;
use poem::{
    Response,
    error::{MethodNotAllowedError, NotFoundError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    Enum, Object,
    error::{AuthorizationError, ParseParamError, ParsePathError},
    types::{Example, ToJSON},
};

use crate::{
    api::failure::Refused,
    error::{Error, Refusal, RegistrationRefusal, Violation},
};

/// The media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The same holds of those of a refused registration token.
const REGISTRATION_TOKEN: &str = "invalid-registration-token";
/// The problems of a refused refresh token share a type, a title and a message.
const REFRESH_TOKEN: &str = "invalid-refresh-token";

/// Errors that an answer shows: who sends garbage gets no more of it back than helps.
pub const SHOWN_ERRORS: usize = 20;

/// Characters that are shown of a field's name and of a message: either may quote what was sent.
const SHOWN_LENGTH: usize = 200;

/// A problem document (RFC 9457), with the members that the clients of the documented systems read.
#[derive(Clone, Debug, Object)]
#[oai(example, skip_serializing_if_is_none)]
pub struct Problem {
    /// `urn:renewd:problem:` and a name for the kind of problem.
    #[oai(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What to do about it, when that is safe to say.
    pub detail: Option<String>,
    pub code: Code,
    pub message: String,
    /// Names the request in the log of the server.
    pub request_id: String,
    /// What of the input is wrong.
    pub errors: Option<Vec<FieldError>>,
}

/// A member of the input that is wrong.
#[derive(Clone, Debug, Object)]
pub struct FieldError {
    pub error_field: String,
    pub error_message: String,
}

/// A stable name for what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum Code {
    InvalidRequest,
    MalformedJson,
    RefreshTokenExpired,
    RefreshTokenNotYetValid,
    RefreshTokenUsed,
    RefreshTokenRevoked,
    RefreshTokenInvalid,
    RegistrationTokenInvalid,
    RegistrationTokenExpired,
    RegistrationTokenRevoked,
    TooManyRefreshes,
    InvalidKey,
    InsufficientKey,
    OriginNotAllowed,
    InvalidToken,
    UserSessionRequired,
    AudienceNotAllowed,
    DeviceOfAnother,
    DeviceDisabled,
    AppDisabled,
    NotFound,
    Conflict,
    LimitReached,
    MethodNotAllowed,
    BodyTooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    Internal,
    Unavailable,
}

/// A problem before it is known which request has it.
#[derive(Clone, Debug)]
pub struct Draft {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    code: Code,
    message: Option<String>,
    detail: Option<String>,
    errors: Vec<Violation>,
    retry_after: Option<Span>,
    /// How to authenticate (RFC 9110 section 11.6.1): goes with a 401.
    challenge: Option<&'static str>,
}

impl Draft {
    const fn new(status: StatusCode, kind: &'static str, title: &'static str, code: Code) -> Self {
        Self {
            status,
            kind,
            title,
            code,
            message: None,
            detail: None,
            errors: Vec::new(),
            retry_after: None,
            challenge: None,
        }
    }

    fn detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }

    fn message(self, message: &str) -> Self {
        Self {
            message: Some(message.to_owned()),
            ..self
        }
    }

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
            let message = "is not of the form that the documentation shows";
            return of_domain(&Error::invalid(error.name, message));
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

    /// The status that it will have.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Makes it the answer to a request; `jitter` seconds keep clients from coming back all at once.
    pub fn respond(self, request_id: &str, jitter: i64) -> Response {
        let retry_after = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => Some(1 + jitter),
            _ => self.retry_after.map(Span::as_seconds_ceil),
        };
        let has_more = self.errors.len() > SHOWN_ERRORS;
        let more = has_more.then(|| format!("Only the first {SHOWN_ERRORS} errors are shown."));
        let errors = (!self.errors.is_empty()).then(|| {
            let field = |violation: Violation| FieldError {
                error_field: shortened(violation.field),
                error_message: shortened(violation.message),
            };
            let shown = self.errors.into_iter().take(SHOWN_ERRORS);
            shown.map(field).collect()
        });
        let problem = Problem {
            kind: format!("urn:renewd:problem:{}", self.kind),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.or(more).map(shortened),
            code: self.code,
            message: self.message.unwrap_or_else(|| self.title.to_lowercase()),
            request_id: request_id.to_owned(),
            errors,
        };
        let body = problem.to_json().unwrap_or_default().to_string();
        let mut response = Response::builder()
            .status(self.status)
            .content_type(PROBLEM_JSON)
            .body(body);
        if let Some(seconds) = retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge {
            let challenge = HeaderValue::from_static(challenge);
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(SHOWN_LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Whether the response is a problem document already.
pub fn is_problem(response: &Response) -> bool {
    response.content_type() == Some(PROBLEM_JSON)
}

/// The one place that gives the domain's errors a status.
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
        Error::Unavailable(_) | Error::Unconfirmed(_) | Error::LeaseLost | Error::Stale => {
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

impl Example for Problem {
    fn example() -> Self {
        Self {
            kind: format!("urn:renewd:problem:{REFRESH_TOKEN}"),
            title: "Invalid refresh token".to_owned(),
            status: 400,
            detail: None,
            code: Code::RefreshTokenExpired,
            message: "invalid refresh token".to_owned(),
            request_id: "01JMWRJEJ71191KP88NDGWVYEW".to_owned(),
            errors: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    #[test]
    fn the_table_of_errors_has_every_code() {
        let document: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
        let codes = &document["components"]["schemas"]["Code"]["enum"];
        let codes = codes.as_array().unwrap().iter();
        let codes: BTreeSet<_> = codes.filter_map(Value::as_str).collect();
        let lines = include_str!("../../docs/errors.md").lines();
        let told: BTreeSet<_> = lines
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
            .map(|(code, _)| code)
            .collect();
        assert_eq!(told, codes);
    }
}
