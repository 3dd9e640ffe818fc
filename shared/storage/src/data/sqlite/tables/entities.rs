//! Users and items.

use std::collections::HashSet;

use rusqlite::{OptionalExtension as _, Params, Result, params};
use ulex_domain::{Change, Item, ItemId, User, UserId, UserPatch};
use ulex_domain::{ItemState, Version};

use super::Tables;
use crate::data::row_text::{filled, json_text};
use crate::data::sqlite::decode;
use crate::data::sqlite::migrate::with_prefix;
use crate::data::sqlite::prepared::Prepared;

impl Tables<'_> {
    pub(super) fn put_users(&mut self, users: &[User], prepared: &Prepared) -> Result<Vec<Change>> {
        let mut seen = HashSet::with_capacity(users.len());
        let mut user_ids = Vec::with_capacity(users.len());
        for (index, user) in users.iter().enumerate() {
            if seen.insert(&user.user_id) {
                self.put_user(user, prepared.labels(index))?;
                user_ids.push(user.user_id.clone());
            }
        }
        Ok(if user_ids.is_empty() { Vec::new() } else { vec![Change::Users { user_ids }] })
    }

    fn put_user(&mut self, user: &User, labels: Option<&str>) -> Result<()> {
        let row = params![user.user_id.as_str(), labels, filled(&user.comment)];
        let number = self.statements.put_user.query_row(row, |row| row.get(0))?;
        self.users.insert(&user.user_id, number);
        Ok(())
    }

    pub(super) fn patch_user(&mut self, user_id: &UserId, patch: &UserPatch) -> Result<Vec<Change>> {
        let mut find = self.connection.prepare_cached(&self.read.user)?;
        let Some(mut user) = find.query_row([user_id.as_str()], decode::user).optional()? else {
            return Ok(Vec::new());
        };
        drop(find);
        patch.apply(&mut user);
        self.put_user(&user, json_text(&user.labels).as_deref())?;
        Ok(vec![Change::Users { user_ids: vec![user_id.clone()] }])
    }

    pub(super) fn delete_user(&mut self, user_id: &UserId) -> Result<Vec<Change>> {
        let Some(number) = self.user_number(user_id)? else { return Ok(Vec::new()) };
        self.delete_rows(
            r#"SELECT type_no, user_no, item_no FROM "{p}recent"
               WHERE type_no IN (SELECT no FROM "{p}types") AND user_no = ?1
               UNION SELECT type_no, user_no, item_no FROM "{p}feedback"
               WHERE type_no IN (SELECT no FROM "{p}types") AND user_no = ?1"#,
            number,
        )?;
        self.write(r#"DELETE FROM "{p}users" WHERE no = ?1"#, [number])?;
        self.users.remove(user_id);
        Ok(vec![Change::UserDeleted { user_id: user_id.clone() }])
    }

    pub(super) fn put_items(&mut self, items: &[Item], prepared: &Prepared) -> Result<Vec<Change>> {
        let mut seen = HashSet::with_capacity(items.len());
        let mut states = Vec::with_capacity(items.len());
        let version = prepared.submission.version();
        for (index, item) in items.iter().enumerate() {
            if seen.insert(&item.item_id) {
                self.put_item(item, prepared.labels(index), version)?;
                states.push(ItemState::of(item, version));
            }
        }
        Ok(if states.is_empty() { Vec::new() } else { vec![Change::Items { items: states }] })
    }

    fn put_item(&mut self, item: &Item, labels: Option<&str>, version: Version) -> Result<()> {
        let categories = item
            .categories
            .as_ref()
            .map(|categories| serde_json::to_string(categories).expect("a list of texts is always JSON"));
        let row = params![
            item.item_id.as_str(),
            item.is_hidden,
            categories,
            (!item.timestamp.is_zero()).then_some(item.timestamp.as_nanos()),
            labels,
            filled(&item.comment),
            version.epoch.cast_signed(),
            version.position.cast_signed(),
        ];
        let number = self.statements.put_item.query_row(row, |row| row.get(0))?;
        self.items.insert(&item.item_id, number);
        self.search.put(number, item)
    }

    /// Changes an item and says what it has become; nothing if it does not exist.
    pub(super) fn change_item(
        &mut self,
        id: &ItemId,
        version: Version,
        change: impl FnOnce(&mut Item),
    ) -> Result<Vec<Change>> {
        let mut find = self.connection.prepare_cached(&self.read.item)?;
        let Some(mut item) = find.query_row([id.as_str()], decode::item).optional()? else {
            return Ok(Vec::new());
        };
        drop(find);
        change(&mut item);
        self.put_item(&item, json_text(&item.labels).as_deref(), version)?;
        Ok(vec![Change::Items { items: vec![ItemState::of(&item, version)] }])
    }

    pub(super) fn delete_item(&mut self, item_id: &ItemId, version: Version) -> Result<Vec<Change>> {
        let Some(number) = self.item_number(item_id)? else { return Ok(Vec::new()) };
        self.delete_rows(
            r#"SELECT type_no, user_no, item_no FROM "{p}recent_by_item" WHERE item_no = ?1
               UNION SELECT type_no, user_no, item_no FROM "{p}by_item" WHERE item_no = ?1"#,
            number,
        )?;
        self.write(r#"DELETE FROM "{p}items" WHERE no = ?1"#, [number])?;
        self.search.delete(number)?;
        self.items.remove(item_id);
        Ok(vec![Change::ItemDeleted { item_id: item_id.clone(), version }])
    }

    /// Executes a statement that is not on the hot path; returns how many rows it changed.
    pub(super) fn write(&self, sql: &str, parameters: impl Params) -> Result<u64> {
        let mut statement = self.connection.prepare_cached(&with_prefix(sql, &self.prefix))?;
        statement.execute(parameters).map(|rows| u64::try_from(rows).unwrap_or(u64::MAX))
    }
}
