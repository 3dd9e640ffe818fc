//! Score, filter and column expressions: the small language of the configuration.
//!
//! ```text
//! count(feedback, .FeedbackType == 'star')            a leaderboard's score
//! (now() - item.Timestamp).Hours() < 24 * 7           a leaderboard's filter
//! item.Labels.embedding                               a column
//! ```
//!
//! An expression is compiled once: read, resolved, typed, constants computed. A misspelt name or a wrong type is
//! an error then, with its position. Evaluation is pure and bounded: no IO, no clock (the time is part of the
//! [`EvaluationContext`]), a limit on steps, and a number that comes out is always finite. The language is a subset of
//! the one Gorse embeds (operators, precedences, built-ins, predicates such as `.RecordField` and `# > 3`), with four
//! differences: numbers are all 64-bit floats, division by zero is an error, there are no regular expressions,
//! and behind a `?.` the whole rest of the chain is optional.
//!
//! `len(feedback)` takes constant time; `count(feedback, .FeedbackType == 'star')` a few nanoseconds per row.

mod check;
mod date_method;
mod evaluate;
mod field;
mod function;
mod lexer;
mod operation;
mod operator_type;
mod parser;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;

use serde_json::Value as Json;
use thiserror::Error;

use self::evaluate::{Evaluator, ExpressionNode};
pub use self::value::Value;
use crate::{Feedback, Item, Timestamp, User};

/// Steps that every evaluation may take.
pub const DEFAULT_STEP_LIMIT: u64 = 100_000;
/// Steps that an evaluation may take on top for each feedback row, so that a limit on nested loops is none on
/// a few passes over the feedback of a popular item.
pub const STEPS_PER_ROW: u64 = 100;

/// Which variables an expression may use. `now()` is known everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpressionScope {
    /// `item`: columns of items.
    Item,
    /// `user`: columns of users.
    User,
    /// `item` and `feedback`, the item's positive feedback: scores and filters.
    ItemWithFeedback,
}

/// The type of an expression, as far as it is known without evaluating it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpressionKind {
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// A text.
    Text,
    /// A moment.
    Time,
    /// Time between two moments.
    Duration,
    /// A list.
    List,
    /// Known only when evaluated, as for labels.
    Any,
}

impl fmt::Display for ExpressionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Number => "a number",
            Self::Bool => "a bool",
            Self::Text => "a text",
            Self::Time => "a time",
            Self::Duration => "a duration",
            Self::List => "a list",
            Self::Any => "a value of unknown type",
        })
    }
}

/// Why a text is no expression.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("at byte {position}: {message}")]
pub struct ExpressionError {
    position: usize,
    message: String,
}

impl ExpressionError {
    fn new(position: usize, message: impl Into<String>) -> Self {
        Self { position, message: message.into() }
    }

    /// The byte of the text where the problem is.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// What was expected or unknown.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Why an expression has no value for this item or user.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum EvaluationError {
    /// The expression does too much.
    #[error("more than {limit} steps")]
    StepLimit {
        /// The limit.
        limit: u64,
    },
    /// Division or remainder by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// Infinity or not a number.
    #[error("the result is not a finite number")]
    NotFinite,
    /// The environment lacks what the expression uses.
    #[error("there is no {name} to evaluate")]
    Missing {
        /// The variable.
        name: &'static str,
    },
    /// A field of a label that is missing.
    #[error("cannot read `{name}` of nil; write `?.{name}` to get nil instead")]
    Nil {
        /// The field.
        name: String,
    },
    /// An index outside its list.
    #[error("index {index} is outside a list of {length}")]
    OutOfRange {
        /// The index.
        index: f64,
        /// Length of the list.
        length: usize,
    },
    /// A text that should have been something else.
    #[error("{text:?} is not {wanted}")]
    Unreadable {
        /// The text.
        text: String,
        /// What it should have been.
        wanted: &'static str,
    },
    /// A value has the wrong type, which only labels can.
    #[error("wrong type: {0}")]
    Mismatch(String),
}

impl EvaluationError {
    fn mismatch(what: String) -> Self {
        Self::Mismatch(what)
    }
}

/// What an expression may look at of a feedback row. Cheap to make for millions of rows in any layout; scores are
/// quickest if rows of one type share one text, which then stays in the cache.
#[derive(Clone, Copy, Debug)]
pub struct FeedbackFields<'a> {
    /// What was done.
    pub feedback_type: &'a str,
    /// Who did it.
    pub user_id: &'a str,
    /// To what.
    pub item_id: &'a str,
    /// Strength.
    pub value: f64,
    /// First time.
    pub timestamp: Timestamp,
    /// Last time.
    pub updated: Timestamp,
    /// Free-form context; [`Json::Null`] if there is none at hand.
    pub labels: &'a Json,
    /// Free text.
    pub comment: &'a str,
}

