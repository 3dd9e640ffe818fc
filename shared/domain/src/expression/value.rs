//! Values and their types.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{EvaluationError, ExpressionKind, FeedbackFields};
use crate::{Item, Timestamp, User};

/// What an expression gives. Borrows from the expression and its environment wherever it can.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Nothing: a missing label, JSON `null`.
    Nil,
    /// True or false.
    Bool(bool),
    /// Any number. Whole numbers are exact up to 2^53.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// A moment.
    Time(Timestamp),
    /// Nanoseconds between two moments, saturated at 292 years.
    Duration(i64),
    /// A list that the expression made.
    List(Arc<Vec<Value<'a>>>),
    /// Categories.
    Texts(&'a [String]),
    /// An array or an object inside labels; never anything else.
    Json(&'a Json),
    /// All feedback.
    Feedback(&'a [FeedbackFields<'a>]),
    /// One feedback row.
    Row(&'a FeedbackFields<'a>),
    /// The item.
    Item(&'a Item),
    /// The user.
    User(&'a User),
}

/// What is known of a value before it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    Nil,
    Bool,
    Number,
    Text,
    Time,
    Duration,
    List(Box<ValueType>),
    Row,
    Item,
    User,
    /// Known only when evaluated: labels.
    Any,
}

impl ValueType {
    pub(super) fn list(element: Self) -> Self {
        Self::List(Box::new(element))
    }

    /// The type of the elements; `None` if this is certainly no list.
    pub(super) fn element(&self) -> Option<Self> {
        if let Self::List(element) = self {
            return Some((**element).clone());
        }
        (*self == Self::Any).then_some(Self::Any)
    }

    pub(super) fn kind(&self) -> ExpressionKind {
        match self {
            Self::Bool => ExpressionKind::Bool,
            Self::Number => ExpressionKind::Number,
            Self::Text => ExpressionKind::Text,
            Self::Time => ExpressionKind::Time,
            Self::Duration => ExpressionKind::Duration,
            Self::List(_) => ExpressionKind::List,
            Self::Nil | Self::Row | Self::Item | Self::User | Self::Any => ExpressionKind::Any,
        }
    }

    /// Whether a value of this type may stand where `wanted` is needed, as far as is known.
    pub(super) fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(found), Self::List(wanted)) => found.fits(wanted),
            (_, _) => self == wanted,
        }
    }

    /// Whether `==` makes sense between the two.
    pub(super) fn is_comparable_with(&self, other: &Self) -> bool {
        let rows = |side: &Self| matches!(side, Self::Row | Self::Item | Self::User);
        if *self == Self::Nil || *other == Self::Nil {
            return true;
        }
        !rows(self) && !rows(other) && (self.fits(other) || other.fits(self))
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nil => "nil",
            Self::Bool => "a bool",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Time => "a time",
            Self::Duration => "a duration",
            Self::List(_) => "a list",
            Self::Row => "a feedback row",
            Self::Item => "an item",
            Self::User => "a user",
            Self::Any => "a value of unknown type",
        })
    }
}

