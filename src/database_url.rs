//! The URL of the store, as it may be shown: its password may stand in more places than one.

use url::{Host, Url};

/// What stands for something that is not shown.
const HIDDEN: &str = "***";

/// The parameters that drivers know whose values are no secrets.
const SHOWN: [&str; 25] = [
    "application_name",
    "cache",
    "charset",
    "collation",
    "dbname",
    "host",
    "hostaddr",
    "immutable",
    "mode",
    "port",
    "socket",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslca",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "time-zone",
    "timezone",
    "user",
];

/// `text` without what may be a secret. Nothing of it is shown but what it certainly says.
pub fn redacted(text: &str) -> String {
    match text.split_once(':') {
        Some((scheme @ ("sqlite" | "postgres" | "postgresql" | "mysql"), _)) => {
            let shown = if scheme == "sqlite" {
                file(text)
            } else {
                server(text)
            };
            shown.unwrap_or_else(|| format!("{scheme}://{HIDDEN}"))
        }
        _ => HIDDEN.to_owned(),
    }
}

/// The URL of a file, whose path is shown letter for letter. None where it looks like that of a server, or like more than a path.
fn file(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    if url.password().is_some() || path.contains([';', '=', '&', '#']) {
        return None;
    }
    Some(match query {
        Some(query) => format!("{path}?{}", parameters(query)),
        None => path.to_owned(),
    })
}

/// The URL of a server. None where a part of the password may have been taken for another part: because it has a character
/// that ends the password in a URL, or because it was written as no URL has it.
fn server(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let has_user = !url.username().is_empty() || url.password().is_some();
    if text.matches('@').count() != usize::from(has_user) || url.fragment().is_some() {
        return None;
    }
    let host = url.host_str().unwrap_or_default();
    let is_address = matches!(url.host(), Some(Host::Ipv6(_)));
    let database = url.path().strip_prefix('/').unwrap_or(url.path());
    let is_plain = is_plain(url.username())
        && (is_address || is_plain(host))
        && is_plain(database)
        && !database.contains('/');
    if !is_plain {
        return None;
    }
    let mut shown = format!("{}://", url.scheme());
    if has_user {
        shown.push_str(url.username());
        if url.password().is_some() {
            shown.push(':');
            shown.push_str(HIDDEN);
        }
        shown.push('@');
    }
    shown.push_str(host);
    if let Some(port) = url.port() {
        shown.push_str(&format!(":{port}"));
    }
    shown.push_str(url.path());
    if let Some(query) = url.query() {
        shown.push('?');
        shown.push_str(&parameters(query));
    }
    Some(shown)
}

fn parameters(query: &str) -> String {
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if SHOWN.contains(&name) && is_plain(value) => parameter.to_owned(),
        Some((name, _)) if is_name(name) => format!("{name}={HIDDEN}"),
        _ => HIDDEN.to_owned(),
    };
    query
        .split('&')
        .map(parameter)
        .collect::<Vec<_>>()
        .join("&")
}

/// Whether this can be no more than one name, number or path: nothing in it begins another part. A folder of sockets that stands
/// for a host has its slashes encoded.
fn is_plain(text: &str) -> bool {
    let is_of_path = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    text.replace("%2F", "/").bytes().all(is_of_path)
}

fn is_name(text: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-[].".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_secret_is_shown() {
        for shown in [
            "sqlite://data/renewd.db?mode=rwc",
            "sqlite:///srv/a b@c/renewd.db?mode=rwc&immutable=1",
            "postgres://me@host/db",
            "postgres://host:5432/db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "mysql://me@[::1]:3306/db?charset=utf8mb4",
            "postgres:///db?host=/run/postgresql&user=me",
            "postgres://me-2@db-1.example.com/my_db.2?application_name=node-1",
            "postgres://%2Frun%2Fpostgresql/db",
            "postgres://host",
            "postgres://host/",
        ] {
            assert_eq!(redacted(shown), shown);
        }
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        for (url, shown) in [
            ("postgres://me:secret@host/db", "postgres://me:***@host/db"),
            ("postgresql://me:@host/db", "postgresql://me@host/db"),
            (
                "postgres://me:s%40cret@host:1/db?sslmode=require",
                "postgres://me:***@host:1/db?sslmode=require",
            ),
            (
                "postgres://host/db?user=me&password=secret",
                "postgres://host/db?user=me&password=***",
            ),
            (
                "mysql://me:secret@host/db?passwor%64=secret&secret&PASSWORD=secret",
                "mysql://me:***@host/db?***&***&PASSWORD=***",
            ),
            ("postgres://me:secret@host/db#secret", "postgres://***"),
            (
                "sqlite://x.db?mode=rwc&key=secret",
                "sqlite://x.db?mode=rwc&key=***",
            ),
            ("sqlite://me:secret@host/db", "sqlite://***"),
            // Not to be parsed, or not as it was meant.
            ("postgres://me:secret@host:port/db", "postgres://***"),
            ("postgres://me:secret", "postgres://***"),
            ("postgres://me:sec/ret@host/db", "postgres://***"),
            ("postgres://me:123/secret@host/db", "postgres://***"),
            ("postgres://me:123?secret@host/db", "postgres://***"),
            ("postgres://me:123#secret@host/db", "postgres://***"),
            ("postgres://me:sec@ret@host/db", "postgres://***"),
            (
                "postgres://me:secret@host/db?application_name=a@b",
                "postgres://***",
            ),
            ("postgres:me:secret@host/db", "postgres://***"),
            ("postgres//me:secret@host/db", "***"),
            ("me:secret@host/db", "***"),
            ("mariadb://me:secret@host/db", "***"),
            // Taken apart, but not into what it was meant to be.
            ("postgres://host/db;password=secret", "postgres://***"),
            ("postgres://host/db&password=secret", "postgres://***"),
            ("postgres://host/db%3Bpassword%3Dsecret", "postgres://***"),
            ("postgres://host/db/password/secret", "postgres://***"),
            ("postgres://host:1/db password secret", "postgres://***"),
            ("postgres://host;password=secret/db", "postgres://***"),
            ("postgres://host,password=secret", "postgres://***"),
            ("postgres://me;password=secret@host/db", "postgres://***"),
            ("postgres://me%3Asecret@host/db", "postgres://***"),
            ("mysql://me:other@host/db;password=secret", "mysql://***"),
            (
                "postgres://host/db?user=me;password=secret&sslmode=require",
                "postgres://host/db?user=***&sslmode=require",
            ),
            (
                "postgres://host/db?application_name=a%20password%3Dsecret",
                "postgres://host/db?application_name=***",
            ),
            (
                "postgres://host/db?host=me:secret",
                "postgres://host/db?host=***",
            ),
            (
                "sqlite://x.db?mode=rwc?key=secret",
                "sqlite://x.db?mode=***",
            ),
            ("sqlite://x.db;key=secret", "sqlite://***"),
            ("sqlite://x.db#secret", "sqlite://***"),
            ("secret", "***"),
        ] {
            assert_eq!(redacted(url), shown, "{url}");
        }
    }
}
