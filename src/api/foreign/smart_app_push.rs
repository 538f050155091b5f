//! SmartAppPush: mobile apps tell of events, and of a push token that follows another. Members that are not documented are
//! ignored.

use std::sync::Arc;

use entity::{
    PlainSecret, Timestamp,
    device::{self, Platform},
};
use poem::{Request, web::Data};
use poem_openapi::{Object, OpenApi, auth::ApiKey, payload::Json, types::Example};
use serde_json::Value;

use crate::{
    api::{
        auth::presented,
        body::Body,
        cors,
        device_objects::PlatformName,
        failure::{Failure, Statuses, may},
        refused::Refused,
        tag::Tag,
        types::JsonObject,
    },
    app::App,
    apps::{Caller, authenticate},
    devices::{self, Details, Sighting, Swap},
    error::{Error, Result, Violation},
};

/// The operations of SmartAppPush.
#[derive(Debug, Default)]
pub struct SmartAppPush;

/// What `params` of an event may be: they are read, and not kept.
const MAX_PARAMS_BYTES: usize = 16 * 1024;
const MAX_PARAMS_DEPTH: usize = 8;

type Reply<T, S> = Result<Json<T>, Failure<S>>;

/// Something that happened on a device.
#[derive(Debug, Object)]
#[oai(example)]
pub struct EventRequest {
    /// The app's id.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub tenant_id: String,
    /// An app-key; a publishable one suffices.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub api_key: String,
    /// The user; none for an anonymous one.
    #[oai(nullable, validator(min_length = 1, max_length = 255))]
    pub app_user_id: Option<String>,
    #[oai(validator(min_length = 1, max_length = 255))]
    pub event_name: String,
    /// RFC 3339 with offset.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub event_time: String,
    /// The FCM registration token.
    #[oai(validator(min_length = 1, max_length = 4096))]
    pub device_token: String,
    pub platform: PlatformName,
    pub push_permission_granted: bool,
    /// IANA, such as `Europe/Berlin`.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub timezone: String,
    /// ISO 639-1, such as `en`.
    #[oai(validator(min_length = 2, max_length = 2))]
    pub language: String,
    /// ISO 3166-1 alpha-2, such as `DE`.
    #[oai(validator(min_length = 2, max_length = 2))]
    pub country: String,
    #[oai(validator(min_length = 1, max_length = 255))]
    pub session_id: String,
    /// At most 16 KiB, with objects and arrays in at most 8 levels.
    #[oai(nullable)]
    pub params: Option<JsonObject>,
    /// Further members are ignored.
    #[oai(flatten)]
    pub rest: JsonObject,
}

/// The device on which it happened.
#[derive(Debug, Object)]
#[oai(example)]
pub struct EventResponse {
    /// Names the device, also after its push token was swapped.
    pub fingerprint: String,
}

/// A push token, and the one that follows it.
#[derive(Debug, Object)]
#[oai(example)]
pub struct SwapRequest {
    /// The app's id.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub tenant_id: String,
    /// An app-key; a publishable one suffices.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub api_key: String,
    /// The previous FCM registration token being replaced.
    #[oai(validator(min_length = 1, max_length = 4096))]
    pub old_token: String,
    /// The new FCM registration token from `onNewToken()`.
    #[oai(validator(min_length = 1, max_length = 4096))]
    pub new_token: String,
    /// The user: decides where the new token is registered already.
    #[oai(nullable, validator(min_length = 1, max_length = 255))]
    pub app_user_id: Option<String>,
    #[oai(nullable)]
    pub platform: Option<PlatformName>,
    /// Further members are ignored.
    #[oai(flatten)]
    pub rest: JsonObject,
}

/// It was swapped.
#[derive(Debug, Object)]
#[oai(example)]
pub struct SwapResponse {
    pub success: bool,
}

#[OpenApi(tag = "Tag::SmartAppPush")]
impl SmartAppPush {
    /// Tell of an event
    ///
    /// Creates the device when its `device_token` is not known, else notes what is new of it. The event itself is not kept.
    /// Where the device is another user's, messages to the token go to `app_user_id` from then on, and the device stays whose
    /// it is.
    ///
    /// With a publishable key, too many events of a device in a minute, and too many new devices of an app in an hour, are
    /// answered with 429.
    #[oai(
        path = "/events",
        method = "post",
        operation_id = "smart_app_push_event"
    )]
    async fn event(
        &self,
        Data(app): Data<&Arc<App>>,
        request: &Request,
        body: Body<EventRequest>,
    ) -> Reply<EventResponse, (may::Credential, may::Body, may::Counted)> {
        let event = body.value;
        let caller = authenticated(app, request, &event.tenant_id, &event.api_key).await?;
        let sighting = event.sighting()?;
        let id = devices::event(app, &caller, &sighting).await;
        let id = id.map_err(refused)?;
        Ok(Json(EventResponse {
            fingerprint: id.to_string(),
        }))
    }

    /// Swap a device's FCM token
    ///
    /// Firebase rotates FCM registration tokens. This swaps the old one for the new one in place: there is no second device.
    /// To ask again for a swap that was done succeeds again.
    ///
    /// Where the new token belongs to a device of the same user already, the two records merge and the older one goes, or the
    /// one that nobody is signed in on; where it belongs to a different user's, the answer is 409. Records of two users, or
    /// that are both in use, never merge: the old token is dead then, and the new one stays where it is.
    #[oai(
        path = "/devices/refresh-token",
        method = "post",
        operation_id = "smart_app_push_refresh_token"
    )]
    async fn refresh_token(
        &self,
        Data(app): Data<&Arc<App>>,
        request: &Request,
        body: Body<SwapRequest>,
    ) -> Reply<SwapResponse, (may::Credential, may::Item, may::Body, may::Conflict)> {
        let swap = body.value;
        let caller = authenticated(app, request, &swap.tenant_id, &swap.api_key).await?;
        let swap = swap.into_swap()?;
        let swapped = devices::swap(app, &caller, &swap).await;
        swapped.map_err(refused)?;
        Ok(Json(SwapResponse { success: true }))
    }
}

