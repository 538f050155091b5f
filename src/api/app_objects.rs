//! The bodies of the operations on apps.

use entity::{AppId, SigningKeyId, Timestamp, app};
use keys::{Algorithm, KeyType};
use poem_openapi::{Object, types::MaybeUndefined};

use crate::{
    api::{
        algorithm_names::{AlgorithmName, KeyTypeName},
        types::Id,
    },
    apps::{AppChanges, Created, DEFAULT_REGISTRATION_GRACE, NewApp},
    page::Listing,
};

/// An app that is to be made. All times in seconds.
#[derive(Debug, Object)]
#[oai(example)]
pub struct CreateRequest {
    #[oai(validator(min_length = 1, max_length = 100))]
    pub name: String,
    #[oai(default, validator(max_length = 1000))]
    pub description: String,
    /// Life of an auth token.
    #[oai(validator(minimum(value = "60"), maximum(value = "31536000")))]
    pub token_expire: i64,
    /// From its issue until an auth token is valid.
    #[oai(default, validator(minimum(value = "0"), maximum(value = "31536000")))]
    pub token_notbefore: i64,
    /// Life of a refresh token: a session ends that is not renewed for so long.
    #[oai(validator(minimum(value = "60"), maximum(value = "31536000")))]
    pub refresh_expire: i64,
    /// From its issue until a refresh token may be used; below `token_expire` and `refresh_expire`.
    #[oai(validator(minimum(value = "0"), maximum(value = "31536000")))]
    pub refresh_notbefore: i64,
    pub key_type: KeyTypeName,
    /// Must be one of `key_type`. ES512 is not supported.
    pub algo: AlgorithmName,
    /// Between two signing keys.
    #[oai(validator(minimum(value = "60"), maximum(value = "31536000")))]
    pub rotation_period: i64,
    /// `iss` of the tokens; the app's name, unless set.
    #[oai(nullable, validator(min_length = 1, max_length = 255))]
    pub issuer: Option<String>,
    /// For how long the immediate parent of a refresh token is answered again; 0 is strictly single use. Below `token_expire`.
    #[oai(default, validator(minimum(value = "0"), maximum(value = "60")))]
    pub refresh_grace: i64,
    /// Absolute life of a session, however often it is renewed.
    #[oai(
        nullable,
        validator(minimum(value = "60"), maximum(value = "31536000"))
    )]
    pub session_expire: Option<i64>,
    /// Past it, the oldest session of a subject ends when a new one begins.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "10000")))]
    pub max_sessions_per_subject: Option<i64>,
    /// Origins of web pages that may use publishable keys, such as `https://app.example.com`.
    #[oai(default, validator(max_items = 100))]
    pub allowed_origins: Vec<String>,
    /// Seconds for which a device's registration token may be presented again after it was refreshed, in case that the answer
    /// was lost.
    #[oai(
        default = "default_registration_grace",
        validator(minimum(value = "0"), maximum(value = "31536000"))
    )]
    pub registration_grace: i64,
    /// Life of a device's registration token, where its creation does not say; no end unless set.
    #[oai(
        nullable,
        validator(minimum(value = "60"), maximum(value = "31536000"))
    )]
    pub registration_expire: Option<i64>,
    /// Whether the sessions on a device end when its push token is reported to be unregistered: the app was removed from it.
    #[oai(default)]
    pub push_binding: bool,
    /// What the sessions of devices with a registration token may be for, beside what is said when one is created. The first
    /// one is that of a session that asks for none.
    #[oai(default, validator(max_items = 50))]
    pub device_audiences: Vec<String>,
}

