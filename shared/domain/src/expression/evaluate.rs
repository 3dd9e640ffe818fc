//! The checked tree and its evaluation.
//!
//! Every node costs a step, and whatever is linear in a text or a list costs in proportion, so the limit bounds
//! time and memory. ListElements of lists are looked at in place: no allocation per element unless the expression
//! makes a text or a list for each.

use std::sync::Arc;

use serde_json::Value as Json;

use super::date_method::DateMethod;
use super::field::{ITEM_FIELDS, ROW_FIELDS, RecordField, USER_FIELDS};
use super::function::{BuiltinFunction, ListPredicate};
use super::operation::{arithmetic, compare, finite, test_text};
use super::parser::BinaryOperator;
use super::value::{ListElements, Value};
use super::{EvaluationContext, EvaluationError, FeedbackFields};
use crate::{Item, Timestamp, User};

/// A piece of a checked expression.
#[derive(Clone, Debug)]
pub(super) enum ExpressionNode {
    Constant(Value<'static>),
    Item,
    User,
    Feedback,
    Now,
    /// The element that the predicate around is asked about.
    Element,
    /// The value of a `let`, by its place on the stack.
    Local(usize),
    ItemField(RecordField),
    UserField(RecordField),
    /// A field of the element, which is a feedback row.
    ElementField(RecordField),
    /// Whether a text field of the element is this text: the commonest predicate, without values in between.
    ElementTextIs {
        field: RecordField,
        text: Box<str>,
        wanted: bool,
    },
    Member {
        of: Box<ExpressionNode>,
        name: Box<str>,
        optional: bool,
    },
    Index {
        operands: Box<[ExpressionNode; 2]>,
        optional: bool,
    },
    List(Vec<ExpressionNode>),
    Not(Box<ExpressionNode>),
    Negate(Box<ExpressionNode>),
    Binary {
        operator: BinaryOperator,
        operands: Box<[ExpressionNode; 2]>,
    },
    Conditional(Box<[ExpressionNode; 3]>),
    Let(Box<[ExpressionNode; 2]>),
    Call {
        function: BuiltinFunction,
        arguments: Vec<ExpressionNode>,
    },
    Scan {
        scan: ListPredicate,
        list: Box<ExpressionNode>,
        predicate: Option<Box<ExpressionNode>>,
    },
    Method {
        method: DateMethod,
        of: Box<ExpressionNode>,
        argument: Option<Box<ExpressionNode>>,
        optional: bool,
    },
}

/// One evaluation.
pub(super) struct Evaluator<'e> {
    environment: EvaluationContext<'e>,
    element: Value<'e>,
    locals: Vec<Value<'e>>,
    steps_left: u64,
    limit: u64,
}

/// Which elements to look for, and how many are enough.
struct ElementSearch<'e> {
    predicate: Option<&'e ExpressionNode>,
    wanted: bool,
    enough: usize,
}

pub(super) type EvaluationResult<'e> = Result<Value<'e>, EvaluationError>;

impl<'e> Evaluator<'e> {
    pub(super) fn new(environment: EvaluationContext<'e>, limit: u64) -> Self {
        Self { environment, element: Value::Nil, locals: Vec::new(), steps_left: limit, limit }
    }

    /// For trees of constants; the limit keeps compiling quick.
    pub(super) fn of_constants() -> Self {
        Self::new(EvaluationContext { item: None, user: None, feedback: &[], now: Timestamp::ZERO }, 1000)
    }

    fn step(&mut self, cost: usize) -> Result<(), EvaluationError> {
        let left = self.steps_left.checked_sub(cost as u64);
        self.steps_left = left.ok_or(EvaluationError::StepLimit { limit: self.limit })?;
        Ok(())
    }

    /// Pays for work that is linear in the size of `value`.
    fn pay_for(&mut self, value: &Value<'_>) -> Result<(), EvaluationError> {
        self.step(value.size() / 16)
    }

