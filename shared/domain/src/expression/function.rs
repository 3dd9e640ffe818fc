//! Built-in functions and the methods of times and durations: names, types, meaning.

use std::borrow::Cow;
use std::sync::Arc;

use super::EvaluationError;
use super::value::{ListElements, Value, ValueType};
use crate::Timestamp;

const SECOND: f64 = 1e9;

/// Functions of values; those that take a predicate are [`ListPredicate`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BuiltinFunction {
    Len,
    Rounding(RoundingFunction),
    Int,
    Float,
    String,
    Lower,
    Upper,
    Trim,
    Split,
    Join,
    First,
    Last,
    Aggregate(AggregateFunction),
    Date,
    Duration,
}

/// A number from a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoundingFunction {
    Abs,
    Ceil,
    Floor,
    Round,
}

/// A number from many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AggregateFunction {
    Min,
    Max,
    Mean,
    Median,
}

/// Name, function, fewest and most arguments.
pub(super) const FUNCTIONS: [(&str, BuiltinFunction, usize, usize); 21] = [
    ("len", BuiltinFunction::Len, 1, 1),
    ("abs", BuiltinFunction::Rounding(RoundingFunction::Abs), 1, 1),
    ("ceil", BuiltinFunction::Rounding(RoundingFunction::Ceil), 1, 1),
    ("floor", BuiltinFunction::Rounding(RoundingFunction::Floor), 1, 1),
    ("round", BuiltinFunction::Rounding(RoundingFunction::Round), 1, 1),
    ("int", BuiltinFunction::Int, 1, 1),
    ("float", BuiltinFunction::Float, 1, 1),
    ("string", BuiltinFunction::String, 1, 1),
    ("lower", BuiltinFunction::Lower, 1, 1),
    ("upper", BuiltinFunction::Upper, 1, 1),
    ("trim", BuiltinFunction::Trim, 1, 2),
    ("split", BuiltinFunction::Split, 2, 2),
    ("join", BuiltinFunction::Join, 1, 2),
    ("first", BuiltinFunction::First, 1, 1),
    ("last", BuiltinFunction::Last, 1, 1),
    ("min", BuiltinFunction::Aggregate(AggregateFunction::Min), 1, 100),
    ("max", BuiltinFunction::Aggregate(AggregateFunction::Max), 1, 100),
    ("mean", BuiltinFunction::Aggregate(AggregateFunction::Mean), 1, 100),
    ("median", BuiltinFunction::Aggregate(AggregateFunction::Median), 1, 100),
    ("date", BuiltinFunction::Date, 1, 1),
    ("duration", BuiltinFunction::Duration, 1, 1),
];

/// Functions that look at every element of a list, perhaps through a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListPredicate {
    Count,
    Filter,
    Map,
    Any,
    All,
    One,
    None,
    Find,
    Sum,
}

/// Name, scan, whether the predicate is needed.
pub(super) const SCANS: [(&str, ListPredicate, bool); 9] = [
    ("count", ListPredicate::Count, false),
    ("filter", ListPredicate::Filter, true),
    ("map", ListPredicate::Map, true),
    ("any", ListPredicate::Any, true),
    ("all", ListPredicate::All, true),
    ("one", ListPredicate::One, true),
    ("none", ListPredicate::None, true),
    ("find", ListPredicate::Find, true),
    ("sum", ListPredicate::Sum, false),
];

impl RoundingFunction {
    fn apply(self, number: f64) -> f64 {
        match self {
            Self::Abs => number.abs(),
            Self::Ceil => number.ceil(),
            Self::Floor => number.floor(),
            Self::Round => number.round(),
        }
    }
}

impl AggregateFunction {
    /// Numbers and lists of numbers, all together.
    fn apply<'a>(self, name: &str, arguments: &[Value<'_>]) -> Result<Value<'a>, EvaluationError> {
        let mut numbers = Vec::new();
        for argument in arguments {
            collect(name, argument, &mut numbers)?;
        }
        let count = numbers.len();
        if count == 0 {
            return match self {
                Self::Min | Self::Max => Err(EvaluationError::mismatch(format!("{name}() of nothing"))),
                Self::Mean | Self::Median => Ok(Value::Number(0.0)),
            };
        }
        Ok(Value::Number(match self {
            Self::Min => numbers.into_iter().fold(f64::INFINITY, f64::min),
            Self::Max => numbers.into_iter().fold(f64::NEG_INFINITY, f64::max),
            Self::Mean => mean(&numbers),
            Self::Median => {
                numbers.sort_by(f64::total_cmp);
                let middle = numbers[count / 2];
                if count % 2 == 1 { middle } else { middle / 2.0 + numbers[count / 2 - 1] / 2.0 }
            }
        }))
    }
}

/// The sum divided by the count; divided first where the sum would be infinite.
fn mean(numbers: &[f64]) -> f64 {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    if mean.is_finite() { mean } else { numbers.iter().map(|number| number / count).sum() }
}

