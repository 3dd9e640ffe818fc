//! `read>=3`: which feedback counts as positive, as read, as negative.
//!
//! A type, perhaps with a comparison of the row's value. The type takes every letter, digit and underscore it
//! can, so `read3` is a type. As in Gorse, a lone `=` (with or without a number) means "any value", an operator
//! without a number compares with 0, and `==` does not exist.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;
use thiserror::Error;

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonOperator {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What the value of a row must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueCondition {
    /// How to compare.
    pub comparison: ComparisonOperator,
    /// With what. Finite, not negative.
    pub bound: f64,
}

/// Feedback of one type, perhaps only some values of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackFilter {
    /// The exact type.
    pub feedback_type: SmolStr,
    /// What the value must be; `None` is any.
    pub condition: Option<ValueCondition>,
}

/// A string that is no filter.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("invalid expression format, expected format: <feedback_type>[<operator><value>]")]
pub struct FeedbackFilterError;

impl FeedbackFilter {
    /// Whether a row of this type and value is meant.
    #[must_use]
    pub fn matches(&self, feedback_type: &str, value: f64) -> bool {
        let value_fits = self.condition.is_none_or(|condition| match condition.comparison {
            ComparisonOperator::Less => value < condition.bound,
            ComparisonOperator::LessOrEqual => value <= condition.bound,
            ComparisonOperator::Greater => value > condition.bound,
            ComparisonOperator::GreaterOrEqual => value >= condition.bound,
        });
        value_fits && self.feedback_type == feedback_type
    }
}

/// Whether at least one filter means this row. No filters mean nothing; callers decide what an empty list means.
#[must_use]
pub fn any_matches(filters: &[FeedbackFilter], feedback_type: &str, value: f64) -> bool {
    filters.iter().any(|filter| filter.matches(feedback_type, value))
}

impl ComparisonOperator {
    fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl FromStr for FeedbackFilter {
    type Err = FeedbackFilterError;

    fn from_str(text: &str) -> Result<Self, FeedbackFilterError> {
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let length = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
        let (name, rest) = text.split_at(length);
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Err(FeedbackFilterError);
        }
        // The longer operators first.
        let operators = [
            ComparisonOperator::LessOrEqual,
            ComparisonOperator::GreaterOrEqual,
            ComparisonOperator::Less,
            ComparisonOperator::Greater,
        ];
        let compared = operators
            .into_iter()
            .find_map(|comparison| Some((comparison, rest.strip_prefix(comparison.as_str())?)));
        let condition = match (compared, rest.strip_prefix('=')) {
            (Some((comparison, bound)), _) => Some(ValueCondition { comparison, bound: bound_of(bound)? }),
            (None, Some(ignored)) => {
                bound_of(ignored)?;
                None
            }
            (None, None) if rest.is_empty() => None,
            (None, None) => return Err(FeedbackFilterError),
        };
        Ok(Self { feedback_type: SmolStr::new(name), condition })
    }
}

/// Digits with at most one dot among or around them; nothing is 0.
fn bound_of(text: &str) -> Result<f64, FeedbackFilterError> {
    if text.is_empty() {
        return Ok(0.0);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(FeedbackFilterError);
    }
    text.parse().ok().filter(|bound: &f64| bound.is_finite()).ok_or(FeedbackFilterError)
}

impl fmt::Display for FeedbackFilter {
    /// The canonical text: type, operator, shortest number.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.feedback_type)?;
        match self.condition {
            Some(condition) => write!(formatter, "{}{}", condition.comparison.as_str(), condition.bound),
            None => Ok(()),
        }
    }
}

impl Serialize for FeedbackFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FeedbackFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> FeedbackFilter {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_has_its_canonical_text() {
        for (text, canonical) in [
            ("read", "read"),
            ("read3", "read3"),
            ("a_b9>=3", "a_b9>=3"),
            ("read>=3.50", "read>=3.5"),
            ("read>", "read>0"),
            ("read<", "read<0"),
            ("read<=.5", "read<=0.5"),
            ("read>2.", "read>2"),
            ("read=", "read"),
            ("read=3", "read"),
        ] {
            assert_eq!(filter(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_expected_format() {
        let overlong = format!("read>{}", "9".repeat(400));
        for text in [
            "",
            "3read",
            "_read",
            "read==3",
            "read>=-1",
            "read>1e3",
            "read-x",
            "read.5",
            "read >3",
            "read>=.",
            "read>1.2.3",
            "read<>3",
            "read>3 ",
            "läs",
            "read>=a",
            overlong.as_str(),
        ] {
            let refused = text.parse::<FeedbackFilter>().unwrap_err();
            assert_eq!(
                refused.to_string(),
                "invalid expression format, expected format: <feedback_type>[<operator><value>]",
                "{text}"
            );
        }
    }

    #[test]
    fn the_type_is_exact_and_the_value_compared() {
        assert!(filter("read").matches("read", -5.0));
        assert!(!filter("read").matches("reads", 1.0));
        assert!(filter("read=7").matches("read", 1.0));
        for (text, below, same, above) in [
            ("r<3", true, false, false),
            ("r<=3", true, true, false),
            ("r>3", false, false, true),
            ("r>=3", false, true, true),
        ] {
            let filter = filter(text);
            let found = [2.9, 3.0, 3.1].map(|value| filter.matches("r", value));
            assert_eq!(found, [below, same, above], "{text}");
        }
    }

    #[test]
    fn any_of_several_filters_is_enough_and_none_means_nothing() {
        let filters = [filter("like"), filter("rating>=4")];
        assert!(any_matches(&filters, "rating", 4.0));
        assert!(!any_matches(&filters, "rating", 3.0));
        assert!(any_matches(&filters, "like", 0.0));
        assert!(!any_matches(&[], "like", 1.0));
    }

    #[test]
    fn filters_are_strings_in_json() {
        let filters: Vec<FeedbackFilter> = serde_json::from_str("[\"like\",\"rating>=4.0\"]").unwrap();
        assert_eq!(serde_json::to_string(&filters).unwrap(), "[\"like\",\"rating>=4\"]");
        assert!(serde_json::from_str::<FeedbackFilter>("\"==\"").is_err());
    }

    proptest! {
        #[test]
        fn the_canonical_text_means_the_same(text in "[a-z][a-z0-9_]{0,5}((<=|>=|<|>|=)([0-9]{0,20}\\.?[0-9]{0,5}))?") {
            if let Ok(filter) = text.parse::<FeedbackFilter>() {
                prop_assert_eq!(filter.to_string().parse::<FeedbackFilter>(), Ok(filter));
            } else {
                prop_assert!(text.ends_with('.'), "{} was refused", text);
            }
        }

        #[test]
        fn no_string_makes_the_parser_panic(text in any::<String>()) {
            let _ = text.parse::<FeedbackFilter>();
        }
    }
}