    pub(super) fn value(&mut self, node: &'e ExpressionNode) -> EvaluationResult<'e> {
        self.step(1)?;
        match node {
            ExpressionNode::Constant(value) => Ok(value.borrowed()),
            ExpressionNode::Item => {
                Ok(Value::Item(self.environment.item.ok_or(EvaluationError::Missing { name: "item" })?))
            }
            ExpressionNode::User => {
                Ok(Value::User(self.environment.user.ok_or(EvaluationError::Missing { name: "user" })?))
            }
            ExpressionNode::Feedback => Ok(Value::Feedback(self.environment.feedback)),
            ExpressionNode::Now => Ok(Value::Time(self.environment.now)),
            ExpressionNode::Element => self.copy(self.element.clone()),
            ExpressionNode::Local(place) => self.copy(self.locals[*place].clone()),
            ExpressionNode::ItemField(field) => self.item().map(|item| field.of_item(item)),
            ExpressionNode::UserField(field) => self.user().map(|user| field.of_user(user)),
            ExpressionNode::ElementField(field) => Ok(field.of_row(self.row()?)),
            ExpressionNode::ElementTextIs { .. } | ExpressionNode::Not(_) => {
                self.truth(node).map(Value::Bool)
            }
            ExpressionNode::Member { of, name, optional } => member(&self.value(of)?, name, *optional),
            ExpressionNode::Index { operands, optional } => self.index(operands, *optional),
            ExpressionNode::List(parts) => {
                let values = parts.iter().map(|part| self.value(part)).collect::<Result<_, _>>()?;
                Ok(Value::List(Arc::new(values)))
            }
            ExpressionNode::Negate(operand) => negate(&self.value(operand)?),
            ExpressionNode::Binary { operator, operands } => self.binary(*operator, operands),
            ExpressionNode::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                if self.truth(condition)? { self.value(then) } else { self.value(otherwise) }
            }
            ExpressionNode::Let(parts) => {
                let value = self.value(&parts[0])?;
                self.locals.push(value);
                let body = self.value(&parts[1]);
                self.locals.pop();
                body
            }
            ExpressionNode::Call { function, arguments } => self.call(*function, arguments),
            ExpressionNode::Scan { scan, list, predicate } => self.scan(*scan, list, predicate.as_deref()),
            ExpressionNode::Method { method, of, argument, optional } => {
                let of = self.value(of)?;
                if *optional && matches!(of, Value::Nil) {
                    return Ok(Value::Nil);
                }
                let argument = argument.as_deref().map(|argument| self.value(argument)).transpose()?;
                method.apply(&of, argument.as_ref())
            }
        }
    }