impl<'a> Value<'a> {
    /// A value inside labels.
    pub(super) fn from_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(truth) => Self::Bool(*truth),
            Json::Number(number) => number.as_f64().map_or(Self::Nil, Self::Number),
            Json::String(text) => Self::Text(Cow::Borrowed(text)),
            Json::Array(_) | Json::Object(_) => Self::Json(json),
        }
    }

    /// The value, if it is true or false.
    pub(super) fn truth(&self, what: &str) -> Result<bool, EvaluationError> {
        if let Self::Bool(truth) = self { Ok(*truth) } else { Err(self.is_unfit(what, "a bool")) }
    }

    /// The value, if it is a number.
    pub(super) fn number(&self, what: &str) -> Result<f64, EvaluationError> {
        if let Self::Number(number) = self { Ok(*number) } else { Err(self.is_unfit(what, "a number")) }
    }

    /// The value, if it is a text.
    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn is_unfit(&self, what: &str, wanted: &str) -> EvaluationError {
        EvaluationError::mismatch(format!("{what} must be {wanted}, this is {}", self.type_name()))
    }

    /// A cheap copy that borrows the text.
    pub(super) fn borrowed(&'a self) -> Self {
        if let Self::Text(text) = self { Self::Text(Cow::Borrowed(text)) } else { self.clone() }
    }

    /// The value without what it borrows; `None` if it is part of an environment.
    pub(super) fn into_constant(self) -> Option<Value<'static>> {
        Some(match self {
            Self::Nil => Value::Nil,
            Self::Bool(truth) => Value::Bool(truth),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Time(moment) => Value::Time(moment),
            Self::Duration(nanos) => Value::Duration(nanos),
            Self::List(values) => {
                let values: Option<Vec<_>> = values.iter().cloned().map(Self::into_constant).collect();
                Value::List(Arc::new(values?))
            }
            Self::Texts(_)
            | Self::Json(_)
            | Self::Feedback(_)
            | Self::Row(_)
            | Self::Item(_)
            | Self::User(_) => {
                return None;
            }
        })
    }

    /// The elements, if this is a list of any sort.
    pub(super) fn elements(&self) -> Option<ListElements<'_, 'a>> {
        match self {
            Self::List(values) => Some(ListElements::List(values)),
            Self::Texts(texts) => Some(ListElements::Texts(texts)),
            Self::Json(Json::Array(values)) => Some(ListElements::Json(values)),
            Self::Feedback(rows) => Some(ListElements::Rows(rows)),
            Self::Nil
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Time(_)
            | Self::Duration(_)
            | Self::Json(_)
            | Self::Row(_)
            | Self::Item(_)
            | Self::User(_) => None,
        }
    }

    /// Whether the two mean the same. Values of different types are unequal.
    pub(super) fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Nil, Value::Nil) => true,
            (Self::Bool(left), Value::Bool(right)) => left == right,
            (Self::Number(left), Value::Number(right)) => left == right,
            (Self::Text(left), Value::Text(right)) => left == right,
            (Self::Time(left), Value::Time(right)) => left == right,
            (Self::Duration(left), Value::Duration(right)) => left == right,
            (Self::Json(left), Value::Json(right)) => left == right,
            (_, _) => match (self.elements(), other.elements()) {
                (Some(left), Some(right)) => {
                    left.len() == right.len()
                        && (0..left.len()).all(|index| left.get(index).equals(&right.get(index)))
                }
                (_, _) => false,
            },
        }
    }

    /// Number of elements or symbols.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Json(Json::Object(fields)) => fields.len(),
            Self::List(_) | Self::Texts(_) | Self::Json(_) | Self::Feedback(_) => {
                self.elements().map_or(0, |elements| elements.len())
            }
            Self::Nil
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Time(_)
            | Self::Duration(_)
            | Self::Row(_)
            | Self::Item(_)
            | Self::User(_) => 0,
        }
    }

    /// The name of the type, with its article.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a bool",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Time(_) => "a time",
            Self::Duration(_) => "a duration",
            Self::Json(Json::Object(_)) => "an object",
            Self::List(_) | Self::Texts(_) | Self::Json(_) | Self::Feedback(_) => "a list",
            Self::Row(_) => "a feedback row",
            Self::Item(_) => "an item",
            Self::User(_) => "a user",
        }
    }

    /// The value as JSON, so that columns can be read like labels: times as texts, durations as seconds. What
    /// is part of labels stays borrowed.
    #[must_use]
    pub fn into_json(self) -> Cow<'a, Json> {
        Cow::Owned(match self {
            Self::Json(json) => return Cow::Borrowed(json),
            Self::Nil => Json::Null,
            Self::Bool(truth) => Json::from(truth),
            Self::Number(number) => Json::from(number),
            Self::Text(text) => Json::from(text),
            Self::Time(moment) => Json::from(moment.to_string()),
            Self::Duration(nanos) => Json::from(nanos as f64 / 1e9),
            Self::List(_) | Self::Texts(_) | Self::Feedback(_) => {
                let elements = self.elements();
                let json = |elements: ListElements<'_, 'a>| {
                    (0..elements.len()).map(|index| elements.get(index).into_json().into_owned()).collect()
                };
                Json::Array(elements.map(json).unwrap_or_default())
            }
            Self::Row(row) => row.to_json(),
            Self::Item(item) => serde_json::to_value(item).unwrap_or_default(),
            Self::User(user) => serde_json::to_value(user).unwrap_or_default(),
        })
    }
}

/// A list of any sort, read by position.
#[derive(Clone, Copy)]
pub(super) enum ListElements<'v, 'a> {
    List(&'v [Value<'a>]),
    Texts(&'a [String]),
    Json(&'a [Json]),
    Rows(&'a [FeedbackFields<'a>]),
}

impl<'a> ListElements<'_, 'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::List(values) => values.len(),
            Self::Texts(texts) => texts.len(),
            Self::Json(values) => values.len(),
            Self::Rows(rows) => rows.len(),
        }
    }

    /// The element at `index`, which must be less than the length.
    pub(super) fn get(&self, index: usize) -> Value<'a> {
        match self {
            Self::List(values) => values[index].clone(),
            Self::Texts(texts) => Value::Text(Cow::Borrowed(&texts[index])),
            Self::Json(values) => Value::from_json(&values[index]),
            Self::Rows(rows) => Value::Row(&rows[index]),
        }
    }

    pub(super) fn contains(&self, wanted: &Value<'a>) -> bool {
        match self {
            Self::List(values) => values.iter().any(|value| value.equals(wanted)),
            Self::Texts(texts) => {
                matches!(wanted, Value::Text(wanted) if texts.iter().any(|text| text == wanted))
            }
            Self::Json(_) | Self::Rows(_) => (0..self.len()).any(|index| self.get(index).equals(wanted)),
        }
    }
}