/// The caller with this key of this app. What the page of an allowed origin gets, it may read.
async fn authenticated<S: Statuses>(
    app: &App,
    request: &Request,
    tenant_id: &str,
    api_key: &str,
) -> Result<Caller, Failure<S>> {
    let id = tenant_id.parse().map_err(|_| Refused::InvalidKey)?;
    let key = ApiKey {
        key: api_key.to_owned(),
    };
    match authenticate(app, id, presented(app, request, &key)).await {
        Ok(caller) => {
            cors::show(request, &caller.app.app);
            Ok(caller)
        }
        Err(error) => Err(refused(error)),
    }
}

/// A wrong key has a status of its own here.
fn refused<S: Statuses>(error: Error) -> Failure<S> {
    match error {
        Error::InvalidKey => Refused::InvalidKey.into(),
        other => other.into(),
    }
}

impl EventRequest {
    /// What it says of its device.
    ///
    /// # Errors
    /// With every rule that it breaks.
    fn sighting(self) -> Result<Sighting> {
        let mut details = Details {
            platform: Some(self.platform.into()),
            push_permission: Some(self.push_permission_granted),
            timezone: Some(self.timezone),
            language: Some(self.language),
            country: Some(self.country),
        };
        let mut violations = details.normalise();
        if Timestamp::from_rfc3339(&self.event_time).is_none() {
            let message = "must be a time in RFC 3339, with offset";
            violations.push(Violation::new("event_time", message));
        }
        violations.extend(check_user(self.app_user_id.as_deref()));
        violations.extend(self.params.as_ref().and_then(check_params));
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        Ok(Sighting {
            push_token: PlainSecret::from_text(&self.device_token),
            sub: self.app_user_id,
            details,
        })
    }
}

impl SwapRequest {
    /// What is asked for.
    ///
    /// # Errors
    /// When there is nothing to swap.
    fn into_swap(self) -> Result<Swap> {
        if self.old_token == self.new_token {
            return Err(Error::invalid("new_token", "must differ from old_token"));
        }
        if let Some(violation) = check_user(self.app_user_id.as_deref()) {
            return Err(Error::Invalid(vec![violation]));
        }
        Ok(Swap {
            old: PlainSecret::from_text(&self.old_token),
            new: PlainSecret::from_text(&self.new_token),
            sub: self.app_user_id,
            platform: self.platform.map(Platform::from),
        })
    }
}

/// That the user is no registered device: nobody else is called so.
fn check_user(sub: Option<&str>) -> Option<Violation> {
    let message = "must not begin with device:, as those of registered devices do";
    sub.is_some_and(device::is_device)
        .then(|| Violation::new("app_user_id", message))
}

/// That what is not kept is not large either.
fn check_params(params: &JsonObject) -> Option<Violation> {
    let params = Value::Object(params.0.clone());
    let message = if params.to_string().len() > MAX_PARAMS_BYTES {
        "must have at most 16 KiB"
    } else if depth(&params) > MAX_PARAMS_DEPTH {
        "must have objects and arrays in at most 8 levels"
    } else {
        return None;
    };
    Some(Violation::new("params", message))
}

/// How deep objects and arrays are in each other.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

impl Example for EventRequest {
    fn example() -> Self {
        Self {
            tenant_id: "01JMWRJEJ71191KP88NDGWVYEW".to_owned(),
            api_key: "rnw_pk_01JMWRJEJ71191KP88NDGWVYEW…".to_owned(),
            app_user_id: Some("user_123".to_owned()),
            event_name: "app_open".to_owned(),
            event_time: "2026-11-20T12:00:00+01:00".to_owned(),
            device_token: "fresh_fcm_registration_token".to_owned(),
            platform: PlatformName::Android,
            push_permission_granted: true,
            timezone: "Europe/Berlin".to_owned(),
            language: "en".to_owned(),
            country: "DE".to_owned(),
            session_id: "session_1".to_owned(),
            params: None,
            rest: JsonObject::default(),
        }
    }
}

impl Example for EventResponse {
    fn example() -> Self {
        Self {
            fingerprint: "01JMWRJEJ71191KP88NDGWVYEW".to_owned(),
        }
    }
}

impl Example for SwapRequest {
    fn example() -> Self {
        Self {
            tenant_id: "your_tenant_id".to_owned(),
            api_key: "your_app_api_key".to_owned(),
            old_token: "expired_fcm_registration_token".to_owned(),
            new_token: "fresh_fcm_registration_token".to_owned(),
            app_user_id: Some("user_123".to_owned()),
            platform: Some(PlatformName::Android),
            rest: JsonObject::default(),
        }
    }
}

impl Example for SwapResponse {
    fn example() -> Self {
        Self { success: true }
    }
}