impl FeedbackFields<'_> {
    fn to_json(self) -> Json {
        serde_json::json!({
            "FeedbackType": self.feedback_type,
            "UserId": self.user_id,
            "ItemId": self.item_id,
            "Value": self.value,
            "Timestamp": self.timestamp,
            "Updated": self.updated,
            "Labels": self.labels,
            "Comment": self.comment,
        })
    }
}

impl<'a> From<&'a Feedback> for FeedbackFields<'a> {
    fn from(row: &'a Feedback) -> Self {
        Self {
            feedback_type: &row.feedback_type,
            user_id: row.user_id.as_str(),
            item_id: row.item_id.as_str(),
            value: row.value,
            timestamp: row.timestamp,
            updated: row.updated,
            labels: &row.labels,
            comment: &row.comment,
        }
    }
}

/// What an expression is evaluated against.
#[derive(Clone, Copy, Debug)]
pub struct EvaluationContext<'a> {
    /// `item`
    pub item: Option<&'a Item>,
    /// `user`
    pub user: Option<&'a User>,
    /// `feedback`
    pub feedback: &'a [FeedbackFields<'a>],
    /// `now()`
    pub now: Timestamp,
}

/// A compiled expression. Immutable; evaluated from any number of threads.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    kind: ExpressionKind,
    root: ExpressionNode,
    step_limit: u64,
}

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    ///
    /// [`ExpressionError`] with the position of the first thing that is wrong: syntax, an unknown variable, field
    /// or function, an operator that does not apply, too long or too deep.
    pub fn compile(text: &str, scope: ExpressionScope) -> Result<Self, ExpressionError> {
        let syntax = parser::parse(text)?;
        let (root, found) = check::check(&syntax, scope)?;
        Ok(Self { text: text.to_owned(), kind: found.kind(), root, step_limit: DEFAULT_STEP_LIMIT })
    }

    /// Insists on a kind: a score must be a number, a filter a bool.
    ///
    /// # Errors
    ///
    /// [`ExpressionError`] that names what was found and how to get what is needed.
    pub fn require(self, wanted: ExpressionKind) -> Result<Self, ExpressionError> {
        if self.kind == wanted {
            return Ok(self);
        }
        let hint = match (self.kind, wanted) {
            (ExpressionKind::Any, ExpressionKind::Number) => "; wrap it in float() or int()",
            (ExpressionKind::Text, ExpressionKind::Number) => "; float() reads a number from a text",
            (ExpressionKind::Time, ExpressionKind::Number) => "; `.Unix()` is the time in seconds",
            (ExpressionKind::Duration, ExpressionKind::Number) => {
                "; `.Seconds()`, `.Hours()` and `.Days()` are numbers"
            }
            (ExpressionKind::List, ExpressionKind::Number) => "; len() counts a list",
            (ExpressionKind::Bool, ExpressionKind::Number) => "; `condition ? 1 : 0` is a number",
            (ExpressionKind::Any, ExpressionKind::Bool) => "; compare it, such as `== true`",
            (ExpressionKind::Number, ExpressionKind::Bool) => "; compare it, such as `> 0`",
            (_, _) => "",
        };
        Err(ExpressionError::new(0, format!("expected {wanted}, this gives {}{hint}", self.kind)))
    }

    /// Changes how many steps an evaluation may take, besides [`STEPS_PER_ROW`].
    #[must_use]
    pub fn with_step_limit(self, step_limit: u64) -> Self {
        Self { step_limit, ..self }
    }

    /// The static type.
    #[must_use]
    pub fn kind(&self) -> ExpressionKind {
        self.kind
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value in `environment`.
    ///
    /// # Errors
    ///
    /// [`EvaluationError`] if there is none; the caller skips the item.
    pub fn evaluate<'e>(&'e self, environment: &EvaluationContext<'e>) -> Result<Value<'e>, EvaluationError> {
        let limit = self.step_limit.saturating_add(STEPS_PER_ROW * environment.feedback.len() as u64);
        Evaluator::new(*environment, limit).value(&self.root)
    }

    /// The value as a number, always finite.
    ///
    /// # Errors
    ///
    /// [`EvaluationError`] if there is none or it is something else.
    pub fn evaluate_number(&self, environment: &EvaluationContext<'_>) -> Result<f64, EvaluationError> {
        let number = self.evaluate(environment)?.number("the result")?;
        if number.is_finite() { Ok(number) } else { Err(EvaluationError::NotFinite) }
    }

    /// The value as true or false.
    ///
    /// # Errors
    ///
    /// [`EvaluationError`] if there is none or it is something else.
    pub fn evaluate_bool(&self, environment: &EvaluationContext<'_>) -> Result<bool, EvaluationError> {
        self.evaluate(environment)?.truth("the result")
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
