//! From rows to what they stand for.

use serde_json::Value;
use smol_str::SmolStr;
use tokio_postgres::Row;
use ulex_domain::{Feedback, Item, ItemId, Timestamp, User, UserId, Version};

use super::error::PostgresError;
use crate::data::LogPosition;

type Fallible<T> = Result<T, PostgresError>;

/// `user_id, labels, comment`.
pub(super) fn user(row: &Row) -> Fallible<User> {
    Ok(User {
        user_id: UserId::new(row.try_get::<_, &str>(0)?),
        labels: json(row, 1)?,
        comment: text(row, 2)?,
    })
}

/// `item_id, is_hidden, categories, time, labels, comment`.
pub(super) fn item(row: &Row) -> Fallible<Item> {
    let categories: Option<&str> = row.try_get(2)?;
    let categories = categories.map(serde_json::from_str).transpose();
    Ok(Item {
        item_id: ItemId::new(row.try_get::<_, &str>(0)?),
        is_hidden: row.try_get(1)?,
        categories: categories
            .map_err(|_broken| PostgresError::Protocol("categories that are no list of texts"))?,
        timestamp: Timestamp::from_nanos(row.try_get(3)?),
        labels: json(row, 4)?,
        comment: text(row, 5)?,
    })
}

/// The columns `epoch, position` of an item, from `first` on.
pub(super) fn version(row: &Row, first: usize) -> Fallible<Version> {
    let part = |column| Ok::<_, PostgresError>(row.try_get::<_, i64>(column)?.unsigned_abs());
    Ok(Version::new(part(first)?, part(first + 1)?))
}

/// `log, epoch, sequence, appended_at, crc`.
pub(super) fn position(row: &Row) -> Fallible<LogPosition> {
    let crc = u32::try_from(row.try_get::<_, i64>(4)?);
    Ok(LogPosition {
        log: SmolStr::new(row.try_get::<_, &str>(0)?),
        epoch: row.try_get::<_, i64>(1)?.unsigned_abs(),
        sequence: row.try_get::<_, i64>(2)?.unsigned_abs(),
        appended_at_nanos: row.try_get(3)?,
        crc: crc.map_err(|_large| PostgresError::Protocol("a checksum of more than 32 bits"))?,
    })
}

/// How the categories of an item are stored.
pub(super) fn categories_text(item: &Item) -> Option<String> {
    let text = |categories| serde_json::to_string(categories).expect("a list of texts is always JSON");
    item.categories.as_ref().map(text)
}

/// `feedback_type, user_id, item_id, value, time, updated, labels, comment`.
pub(super) fn feedback(row: &Row) -> Fallible<Feedback> {
    Ok(Feedback {
        feedback_type: SmolStr::new(row.try_get::<_, &str>(0)?),
        user_id: UserId::new(row.try_get::<_, &str>(1)?),
        item_id: ItemId::new(row.try_get::<_, &str>(2)?),
        value: row.try_get(3)?,
        timestamp: Timestamp::from_nanos(row.try_get(4)?),
        updated: Timestamp::from_nanos(row.try_get(5)?),
        labels: json(row, 6)?,
        comment: text(row, 7)?,
    })
}

fn json(row: &Row, column: usize) -> Fallible<Value> {
    let text: Option<&str> = row.try_get(column)?;
    let value = text.map(serde_json::from_str).transpose();
    Ok(value.map_err(|_broken| PostgresError::Protocol("labels that are no JSON"))?.unwrap_or_default())
}

fn text(row: &Row, column: usize) -> Fallible<String> {
    Ok(row.try_get::<_, Option<String>>(column)?.unwrap_or_default())
}
