//! Who calls: the credentials of the contract as types that an operation asks for.

use std::sync::Arc;

use entity::{AppId, PlainSecret, app_key};
use poem::{Request, RequestBody, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, SecurityScheme,
    auth::ApiKey,
    registry::{MetaSecurityScheme, Registry},
};

use crate::{
    api::{
        client::address,
        request::{Context, InPath},
    },
    app::App,
    apps::{Caller, PresentedKey, authenticate, authenticate_root},
    audit::Actor,
    error::Error,
};

/// A root key, bare or as Bearer. Not derived: a missing one is recorded as a wrong one is.
#[derive(Debug)]
pub struct RootKey(pub Actor);

impl<'a> ApiExtractor<'a> for RootKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "apiKey",
            description: Some("A root key, bare or as Bearer."),
            name: Some("Authorization"),
            key_in: Some("header"),
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme("root_key", scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["root_key"]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let app = state(request)?;
        let header = request.headers().get(header::AUTHORIZATION);
        let key = header.and_then(|key| key.to_str().ok()).unwrap_or_default();
        let key = ApiKey {
            key: key.to_owned(),
        };
        Ok(Self(
            authenticate_root(app, presented(app, request, &key)).await?,
        ))
    }
}

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

/// A secret app-key of the app in the path, bare or as Bearer.
///
/// Where an app that is not there is told from a wrong key.
#[derive(SecurityScheme)]
#[oai(
    rename = "secret_key",
    ty = "api_key",
    key_name = "Authorization",
    key_in = "header",
    checker = "check_workspace"
)]
pub struct WorkspaceKey(pub Caller);

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

async fn check_secret(request: &Request, key: ApiKey) -> poem::Result<Caller> {
    let caller = check_any(request, key).await?;
    if caller.kind == app_key::Kind::Secret {
        Ok(caller)
    } else {
        Err(Error::InsufficientKey.into())
    }
}

async fn check_workspace(request: &Request, key: ApiKey) -> poem::Result<Caller> {
    let is_known = match in_path(request) {
        Some(id) => state(request)?.load(id).await?.is_some(),
        None => false,
    };
    if !is_known {
        return Err(Error::NotFound("workspace").into());
    }
    check_secret(request, key).await
}

async fn check_any(request: &Request, key: ApiKey) -> poem::Result<Caller> {
    let app = state(request)?;
    let id = in_path(request).ok_or(Error::InvalidKey)?;
    Ok(authenticate(app, id, presented(app, request, &key)).await?)
}

fn in_path(request: &Request) -> Option<AppId> {
    request.data::<InPath>().and_then(|in_path| in_path.0)
}

/// The key of a request, bare, as Bearer, or as SCAEM's clients write it.
pub fn presented(app: &App, request: &Request, key: &ApiKey) -> PresentedKey {
    let bare = bare(&key.key);
    let bare = bare.strip_prefix("api_key|").unwrap_or(bare);
    // An Origin that is no text is one that no app allows.
    let origin = request.headers().get(header::ORIGIN);
    PresentedKey {
        key: PlainSecret::from_text(bare),
        origin: origin.map(|origin| origin.to_str().unwrap_or_default().to_owned()),
        request_id: request
            .data::<Context>()
            .map(|context| context.id.to_string()),
        ip: address(request, &app.config.trusted_proxies),
    }
}

/// What `Authorization` holds, bare or as Bearer.
pub fn bare(header: &str) -> &str {
    let text = header.trim();
    match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim_start(),
        _ => text,
    }
}

/// The app that the request is for.
///
/// # Errors
/// Never, but for a defect of ours.
pub fn state(request: &Request) -> Result<&App, Error> {
    request
        .data::<Arc<App>>()
        .map(Arc::as_ref)
        .ok_or_else(|| Error::internal("the app is missing"))
}
