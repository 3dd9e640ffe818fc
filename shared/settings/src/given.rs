//! One value of a configuration file before anybody has checked it.
//!
//! Reading never fails here: a value of the wrong type is kept as it is, so that all wrong values of a file can be
//! reported together. Types are converted weakly, as Gorse does: `"8088"` is a number, `1` is a boolean, `12` is a
//! text, `"a,b"` is a list, because environment variables know nothing but text.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::byte_size::ByteSize;
use crate::duration::GoDuration;

/// A key that was left out, has a value of its type, or has a value of another type.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Given<T> {
    /// The key was left out, or is `null`.
    #[default]
    Absent,
    /// The value, not yet checked against its range.
    Value(T),
    /// The value, which has the wrong type.
    Wrong(Value),
}

/// What a key can hold.
pub trait Scalar: Sized {
    /// For the message to somebody who wrote something else.
    const EXPECTED: &'static str;

    /// None if the value has another type.
    fn from_value(value: &Value) -> Option<Self>;
}

impl<'de, T: Scalar> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.is_null() {
            return Ok(Self::Absent);
        }
        Ok(T::from_value(&value).map_or(Self::Wrong(value), Self::Value))
    }
}

impl<T: Serialize> Serialize for Given<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent => serializer.serialize_none(),
            Self::Value(value) => value.serialize(serializer),
            Self::Wrong(value) => value.serialize(serializer),
        }
    }
}

impl Scalar for String {
    const EXPECTED: &'static str = "a text";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_value(value: &Value) -> Option<Self> {
        let text = match value {
            Value::Bool(yes) => return Some(*yes),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().to_ascii_lowercase(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        match text.as_str() {
            "1" | "t" | "true" => Some(true),
            "0" | "f" | "false" => Some(false),
            _ => None,
        }
    }
}

impl Scalar for i64 {
    const EXPECTED: &'static str = "a whole number";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// `10.0` is a whole number, `10.5` is not.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers of at most 53 bits get there")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

impl Scalar for f64 {
    const EXPECTED: &'static str = "a number";

    fn from_value(value: &Value) -> Option<Self> {
        let number = match value {
            Value::Number(number) => number.as_f64()?,
            Value::String(text) => text.trim().parse().ok()?,
            Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        number.is_finite().then_some(number)
    }
}

impl Scalar for GoDuration {
    const EXPECTED: &'static str = "a duration such as \"1h30m\" or \"10s\", or whole nanoseconds";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(_) => i64::from_value(value).map(Self),
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Scalar for ByteSize {
    const EXPECTED: &'static str = "a size such as \"256MiB\", or whole bytes";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(_) => u64::try_from(i64::from_value(value)?).ok().map(Self),
            Value::String(text) => text.parse().ok(),
            Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Scalar for Vec<String> {
    const EXPECTED: &'static str = "a list of texts";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Array(elements) => elements.iter().map(String::from_value).collect(),
            Value::String(text) => Some(split_list(text)),
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => None,
        }
    }
}

/// A list in one text: a JSON array (for elements that hold commas), else separated by commas.
fn split_list(text: &str) -> Vec<String> {
    if text.trim_start().starts_with('[')
        && let Ok(elements) = serde_json::from_str(text)
    {
        return elements;
    }
    text.split(',').map(str::trim).filter(|element| !element.is_empty()).map(String::from).collect()
}

/// A list of tables, such as `[[recommend.item-to-item]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Tables<T>(pub Vec<T>);

impl<T: DeserializeOwned> Scalar for Tables<T> {
    const EXPECTED: &'static str = "a list of tables";

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::String(text) = value {
            // The only way to write a list of tables into an environment variable.
            return Self::from_value(&serde_json::from_str(text).ok().filter(Value::is_array)?);
        }
        let table = |table: &Value| serde_json::from_value(Value::Object(table.as_object()?.clone())).ok();
        value.as_array()?.iter().map(table).collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given<T: Scalar>(value: Value) -> Given<T> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn types_are_converted_weakly() {
        assert_eq!(given(json!("8088")), Given::Value(8088_i64));
        assert_eq!(given(json!(8088.0)), Given::Value(8088_i64));
        assert_eq!(given(json!("T")), Given::Value(true));
        assert_eq!(given(json!(0)), Given::Value(false));
        assert_eq!(given(json!(12)), Given::Value(String::from("12")));
        assert_eq!(given(json!("0.5")), Given::Value(0.5));
        assert_eq!(given(json!(1_000)), Given::Value(GoDuration(1_000)));
        assert_eq!(given(json!("1KiB")), Given::Value(ByteSize(1024)));
        assert_eq!(
            given(json!("a, b,,c")),
            Given::Value(vec![String::from("a"), String::from("b"), String::from("c")])
        );
        assert_eq!(given(json!("[\"f(a, b)\"]")), Given::Value(vec![String::from("f(a, b)")]));
        assert_eq!(given(json!("")), Given::Value(Vec::<String>::new()));
    }

    #[test]
    fn other_types_are_kept_for_the_report() {
        assert_eq!(given::<i64>(json!("many")), Given::Wrong(json!("many")));
        assert_eq!(given::<i64>(json!(1.5)), Given::Wrong(json!(1.5)));
        assert_eq!(given::<i64>(json!(1e300)), Given::Wrong(json!(1e300)));
        assert_eq!(given::<f64>(json!("nan")), Given::Wrong(json!("nan")));
        assert_eq!(given::<bool>(json!(2)), Given::Wrong(json!(2)));
        assert_eq!(given::<ByteSize>(json!(-1)), Given::Wrong(json!(-1)));
        assert_eq!(given::<String>(json!(["a"])), Given::Wrong(json!(["a"])));
        assert_eq!(given::<Vec<String>>(json!([{"a": 1}])), Given::Wrong(json!([{"a": 1}])));
    }

    #[test]
    fn null_is_as_good_as_absent() {
        assert_eq!(given::<i64>(Value::Null), Given::Absent);
    }
}
