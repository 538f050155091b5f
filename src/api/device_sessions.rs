//! `/app/{app_id}/devices/session`: a device signs in by its registration token.

use std::{net::IpAddr, sync::Arc};

use entity::AppId;
use poem::{Request, web::Data};
use poem_openapi::{Object, OpenApi, param::Path, types::Example};

use crate::{
    api::{
        body::Body,
        client::client,
        failure::{Failure, may},
        session_objects::GrantResponse,
        tag::Tag,
        types::{Audience, Id, Written},
    },
    app::App,
    devices::registration,
    error::Error,
};

/// The operation of devices that have a registration token.
#[derive(Debug, Default)]
pub struct DeviceSessions;

/// A device that begins a session.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeviceSessionRequest {
    /// The current one, or its parent within the grace.
    #[oai(validator(min_length = 1))]
    pub registration_token: String,
    /// For whom the auth token is: one or several of the `audiences` of the registration and the `device_audiences` of the
    /// app. The first of these unless given, or the app's id where there is none.
    #[oai(nullable)]
    pub aud: Option<Audience>,
    /// Not believed: the address of the connection is taken.
    #[oai(nullable)]
    pub ip: Option<IpAddr>,
    /// Not believed: the `User-Agent` of the request is taken.
    #[oai(nullable, validator(max_length = 1024))]
    pub useragent: Option<String>,
}

#[OpenApi(prefix_path = "/app", tag = "Tag::Spotflow")]
impl DeviceSessions {
    /// Begin a session of a device
    ///
    /// By its registration token, which stays what it is; no key is needed. `sub` is `device:` and the name that the device was
    /// registered by; its claims are those that the backend gave the registration, for a device says nothing of its rights.
    /// The session ends when the device is revoked or disabled.
    #[oai(
        path = "/:app_id/devices/session",
        method = "post",
        operation_id = "begin_device_session"
    )]
    async fn begin(
        &self,
        Data(app): Data<&Arc<App>>,
        request: &Request,
        app_id: Path<Id<AppId>>,
        body: Body<DeviceSessionRequest>,
    ) -> Result<Written<GrantResponse>, Failure<(may::DeviceToken, may::Item, may::Body)>> {
        let Id(id) = app_id.0;
        let loaded = app.load(id).await?.ok_or(Error::NotFound("app"))?;
        let DeviceSessionRequest {
            registration_token,
            aud,
            ..
        } = body.value;
        let client = client(request, &app.config.trusted_proxies);
        let audience = aud.map(|Audience(aud)| aud);
        let begun =
            registration::begin_session(app, &loaded, &registration_token, client, audience);
        Ok(Written(Box::pin(begun).await?.into()))
    }
}

impl Example for DeviceSessionRequest {
    fn example() -> Self {
        Self {
            registration_token: "rnw_rt_01JMWRJEJ71191KP88NDGWVYEW…".to_owned(),
            aud: Some(Audience("telemetry".into())),
            ip: None,
            useragent: None,
        }
    }
}
