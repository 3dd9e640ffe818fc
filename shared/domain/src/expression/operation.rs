//! Operators on values.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::EvaluationError;
use super::date_method::between;
use super::evaluate::EvaluationResult;
use super::parser::{ArithmeticOperator, OrderOperator, TextTest};
use super::value::Value;

pub(super) fn compare(
    order: OrderOperator,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<bool, EvaluationError> {
    let ordering = match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.partial_cmp(right),
        (Value::Text(left), Value::Text(right)) => Some(left.as_ref().cmp(right.as_ref())),
        (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
        (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        (_, _) => None,
    };
    let ordering: Ordering = ordering.ok_or_else(|| mismatched("comparison", left, right))?;
    Ok(match order {
        OrderOperator::Less => ordering.is_lt(),
        OrderOperator::LessOrEqual => ordering.is_le(),
        OrderOperator::Greater => ordering.is_gt(),
        OrderOperator::GreaterOrEqual => ordering.is_ge(),
    })
}

pub(super) fn test_text(
    test: TextTest,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<bool, EvaluationError> {
    let (Value::Text(text), Value::Text(part)) = (left, right) else {
        return Err(mismatched("text test", left, right));
    };
    Ok(match test {
        TextTest::Contains => text.contains(part.as_ref()),
        TextTest::StartsWith => text.starts_with(part.as_ref()),
        TextTest::EndsWith => text.ends_with(part.as_ref()),
    })
}

pub(super) fn mismatched(what: &str, left: &Value<'_>, right: &Value<'_>) -> EvaluationError {
    EvaluationError::mismatch(format!("{what} of {} and {}", left.type_name(), right.type_name()))
}

pub(super) fn finite<'a>(number: f64) -> EvaluationResult<'a> {
    if number.is_finite() { Ok(Value::Number(number)) } else { Err(EvaluationError::NotFinite) }
}

pub(super) fn arithmetic<'a>(
    operator: ArithmeticOperator,
    left: Value<'a>,
    right: Value<'a>,
) -> EvaluationResult<'a> {
    let divides = matches!(operator, ArithmeticOperator::Divide | ArithmeticOperator::Remainder);
    if divides && matches!(right, Value::Number(0.0) | Value::Duration(0)) {
        return Err(EvaluationError::DivisionByZero);
    }
    match (operator, left, right) {
        (operator, Value::Number(left), Value::Number(right)) => finite(match operator {
            ArithmeticOperator::Add => left + right,
            ArithmeticOperator::Subtract => left - right,
            ArithmeticOperator::Multiply => left * right,
            ArithmeticOperator::Divide => left / right,
            ArithmeticOperator::Remainder => left % right,
            ArithmeticOperator::Power => left.powf(right),
        }),
        (ArithmeticOperator::Add, Value::Text(left), Value::Text(right)) => {
            Ok(Value::Text(Cow::Owned(left.into_owned() + right.as_ref())))
        }
        (ArithmeticOperator::Subtract, Value::Time(left), Value::Time(right)) => {
            Ok(Value::Duration(between(right, left)))
        }
        (ArithmeticOperator::Add, Value::Time(moment), Value::Duration(nanos))
        | (ArithmeticOperator::Add, Value::Duration(nanos), Value::Time(moment)) => {
            Ok(Value::Time(moment.plus_nanos(nanos)))
        }
        (ArithmeticOperator::Subtract, Value::Time(moment), Value::Duration(nanos)) => {
            Ok(Value::Time(moment.plus_nanos(nanos.saturating_neg())))
        }
        (ArithmeticOperator::Add, Value::Duration(left), Value::Duration(right)) => {
            Ok(Value::Duration(left.saturating_add(right)))
        }
        (ArithmeticOperator::Subtract, Value::Duration(left), Value::Duration(right)) => {
            Ok(Value::Duration(left.saturating_sub(right)))
        }
        (ArithmeticOperator::Multiply, Value::Duration(nanos), Value::Number(factor))
        | (ArithmeticOperator::Multiply, Value::Number(factor), Value::Duration(nanos)) => {
            Ok(Value::Duration((nanos as f64 * factor) as i64))
        }
        (ArithmeticOperator::Divide, Value::Duration(nanos), Value::Number(divisor)) => {
            Ok(Value::Duration((nanos as f64 / divisor) as i64))
        }
        (ArithmeticOperator::Divide, Value::Duration(left), Value::Duration(right)) => {
            Ok(Value::Number(left as f64 / right as f64))
        }
        (_, left, right) => Err(mismatched("arithmetic", &left, &right)),
    }
}
