//! Points in time, as the store keeps them: milliseconds of the Unix epoch.

use std::ops::Add;

use sea_orm::DeriveValueType;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, DeriveValueType)]
pub struct Timestamp(i64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The least there is.
    pub const MILLISECOND: Self = Self(1);

    /// So many seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// So many milliseconds.
    pub const fn millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This without `other`; nothing, if that is longer.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }

    /// Whole seconds, rounded up: to wait for so long is enough.
    pub const fn as_seconds_ceil(self) -> i64 {
        self.0.saturating_add(999).div_euclid(1000)
    }
}

impl Timestamp {
    /// From milliseconds of the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds of the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds of the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds of the Unix epoch, rounded down: a NumericDate (RFC 7519 section 2).
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The start of the second that this lies in.
    #[must_use]
    pub const fn floor_to_second(self) -> Self {
        Self::from_seconds(self.as_seconds())
    }

    /// RFC 3339 in UTC, for instance `2026-11-20T12:00:00Z`; empty past the year 9999.
    pub fn to_rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_default()
    }

    /// The point in time that lies `span` before this.
    #[must_use]
    pub const fn before(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The time from `earlier` to this; none, if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }

    /// Reads RFC 3339.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let millis = time.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(millis).ok().map(Self)
    }

    /// The time between this and `other`, whichever is the later one.
    #[must_use]
    pub fn distance(self, other: Self) -> Span {
        self.since(other).max(other.since(self))
    }

    pub(crate) fn unsigned_millis(self) -> u64 {
        self.0.max(0).unsigned_abs()
    }

    pub(crate) fn from_unsigned_millis(millis: u64) -> Self {
        Self(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

impl Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_rfc_3339_and_as_numeric_date() {
        let time = Timestamp::from_millis(1_740_427_049_900);
        assert_eq!(time.to_rfc3339(), "2025-02-24T19:57:29.9Z");
        assert_eq!(time.as_seconds(), 1_740_427_049);
        assert_eq!(time.floor_to_second().to_rfc3339(), "2025-02-24T19:57:29Z");
        assert_eq!((time + Span::seconds(60)).as_seconds(), 1_740_427_109);
        assert_eq!(Timestamp::from_millis(-1).as_seconds(), -1);
    }
}
