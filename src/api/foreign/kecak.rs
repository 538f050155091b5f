//! Kecak Mobile: a user who is signed in tells the FCM token of the device, and gets a token that tells of it. Members that
//! are not documented are ignored.

use std::sync::Arc;

use entity::{PlainSecret, app};
use poem::{Request, RequestBody, http::header, web::Data};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, Object, OpenApi,
    param::Header,
    payload::Json,
    registry::{MetaSecurityScheme, Registry},
    types::Example,
};
use serde_json::Value;

use crate::{
    api::{
        auth::{bare, state},
        body::Body,
        cors,
        failure::{Failure, may},
        tag::Tag,
        types::JsonObject,
    },
    app::App,
    apps::origin,
    devices,
    error::{Error, Result},
    sessions::{self, Bearer},
};

/// The operations of Kecak Mobile.
#[derive(Debug, Default)]
pub struct Kecak;

type Reply<T, S> = Result<Json<T>, Failure<S>>;

/// An auth token of a user, bare or as Bearer; of whatever app signed it. Not derived: a missing one is a 401 here.
#[derive(Debug)]
pub struct AuthToken(Bearer);

/// The device and its FCM token.
#[derive(Debug, Object)]
#[oai(example)]
pub struct FcmTokenRequest {
    #[oai(validator(min_length = 1, max_length = 4096))]
    pub fcm_token: String,
    /// What the client calls the device; one of the user's own.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub device_id: String,
    /// Further members are ignored.
    #[oai(flatten)]
    pub rest: JsonObject,
}

/// The updated token.
#[derive(Debug, Object)]
#[oai(example)]
pub struct FcmTokenResponse {
    pub token: String,
}

/// Whose token it is.
#[derive(Debug, Object)]
#[oai(example)]
pub struct CheckTokenResponse {
    /// Always true: a token that is not good is a 401.
    pub valid: bool,
    #[oai(nullable)]
    pub full_name: Option<String>,
    #[oai(nullable)]
    pub fcm_token: Option<String>,
    #[oai(nullable)]
    pub email: Option<String>,
    pub username: String,
}

#[OpenApi(prefix_path = "/web/json/plugin", tag = "Tag::Kecak")]
impl Kecak {
    /// Refresh the FCM token of the device
    ///
    /// The updated token is an auth token of the same session, with the claims `fcm_token` and `device_id`, which renewals
    /// carry on. It is good for as long as the one that was presented; the refresh token of the session is not touched.
    ///
    /// `device_id` names a device of this user: another user may call another one so. The session of a device that has a
    /// registration token is refused. New devices of one user are counted.
    #[oai(
        path = "/com.kinnara.kecakplugins.mobileapi.RefreshTokenApi/service",
        method = "put",
        operation_id = "kecak_refresh_token"
    )]
    async fn refresh_token(
        &self,
        Data(app): Data<&Arc<App>>,
        request: &Request,
        AuthToken(bearer): AuthToken,
        /// Your server's host. Where the app has `allowed_origins`, a URL of one of them.
        #[oai(name = "Referer")]
        referer: Header<String>,
        body: Body<FcmTokenRequest>,
    ) -> Reply<FcmTokenResponse, (may::Credential, may::Body, may::Counted)> {
        check_referer(&bearer.app.app, &referer.0)?;
        cors::show(request, &bearer.app.app);
        let FcmTokenRequest {
            fcm_token,
            device_id,
            ..
        } = body.value;
        let claims = [("fcm_token", &*fcm_token), ("device_id", &*device_id)];
        let push_token = PlainSecret::from_text(&fcm_token);
        let allow = |app: &app::Model| check_referer(app, &referer.0);
        let report = devices::report(app, &bearer, &device_id, &push_token, claims, allow);
        let token = report.await?;
        Ok(Json(FcmTokenResponse { token }))
    }

    /// Check a token
    ///
    /// What the claims `personal.full_name`, `fcm_token`, `personal.email` and `sub` say.
    #[oai(
        path = "/com.kinnara.kecakplugins.mobileapi.CheckTokenApi/service",
        method = "get",
        operation_id = "kecak_check_token"
    )]
    async fn check_token(
        &self,
        request: &Request,
        AuthToken(bearer): AuthToken,
        /// Your server's host. Where the app has `allowed_origins`, a URL of one of them.
        #[oai(name = "Referer")]
        referer: Header<String>,
    ) -> Reply<CheckTokenResponse, (may::Credential, may::Query)> {
        check_referer(&bearer.app.app, &referer.0)?;
        cors::show(request, &bearer.app.app);
        Ok(Json(CheckTokenResponse::of(&bearer)))
    }
}

impl<'a> ApiExtractor<'a> for AuthToken {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "apiKey",
            description: Some("An auth token of a user, bare or as Bearer."),
            name: Some("Authorization"),
            key_in: Some("header"),
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme("auth_token", scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["auth_token"]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let app = state(request)?;
        let token = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|token| token.to_str().ok())
            .ok_or(Error::InvalidToken)?;
        let bearer = sessions::bearer(app, bare(token)).await?;
        if bearer.is_device() {
            return Err(Error::UserSessionRequired.into());
        }
        Ok(Self(bearer))
    }
}

/// A page that is not the app's own does not use a token that it got hold of: where the app says which ones are its own.
fn check_referer(app: &app::Model, referer: &str) -> Result<()> {
    if referer.trim().is_empty() {
        return Err(Error::invalid("Referer", "is required"));
    }
    // "Your server host", says its documentation: without origins to compare, a client may take that by the letter.
    let takes_any = app.allowed_origins().next().is_none();
    let origin = origin::of_url(referer);
    if takes_any || origin.is_some_and(|origin| origin::is_allowed(app, &origin)) {
        Ok(())
    } else {
        Err(Error::OriginNotAllowed)
    }
}

impl CheckTokenResponse {
    fn of(bearer: &Bearer) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let personal = |name| text(bearer.claims.get("personal").and_then(|all| all.get(name)));
        Self {
            valid: true,
            full_name: personal("full_name"),
            fcm_token: text(bearer.claims.get("fcm_token")),
            email: personal("email"),
            username: text(bearer.claims.get("sub")).unwrap_or_default(),
        }
    }
}

impl Example for FcmTokenRequest {
    fn example() -> Self {
        Self {
            fcm_token: "sdsdugsudgjHIDSASDA".to_owned(),
            device_id: "123131231dsafasfa".to_owned(),
            rest: JsonObject::default(),
        }
    }
}

impl Example for FcmTokenResponse {
    fn example() -> Self {
        Self {
            token: "your updated token".to_owned(),
        }
    }
}

impl Example for CheckTokenResponse {
    fn example() -> Self {
        Self {
            valid: true,
            full_name: Some("Test User".to_owned()),
            fcm_token: Some("sdsdugsudgjHIDSASDA".to_owned()),
            email: Some("test@test.com".to_owned()),
            username: "test@test.com".to_owned(),
        }
    }
}
