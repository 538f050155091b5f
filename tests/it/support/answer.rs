use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use poem::{Response, http::HeaderMap};
use serde_json::Value;

/// What a caller got.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body as JSON; null when it is none.
    pub body: Value,
    pub raw: String,
}

impl Answer {
    pub async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let raw = body.into_string().await.unwrap();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_str(&raw).unwrap_or_default(),
            raw,
        }
    }

    /// A member of the body that is a text.
    pub fn text(&self, name: &str) -> String {
        match self.body[name].as_str() {
            Some(text) => text.to_owned(),
            None => panic!("no {name} in {}", self.raw),
        }
    }

    pub fn refresh_token(&self) -> String {
        self.text("refresh_token")
    }

    pub fn auth_token(&self) -> String {
        self.text("auth_token")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts a whole problem document, and the rules that every one of them keeps.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.raw);
        assert_eq!(self.body["code"], code, "{}", self.raw);
        assert_eq!(self.body["status"], status, "{}", self.raw);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(
            self.header("x-request-id"),
            self.body["request_id"].as_str()
        );
        let kind = self.body["type"].as_str().unwrap();
        assert!(kind.starts_with("urn:renewd:problem:"), "{kind}");
        let title = self.body["title"].as_str().unwrap();
        assert!(!title.is_empty());
        if code != "unavailable" {
            assert_eq!(self.body["message"], title.to_lowercase());
        }
        if status == 503 {
            let seconds: u64 = self.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=5).contains(&seconds));
        }
    }

    /// Asserts a failed validation of exactly these fields.
    #[track_caller]
    pub fn assert_invalid(&self, fields: &[&str]) {
        self.assert_problem(400, "invalid_request");
        let found: Vec<_> = self.body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| {
                assert!(!error["error_message"].as_str().unwrap().is_empty());
                error["error_field"].as_str().unwrap()
            })
            .collect();
        assert_eq!(found, fields, "{}", self.raw);
    }

    /// Asserts a refused refresh token.
    #[track_caller]
    pub fn assert_refused(&self, code: &str) {
        self.assert_problem(400, code);
        assert_eq!(
            self.body["type"],
            "urn:renewd:problem:invalid-refresh-token"
        );
        assert_eq!(self.body["message"], "invalid refresh token");
    }
}

/// The header and the claims of a token.
pub fn decode(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap_or_default()
    });
    (parts.next().unwrap(), parts.next().unwrap())
}
