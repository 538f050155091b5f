//! Identifiers: ULIDs, each kind a type of its own, 26 upper-case characters in text and in the store.

use std::{fmt, str::FromStr};

use rand::CryptoRng;
use sea_orm::{DbErr, DeriveValueType, TryFromU64};
use ulid::{ULID_LEN, Ulid};

use crate::Timestamp;

/// The text is not a ULID of 26 upper-case characters.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a ULID of 26 upper-case characters")]
pub struct InvalidId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, DeriveValueType)]
        #[sea_orm(value_type = "String", column_type = "Char(Some(26))")]
        pub struct $name(Ulid);

        impl $name {
            /// The one that documentation shows.
            pub const EXAMPLE: Self = Self(match Ulid::from_string("01JMWRJEJ71191KP88NDGWVYEW") {
                Ok(ulid) => ulid,
                Err(_) => Ulid::nil(),
            });

            /// Mints a new one: 48 bits of time, 80 random bits.
            pub fn mint(now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
                let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
                Self(Ulid::from_parts(now.unsigned_millis(), random))
            }

            /// The one right after it.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.increment().unwrap_or(self.0))
            }

            /// Its 128 bits, for those who write them otherwise.
            pub fn as_u128(self) -> u128 {
                self.0.0
            }

            /// When it was minted.
            pub fn minted_at(self) -> Timestamp {
                Timestamp::from_unsigned_millis(self.0.timestamp_ms())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // The decoder takes lower case and look-alikes; an identifier has one spelling.
                match Ulid::from_string(text) {
                    Ok(ulid) if ulid.array_to_str(&mut [0; ULID_LEN]) == text => Ok(Self(ulid)),
                    _ => Err(InvalidId),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        // Needed of a primary key by sea-orm, for stores that number their rows; ours are not numbered.
        impl TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, DbErr> {
                Err(DbErr::ConvertFromU64(stringify!($name)))
            }
        }
    )*};
}

ids! {
    /// Names an application.
    AppId
    /// Names an app-key or a root key.
    AppKeyId
    /// Names an event of the audit.
    AuditEventId
    /// Names a device.
    DeviceId
    /// Names a running process.
    NodeId
    /// Names the token family of a device's registration tokens.
    RegistrationTokenId
    /// Names a request in the log, when its sender gave it no name.
    RequestId
    /// Names a session: its token family keeps this id over all renewals.
    SessionId
    /// Names a signing key; the `kid` of tokens.
    SigningKeyId
    /// Names a pair of tokens; their `jid`.
    TokenId
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::ChaCha12Rng};

    use super::*;

    proptest! {
        #[test]
        fn has_one_spelling_and_keeps_its_time(millis in 0_i64..1 << 47, seed in any::<u64>()) {
            let now = Timestamp::from_millis(millis);
            let id = AppId::mint(now, &mut ChaCha12Rng::seed_from_u64(seed));
            let text = id.to_string();
            prop_assert_eq!(text.len(), 26);
            prop_assert_eq!(text.parse::<AppId>(), Ok(id));
            prop_assert_eq!(id.minted_at(), now);
            if text.to_lowercase() != text {
                prop_assert_eq!(text.to_lowercase().parse::<AppId>(), Err(InvalidId));
            }
        }

        #[test]
        fn garbage_is_refused(text in "\\PC{0,30}") {
            prop_assume!(text.len() != 26);
            prop_assert_eq!(text.parse::<AppId>(), Err(InvalidId));
        }
    }
}
