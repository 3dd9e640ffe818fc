//! A moment, in the range and precision that storage keeps; the date strings we accept and the one we print.
//!
//! Everything is arithmetic on `i64`: no time zone database, no locale, no allocation on success.

mod civil;
mod parse;
mod rfc3339;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

pub(crate) use self::civil::CivilTime;
use self::parse::DateRefusal;

/// A string that is no moment we can keep.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TimestampError {
    /// It looks like none of the accepted formats.
    #[error("Could not find format for {text:?}")]
    Format {
        /// What was given, cut off if long.
        text: String,
    },
    /// The format is known and one field is impossible; a year must be 1678 to 2261.
    #[error("parsing time {text:?}: {field} out of range")]
    OutOfRange {
        /// What was given, cut off if long.
        text: String,
        /// Which field.
        field: &'static str,
    },
}

impl TimestampError {
    fn new(text: &str, refusal: DateRefusal) -> Self {
        let text = text.chars().take(100).collect();
        match refusal {
            DateRefusal::Format => Self::Format { text },
            DateRefusal::Field(field) => Self::OutOfRange { text, field },
        }
    }
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
        rfc3339::read(text.as_bytes()).ok_or_else(|| {
            // The other reader knows which field is wrong, if that is what is wrong.
            let refusal = parse::parse(text).err().unwrap_or(DateRefusal::Format);
            TimestampError::new(text, refusal)
        })
    }

    /// Reads any date string that POST and PUT accept, and "" as [`Timestamp::ZERO`]. RFC 3339 costs a few
    /// dozen nanoseconds, any other form little more.
    ///
    /// Ambiguous dates are month first; without a zone the clock is UTC.
    ///
    /// # Errors
    ///
    /// [`TimestampError`] if `text` has no known form, begins with a blank, or is outside the range.
    pub fn parse_any(text: &str) -> Result<Self, TimestampError> {
        if text.is_empty() {
            return Ok(Self::ZERO);
        }
        if let Some(timestamp) = rfc3339::read(text.as_bytes()) {
            return Ok(timestamp);
        }
        parse::parse(text).map_err(|refusal| TimestampError::new(text, refusal))
    }

    /// The clock in UTC.
    pub(crate) const fn civil(self) -> CivilTime {
        CivilTime::from_timestamp(self)
    }

    /// This moment moved by `nanos`, saturating at the range; [`Timestamp::ZERO`] stays.
    #[must_use]
    pub const fn plus_nanos(self, nanos: i64) -> Self {
        const FIRST: i64 = civil::FIRST_SECOND * 1_000_000_000;
        const LAST: i64 = civil::END_SECOND * 1_000_000_000 - 1;
        let moved = self.0.saturating_add(nanos);
        if self.is_zero() {
            self
        } else if moved < FIRST {
            Self(FIRST)
        } else if moved > LAST {
            Self(LAST)
        } else {
            Self(moved)
        }
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(rfc3339::print(*self, &mut [0; rfc3339::LENGTH]))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(rfc3339::print(*self, &mut [0; rfc3339::LENGTH]))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    /// RFC 3339 only; free-form input goes through [`Timestamp::parse_any`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rfc3339;

        impl Visitor<'_> for Rfc3339 {
            type Value = Timestamp;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time as in RFC 3339, such as 2021-03-09T07:05:04Z")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse_rfc3339(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Rfc3339)
    }
}
