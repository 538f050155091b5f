//! Cross-origin requests: which pages may read the answers of a group of routes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use entity::app;
use poem::{
    Request, Response,
    http::{HeaderValue, Method, header},
};

use crate::{
    api::{auth::state, request::InPath},
    apps::origin,
    error::Error,
};

/// Seconds for which a browser may keep the answer to a preflight.
const MAX_AGE: &str = "600";

/// Which pages of other origins may read the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cors {
    /// None.
    Nobody,
    /// All.
    Everybody,
    /// Those of the allowed origins of the app in the path. A preflight shows no key, and is allowed to all: without that, a page would
    /// not learn why its request, which shows one, is refused.
    KeyOfApp,
    /// Those of the allowed origins of the app in the path, where a request shows no key: a preflight is allowed to them alone, too.
    App,
    /// Those of the allowed origins of an app that is named within the request. A preflight does not show it, and tells nothing: it is
    /// allowed to all. An operation says by [`show`] which app it turns out to be.
    AppInside,
}

/// The page that sent a request, and whether it may read the answer.
#[derive(Debug, Default)]
pub struct Reader {
    /// Whether the answer depends on the page at all.
    is_asked: bool,
    origin: Option<HeaderValue>,
    allowed: Option<HeaderValue>,
    shown: Option<Shown>,
}

/// Whether the page may read the answer: known when the app is.
#[derive(Clone, Debug, Default)]
struct Shown(Arc<AtomicBool>);

impl Cors {
    /// Who sent `request`, which is for the app `in_path`, if the group has one.
    ///
    /// # Errors
    /// When the app cannot be read.
    pub async fn reader(self, request: &mut Request, in_path: InPath) -> poem::Result<Reader> {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let Some(origin) = origin else {
            // A shared cache may hand an answer for all to a browser later.
            let everybody = HeaderValue::from_static("*");
            return Ok(match self {
                Self::Everybody => Reader::of(None, Some(everybody)),
                _ => Reader::default(),
            });
        };
        let is_open = is_preflight(request);
        let allowed = match self {
            Self::Nobody => return Ok(Reader::default()),
            Self::Everybody => Some(HeaderValue::from_static("*")),
            Self::KeyOfApp if is_open && in_path.0.is_some() => Some(origin.clone()),
            Self::KeyOfApp | Self::App => {
                let may_read = may_read(request, in_path, &origin).await?;
                may_read.then(|| origin.clone())
            }
            Self::AppInside if is_open => Some(origin.clone()),
            Self::AppInside => {
                let shown = Shown::default();
                request.set_data(shown.clone());
                let reader = Reader::of(Some(origin), None);
                return Ok(Reader {
                    shown: Some(shown),
                    ..reader
                });
            }
        };
        Ok(Reader::of(Some(origin), allowed))
    }
}

/// Whether the request asks what another one may do.
pub fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Lets the page that sent `request`, which names no app in its path, read the answer, if the app allows its origin.
pub fn show(request: &Request, app: &app::Model) {
    let origin = request.headers().get(header::ORIGIN);
    let is_allowed = origin.is_some_and(|origin| is_allowed(app, origin));
    if let Some(shown) = request.data::<Shown>() {
        shown.0.store(is_allowed, Ordering::Relaxed);
    }
}

fn is_allowed(app: &app::Model, origin: &HeaderValue) -> bool {
    origin
        .to_str()
        .is_ok_and(|origin| origin::is_allowed(app, origin))
}

async fn may_read(request: &Request, in_path: InPath, origin: &HeaderValue) -> poem::Result<bool> {
    let Some(id) = in_path.0 else {
        return Ok(false);
    };
    let loaded = state(request)?.load(id).await?;
    Ok(loaded.is_some_and(|loaded| is_allowed(&loaded.app, origin)))
}

impl Reader {
    fn of(origin: Option<HeaderValue>, allowed: Option<HeaderValue>) -> Self {
        Self {
            is_asked: true,
            origin,
            allowed,
            shown: None,
        }
    }

    /// Whether a preflight is answered for it.
    pub const fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// The same for a failure: that its origin is not allowed, a page may read, where the path tells the app.
    pub fn of_failure(mut self, error: &poem::Error) -> Self {
        let is_origin = matches!(error.downcast_ref(), Some(Error::OriginNotAllowed));
        if is_origin && self.shown.is_none() {
            self.allowed = self.allowed.or_else(|| self.origin.clone());
        }
        self
    }

    /// Tells the browser by the headers of `response`.
    pub fn put_on(self, response: &mut Response, is_preflight: bool) {
        if !self.is_asked {
            return;
        }
        let headers = response.headers_mut();
        // Also when the origin is refused: another one's answer differs.
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let is_shown = |shown: &Shown| shown.0.load(Ordering::Relaxed);
        let shown = self.shown.as_ref().is_some_and(is_shown);
        let Some(allowed) = self.allowed.or(self.origin.filter(|_| shown)) else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if is_preflight {
            for (name, value) in [
                (
                    header::ACCESS_CONTROL_ALLOW_METHODS,
                    "GET, POST, PUT, PATCH",
                ),
                (
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    "authorization, content-type, if-none-match, x-request-id",
                ),
                (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
        } else {
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("etag, retry-after, x-request-id"),
            );
        }
    }
}
