//! Feedback: the rows of an event are sorted by key first, so that neighbours meet in the same page.

use rusqlite::{Result, Statement, params};
use ulex_domain::{Change, Feedback, FeedbackMode, Item, ItemId, ItemState, UserId, Version};

use super::Tables;
use crate::data::row_text::filled;
use crate::data::sqlite::migrate::with_prefix;
use crate::data::sqlite::prepared::Prepared;
use crate::data::{Outcome, feedback_changes};

/// What feedback may create.
#[derive(Clone, Copy)]
pub(super) struct Insert {
    pub users: bool,
    pub items: bool,
}

/// The numbers of a row's key, and which row of the event it is.
type NumberedRow = (i64, i64, i64, usize);

/// The numbers of a key.
type Key = [i64; 3];

fn bind_key(statement: &mut Statement<'_>, [feedback_type, user, item]: Key) -> Result<()> {
    statement.raw_bind_parameter(1, feedback_type)?;
    statement.raw_bind_parameter(2, user)?;
    statement.raw_bind_parameter(3, item)
}

/// Binds the columns in their order: the key, value, time and updated, labels and comment.
fn bind_row(
    statement: &mut Statement<'_>,
    key: Key,
    (value, time, updated): (f64, i64, Option<i64>),
    (labels, comment): (Option<&str>, &str),
) -> Result<()> {
    bind_key(statement, key)?;
    statement.raw_bind_parameter(4, value)?;
    statement.raw_bind_parameter(5, time)?;
    statement.raw_bind_parameter(6, updated)?;
    statement.raw_bind_parameter(7, labels)?;
    statement.raw_bind_parameter(8, filled(comment))
}

/// What an event created on its way.
#[derive(Default)]
struct Created {
    user_ids: Vec<UserId>,
    items: Vec<ItemState>,
    /// Of the command that created it.
    version: Version,
}