/// Changes of an app; what is left out stays. `null` removes `issuer`, `session_expire`,
/// `max_sessions_per_subject` or `registration_expire`.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UpdateRequest {
    #[oai(nullable, validator(min_length = 1, max_length = 100))]
    pub name: Option<String>,
    #[oai(nullable, validator(max_length = 1000))]
    pub description: Option<String>,
    #[oai(
        nullable,
        validator(minimum(value = "60"), maximum(value = "31536000"))
    )]
    pub token_expire: Option<i64>,
    #[oai(nullable, validator(minimum(value = "0"), maximum(value = "31536000")))]
    pub token_notbefore: Option<i64>,
    #[oai(
        nullable,
        validator(minimum(value = "60"), maximum(value = "31536000"))
    )]
    pub refresh_expire: Option<i64>,
    #[oai(nullable, validator(minimum(value = "0"), maximum(value = "31536000")))]
    pub refresh_notbefore: Option<i64>,
    /// With `algo`: what the next signing key that is made will be. Those that there are do not change.
    #[oai(nullable)]
    pub key_type: Option<KeyTypeName>,
    #[oai(nullable)]
    pub algo: Option<AlgorithmName>,
    #[oai(
        nullable,
        validator(minimum(value = "60"), maximum(value = "31536000"))
    )]
    pub rotation_period: Option<i64>,
    #[oai(nullable, validator(min_length = 1, max_length = 255))]
    pub issuer: MaybeUndefined<String>,
    #[oai(nullable, validator(minimum(value = "0"), maximum(value = "60")))]
    pub refresh_grace: Option<i64>,
    #[oai(
        nullable,
        validator(minimum(value = "60"), maximum(value = "31536000"))
    )]
    pub session_expire: MaybeUndefined<i64>,
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "10000")))]
    pub max_sessions_per_subject: MaybeUndefined<i64>,
    #[oai(nullable, validator(max_items = 100))]
    pub allowed_origins: Option<Vec<String>>,
    #[oai(nullable, validator(minimum(value = "0"), maximum(value = "31536000")))]
    pub registration_grace: Option<i64>,
    #[oai(
        nullable,
        validator(minimum(value = "60"), maximum(value = "31536000"))
    )]
    pub registration_expire: MaybeUndefined<i64>,
    #[oai(nullable)]
    pub push_binding: Option<bool>,
    #[oai(nullable, validator(max_items = 50))]
    pub device_audiences: Option<Vec<String>>,
}

const fn default_registration_grace() -> i64 {
    DEFAULT_REGISTRATION_GRACE
}

/// An app that was made. Its keys are shown this once.
#[derive(Debug, Object)]
#[oai(example)]
pub struct CreateResponse {
    pub app_id: Id<AppId>,
    /// The secret app-key, for backends.
    pub app_key: String,
    /// The publishable app-key, for front ends.
    pub publishable_key: String,
    /// Base64 of the PEM of the public signing key.
    pub public_key: String,
    pub key_id: Id<SigningKeyId>,
    pub algo: String,
}

/// A page of apps.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ListResponse {
    pub apps: Vec<AppObject>,
    /// Where the next page begins; null on the last.
    #[oai(nullable)]
    pub next_cursor: Option<Id<AppId>>,
}

/// The app.
#[derive(Debug, Object)]
#[oai(example)]
pub struct AppInfoResponse {
    pub app: AppObject,
}

/// An app and its policy. Durations in seconds, points in time in seconds of the Unix epoch.
#[derive(Debug, Object)]
pub struct AppObject {
    pub id: Id<AppId>,
    pub name: String,
    pub description: String,
    pub token_expiry: i64,
    pub token_notbefore: i64,
    pub refresh_expiry: i64,
    pub refresh_notbefore: i64,
    pub key_type: String,
    pub algo: String,
    pub rotation_period: i64,
    pub add_time: i64,
    /// 0 when it was never changed.
    pub update_time: i64,
    /// 0 when its key was never rotated.
    pub last_key_rotate: i64,
    pub issuer: String,
    pub refresh_grace: i64,
    #[oai(nullable)]
    pub session_expire: Option<i64>,
    #[oai(nullable)]
    pub max_sessions_per_subject: Option<i64>,
    pub allowed_origins: Vec<String>,
    pub registration_grace: i64,
    #[oai(nullable)]
    pub registration_expire: Option<i64>,
    pub push_binding: bool,
    pub device_audiences: Vec<String>,
}

