//! Types that operators take and give.

use super::parser::{ArithmeticOperator, BinaryOperator, OrderOperator, TextTest};
use super::value::ValueType;

/// The type of `left operator right`; `None` if the operator does not apply.
pub(super) fn result_type(
    operator: BinaryOperator,
    left: &ValueType,
    right: &ValueType,
) -> Option<ValueType> {
    match operator {
        BinaryOperator::Or | BinaryOperator::And => {
            (left.fits(&ValueType::Bool) && right.fits(&ValueType::Bool)).then_some(ValueType::Bool)
        }
        BinaryOperator::Equal | BinaryOperator::NotEqual => {
            left.is_comparable_with(right).then_some(ValueType::Bool)
        }
        BinaryOperator::Order(_) => {
            (is_scalar(left) && is_scalar(right) && left.fits(right)).then_some(ValueType::Bool)
        }
        BinaryOperator::In if *right == ValueType::Any => Some(ValueType::Bool),
        BinaryOperator::In => {
            let ValueType::List(element) = right else { return None };
            left.is_comparable_with(element).then_some(ValueType::Bool)
        }
        BinaryOperator::Test(_) => {
            (left.fits(&ValueType::Text) && right.fits(&ValueType::Text)).then_some(ValueType::Bool)
        }
        BinaryOperator::Coalesce => Some(match (left, right) {
            (ValueType::Nil, right) => right.clone(),
            (left, ValueType::Nil) => left.clone(),
            (left, right) if left == right => left.clone(),
            (_, _) => ValueType::Any,
        }),
        BinaryOperator::Arithmetic(operator) => arithmetic_type(operator, left, right),
    }
}

/// Whether a value of this type can be compared and computed with, as far as is known.
fn is_scalar(side: &ValueType) -> bool {
    matches!(
        side,
        ValueType::Number | ValueType::Text | ValueType::Time | ValueType::Duration | ValueType::Any
    )
}

fn arithmetic_type(operator: ArithmeticOperator, left: &ValueType, right: &ValueType) -> Option<ValueType> {
    use ValueType::{Any, Duration, Number, Text, Time};
    match (operator, left, right) {
        (_, Number, Number) => Some(Number),
        (ArithmeticOperator::Remainder | ArithmeticOperator::Power, _, _) => {
            (left.fits(&Number) && right.fits(&Number)).then_some(Number)
        }
        (ArithmeticOperator::Divide, Any, Any | Number) | (ArithmeticOperator::Divide, Number, Any) => {
            Some(Number)
        }
        (_, Any, other) | (_, other, Any) => is_scalar(other).then_some(Any),
        (ArithmeticOperator::Add, Text, Text) => Some(Text),
        (ArithmeticOperator::Add, Time, Duration)
        | (ArithmeticOperator::Add, Duration, Time)
        | (ArithmeticOperator::Subtract, Time, Duration) => Some(Time),
        (ArithmeticOperator::Subtract, Time, Time)
        | (ArithmeticOperator::Add | ArithmeticOperator::Subtract, Duration, Duration)
        | (ArithmeticOperator::Multiply | ArithmeticOperator::Divide, Duration, Number)
        | (ArithmeticOperator::Multiply, Number, Duration) => Some(Duration),
        (ArithmeticOperator::Divide, Duration, Duration) => Some(Number),
        (_, _, _) => None,
    }
}

pub(super) fn spelling(operator: BinaryOperator) -> &'static str {
    match operator {
        BinaryOperator::Or => "or",
        BinaryOperator::And => "and",
        BinaryOperator::Equal => "==",
        BinaryOperator::NotEqual => "!=",
        BinaryOperator::Order(OrderOperator::Less) => "<",
        BinaryOperator::Order(OrderOperator::LessOrEqual) => "<=",
        BinaryOperator::Order(OrderOperator::Greater) => ">",
        BinaryOperator::Order(OrderOperator::GreaterOrEqual) => ">=",
        BinaryOperator::In => "in",
        BinaryOperator::Test(TextTest::Contains) => "contains",
        BinaryOperator::Test(TextTest::StartsWith) => "startsWith",
        BinaryOperator::Test(TextTest::EndsWith) => "endsWith",
        BinaryOperator::Arithmetic(ArithmeticOperator::Add) => "+",
        BinaryOperator::Arithmetic(ArithmeticOperator::Subtract) => "-",
        BinaryOperator::Arithmetic(ArithmeticOperator::Multiply) => "*",
        BinaryOperator::Arithmetic(ArithmeticOperator::Divide) => "/",
        BinaryOperator::Arithmetic(ArithmeticOperator::Remainder) => "%",
        BinaryOperator::Arithmetic(ArithmeticOperator::Power) => "**",
        BinaryOperator::Coalesce => "??",
    }
}
