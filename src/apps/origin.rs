//! The origins of web pages (RFC 6454).

use entity::app;
use url::Url;

/// The origin of a URL, as browsers write it (RFC 6454 section 6.2).
pub fn of_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
}

/// Whether a browser could send this as `Origin`.
pub fn is_origin(text: &str) -> bool {
    of_url(text).as_deref() == Some(text) && !text.contains('*')
}

/// Whether pages of this origin may use the publishable keys of the app. Both are as browsers send them, so they are compared
/// letter by letter.
pub fn is_allowed(app: &app::Model, origin: &str) -> bool {
    app.allowed_origins().any(|allowed| allowed == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_browsers_send() {
        for origin in [
            "https://app.example.com",
            "http://localhost:3000",
            "https://[::1]:8443",
        ] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in [
            "",
            "*",
            "null",
            "app.example.com",
            "https://app.example.com/",
            "https://App.example.com",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://me@app.example.com",
            "ftp://app.example.com",
            "https://app.example.com/path",
            "https://",
            "https://*.example.com",
            "https://a.example\n",
        ] {
            assert!(!is_origin(other), "{other}");
        }
    }

    #[test]
    fn the_origin_of_a_url_is_written_as_browsers_do() {
        for (referer, origin) in [
            (
                "https://kecak.kinnarastudio.com",
                Some("https://kecak.kinnarastudio.com"),
            ),
            (
                "https://Kecak.Example.com:443/a?b",
                Some("https://kecak.example.com"),
            ),
            ("http://localhost:3000/", Some("http://localhost:3000")),
            ("http://user@evil.example/", Some("http://evil.example")),
            (
                "https://a.example@evil.example/",
                Some("https://evil.example"),
            ),
            ("http://[::1]:80/", Some("http://[::1]")),
            ("kecak.kinnarastudio.com", None),
            ("/path", None),
            ("ftp://a.example/", None),
            ("", None),
            ("https://", None),
        ] {
            assert_eq!(of_url(referer).as_deref(), origin, "{referer}");
        }
    }
}
