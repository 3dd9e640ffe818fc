//! All feedback, as fast as it can be read, in the order in which it lies in the file.
//!
//! A thread of the blocking pool reads ahead by one batch while the caller works on another. Every batch is a
//! read of its own, so a long scan does not keep the log from being emptied.

use rusqlite::{Result, Row, params};
use smol_str::SmolStr;
use ulex_domain::Timestamp;

use super::decode;
use super::reader::{Reader, row_limit};
use crate::data::FeedbackRow;

/// Items whose ids are remembered during a scan; others are looked up for each row.
const REMEMBERED_ITEMS: usize = 1 << 20;

/// Rows that own their texts.
#[derive(Debug, Default)]
pub(super) struct Batch {
    rows: Vec<BatchRow>,
    /// One for each run of rows of the same type and user.
    owners: Vec<(SmolStr, SmolStr)>,
}

#[derive(Debug)]
struct BatchRow {
    owner: usize,
    item_id: SmolStr,
    value: f64,
    timestamp: Timestamp,
    updated: Timestamp,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows as the caller sees them.
    pub fn borrow(&self) -> Vec<FeedbackRow<'_>> {
        let borrow = |row: &'_ BatchRow| {
            let (feedback_type, user_id) = &self.owners[row.owner];
            (feedback_type, user_id, row.value, row.timestamp, row.updated)
        };
        let rows = self.rows.iter().map(|row| {
            let (feedback_type, user_id, value, timestamp, updated) = borrow(row);
            FeedbackRow { feedback_type, user_id, item_id: &row.item_id, value, timestamp, updated }
        });
        rows.collect()
    }
}

/// Where a scan is.
#[derive(Debug, Default)]
pub(super) struct Scan {
    after: Option<(i64, i64, i64)>,
    types: Vec<(i64, SmolStr)>,
    /// Ids by number, as far as they were met.
    items: Vec<Option<SmolStr>>,
}

impl Scan {
    /// The next rows; none at the end.
    pub fn next(&mut self, reader: &Reader, size: usize) -> Result<Batch> {
        reader.snapshot(|| {
            let mut batch = Batch::default();
            let (feedback_type, user, item) = self.after.unwrap_or((i64::MIN, i64::MIN, i64::MIN));
            let mut statement = reader.connection.prepare_cached(&reader.sql.scan)?;
            let mut rows = statement.query(params![feedback_type, user, item, row_limit(size)])?;
            let mut owner = (i64::MIN, i64::MIN);
            while let Some(row) = rows.next()? {
                let (feedback_type, user, item): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                if batch.owners.is_empty() || owner != (feedback_type, user) {
                    owner = (feedback_type, user);
                    let name = self.type_name(reader, feedback_type)?;
                    batch.owners.push((name, id(reader, &reader.sql.user_id, user)?));
                }
                let item_id = self.item_id(reader, item)?;
                batch.rows.push(batch_row(row, batch.owners.len() - 1, item_id)?);
                self.after = Some((feedback_type, user, item));
            }
            Ok(batch)
        })
    }

    fn type_name(&mut self, reader: &Reader, number: i64) -> Result<SmolStr> {
        if let Some((_number, name)) = self.types.iter().find(|(known, _name)| *known == number) {
            return Ok(name.clone());
        }
        // New types may come while the scan goes on.
        let mut statement = reader.connection.prepare_cached(&reader.sql.types)?;
        let types =
            statement.query_map([""], |row| Ok((row.get(0)?, SmolStr::new(decode::text(row, 1)?))))?;
        self.types = types.collect::<Result<_>>()?;
        let found = self.types.iter().find(|(known, _name)| *known == number);
        found.map(|(_number, name)| name.clone()).ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    fn item_id(&mut self, reader: &Reader, number: i64) -> Result<SmolStr> {
        let Some(place) = usize::try_from(number).ok().filter(|place| *place < REMEMBERED_ITEMS) else {
            return id(reader, &reader.sql.item_id, number);
        };
        if place >= self.items.len() {
            self.items.resize(place + 1, None);
        }
        if let Some(known) = &self.items[place] {
            return Ok(known.clone());
        }
        let found = id(reader, &reader.sql.item_id, number)?;
        self.items[place] = Some(found.clone());
        Ok(found)
    }
}

fn id(reader: &Reader, sql: &str, number: i64) -> Result<SmolStr> {
    let mut statement = reader.connection.prepare_cached(sql)?;
    statement.query_row([number], |row| decode::text(row, 0).map(SmolStr::new))
}

fn batch_row(row: &Row<'_>, owner: usize, item_id: SmolStr) -> Result<BatchRow> {
    let timestamp = decode::time(row, 4)?.unwrap_or_default();
    let updated = decode::time(row, 5)?.unwrap_or(timestamp);
    Ok(BatchRow { owner, item_id, value: decode::value(row, 3)?, timestamp, updated })
}
