//! Feedback: the rows of an event are sorted by key first, so that neighbours meet in the same page.

use rusqlite::{Result, params};
use ulex_domain::event::ItemState;
use ulex_domain::{Change, Feedback, FeedbackMode, Item, ItemId, UserId};

use super::Tables;
use crate::data::sqlite::prepared::{Prepared, filled};
use crate::data::{Outcome, feedback_changes};

/// What feedback may create.
#[derive(Clone, Copy)]
pub(super) struct Insert {
    pub users: bool,
    pub items: bool,
}

/// The numbers of a row's key, and which row of the event it is.
type NumberedRow = (i64, i64, i64, usize);

/// What an event created on its way.
#[derive(Default)]
struct Created {
    user_ids: Vec<UserId>,
    items: Vec<ItemState>,
}

impl Tables<'_> {
    pub(super) fn put_feedback(
        &mut self,
        rows: &[Feedback],
        prepared: &Prepared,
        mode: FeedbackMode,
        insert: Insert,
    ) -> Result<Vec<Change>> {
        let mut created = Created::default();
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
        let statement = self.upsert_of(mode);
        for (feedback_type, user, item, index) in keys {
            let row = &rows[*index];
            statement.raw_bind_parameter(1, feedback_type)?;
            statement.raw_bind_parameter(2, user)?;
            statement.raw_bind_parameter(3, item)?;
            statement.raw_bind_parameter(4, row.value)?;
            statement.raw_bind_parameter(5, row.timestamp.as_nanos())?;
            statement.raw_bind_parameter(6, prepared.labels(*index))?;
            statement.raw_bind_parameter(7, filled(&row.comment))?;
            statement.raw_execute()?;
        }
        Ok(())
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
        let number = self.statements.new_item.insert([row.item_id.as_str()])?;
        self.items.insert(&row.item_id, number);
        let item = Item::bare(row.item_id.clone());
        self.search.put(number, &item)?;
        created.items.push(ItemState::from(&item));
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
        let rows_deleted = match feedback_type {
            None => self.write(
                r#"DELETE FROM "{p}feedback" WHERE type_no IN (SELECT no FROM "{p}types")
                   AND user_no = ?1 AND item_no = ?2"#,
                params![user, item],
            )?,
            Some(name) => self.write(
                r#"DELETE FROM "{p}feedback" WHERE type_no = (SELECT no FROM "{p}types" WHERE name = ?3)
                   AND user_no = ?1 AND item_no = ?2"#,
                params![user, item, name],
            )?,
        };
        let pairs = vec![(user_id.clone(), item_id.clone())];
        let changes = if rows_deleted == 0 { Vec::new() } else { vec![Change::Feedback { pairs }] };
        Ok(Outcome { duplicate: false, rows_deleted, changes })
    }
}
