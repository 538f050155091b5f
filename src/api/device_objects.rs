//! The bodies of the operations on devices.

use entity::{
    DeviceId, PlainSecret, Timestamp,
    device::{self, Platform},
};
use poem_openapi::{
    Enum, Object,
    types::{Example, MaybeUndefined},
};

use crate::{
    api::types::Id,
    devices::{Changes, Feedback, PushTarget},
    page::Listing,
};

/// What a device runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "Platform", rename_all = "lowercase")]
pub enum PlatformName {
    Android,
    Ios,
    Web,
}

/// A device. Times in RFC 3339.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeviceObject {
    pub device_id: Id<DeviceId>,
    /// What the client calls itself.
    #[oai(nullable)]
    pub client_device_id: Option<String>,
    /// Its user: the one who signed in on it last, or whom its last event named.
    #[oai(nullable)]
    pub sub: Option<String>,
    #[oai(nullable)]
    pub platform: Option<PlatformName>,
    /// Since when it has its push token; null when it has none.
    #[oai(nullable)]
    pub push_token_at: Option<String>,
    /// Whether its user allows push messages.
    #[oai(nullable)]
    pub push_permission: Option<bool>,
    /// IANA.
    #[oai(nullable)]
    pub timezone: Option<String>,
    /// ISO 639-1.
    #[oai(nullable)]
    pub language: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[oai(nullable)]
    pub country: Option<String>,
    pub first_seen_at: String,
    /// To the minute.
    pub last_seen_at: String,
    /// When it was disabled; null while it is not.
    #[oai(nullable)]
    pub disabled_at: Option<String>,
}

/// A page of devices.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DevicesResponse {
    pub devices: Vec<DeviceObject>,
    /// Where the next page begins; null on the last.
    #[oai(nullable)]
    pub next_cursor: Option<Id<DeviceId>>,
}

/// What of a device is to be changed: what is left out stays, `null` forgets it.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UpdateDeviceRequest {
    #[oai(nullable)]
    pub platform: MaybeUndefined<PlatformName>,
    #[oai(nullable)]
    pub push_permission: MaybeUndefined<bool>,
    /// IANA, such as `Europe/Berlin`.
    #[oai(nullable, validator(min_length = 1, max_length = 64))]
    pub timezone: MaybeUndefined<String>,
    /// ISO 639-1, such as `en`.
    #[oai(nullable, validator(min_length = 2, max_length = 2))]
    pub language: MaybeUndefined<String>,
    /// ISO 3166-1 alpha-2, such as `DE`.
    #[oai(nullable, validator(min_length = 2, max_length = 2))]
    pub country: MaybeUndefined<String>,
    /// `true` ends what lives on the device at once, and no session begins on it or is renewed until this is `false` again.
    #[oai(nullable)]
    pub disabled: Option<bool>,
}

/// A page of the devices that messages for a user may be pushed to.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PushTargetsResponse {
    pub push_targets: Vec<PushTargetObject>,
    /// Where the next page begins; null on the last.
    #[oai(nullable)]
    pub next_cursor: Option<Id<DeviceId>>,
}

/// Where to push a message.
#[derive(Debug, Object)]
pub struct PushTargetObject {
    pub device_id: Id<DeviceId>,
    pub push_token: String,
    #[oai(nullable)]
    pub platform: Option<PlatformName>,
    /// Whether the user allows push messages; null when that is not known.
    #[oai(nullable)]
    pub push_permission: Option<bool>,
    #[oai(nullable)]
    pub timezone: Option<String>,
    #[oai(nullable)]
    pub language: Option<String>,
}

/// Push tokens that could not be pushed to.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PushFeedbackRequest {
    /// Those that FCM called `UNREGISTERED`.
    #[oai(validator(max_items = 500))]
    pub unregistered: Vec<String>,
}

/// What became of them.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PushFeedbackResponse {
    /// Always `ok`.
    pub status: String,
    /// Devices that have no push token any more.
    pub dropped: u64,
    /// Sessions that ended with them, where the app's `push_binding` says so.
    pub revoked: u64,
}

impl UpdateDeviceRequest {
    /// What is asked for.
    pub fn changes(self) -> Changes {
        Changes {
            platform: change(self.platform).map(|to| to.map(Platform::from)),
            push_permission: change(self.push_permission),
            timezone: change(self.timezone),
            language: change(self.language),
            country: change(self.country),
            disabled: self.disabled,
        }
    }
}