impl BuiltinFunction {
    /// The type of the result, or what is wrong with the types of the arguments.
    pub(super) fn result(self, arguments: &[ValueType]) -> Result<ValueType, String> {
        let first = &arguments[0];
        let list = ValueType::list(ValueType::Any);
        let needs = |wanted: &[ValueType]| {
            if wanted.iter().any(|wanted| first.fits(wanted)) {
                return Ok(());
            }
            let wanted: Vec<String> = wanted.iter().map(ValueType::to_string).collect();
            Err(format!("expected {}, found {first}", wanted.join(" or ")))
        };
        let second_is_text = || match arguments.get(1) {
            Some(second) if !second.fits(&ValueType::Text) => Err(format!("expected a text, found {second}")),
            Some(_) | None => Ok(()),
        };
        match self {
            Self::Len => needs(&[list, ValueType::Text]).map(|()| ValueType::Number),
            Self::Rounding(_) => needs(&[ValueType::Number]).map(|()| ValueType::Number),
            Self::Int | Self::Float => {
                needs(&[ValueType::Number, ValueType::Text]).map(|()| ValueType::Number)
            }
            Self::String => Ok(ValueType::Text),
            Self::Lower | Self::Upper => needs(&[ValueType::Text]).map(|()| ValueType::Text),
            Self::Trim => needs(&[ValueType::Text]).and_then(|()| second_is_text()).map(|()| ValueType::Text),
            Self::Split => needs(&[ValueType::Text])
                .and_then(|()| second_is_text())
                .map(|()| ValueType::list(ValueType::Text)),
            Self::Join => needs(&[ValueType::list(ValueType::Text)])
                .and_then(|()| second_is_text())
                .map(|()| ValueType::Text),
            Self::First | Self::Last => needs(&[list]).map(|()| {
                if let ValueType::List(element) = first { (**element).clone() } else { ValueType::Any }
            }),
            Self::Aggregate(_) => {
                let numbers = ValueType::list(ValueType::Number);
                let unfit =
                    |argument: &&ValueType| !argument.fits(&ValueType::Number) && !argument.fits(&numbers);
                match arguments.iter().find(unfit) {
                    Some(argument) => {
                        Err(format!("expected a number or a list of numbers, found {argument}"))
                    }
                    None => Ok(ValueType::Number),
                }
            }
            Self::Date => needs(&[ValueType::Text]).map(|()| ValueType::Time),
            Self::Duration => needs(&[ValueType::Text]).map(|()| ValueType::Duration),
        }
    }

    pub(super) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|entry| entry.1 == self).map_or("", |entry| entry.0)
    }

    /// Applies the function to as many arguments as its entry says.
    pub(super) fn apply<'a>(self, arguments: &[Value<'a>]) -> Result<Value<'a>, EvaluationError> {
        let first = &arguments[0];
        let second = arguments.get(1).and_then(Value::as_text);
        match (self, first) {
            (Self::Aggregate(aggregate), _) => aggregate.apply(self.name(), arguments),
            (Self::Rounding(rounding), Value::Number(number)) => Ok(Value::Number(rounding.apply(*number))),
            (Self::Int, Value::Number(number)) => Ok(Value::Number(number.trunc())),
            (Self::Float, Value::Number(number)) => Ok(Value::Number(*number)),
            (Self::Int | Self::Float, Value::Text(text)) => read_number(text, self == Self::Int),
            (Self::Len, Value::Text(text)) => Ok(Value::Number(text.chars().count() as f64)),
            (Self::String, _) => Ok(Value::Text(Cow::Owned(print(first)))),
            (Self::Lower, Value::Text(text)) => Ok(Value::Text(Cow::Owned(text.to_lowercase()))),
            (Self::Upper, Value::Text(text)) => Ok(Value::Text(Cow::Owned(text.to_uppercase()))),
            (Self::Trim, Value::Text(text)) => Ok(Value::Text(Cow::Owned(match second {
                Some(edges) => text.trim_matches(|symbol| edges.contains(symbol)).to_owned(),
                None => text.trim().to_owned(),
            }))),
            (Self::Split, Value::Text(text)) => Ok(split(text, second.unwrap_or(","))),
            (Self::Date, Value::Text(text)) => {
                let refused = |_refused| EvaluationError::Unreadable { text: short(text), wanted: "a time" };
                Timestamp::parse_any(text).map(Value::Time).map_err(refused)
            }
            (Self::Duration, Value::Text(text)) => {
                let refused = || EvaluationError::Unreadable { text: short(text), wanted: "a duration" };
                read_duration(text).map(Value::Duration).ok_or_else(refused)
            }
            (_, _) => self.of_list(first, second.unwrap_or("")),
        }
    }

    fn of_list<'a>(self, list: &Value<'a>, separator: &str) -> Result<Value<'a>, EvaluationError> {
        let unfit = || EvaluationError::mismatch(format!("{}() of {}", self.name(), list.type_name()));
        if let (Self::Len, Value::Json(json)) = (self, list) {
            return Ok(Value::Number(
                json.as_object().map_or_else(|| list.size(), |fields| fields.len()) as f64
            ));
        }
        let elements = list.elements().ok_or_else(unfit)?;
        match (self, elements.len()) {
            (Self::Len, length) => Ok(Value::Number(length as f64)),
            (Self::First | Self::Last, 0) => Ok(Value::Nil),
            (Self::First, _) => Ok(elements.get(0)),
            (Self::Last, length) => Ok(elements.get(length - 1)),
            (Self::Join, _) => join(elements, separator),
            (_, _) => Err(unfit()),
        }
    }
}

