//! Spotflow: a device refreshes its registration token. A workspace is an app. Members that are not documented are ignored.

use std::sync::Arc;

use entity::{RegistrationTokenId, Timestamp};
use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json, types::Example};
use uuid::{Builder, Variant, Version};

use crate::{
    api::{
        auth::WorkspaceKey,
        body::ForeignBody,
        failure::{Failure, may},
        refused::Refused,
        tag::Tag,
        types::JsonObject,
    },
    app::App,
    devices::registration::{self, Created, NewRegistration, Refreshed},
    error::{Error, Violation},
};

/// The operation of Spotflow that takes a token alone.
#[derive(Debug, Default)]
pub struct RefreshRegistration;

/// The operation of Spotflow on a workspace.
#[derive(Debug, Default)]
pub struct CreateRegistration;

/// A registration token that is to be refreshed.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct RegistrationRefreshRequest {
    pub registration_token: String,
    /// Further members are ignored.
    #[oai(flatten)]
    pub rest: JsonObject,
}

/// The registration token that follows. It is shown this once.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct RegistrationRefreshResponse {
    pub registration_token: String,
    /// RFC 3339; null when it does not end by itself.
    #[oai(nullable)]
    pub expiration_time: Option<String>,
}

/// A device that is to be registered.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct RegistrationTokenRequest {
    /// What the device is called: `sub` of its sessions is `device:` and this. One that is not known is made.
    #[oai(validator(min_length = 1, max_length = 248))]
    pub device_id: String,
    /// RFC 3339: when its first token ends. Each token after it lives as long as that. By default, as the app's
    /// `registration_expire` says.
    #[oai(nullable)]
    pub expiration_time: Option<String>,
    /// Kept, and shown again.
    pub allow_on_behalf_of_registration: bool,
    /// Claims of the sessions that the device begins: as the further members of `sign`, and with the same rules.
    #[oai(nullable)]
    pub claims: Option<JsonObject>,
    /// What these sessions may be for, beside the `device_audiences` of the app. The first one is that of a session that asks
    /// for none.
    #[oai(nullable, validator(max_items = 50))]
    pub audiences: Option<Vec<String>>,
    /// Further members are ignored.
    #[oai(flatten)]
    pub rest: JsonObject,
}

/// The first registration token of a device. It is shown this once.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct RegistrationTokenResponse {
    /// A UUID: the same for all tokens to which this one is refreshed.
    pub registration_token_id: String,
    pub registration_token: String,
    /// RFC 3339; null when it does not end by itself.
    #[oai(nullable)]
    pub expiration_time: Option<String>,
    /// RFC 3339.
    pub issued_time: String,
    pub device_id: String,
    pub allow_on_behalf_of_registration: bool,
}

#[derive(ApiResponse)]
enum RefreshReply {
    /// New registration token is created. Parent registration token is already in grace period. Previously returned newly
    /// generated token is revoked.
    #[oai(status = 200)]
    Replaced(Json<RegistrationRefreshResponse>),
    /// New registration token is created. Parent registration token will be revoked after grace period passes. Grandparent
    /// will be revoked immediately.
    #[oai(status = 201)]
    Advanced(Json<RegistrationRefreshResponse>),
}

#[OpenApi(tag = "Tag::Spotflow")]
impl RefreshRegistration {
    /// Refresh a registration token
    ///
    /// Needs nothing but the token. Until the grace of the app is over, the token that was refreshed may be presented again,
    /// for an answer that was lost: of all tokens that were made of it, only the last one is good.
    #[oai(
        path = "/devices/registration-tokens/refresh",
        method = "put",
        operation_id = "spotflow_refresh"
    )]
    async fn refresh(
        &self,
        Data(app): Data<&Arc<App>>,
        ForeignBody(request): ForeignBody<RegistrationRefreshRequest>,
    ) -> Result<RefreshReply, Failure<(may::DeviceToken, may::Body)>> {
        let refreshed = registration::refresh(app, &request.registration_token).await?;
        let reply = match refreshed.is_repeated {
            true => RefreshReply::Replaced,
            false => RefreshReply::Advanced,
        };
        Ok(reply(Json(refreshed.into())))
    }
}