impl From<CreateRequest> for NewApp {
    fn from(request: CreateRequest) -> Self {
        Self {
            name: request.name,
            description: request.description,
            issuer: request.issuer,
            token_expire: request.token_expire,
            token_notbefore: request.token_notbefore,
            refresh_expire: request.refresh_expire,
            refresh_notbefore: request.refresh_notbefore,
            refresh_grace: request.refresh_grace,
            session_expire: request.session_expire,
            max_sessions_per_subject: request.max_sessions_per_subject,
            key_type: request.key_type.into(),
            algorithm: request.algo.into(),
            rotation_period: request.rotation_period,
            allowed_origins: request.allowed_origins,
            registration_grace: request.registration_grace,
            registration_expire: request.registration_expire,
            push_binding: request.push_binding,
            device_audiences: request.device_audiences,
        }
    }
}

impl From<UpdateRequest> for AppChanges {
    fn from(request: UpdateRequest) -> Self {
        Self {
            name: request.name,
            description: request.description,
            issuer: change(request.issuer),
            token_expire: request.token_expire,
            token_notbefore: request.token_notbefore,
            refresh_expire: request.refresh_expire,
            refresh_notbefore: request.refresh_notbefore,
            refresh_grace: request.refresh_grace,
            session_expire: change(request.session_expire),
            max_sessions_per_subject: change(request.max_sessions_per_subject),
            key_type: request.key_type.map(KeyType::from),
            algorithm: request.algo.map(Algorithm::from),
            rotation_period: request.rotation_period,
            allowed_origins: request.allowed_origins,
            registration_grace: request.registration_grace,
            registration_expire: change(request.registration_expire),
            push_binding: request.push_binding,
            device_audiences: request.device_audiences,
        }
    }
}

/// Nothing to change, something to remove, or something to set.
fn change<T>(value: MaybeUndefined<T>) -> Option<Option<T>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}

impl From<Created> for CreateResponse {
    fn from(created: Created) -> Self {
        Self {
            app_id: Id(created.id),
            app_key: created.secret_key.reveal().to_owned(),
            publishable_key: created.publishable_key.reveal().to_owned(),
            public_key: created.public_key,
            key_id: Id(created.signing_key_id),
            algo: created.algorithm,
        }
    }
}

impl From<Listing<app::Model, AppId>> for ListResponse {
    fn from(page: Listing<app::Model, AppId>) -> Self {
        Self {
            apps: page.items.iter().map(AppObject::of).collect(),
            next_cursor: page.next.map(Id),
        }
    }
}

impl AppObject {
    /// What the contract shows of an app.
    pub fn of(app: &app::Model) -> Self {
        let key_type = app.algorithm.parse().map(Algorithm::key_type);
        Self {
            id: Id(app.id),
            name: app.name.clone(),
            description: app.description.clone(),
            token_expiry: app.token_expiry,
            token_notbefore: app.token_notbefore,
            refresh_expiry: app.refresh_expiry,
            refresh_notbefore: app.refresh_notbefore,
            key_type: key_type.map(|name| name.to_string()).unwrap_or_default(),
            algo: app.algorithm.clone(),
            rotation_period: app.rotation_period,
            add_time: app.created_at.as_seconds(),
            update_time: app.updated_at.map_or(0, Timestamp::as_seconds),
            last_key_rotate: app.last_key_rotate.map_or(0, Timestamp::as_seconds),
            issuer: app.issuer().to_owned(),
            refresh_grace: app.refresh_grace,
            session_expire: app.session_expiry,
            max_sessions_per_subject: app.max_sessions_per_subject,
            allowed_origins: app.allowed_origins().map(str::to_owned).collect(),
            registration_grace: app.registration_grace,
            registration_expire: app.registration_expiry,
            push_binding: app.push_binding,
            device_audiences: app.device_audiences().map(str::to_owned).collect(),
        }
    }
}
