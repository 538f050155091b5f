//! What is read of the server's answers.

use std::borrow::Cow;

use hyper::{StatusCode, body::Bytes};
use serde::Deserialize;

use crate::failure::{Done, Failure};

/// An answer as it came.
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// To `POST /root/create`.
#[derive(Deserialize)]
pub struct Created<'a> {
    pub app_id: &'a str,
    pub app_key: &'a str,
}

/// To `sign` and `renew`.
#[derive(Deserialize)]
pub struct Grant<'a> {
    pub auth_token: &'a str,
    pub refresh_token: &'a str,
    pub session_id: &'a str,
    /// Base64 of the PEM.
    pub public_key: &'a str,
}

/// To `verify`.
#[derive(Deserialize)]
pub struct Verified<'a> {
    pub verified: bool,
    pub session_id: Option<&'a str>,
}

/// A refusal (RFC 9457).
#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
}

impl Answer {
    /// The body of a 200.
    ///
    /// # Errors
    /// When it is another answer than that: the server did not do `what`.
    pub fn read<'a, T: Deserialize<'a>>(&'a self, what: &str) -> Done<T> {
        if self.status != StatusCode::OK {
            return Err(self.refusal(what));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::of(format!(
                "the answer to {what} is not as documented: {error}"
            ))
        })
    }

    /// Says that the server refused to do `what`. The body of a refusal holds no secret.
    pub fn refusal(&self, what: &str) -> Failure {
        let why = match serde_json::from_slice::<Problem<'_>>(&self.body) {
            Ok(Problem { code, detail }) => match detail {
                Some(detail) => format!("{code} ({detail})"),
                None => code.into_owned(),
            },
            Err(_) => "and no problem document".to_owned(),
        };
        let status = self.status.as_u16();
        Failure::of(format!("the server refused to {what}: {status} {why}"))
    }

    /// The `code` of a refusal.
    pub fn code(&self) -> Option<Cow<'_, str>> {
        let problem: Problem<'_> = serde_json::from_slice(&self.body).ok()?;
        Some(problem.code)
    }
}
