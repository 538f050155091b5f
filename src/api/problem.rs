//! Errors as the HTTP contract has them: RFC 9457 problem documents.

use poem_openapi::{Enum, Object, types::Example};

/// The media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The problems of a refused refresh token share a type, a title and a message.
pub const REFRESH_TOKEN: &str = "invalid-refresh-token";

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
