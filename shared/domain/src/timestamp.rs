//! A moment, in the range and precision that storage keeps.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A string that is no moment we can keep.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("could not read {text:?} as a time between 1678 and 2261")]
pub struct TimestampError {
    /// What was given.
    text: String,
}

/// Nanoseconds since 1970-01-01T00:00:00Z, years 1678 to 2261, and one value apart: [`Timestamp::ZERO`].
///
/// On the wire: RFC 3339 in UTC with trailing zeros of the fraction trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct Timestamp(i64);

impl Timestamp {
    /// "No time given", printed `0001-01-01T00:00:00Z`. Earlier than every other moment.
    pub const ZERO: Self = Self(i64::MIN);

    /// Wraps nanoseconds since 1970.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970; `i64::MIN` for [`Timestamp::ZERO`]. This is what stores keep.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, as saturated to the range.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole seconds since 1970, rounded down; for [`Timestamp::ZERO`] those of year 1.
    #[must_use]
    pub const fn as_unix_seconds(self) -> i64 {
        if self.0 == i64::MIN { -62_135_596_800 } else { self.0.div_euclid(1_000_000_000) }
    }

    /// Whether no time was given.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == i64::MIN
    }

    /// The present, from the system clock.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Reads strict RFC 3339, the only form that PATCH bodies accept.
    ///
    /// # Errors
    ///
    /// [`TimestampError`] if `text` is something else or outside the range.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimestampError> {
        let refused = || TimestampError { text: text.to_owned() };
        let moment = DateTime::parse_from_rfc3339(text).map_err(|_reason| refused())?;
        if moment.timestamp() == Self::ZERO.as_unix_seconds() {
            return Ok(Self::ZERO);
        }
        moment.timestamp_nanos_opt().map(Self).ok_or_else(refused)
    }

    /// This moment moved by `nanos`, saturating; [`Timestamp::ZERO`] stays.
    #[must_use]
    pub const fn plus_nanos(self, nanos: i64) -> Self {
        if self.is_zero() { self } else { Self(self.0.saturating_add(nanos)) }
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return formatter.write_str("0001-01-01T00:00:00Z");
        }
        let moment = DateTime::<Utc>::from_timestamp_nanos(self.0);
        let text = moment.to_rfc3339_opts(SecondsFormat::Nanos, true);
        let trimmed = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
        write!(formatter, "{trimmed}Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    /// RFC 3339 only; free-form input goes through [`Timestamp::parse_any`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}
