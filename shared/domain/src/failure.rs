//! Reasons why an event has no effect, as programs tell them apart.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Reason why an event has no effect. Receipts and dead letters carry it as a string; a code that a newer version wrote
/// is kept as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "SmolStr", into = "SmolStr")]
pub enum FailureCode {
    /// The body, a header or the subject cannot be read. Repeating the event fails again.
    Malformed,
    /// The store refused the event itself. Repeating the event fails again.
    Rejected,
    /// The store or the log was away. Repeating the event may succeed.
    Unavailable,
    /// The caller had stopped waiting before the event was reached. Repeating the event may succeed.
    Expired,
    /// Applying the event panicked each time. Repeating it fails until the program is corrected.
    Panicked,
    /// Not known whether the event took effect in an earlier epoch of the log. A person decides.
    Undecided,
    /// Code of another version of the program.
    Other(SmolStr),
}

impl FailureCode {
    /// Codes of this version.
    pub const KNOWN: [Self; 6] =
        [Self::Malformed, Self::Rejected, Self::Unavailable, Self::Expired, Self::Panicked, Self::Undecided];

    /// The code as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Malformed => "malformed",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Expired => "expired",
            Self::Panicked => "panicked",
            Self::Undecided => "undecided",
            Self::Other(code) => code,
        }
    }

    /// Whether the event certainly has no effect and repeating it may succeed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Expired)
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl From<SmolStr> for FailureCode {
    fn from(code: SmolStr) -> Self {
        let known = Self::KNOWN.into_iter().find(|known| known.as_str() == code);
        known.unwrap_or(Self::Other(code))
    }
}

impl From<FailureCode> for SmolStr {
    fn from(code: FailureCode) -> Self {
        Self::new(code.as_str())
    }
}

impl FromStr for FailureCode {
    type Err = Infallible;

    fn from_str(code: &str) -> Result<Self, Infallible> {
        Ok(Self::from(SmolStr::new(code)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_written_as_it_is_read_and_unknown_ones_are_kept() {
        for code in FailureCode::KNOWN.into_iter().chain([FailureCode::Other("newer".into())]) {
            let text = serde_json::to_string(&code).unwrap();
            assert_eq!(text, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<FailureCode>(&text).unwrap(), code);
        }
    }

    #[test]
    fn only_what_may_succeed_when_repeated_is_transient() {
        let transient: Vec<_> = FailureCode::KNOWN.into_iter().filter(FailureCode::is_transient).collect();
        assert_eq!(transient, [FailureCode::Unavailable, FailureCode::Expired]);
        assert!(!FailureCode::Other("newer".into()).is_transient());
    }
}
