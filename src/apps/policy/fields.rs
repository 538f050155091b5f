//! The fields of an app's policy. Each is declared here, once: the API, the command line and the row follow.

use entity::app;
use keys::{Algorithm, KeyType};
use serde::{
    Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value};

use super::{
    column::Column,
    limits::Limits::{self, Count, List, Name, Seconds, Switch, Text, Title},
};

/// A lifetime: a minute to a year.
const LIFE: Limits = Seconds(60, 31_536_000);

/// A time to wait: none to a year.
const WAIT: Limits = Seconds(0, 31_536_000);

/// Origins of an app, and audiences of its devices, at most.
pub const MOST_ORIGINS: usize = 100;
pub const MOST_AUDIENCES: usize = 50;

/// What the API and the command line need to know of a field.
#[derive(Debug)]
pub struct Field {
    /// Its name in the API, and in [`NewApp`] and [`AppChanges`].
    pub name: &'static str,
    /// Its documentation.
    pub about: &'static str,
    pub limits: Limits,
    /// Whether the API has it told when an app is made.
    pub is_required: bool,
}

/// Makes, from the declarations below, the types that hold a policy, and the ways between them.
///
/// A declaration is: the documentation; `name: type = default, limits, required or optional (for the API), row.column;`. The
/// default of an `Option` is `None`, and `null` removes it.
macro_rules! policy {
    ($(
        $(#[doc = $about:literal])+
        $field:ident: $type:ty = $default:expr, $limits:expr, $presence:ident, row.$column:ident;
    )+) => {
        /// An app that is to be made.
        #[derive(Clone, Debug, Serialize)]
        pub struct NewApp {$(
            $(#[doc = $about])+
            pub $field: $type,
        )+}

        /// Changes of an app; what is `None` stays. The inner `None` of a field removes it.
        #[derive(Clone, Debug, Default)]
        pub struct AppChanges {$(
            $(#[doc = $about])+
            pub $field: Option<$type>,
        )+}

        /// Every field, in the order in which it is shown.
        pub const FIELDS: &[Field] = &[$(Field {
            name: stringify!($field),
            about: concat!($($about),+).trim_ascii_start(),
            limits: $limits,
            is_required: policy!(@is_required $presence),
        }),+];

        impl NewApp {
            /// An app of this name, with the default of every other field.
            pub fn named(name: String) -> Self {
                Self { name, ..Self::default() }
            }

            /// With these in place of what it has.
            pub fn with(mut self, changes: AppChanges) -> Self {
                $(if let Some(value) = changes.$field {
                    self.$field = value;
                })+
                self
            }

            pub(super) fn store(self, row: &mut app::Model) {
                $(self.$field.store(&mut row.$column);)+
            }
        }

        impl Default for NewApp {
            fn default() -> Self {
                Self {$($field: $default,)+}
            }
        }

        impl AppChanges {
            /// Reads the members of a JSON object. A `null` removes what can be removed, and leaves the rest as it is.
            ///
            /// # Errors
            /// When a value has not the type of its field.
            pub fn from_json(mut members: Map<String, Value>) -> serde_json::Result<Self> {
                Ok(Self {$($field: read(&mut members, stringify!($field))?,)+})
            }

            pub(super) fn store(self, row: &mut app::Model) {
                $(if let Some(value) = self.$field {
                    value.store(&mut row.$column);
                })+
            }
        }

        /// The policy of the app in this row, as the members of a JSON object. What this release does not know, the algorithm of
        /// a later one for instance, is an empty text.
        pub fn members(row: &app::Model) -> Map<String, Value> {
            let mut members = Map::new();
            $(
                let value = <$type>::load(&row.$column).and_then(|value| serde_json::to_value(value).ok());
                members.insert(stringify!($field).to_owned(), value.unwrap_or_else(|| "".into()));
            )+
            members
        }
    };
    (@is_required required) => { true };
    (@is_required optional) => { false };
}

policy! {
    /// What people call it.
    name: String = String::new(), Title(100), required, row.name;

    /// More about it.
    description: String = String::new(), Text(0, 1000), optional, row.description;

    /// Life of an auth token.
    token_expire: i64 = 3600, LIFE, required, row.token_expiry;

    /// From its issue until an auth token is valid.
    token_notbefore: i64 = 0, WAIT, optional, row.token_notbefore;

    /// Life of a refresh token: a session ends that is not renewed for so long.
    refresh_expire: i64 = 14 * 86_400, LIFE, required, row.refresh_expiry;

    /// From its issue until a refresh token may be used; below `token_expire` and `refresh_expire`.
    refresh_notbefore: i64 = 0, WAIT, required, row.refresh_notbefore;

    /// Family of the signing keys. A change of it holds for the next signing key that is made.
    key_type: KeyType = KeyType::Ecdsa, Name, required, row.algorithm;

    /// Must be one of `key_type`. ES512 is not supported.
    algo: Algorithm = Algorithm::Es256, Name, required, row.algorithm;

    /// Between two signing keys.
    rotation_period: i64 = 90 * 86_400, LIFE, required, row.rotation_period;

    /// `iss` of the tokens; the app's name, unless set.
    issuer: Option<String> = None, Text(1, 255), optional, row.issuer;

    /// For how long the immediate parent of a refresh token is answered again; 0 is strictly single use. Below `token_expire`.
    refresh_grace: i64 = 0, Seconds(0, app::LONGEST_REFRESH_GRACE), optional, row.refresh_grace;

    /// Absolute life of a session, however often it is renewed.
    session_expire: Option<i64> = None, LIFE, optional, row.session_expiry;

    /// Past it, the oldest session of a subject ends when a new one begins.
    max_sessions_per_subject: Option<i64> = None, Count(1, 10_000), optional, row.max_sessions_per_subject;

    /// Origins of web pages that may use publishable keys, such as `https://app.example.com`.
    allowed_origins: Vec<String> = Vec::new(), List(MOST_ORIGINS), optional, row.allowed_origins;

    /// For how long a device's registration token may be presented again after it was refreshed, in case that the answer was
    /// lost.
    registration_grace: i64 = 86_400, WAIT, optional, row.registration_grace;

    /// Life of a device's registration token, where its creation does not say; no end unless set.
    registration_expire: Option<i64> = None, LIFE, optional, row.registration_expiry;

    /// Whether the sessions on a device end when its push token is reported to be unregistered: the app was removed from it.
    push_binding: bool = false, Switch, optional, row.push_binding;

    /// What the sessions of devices with a registration token may be for, beside what is said when one is created. The first one
    /// is that of a session that asks for none.
    device_audiences: Vec<String> = Vec::new(), List(MOST_AUDIENCES), optional, row.device_audiences;
}

fn read<T: DeserializeOwned>(
    members: &mut Map<String, Value>,
    name: &str,
) -> serde_json::Result<Option<T>> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(serde_json::from_value(Value::Null).ok()),
        Some(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| serde_json::Error::custom(format!("{name}: {error}"))),
    }
}
