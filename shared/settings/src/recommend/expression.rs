//! Whether an expression compiles, and to the kind of value that its place needs.

use ulex_domain::expression::{Expression, ExpressionKind, ExpressionScope};

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A number over an item and its feedback.
    Score,
    /// A boolean over an item and its feedback.
    Filter,
    /// Anything over an item.
    ItemColumn,
    /// Anything over a user.
    UserColumn,
}

/// Says what was expected, and what is wrong where, if the text will not do.
pub(super) fn check(text: &str, usage: Use) -> Result<(), String> {
    let (scope, kind, expected) = match usage {
        Use::Score => (
            ExpressionScope::ItemWithFeedback,
            Some(ExpressionKind::Number),
            "an expression over item and feedback that gives a number",
        ),
        Use::Filter => (
            ExpressionScope::ItemWithFeedback,
            Some(ExpressionKind::Bool),
            "an expression over item and feedback that gives true or false",
        ),
        Use::ItemColumn => (ExpressionScope::Item, None, "an expression over item"),
        Use::UserColumn => (ExpressionScope::User, None, "an expression over user"),
    };
    if text.trim().is_empty() {
        return Err(String::from(expected));
    }
    let compiled = Expression::compile(text, scope).and_then(|expression| match kind {
        Some(kind) => expression.require(kind),
        None => Ok(expression),
    });
    compiled.map(drop).map_err(|error| format!("{expected} ({error})"))
}
