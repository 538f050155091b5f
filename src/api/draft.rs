//! How a problem becomes an answer.

use entity::time::Span;
use poem::{
    Response,
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::types::ToJSON;

use crate::{
    api::problem::{Code, FieldError, PROBLEM_JSON, Problem},
    error::Violation,
};

/// Errors that an answer shows: who sends garbage gets no more of it back than helps.
pub const SHOWN_ERRORS: usize = 20;

/// Characters that are shown of a field's name and of a message: either may quote what was sent.
const SHOWN_LENGTH: usize = 200;

/// A problem before it is known which request has it.
#[derive(Clone, Debug)]
pub struct Draft {
    pub status: StatusCode,
    pub kind: &'static str,
    pub title: &'static str,
    pub code: Code,
    pub message: Option<String>,
    pub detail: Option<String>,
    pub errors: Vec<Violation>,
    pub retry_after: Option<Span>,
    /// How to authenticate (RFC 9110 section 11.6.1): goes with a 401.
    pub challenge: Option<&'static str>,
}

impl Draft {
    /// A problem of this type (the end of its URN).
    pub const fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        code: Code,
    ) -> Self {
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

    /// With what is special about this occurrence.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }

    /// With another `message` than the title.
    pub fn message(self, message: &str) -> Self {
        Self {
            message: Some(message.to_owned()),
            ..self
        }
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
