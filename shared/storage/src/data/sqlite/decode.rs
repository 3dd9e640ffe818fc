//! Rows of the tables as nouns of the domain.

use rusqlite::types::{FromSqlError, Type, ValueRef};
use rusqlite::{Error, Result, Row};
use serde_json::Value;
use smol_str::SmolStr;
use ulex_domain::{Feedback, Item, ItemId, Timestamp, User, UserId, Version};

use crate::data::LogPosition;

/// The text in a column, borrowed; NULL is empty.
pub(super) fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<&'row str> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(""),
        value @ (ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_)) => {
            value.as_str().map_err(|error| broken(column, error))
        }
    }
}

fn broken(column: usize, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

fn json(row: &Row<'_>, column: usize) -> Result<Value> {
    let text = text(row, column)?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|error| broken(column, error))
}

/// A time; NULL is "no time given".
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(nanos) => Ok(Some(Timestamp::from_nanos(nanos))),
        ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
            Err(broken(column, FromSqlError::InvalidType))
        }
    }
}

/// A number; rows of ours hold REAL values only, which come back as such.
pub(super) fn value(row: &Row<'_>, column: usize) -> Result<f64> {
    row.get_ref(column)?.as_f64().map_err(|error| broken(column, error))
}

/// Columns `id, labels, comment`.
pub(super) fn user(row: &Row<'_>) -> Result<User> {
    Ok(User { user_id: UserId::new(text(row, 0)?), labels: json(row, 1)?, comment: text(row, 2)?.to_owned() })
}

/// Columns `id, is_hidden, categories, time, labels, comment`.
pub(super) fn item(row: &Row<'_>) -> Result<Item> {
    let categories = text(row, 2)?;
    let categories = if categories.is_empty() {
        None
    } else {
        Some(serde_json::from_str(categories).map_err(|error| broken(2, error))?)
    };
    Ok(Item {
        item_id: ItemId::new(text(row, 0)?),
        is_hidden: row.get(1)?,
        categories,
        timestamp: time(row, 3)?.unwrap_or_default(),
        labels: json(row, 4)?,
        comment: text(row, 5)?.to_owned(),
    })
}

/// The columns `epoch, position` of an item, from `first` on.
pub(super) fn version(row: &Row<'_>, first: usize) -> Result<Version> {
    let part = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(Version::new(part(first)?, part(first + 1)?))
}

/// Columns `log, epoch, sequence, appended_at, crc`.
pub(super) fn position(row: &Row<'_>) -> Result<LogPosition> {
    Ok(LogPosition {
        log: SmolStr::new(text(row, 0)?),
        epoch: row.get::<_, i64>(1)?.cast_unsigned(),
        sequence: row.get::<_, i64>(2)?.cast_unsigned(),
        appended_at_nanos: row.get(3)?,
        crc: row.get(4)?,
    })
}

/// Columns `type, user, item, value, time, updated, labels, comment`.
pub(super) fn feedback(row: &Row<'_>) -> Result<Feedback> {
    let timestamp = time(row, 4)?.unwrap_or_default();
    Ok(Feedback {
        feedback_type: SmolStr::new(text(row, 0)?),
        user_id: UserId::new(text(row, 1)?),
        item_id: ItemId::new(text(row, 2)?),
        value: value(row, 3)?,
        timestamp,
        updated: time(row, 5)?.unwrap_or(timestamp),
        labels: json(row, 6)?,
        comment: text(row, 7)?.to_owned(),
    })
}