#[OpenApi(tag = "Tag::Spotflow")]
impl CreateRegistration {
    /// Create a registration token
    ///
    /// `claims` and `audiences` hold for all tokens that follow this one. Of a device that has one, too: what it has is dead then. Of several that do so at once for one device, one wins, and the
    /// others are told 409.
    #[oai(
        path = "/workspaces/:app_id/devices/registration-tokens/create",
        method = "post",
        operation_id = "spotflow_create"
    )]
    async fn create(
        &self,
        Data(app): Data<&Arc<App>>,
        WorkspaceKey(caller): WorkspaceKey,
        ForeignBody(request): ForeignBody<RegistrationTokenRequest>,
    ) -> Result<
        Json<RegistrationTokenResponse>,
        Failure<(may::Key, may::Item, may::Body, may::Conflict, may::Locked)>,
    > {
        let new = NewRegistration {
            client_id: request.device_id,
            expires_at: expiration(request.expiration_time.as_deref())?,
            allow_on_behalf_of_registration: request.allow_on_behalf_of_registration,
            claims: request.claims.map(|claims| claims.0).unwrap_or_default(),
            audiences: request.audiences.unwrap_or_default(),
        };
        match registration::create(app, &caller, &new).await {
            Ok(created) => Ok(Json(RegistrationTokenResponse::of(new.client_id, &created))),
            // Spotflow's word for it.
            Err(Error::DeviceDisabled) => Err(Refused::DeviceLocked.into()),
            Err(Error::Invalid(violations)) => Err(Error::Invalid(translated(violations)).into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A ULID begins with its time as a UUID of version 7 does (RFC 9562 section 5.7), and lacks only its marks.
fn uuid(id: RegistrationTokenId) -> String {
    Builder::from_u128(id.as_u128())
        .with_variant(Variant::RFC4122)
        .with_version(Version::SortRand)
        .into_uuid()
        .to_string()
}

/// With Spotflow's names of the fields.
fn translated(mut violations: Vec<Violation>) -> Vec<Violation> {
    for violation in &mut violations {
        let name = match violation.field.as_str() {
            "client_id" => "deviceId",
            "expires_at" => "expirationTime",
            _ => continue,
        };
        name.clone_into(&mut violation.field);
    }
    violations
}

fn expiration(text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    text.map(|text| {
        let message = "must be a time as RFC 3339 writes it";
        Timestamp::from_rfc3339(text).ok_or_else(|| Error::invalid("expirationTime", message))
    })
    .transpose()
}

impl From<Refreshed> for RegistrationRefreshResponse {
    fn from(refreshed: Refreshed) -> Self {
        Self {
            registration_token: refreshed.token.reveal().to_owned(),
            expiration_time: refreshed.expires_at.map(Timestamp::to_rfc3339),
        }
    }
}

impl RegistrationTokenResponse {
    fn of(device_id: String, created: &Created) -> Self {
        let row = &created.row;
        Self {
            registration_token_id: uuid(row.id),
            registration_token: created.token.reveal().to_owned(),
            expiration_time: row.expires_at.map(Timestamp::to_rfc3339),
            issued_time: row.issued_at.to_rfc3339(),
            device_id,
            allow_on_behalf_of_registration: row.allow_on_behalf_of_registration,
        }
    }
}

const EXAMPLE_TOKEN: &str = "rrGhpc19pc19hbl9leGFtcGxlX3Rva2VuX3RoaXNfaXNfYW5fZXhhbXBsZV90b2tlbl90aGlzX2lzX2FuX2V4YW1wbGVfdG9rZW5fdGhpc19pc19hbl9leGFtcGxlX3Rva2VuX3RoaXNfaXNfYW5fZXhhbXBsZV90b2tlbl90aGlzX2lzX2FuX2V4YW1wbGVfdG9rZW4=";
const EXAMPLE_TIME: &str = "2021-11-12T14:00:00+00:00";

impl Example for RegistrationRefreshRequest {
    fn example() -> Self {
        Self {
            registration_token: EXAMPLE_TOKEN.to_owned(),
            rest: JsonObject::default(),
        }
    }
}

impl Example for RegistrationRefreshResponse {
    fn example() -> Self {
        Self {
            registration_token: EXAMPLE_TOKEN.to_owned(),
            expiration_time: Some(EXAMPLE_TIME.to_owned()),
        }
    }
}

impl Example for RegistrationTokenRequest {
    fn example() -> Self {
        Self {
            device_id: "test-device-01".to_owned(),
            expiration_time: None,
            allow_on_behalf_of_registration: true,
            claims: None,
            audiences: Some(vec!["telemetry".to_owned()]),
            rest: JsonObject::default(),
        }
    }
}

impl Example for RegistrationTokenResponse {
    fn example() -> Self {
        Self {
            registration_token_id: "9bbfcc09-c6d1-4a5b-825f-f709270c208a".to_owned(),
            registration_token: EXAMPLE_TOKEN.to_owned(),
            expiration_time: Some(EXAMPLE_TIME.to_owned()),
            issued_time: "2021-11-11T14:00:00+00:00".to_owned(),
            device_id: "test-device-01".to_owned(),
            allow_on_behalf_of_registration: true,
        }
    }
}
