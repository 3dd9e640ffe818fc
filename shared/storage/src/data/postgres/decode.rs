//! Rows of the tables as nouns of the domain, and the other way round.

use serde_json::Value;
use smol_str::SmolStr;
use tokio_postgres::Row;
use ulex_domain::{Feedback, Item, ItemId, Timestamp, User, UserId};

use super::error::PostgresError;

type Result<T> = std::result::Result<T, PostgresError>;

fn text(row: &Row, column: usize) -> Result<&str> {
    Ok(row.try_get::<_, Option<&str>>(column)?.unwrap_or_default())
}

fn json(row: &Row, column: usize) -> Result<Value> {
    let text = text(row, column)?;
    // What is there was written as JSON; whatever else somebody put there is not ours to lose.
    Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(text).unwrap_or(Value::Null) })
}

fn time(row: &Row, column: usize) -> Result<Timestamp> {
    Ok(Timestamp::from_nanos(row.try_get(column)?))
}

/// Columns `id, labels, comment`.
pub(super) fn user(row: &Row) -> Result<User> {
    Ok(User { user_id: UserId::new(text(row, 0)?), labels: json(row, 1)?, comment: text(row, 2)?.to_owned() })
}

/// Columns `id, is_hidden, categories, time, labels, comment`.
pub(super) fn item(row: &Row) -> Result<Item> {
    let categories = text(row, 2)?;
    Ok(Item {
        item_id: ItemId::new(text(row, 0)?),
        is_hidden: row.try_get(1)?,
        categories: if categories.is_empty() { None } else { serde_json::from_str(categories).ok() },
        timestamp: time(row, 3)?,
        labels: json(row, 4)?,
        comment: text(row, 5)?.to_owned(),
    })
}

/// Columns `type, user, item, value, time, updated, labels, comment`.
pub(super) fn feedback(row: &Row) -> Result<Feedback> {
    Ok(Feedback {
        feedback_type: SmolStr::new(text(row, 0)?),
        user_id: UserId::new(text(row, 1)?),
        item_id: ItemId::new(text(row, 2)?),
        value: row.try_get(3)?,
        timestamp: time(row, 4)?,
        updated: time(row, 5)?,
        labels: json(row, 6)?,
        comment: text(row, 7)?.to_owned(),
    })
}

/// JSON as it is stored: `None` is null.
pub(super) fn json_text(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// Text as it is stored: `None` is empty.
pub(super) fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
