//! Methods of times and durations.

use super::EvaluationError;
use super::value::{Value, ValueType};
use crate::Timestamp;

const SECOND: f64 = 1e9;

/// Methods of times and durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateMethod {
    Clock(ClockField),
    Relation(TimeRelation),
    Unit(DurationUnit),
}

/// What a clock or calendar shows at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClockField {
    Unix,
    UnixMilli,
    Year,
    Month,
    Day,
    YearDay,
    Hour,
    Minute,
    Second,
    Weekday,
    IsZero,
}

/// A time and something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeRelation {
    Before,
    After,
    Equal,
    Sub,
    Add,
}

/// A duration as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DurationUnit {
    Days,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// Name, method, owner, argument, result.
pub(super) const METHODS: [(&str, DateMethod, ValueType, Option<ValueType>, ValueType); 21] = [
    ("Unix", DateMethod::Clock(ClockField::Unix), ValueType::Time, None, ValueType::Number),
    ("UnixMilli", DateMethod::Clock(ClockField::UnixMilli), ValueType::Time, None, ValueType::Number),
    ("Year", DateMethod::Clock(ClockField::Year), ValueType::Time, None, ValueType::Number),
    ("Month", DateMethod::Clock(ClockField::Month), ValueType::Time, None, ValueType::Number),
    ("Day", DateMethod::Clock(ClockField::Day), ValueType::Time, None, ValueType::Number),
    ("YearDay", DateMethod::Clock(ClockField::YearDay), ValueType::Time, None, ValueType::Number),
    ("Hour", DateMethod::Clock(ClockField::Hour), ValueType::Time, None, ValueType::Number),
    ("Minute", DateMethod::Clock(ClockField::Minute), ValueType::Time, None, ValueType::Number),
    ("Second", DateMethod::Clock(ClockField::Second), ValueType::Time, None, ValueType::Number),
    ("Weekday", DateMethod::Clock(ClockField::Weekday), ValueType::Time, None, ValueType::Number),
    ("IsZero", DateMethod::Clock(ClockField::IsZero), ValueType::Time, None, ValueType::Bool),
    (
        "Before",
        DateMethod::Relation(TimeRelation::Before),
        ValueType::Time,
        Some(ValueType::Time),
        ValueType::Bool,
    ),
    (
        "After",
        DateMethod::Relation(TimeRelation::After),
        ValueType::Time,
        Some(ValueType::Time),
        ValueType::Bool,
    ),
    (
        "Equal",
        DateMethod::Relation(TimeRelation::Equal),
        ValueType::Time,
        Some(ValueType::Time),
        ValueType::Bool,
    ),
    (
        "Sub",
        DateMethod::Relation(TimeRelation::Sub),
        ValueType::Time,
        Some(ValueType::Time),
        ValueType::Duration,
    ),
    (
        "Add",
        DateMethod::Relation(TimeRelation::Add),
        ValueType::Time,
        Some(ValueType::Duration),
        ValueType::Time,
    ),
    ("Days", DateMethod::Unit(DurationUnit::Days), ValueType::Duration, None, ValueType::Number),
    ("Hours", DateMethod::Unit(DurationUnit::Hours), ValueType::Duration, None, ValueType::Number),
    ("Minutes", DateMethod::Unit(DurationUnit::Minutes), ValueType::Duration, None, ValueType::Number),
    ("Seconds", DateMethod::Unit(DurationUnit::Seconds), ValueType::Duration, None, ValueType::Number),
    (
        "Milliseconds",
        DateMethod::Unit(DurationUnit::Milliseconds),
        ValueType::Duration,
        None,
        ValueType::Number,
    ),
];

/// `earlier` to `later`, saturated. The zero time is in year 1, further away than a duration can say.
pub(super) fn between(earlier: Timestamp, later: Timestamp) -> i64 {
    match (earlier.is_zero(), later.is_zero()) {
        (true, true) => 0,
        (true, false) => i64::MAX,
        (false, true) => i64::MIN,
        (false, false) => later.as_nanos().saturating_sub(earlier.as_nanos()),
    }
}

impl DateMethod {
    /// Applies the method.
    pub(super) fn apply<'a>(
        self,
        of: &Value<'_>,
        argument: Option<&Value<'_>>,
    ) -> Result<Value<'a>, EvaluationError> {
        let applied = match (self, of, argument) {
            (Self::Clock(clock), Value::Time(moment), None) => Some(clock.read(*moment)),
            (Self::Relation(relation), Value::Time(moment), Some(argument)) => {
                relation.apply(*moment, argument)
            }
            (Self::Unit(unit), Value::Duration(nanos), None) => {
                Some(Value::Number(unit.count(*nanos as f64)))
            }
            (_, _, _) => None,
        };
        applied.ok_or_else(|| {
            let name = METHODS.iter().find(|entry| entry.1 == self).map_or("", |entry| entry.0);
            let with = argument.map_or(String::new(), |argument| format!(" with {}", argument.type_name()));
            EvaluationError::mismatch(format!("{name}() of {}{with}", of.type_name()))
        })
    }
}

impl ClockField {
    fn read(self, moment: Timestamp) -> Value<'static> {
        let civil = moment.civil();
        Value::Number(match self {
            Self::IsZero => return Value::Bool(moment.is_zero()),
            Self::Unix => moment.as_unix_seconds() as f64,
            Self::UnixMilli if moment.is_zero() => moment.as_unix_seconds() as f64 * 1e3,
            Self::UnixMilli => moment.as_nanos().div_euclid(1_000_000) as f64,
            Self::Year => civil.year as f64,
            Self::Month => f64::from(civil.month),
            Self::Day => f64::from(civil.day),
            Self::YearDay => f64::from(civil.day_of_year()),
            Self::Hour => f64::from(civil.hour),
            Self::Minute => f64::from(civil.minute),
            Self::Second => f64::from(civil.second),
            Self::Weekday => f64::from(civil.weekday()),
        })
    }
}

impl TimeRelation {
    fn apply(self, moment: Timestamp, argument: &Value<'_>) -> Option<Value<'static>> {
        match (self, argument) {
            (Self::Before, Value::Time(other)) => Some(Value::Bool(moment < *other)),
            (Self::After, Value::Time(other)) => Some(Value::Bool(moment > *other)),
            (Self::Equal, Value::Time(other)) => Some(Value::Bool(moment == *other)),
            (Self::Sub, Value::Time(other)) => Some(Value::Duration(between(*other, moment))),
            (Self::Add, Value::Duration(nanos)) => Some(Value::Time(moment.plus_nanos(*nanos))),
            (_, _) => None,
        }
    }
}

impl DurationUnit {
    fn count(self, nanos: f64) -> f64 {
        match self {
            Self::Days => nanos / (86_400.0 * SECOND),
            Self::Hours => nanos / (3600.0 * SECOND),
            Self::Minutes => nanos / (60.0 * SECOND),
            Self::Seconds => nanos / SECOND,
            Self::Milliseconds => (nanos / 1e6).trunc(),
        }
    }
}