impl Tables<'_> {
    pub(super) fn put_feedback(
        &mut self,
        rows: &[Feedback],
        prepared: &Prepared,
        mode: FeedbackMode,
        insert: Insert,
    ) -> Result<Vec<Change>> {
        let version = prepared.submission.version();
        let mut created = Created { version, ..Created::default() };
        let mut keys = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let user = self.user_of(row, insert, &mut created)?;
            let item = self.item_of(row, insert, &mut created)?;
            if let (Some(user), Some(item)) = (user, item) {
                keys.push((self.type_number(&row.feedback_type)?, user, item, index));
            }
        }
        // Of equal keys the first of the event stays.
        keys.sort_unstable();
        keys.dedup_by_key(|(feedback_type, user, item, _index)| (*feedback_type, *user, *item));
        self.upsert(rows, prepared, mode, &keys)?;
        // Back in the order of the event.
        keys.sort_unstable_by_key(|key| key.3);
        let pair = |key: &NumberedRow| (rows[key.3].user_id.clone(), rows[key.3].item_id.clone());
        let pairs = keys.iter().map(pair).collect();
        Ok(feedback_changes(created.user_ids, created.items, pairs))
    }

    fn upsert(
        &mut self,
        rows: &[Feedback],
        prepared: &Prepared,
        mode: FeedbackMode,
        keys: &[NumberedRow],
    ) -> Result<()> {
        for (feedback_type, user, item, index) in keys {
            let key = [*feedback_type, *user, *item];
            let labels = prepared.labels(*index);
            match mode {
                FeedbackMode::Accumulate => self.accumulate(key, &rows[*index], labels)?,
                FeedbackMode::Overwrite => {
                    let row = &rows[*index];
                    let values = (row.value, row.timestamp.as_nanos(), None);
                    bind_row(&mut self.statements.overwrite, key, values, (labels, &row.comment))?;
                    self.statements.overwrite.raw_execute()?;
                }
            }
            bind_key(&mut self.statements.index_by_item, key)?;
            self.statements.index_by_item.raw_execute()?;
        }
        self.fold.added(keys.len());
        Ok(())
    }

    fn accumulate(&mut self, key: Key, row: &Feedback, labels: Option<&str>) -> Result<()> {
        let time = row.timestamp.as_nanos();
        let old_row = &mut self.statements.old_row;
        bind_key(old_row, key)?;
        let values = match old_row.raw_query().next()? {
            None => (row.value, time, None),
            Some(old) => {
                let value = (old.get::<_, f64>(0)? + row.value).clamp(f64::MIN, f64::MAX);
                (value, old.get::<_, i64>(1)?.min(time), Some(old.get::<_, i64>(2)?.max(time)))
            }
        };
        let statement = &mut self.statements.accumulate;
        bind_row(statement, key, values, (labels, &row.comment))?;
        statement.raw_bind_parameter(9, row.value)?;
        statement.raw_bind_parameter(10, time)?;
        statement.raw_execute().map(drop)
    }

    fn user_of(&mut self, row: &Feedback, insert: Insert, created: &mut Created) -> Result<Option<i64>> {
        let number = self.user_number(&row.user_id)?;
        if number.is_some() || !insert.users {
            return Ok(number);
        }
        let number = self.statements.new_user.insert([row.user_id.as_str()])?;
        self.users.insert(&row.user_id, number);
        created.user_ids.push(row.user_id.clone());
        Ok(Some(number))
    }

    fn item_of(&mut self, row: &Feedback, insert: Insert, created: &mut Created) -> Result<Option<i64>> {
        let number = self.item_number(&row.item_id)?;
        if number.is_some() || !insert.items {
            return Ok(number);
        }
        let (epoch, position) = (created.version.epoch.cast_signed(), created.version.position.cast_signed());
        let number = self.statements.new_item.insert(params![row.item_id.as_str(), epoch, position])?;
        self.items.insert(&row.item_id, number);
        let item = Item::bare(row.item_id.clone());
        self.search.put(number, &item)?;
        created.items.push(ItemState::of(&item, created.version));
        Ok(Some(number))
    }

    pub(super) fn delete_feedback(
        &mut self,
        user_id: &UserId,
        item_id: &ItemId,
        feedback_type: Option<&str>,
    ) -> Result<Outcome> {
        let (user, item) = (self.user_number(user_id)?, self.item_number(item_id)?);
        let (Some(user), Some(item)) = (user, item) else { return Ok(Outcome::default()) };
        let mut types = self.all_types()?;
        types.retain(|(_number, name)| feedback_type.is_none_or(|wanted| wanted == name));
        let mut rows_deleted = 0;
        for (number, _name) in types {
            rows_deleted += u64::from(self.delete_row((number, user, item))?);
        }
        let pairs = vec![(user_id.clone(), item_id.clone())];
        let changes = if rows_deleted == 0 { Vec::new() } else { vec![Change::Feedback { pairs }] };
        Ok(Outcome { duplicate: false, rows_deleted, changes })
    }
    fn all_types(&self) -> Result<Vec<(i64, String)>> {
        let mut statement = self.connection.prepare_cached(&self.read.types)?;
        let types = statement.query_map([""], |row| Ok((row.get(0)?, row.get(1)?)))?;
        types.collect()
    }

    /// Removes a row from wherever it lies; says whether there was one.
    fn delete_row(&self, (feedback_type, user, item): (i64, i64, i64)) -> Result<bool> {
        let mut deleted = 0;
        for sql in [
            r#"DELETE FROM "{p}recent" WHERE type_no = ?1 AND user_no = ?2 AND item_no = ?3"#,
            r#"DELETE FROM "{p}feedback" WHERE type_no = ?1 AND user_no = ?2 AND item_no = ?3"#,
        ] {
            deleted += self.write(sql, [feedback_type, user, item])?;
        }
        if deleted == 0 {
            return Ok(false);
        }
        for sql in [
            r#"DELETE FROM "{p}recent_by_item" WHERE type_no = ?1 AND user_no = ?2 AND item_no = ?3"#,
            r#"DELETE FROM "{p}by_item" WHERE type_no = ?1 AND user_no = ?2 AND item_no = ?3"#,
        ] {
            self.write(sql, [feedback_type, user, item])?;
        }
        Ok(true)
    }

    /// Removes every row whose key `keys` selects with one parameter.
    pub(super) fn delete_rows(&self, keys: &str, number: i64) -> Result<()> {
        let mut statement = self.connection.prepare_cached(&with_prefix(keys, &self.prefix))?;
        let keys = statement.query_map([number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let keys = keys.collect::<Result<Vec<_>>>()?;
        keys.into_iter().try_for_each(|key| self.delete_row(key).map(drop))
    }
}
