//! Who calls: the credentials of the contract as types that an operation asks for.

use std::sync::Arc;

use entity::{AppId, PlainSecret, app_key};
use poem::{Request, http::header};
use poem_openapi::{SecurityScheme, auth::ApiKey};

use crate::{
    app::App,
    apps::{Caller, authenticate, authenticate_root},
    error::Error,
};

/// A root key, bare or as Bearer.
#[derive(SecurityScheme)]
#[oai(
    rename = "root_key",
    ty = "api_key",
    key_name = "Authorization",
    key_in = "header",
    checker = "check_root"
)]
pub struct RootKey(());

/// A secret app-key of the app in the path, bare or as Bearer.
#[derive(SecurityScheme)]
#[oai(
    rename = "secret_key",
    ty = "api_key",
    key_name = "Authorization",
    key_in = "header",
    checker = "check_secret"
)]
pub struct SecretKey(pub Caller);

/// Any app-key of the app in the path, bare or as Bearer; a publishable one may be shown to browsers.
#[derive(SecurityScheme)]
#[oai(
    rename = "publishable_key",
    ty = "api_key",
    key_name = "Authorization",
    key_in = "header",
    checker = "check_any"
)]
pub struct AnyKey(pub Caller);

async fn check_root(request: &Request, key: ApiKey) -> poem::Result<()> {
    Ok(authenticate_root(state(request)?, &presented(&key)).await?)
}

async fn check_secret(request: &Request, key: ApiKey) -> poem::Result<Caller> {
    let caller = check_any(request, key).await?;
    if caller.kind == app_key::Kind::Secret {
        Ok(caller)
    } else {
        Err(Error::InsufficientKey.into())
    }
}

async fn check_any(request: &Request, key: ApiKey) -> poem::Result<Caller> {
    let app = state(request)?;
    let id = app_id_in(request.uri().path()).ok_or(Error::InvalidKey)?;
    // An Origin that is no text is one that no app allows.
    let origin = request
        .headers()
        .get(header::ORIGIN)
        .map(|origin| origin.to_str().unwrap_or_default());
    Ok(authenticate(app, id, &presented(&key), origin).await?)
}

fn presented(key: &ApiKey) -> PlainSecret {
    let text = key.key.trim();
    let bare = match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim_start(),
        _ => text,
    };
    PlainSecret::from_text(bare)
}

fn state(request: &Request) -> Result<&App, Error> {
    request
        .data::<Arc<App>>()
        .map(Arc::as_ref)
        .ok_or_else(|| Error::internal("the app is missing"))
}

/// The app that a path under `/app` names.
pub fn app_id_in(path: &str) -> Option<AppId> {
    path.strip_prefix("/app/")?.split('/').next()?.parse().ok()
}