fn collect(name: &str, value: &Value<'_>, numbers: &mut Vec<f64>) -> Result<(), EvaluationError> {
    if let Value::Number(number) = value {
        numbers.push(*number);
        return Ok(());
    }
    let unfit = || EvaluationError::mismatch(format!("{name}() of {}", value.type_name()));
    let elements = value.elements().ok_or_else(unfit)?;
    (0..elements.len()).try_for_each(|index| collect(name, &elements.get(index), numbers))
}

fn join<'a>(elements: ListElements<'_, '_>, separator: &str) -> Result<Value<'a>, EvaluationError> {
    let mut joined = String::new();
    for index in 0..elements.len() {
        let element = elements.get(index);
        let Value::Text(text) = &element else {
            return Err(EvaluationError::mismatch(format!("join() of {}", element.type_name())));
        };
        joined.push_str(if index > 0 { separator } else { "" });
        joined.push_str(text);
    }
    Ok(Value::Text(Cow::Owned(joined)))
}

fn read_number<'a>(text: &str, whole: bool) -> Result<Value<'a>, EvaluationError> {
    let number = match text.parse::<f64>() {
        Ok(number) if number.is_finite() && !(whole && number.fract() != 0.0) => number,
        Ok(_) | Err(_) => {
            let wanted = if whole { "a whole number" } else { "a number" };
            return Err(EvaluationError::Unreadable { text: short(text), wanted });
        }
    };
    Ok(Value::Number(number))
}

fn split<'a>(text: &str, separator: &str) -> Value<'a> {
    let part = |part: &str| Value::Text(Cow::Owned(part.to_owned()));
    let parts = if separator.is_empty() {
        text.chars().map(|symbol| part(symbol.encode_utf8(&mut [0; 4]))).collect()
    } else {
        text.split(separator).map(part).collect()
    };
    Value::List(Arc::new(parts))
}

fn print(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Nil => "nil".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Time(moment) => moment.to_string(),
        Value::Duration(nanos) => format!("{}s", *nanos as f64 / SECOND),
        Value::List(_)
        | Value::Texts(_)
        | Value::Json(_)
        | Value::Feedback(_)
        | Value::Row(_)
        | Value::Item(_)
        | Value::User(_) => value.clone().into_json().to_string(),
    }
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// `1h30m`, `-1.5s`, `2d`: numbers with units, one after the other.
fn read_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanos = 0.0;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|symbol: char| !symbol.is_ascii_digit() && symbol != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters =
            rest.find(|symbol: char| symbol.is_ascii_digit() || symbol == '.').unwrap_or(rest.len());
        nanos += number
            * match &rest[..letters] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => SECOND,
                "m" => 60.0 * SECOND,
                "h" => 3600.0 * SECOND,
                "d" => 86_400.0 * SECOND,
                _ => return None,
            };
        rest = &rest[letters..];
        parts += 1;
    }
    // Rounded, because 0.1 and its like are not exact.
    let nanos = if negative { -nanos } else { nanos }.round();
    (parts > 0).then_some(nanos as i64)
}

#[cfg(test)]
mod tests {
    use super::super::date_method::between;
    use super::*;

    #[test]
    fn durations_are_read_as_go_prints_them() {
        for (text, seconds) in [
            ("1h30m0s", 5400.0),
            ("-1.5s", -1.5),
            ("2d", 172_800.0),
            ("100ms", 0.1),
            ("1us", 1e-6),
            ("0", 0.0),
        ] {
            assert_eq!(read_duration(text), Some((seconds * SECOND) as i64), "{text}");
        }
        for text in ["", "1", "h", "1x", "1h30", "1.2.3s", "-", "--1s"] {
            assert_eq!(read_duration(text), None, "{text}");
        }
    }

    #[test]
    fn the_zero_time_is_as_far_away_as_a_duration_can_say() {
        let now = Timestamp::from_unix_seconds(-1_000_000_000);
        assert_eq!(between(Timestamp::ZERO, now), i64::MAX);
        assert_eq!(between(now, Timestamp::ZERO), i64::MIN);
        assert_eq!(between(Timestamp::ZERO, Timestamp::ZERO), 0);
        assert_eq!(between(now, now.plus_nanos(5)), 5);
    }
}
