//! All feedback, as fast as it can be read, in the order in which it lies in the file.
//!
//! A thread of the blocking pool reads ahead by one batch while the caller works on another. Every batch is a
//! read of its own, so a long scan does not keep the log from being emptied.

use std::cmp::Ordering;

use rusqlite::{Result, Row, Rows, params};
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
    after: Option<Key>,
    types: Vec<(i64, SmolStr)>,
    /// Ids by number, as far as they were met.
    items: Vec<Option<SmolStr>>,
}

/// The numbers of a row's key.
type Key = (i64, i64, i64);

/// What is read of a row.
#[derive(Clone, Copy)]
struct RawRow {
    key: Key,
    value: f64,
    timestamp: Timestamp,
    updated: Timestamp,
}

impl Scan {
    /// The next rows; none at the end.
    pub fn next(&mut self, reader: &Reader, size: usize) -> Result<Batch> {
        reader.snapshot(|| {
            let rows = self.read(reader, size)?;
            self.after = rows.last().map(|row| row.key).or(self.after);
            self.name(reader, &rows)
        })
    }

    /// The next rows of both tables, by key; of rows of one key the recent one.
    fn read(&self, reader: &Reader, size: usize) -> Result<Vec<RawRow>> {
        let (feedback_type, user, item) = self.after.unwrap_or((i64::MIN, i64::MIN, i64::MIN));
        let start = params![feedback_type, user, item, row_limit(size)];
        let [recent, others] = &reader.sql.scan;
        let mut recent = reader.connection.prepare_cached(recent)?;
        let mut others = reader.connection.prepare_cached(others)?;
        let mut recent = Ahead::new(recent.query(start)?)?;
        let mut others = Ahead::new(others.query(start)?)?;
        let mut rows = Vec::with_capacity(size.min(1 << 16));
        while rows.len() < size {
            let order = match (&recent.next, &others.next) {
                (None, None) => break,
                (Some(_new), None) => Ordering::Less,
                (None, Some(_old)) => Ordering::Greater,
                (Some(new), Some(old)) => new.key.cmp(&old.key),
            };
            if order == Ordering::Equal {
                others.step()?;
            }
            rows.extend(if order == Ordering::Greater { others.step()? } else { recent.step()? });
        }
        Ok(rows)
    }

    /// Puts the texts in the place of the numbers.
    fn name(&mut self, reader: &Reader, rows: &[RawRow]) -> Result<Batch> {
        let mut batch = Batch { rows: Vec::with_capacity(rows.len()), owners: Vec::new() };
        let same_owner = |one: &RawRow, other: &RawRow| (one.key.0, one.key.1) == (other.key.0, other.key.1);
        for run in rows.chunk_by(same_owner) {
            let (feedback_type, user, _item) = run[0].key;
            let owner = batch.owners.len();
            batch
                .owners
                .push((self.type_name(reader, feedback_type)?, id(reader, &reader.sql.user_id, user)?));
            for RawRow { key, value, timestamp, updated } in run.iter().copied() {
                let item_id = self.item_id(reader, key.2)?;
                batch.rows.push(BatchRow { owner, item_id, value, timestamp, updated });
            }
        }
        Ok(batch)
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

fn raw_row(row: &Row<'_>) -> Result<RawRow> {
    let timestamp = decode::time(row, 4)?.unwrap_or_default();
    Ok(RawRow {
        key: (row.get(0)?, row.get(1)?, row.get(2)?),
        value: decode::value(row, 3)?,
        timestamp,
        updated: decode::time(row, 5)?.unwrap_or(timestamp),
    })
}

/// Rows of a query with a look at the next one.
struct Ahead<'statement> {
    rows: Rows<'statement>,
    next: Option<RawRow>,
}

impl<'statement> Ahead<'statement> {
    fn new(rows: Rows<'statement>) -> Result<Self> {
        let mut ahead = Self { rows, next: None };
        ahead.step()?;
        Ok(ahead)
    }

    fn step(&mut self) -> Result<Option<RawRow>> {
        let next = self.rows.next()?.map(raw_row).transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}