    fn item(&self) -> Result<&'e Item, EvaluationError> {
        self.environment.item.ok_or(EvaluationError::Missing { name: "item" })
    }

    fn user(&self) -> Result<&'e User, EvaluationError> {
        self.environment.user.ok_or(EvaluationError::Missing { name: "user" })
    }

    /// A text that was made by the expression is copied as a whole.
    fn copy(&mut self, value: Value<'e>) -> EvaluationResult<'e> {
        self.step(if matches!(value, Value::Text(_)) { value.size() / 16 } else { 0 })?;
        Ok(value)
    }

    /// The element that `.RecordField` means.
    fn row(&self) -> Result<&'e FeedbackFields<'e>, EvaluationError> {
        let Value::Row(row) = self.element else {
            return Err(EvaluationError::mismatch(format!("a field of {}", self.element.type_name())));
        };
        Ok(row)
    }

    /// The value of a node that is true or false.
    fn truth(&mut self, node: &'e ExpressionNode) -> Result<bool, EvaluationError> {
        if let ExpressionNode::ElementTextIs { field, text, wanted } = node {
            self.step(1)?;
            return Ok((field.text_of_row(self.row()?) == &**text) == *wanted);
        }
        if let ExpressionNode::Not(operand) = node {
            self.step(1)?;
            return Ok(!self.truth(operand)?);
        }
        self.value(node)?.truth("a condition")
    }

    fn binary(
        &mut self,
        operator: BinaryOperator,
        operands: &'e [ExpressionNode; 2],
    ) -> EvaluationResult<'e> {
        let [left, right] = operands;
        match operator {
            BinaryOperator::And => Ok(Value::Bool(self.truth(left)? && self.truth(right)?)),
            BinaryOperator::Or => Ok(Value::Bool(self.truth(left)? || self.truth(right)?)),
            BinaryOperator::Coalesce => {
                let left = self.value(left)?;
                if matches!(left, Value::Nil) { self.value(right) } else { Ok(left) }
            }
            BinaryOperator::Equal | BinaryOperator::NotEqual => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                self.pay_for(&left)?;
                Ok(Value::Bool(left.equals(&right) == (operator == BinaryOperator::Equal)))
            }
            BinaryOperator::In => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                self.step(right.size() / 4)?;
                is_in(&left, &right).map(Value::Bool)
            }
            BinaryOperator::Order(order) => {
                compare(order, &self.value(left)?, &self.value(right)?).map(Value::Bool)
            }
            BinaryOperator::Test(test) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                self.pay_for(&left)?;
                test_text(test, &left, &right).map(Value::Bool)
            }
            BinaryOperator::Arithmetic(operator) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                // Only texts grow.
                self.pay_for(&left)?;
                self.pay_for(&right)?;
                arithmetic(operator, left, right)
            }
        }
    }

    fn index(&mut self, operands: &'e [ExpressionNode; 2], optional: bool) -> EvaluationResult<'e> {
        let (of, index) = (self.value(&operands[0])?, self.value(&operands[1])?);
        if let Value::Text(name) = &index {
            return member(&of, name, optional);
        }
        let number = index.number("an index")?;
        if optional && matches!(of, Value::Nil) {
            return Ok(Value::Nil);
        }
        let Some(elements) = of.elements() else {
            return Err(EvaluationError::mismatch(format!("[{number}] of {}", of.type_name())));
        };
        // Negative indexes count from the end.
        let length = elements.len();
        let place = if number < 0.0 { number + length as f64 } else { number };
        if place.fract() != 0.0 || place < 0.0 || place >= length as f64 {
            return Err(EvaluationError::OutOfRange { index: number, length });
        }
        Ok(elements.get(place as usize))
    }

    fn call(&mut self, function: BuiltinFunction, arguments: &'e [ExpressionNode]) -> EvaluationResult<'e> {
        if let (BuiltinFunction::Len, [ExpressionNode::Feedback]) = (function, arguments) {
            return Ok(Value::Number(self.environment.feedback.len() as f64));
        }
        let values = arguments.iter().map(|argument| self.value(argument)).collect::<Result<Vec<_>, _>>()?;
        let is_quick =
            matches!(function, BuiltinFunction::Len | BuiltinFunction::First | BuiltinFunction::Last);
        for value in &values {
            let cost = if matches!(value, Value::Text(_)) { value.size() / 16 } else { value.size() };
            self.step(if is_quick { 1 } else { cost })?;
        }
        function.apply(&values)
    }

    fn scan(
        &mut self,
        scan: ListPredicate,
        list: &'e ExpressionNode,
        predicate: Option<&'e ExpressionNode>,
    ) -> EvaluationResult<'e> {
        let list = self.value(list)?;
        if let (
            ListPredicate::Count,
            Value::Feedback(rows),
            Some(ExpressionNode::ElementTextIs { field, text, wanted }),
        ) = (scan, &list, predicate)
        {
            // The commonest score, over all feedback there is: nothing but the comparisons.
            self.step(rows.len())?;
            let counted = |row: &&FeedbackFields<'_>| (field.text_of_row(row) == &**text) == *wanted;
            return Ok(Value::Number(rows.iter().filter(counted).count() as f64));
        }
        let Some(elements) = list.elements() else {
            return Err(EvaluationError::mismatch(format!("{} where a list is needed", list.type_name())));
        };
        let search = |wanted: bool, enough: usize| ElementSearch { predicate, wanted, enough };
        let outer = std::mem::replace(&mut self.element, Value::Nil);
        let mut found = Vec::new();
        let nothing = |_element: &Value<'e>| {};
        let result = match scan {
            ListPredicate::Count => {
                Value::Number(self.search(elements, &search(true, usize::MAX), nothing)? as f64)
            }
            ListPredicate::Any => Value::Bool(self.search(elements, &search(true, 1), nothing)? > 0),
            ListPredicate::All => Value::Bool(self.search(elements, &search(false, 1), nothing)? == 0),
            ListPredicate::One => Value::Bool(self.search(elements, &search(true, 2), nothing)? == 1),
            ListPredicate::None => Value::Bool(self.search(elements, &search(true, 1), nothing)? == 0),
            ListPredicate::Find => {
                self.search(elements, &search(true, 1), |element| found.push(element.clone()))?;
                found.pop().unwrap_or(Value::Nil)
            }
            ListPredicate::Filter => {
                self.search(elements, &search(true, usize::MAX), |element| found.push(element.clone()))?;
                Value::List(Arc::new(found))
            }
            ListPredicate::Map => {
                self.each(elements, predicate, |value| {
                    found.push(value);
                    Ok(())
                })?;
                Value::List(Arc::new(found))
            }
            ListPredicate::Sum => {
                let mut sum = 0.0;
                self.each(elements, predicate, |value| {
                    sum += value.number("an element to sum")?;
                    Ok(())
                })?;
                finite(sum)?
            }
        };
        self.element = outer;
        Ok(result)
    }

    /// Counts the elements that are as wanted, and shows them to `found`.
    fn search(
        &mut self,
        elements: ListElements<'_, 'e>,
        search: &ElementSearch<'e>,
        mut found: impl FnMut(&Value<'e>),
    ) -> Result<usize, EvaluationError> {
        let mut count = 0;
        for index in 0..elements.len() {
            self.element = elements.get(index);
            let truth = match search.predicate {
                Some(predicate) => self.truth(predicate)?,
                None => self.element.truth("an element to count")?,
            };
            if truth != search.wanted {
                continue;
            }
            found(&self.element);
            count += 1;
            if count == search.enough {
                break;
            }
        }
        // Without a predicate nothing has been paid yet.
        self.step(if search.predicate.is_none() { elements.len() } else { 0 })?;
        Ok(count)
    }

    /// Shows what `predicate` makes of every element to `visit`, or the elements themselves.
    fn each(
        &mut self,
        elements: ListElements<'_, 'e>,
        predicate: Option<&'e ExpressionNode>,
        mut visit: impl FnMut(Value<'e>) -> Result<(), EvaluationError>,
    ) -> Result<(), EvaluationError> {
        for index in 0..elements.len() {
            let element = elements.get(index);
            match predicate {
                Some(predicate) => {
                    self.element = element;
                    visit(self.value(predicate)?)?;
                }
                None => {
                    self.step(1)?;
                    visit(element)?;
                }
            }
        }
        Ok(())
    }
}

/// A field by its name. Labels that are missing are nil; reading on from nil is an error unless optional.
fn member<'a>(of: &Value<'a>, name: &str, optional: bool) -> EvaluationResult<'a> {
    let field = |fields| RecordField::find(fields, name);
    let unknown = || EvaluationError::mismatch(format!("`{name}` of {}", of.type_name()));
    match of {
        Value::Json(Json::Object(fields)) => Ok(fields.get(name).map_or(Value::Nil, Value::from_json)),
        Value::Nil if optional => Ok(Value::Nil),
        Value::Nil => Err(EvaluationError::Nil { name: name.to_owned() }),
        Value::Item(item) => field(ITEM_FIELDS).map(|field| field.of_item(item)).ok_or_else(unknown),
        Value::User(user) => field(USER_FIELDS).map(|field| field.of_user(user)).ok_or_else(unknown),
        Value::Row(row) => field(ROW_FIELDS).map(|field| field.of_row(row)).ok_or_else(unknown),
        Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Time(_) | Value::Duration(_) => {
            Err(unknown())
        }
        Value::List(_) | Value::Texts(_) | Value::Json(_) | Value::Feedback(_) => Err(unknown()),
    }
}

fn is_in<'a>(wanted: &Value<'a>, place: &Value<'a>) -> Result<bool, EvaluationError> {
    if let (Value::Json(Json::Object(fields)), Value::Text(name)) = (place, wanted) {
        return Ok(fields.contains_key(name.as_ref()));
    }
    match place.elements() {
        Some(elements) => Ok(elements.contains(wanted)),
        None if matches!(place, Value::Nil | Value::Json(_)) => Ok(false),
        None => Err(EvaluationError::mismatch(format!("`in` {}", place.type_name()))),
    }
}

fn negate<'a>(operand: &Value<'_>) -> EvaluationResult<'a> {
    if let Value::Duration(nanos) = operand {
        return Ok(Value::Duration(nanos.saturating_neg()));
    }
    operand.number("an operand of a sign").map(|number| Value::Number(-number))
}
