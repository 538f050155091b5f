//! Which policies are taken.

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