fn change<T>(member: MaybeUndefined<T>) -> Option<Option<T>> {
    match member {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}

impl PushFeedbackRequest {
    /// The tokens.
    pub fn tokens(&self) -> Vec<PlainSecret> {
        let tokens = self.unregistered.iter();
        tokens.map(|token| PlainSecret::from_text(token)).collect()
    }
}

impl From<PlatformName> for Platform {
    fn from(name: PlatformName) -> Self {
        match name {
            PlatformName::Android => Self::Android,
            PlatformName::Ios => Self::Ios,
            PlatformName::Web => Self::Web,
        }
    }
}

impl From<Platform> for PlatformName {
    fn from(platform: Platform) -> Self {
        match platform {
            Platform::Android => Self::Android,
            Platform::Ios => Self::Ios,
            Platform::Web => Self::Web,
        }
    }
}

impl From<device::Model> for DeviceObject {
    fn from(row: device::Model) -> Self {
        Self {
            device_id: Id(row.id),
            client_device_id: row.client_id,
            sub: row.sub,
            platform: row.platform.map(PlatformName::from),
            push_token_at: row.push_token_at.map(Timestamp::to_rfc3339),
            push_permission: row.push_permission,
            timezone: row.timezone,
            language: row.language,
            country: row.country,
            first_seen_at: row.first_seen_at.to_rfc3339(),
            last_seen_at: row.last_seen_at.to_rfc3339(),
            disabled_at: row.disabled_at.map(Timestamp::to_rfc3339),
        }
    }
}

impl From<Listing<device::Model, DeviceId>> for DevicesResponse {
    fn from(page: Listing<device::Model, DeviceId>) -> Self {
        Self {
            devices: page.items.into_iter().map(DeviceObject::from).collect(),
            next_cursor: page.next.map(Id),
        }
    }
}

impl From<PushTarget> for PushTargetObject {
    fn from(target: PushTarget) -> Self {
        Self {
            device_id: Id(target.device.id),
            push_token: target.token.reveal().to_owned(),
            platform: target.device.platform.map(PlatformName::from),
            push_permission: target.device.push_permission,
            timezone: target.device.timezone,
            language: target.device.language,
        }
    }
}

impl From<Listing<PushTarget, DeviceId>> for PushTargetsResponse {
    fn from(page: Listing<PushTarget, DeviceId>) -> Self {
        let targets = page.items.into_iter().map(PushTargetObject::from);
        Self {
            push_targets: targets.collect(),
            next_cursor: page.next.map(Id),
        }
    }
}

impl From<Feedback> for PushFeedbackResponse {
    fn from(feedback: Feedback) -> Self {
        Self {
            status: "ok".to_owned(),
            dropped: feedback.dropped,
            revoked: feedback.revoked,
        }
    }
}

impl Example for DeviceObject {
    fn example() -> Self {
        Self {
            device_id: Id(DeviceId::EXAMPLE),
            client_device_id: None,
            sub: Some("user_123".to_owned()),
            platform: Some(PlatformName::Android),
            push_token_at: Some("2026-11-20T12:00:00Z".to_owned()),
            push_permission: Some(true),
            timezone: Some("Europe/Berlin".to_owned()),
            language: Some("en".to_owned()),
            country: Some("DE".to_owned()),
            first_seen_at: "2026-11-20T12:00:00Z".to_owned(),
            last_seen_at: "2026-11-20T12:00:00Z".to_owned(),
            disabled_at: None,
        }
    }
}

impl Example for DevicesResponse {
    fn example() -> Self {
        Self {
            devices: vec![DeviceObject::example()],
            next_cursor: None,
        }
    }
}

impl Example for UpdateDeviceRequest {
    fn example() -> Self {
        Self {
            platform: MaybeUndefined::Undefined,
            push_permission: MaybeUndefined::Value(false),
            timezone: MaybeUndefined::Undefined,
            language: MaybeUndefined::Value("de".to_owned()),
            country: MaybeUndefined::Undefined,
            disabled: Some(true),
        }
    }
}

impl Example for PushTargetsResponse {
    fn example() -> Self {
        Self {
            push_targets: vec![PushTargetObject {
                device_id: Id(DeviceId::EXAMPLE),
                push_token: "fresh_fcm_registration_token".to_owned(),
                platform: Some(PlatformName::Android),
                push_permission: Some(true),
                timezone: Some("Europe/Berlin".to_owned()),
                language: Some("en".to_owned()),
            }],
            next_cursor: None,
        }
    }
}

impl Example for PushFeedbackRequest {
    fn example() -> Self {
        Self {
            unregistered: vec!["expired_fcm_registration_token".to_owned()],
        }
    }
}

impl Example for PushFeedbackResponse {
    fn example() -> Self {
        Feedback {
            dropped: 1,
            revoked: 0,
        }
        .into()
    }
}
