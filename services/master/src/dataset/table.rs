//! The training data as columns: interned ids, 30 bytes a feedback row, one JSON text for each user and item.
//!
//! Loaded once and then kept current: whoever changed is named by a [`Change`], read again from the store and
//! replaced, so a change that is delivered twice or out of order does no harm.

use rustc_hash::FxHashSet;
use ulex_algorithms::dictionary::Dictionary;
use ulex_domain::{Change, Feedback, Item, ItemId, Timestamp, User, UserId};
use ulex_storage::StorageError;
use ulex_storage::data::{DataStore, FeedbackRow};

/// Rows, users or items read from the store at a time.
const PAGE: usize = 10_000;
/// Users whose feedback is read again in one call.
const USERS_AT_ONCE: usize = 500;

/// One column for each field of a feedback row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Index into [`Table::users`].
    pub user: Vec<u32>,
    /// Index into [`Table::items`].
    pub item: Vec<u32>,
    /// Index into [`Table::types`].
    pub kind: Vec<u16>,
    /// Accumulated value.
    pub value: Vec<f32>,
    /// First time.
    pub timestamp: Vec<Timestamp>,
    /// Last time.
    pub updated: Vec<Timestamp>,
}

impl Rows {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.user.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.user.is_empty()
    }

    /// Puts the rows in order by user, item and type, so that what is learned does not depend on the order in which a
    /// store gives them. `rank` orders the types. Rows that are in order already cost one pass.
    fn sort(&mut self, rank: &[u16]) {
        let rank = |kind: u16| rank.get(usize::from(kind)).copied().unwrap_or(u16::MAX);
        let key = |row: usize| (self.user[row], self.item[row], rank(self.kind[row]));
        if (1..self.len()).all(|row| key(row - 1) <= key(row)) {
            return;
        }
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by_key(|&row| key(row as usize));
        fn reordered<T: Copy>(column: &mut Vec<T>, order: &[u32]) {
            *column = order.iter().map(|&row| column[row as usize]).collect();
        }
        reordered(&mut self.user, &order);
        reordered(&mut self.item, &order);
        reordered(&mut self.kind, &order);
        reordered(&mut self.value, &order);
        reordered(&mut self.timestamp, &order);
        reordered(&mut self.updated, &order);
    }

    /// Keeps the rows for which `keep(user, item)` holds.
    pub fn retain(&mut self, keep: impl Fn(u32, u32) -> bool) {
        let mut kept = 0;
        for row in 0..self.len() {
            if keep(self.user[row], self.item[row]) {
                self.user[kept] = self.user[row];
                self.item[kept] = self.item[row];
                self.kind[kept] = self.kind[row];
                self.value[kept] = self.value[row];
                self.timestamp[kept] = self.timestamp[row];
                self.updated[kept] = self.updated[row];
                kept += 1;
            }
        }
        self.user.truncate(kept);
        self.item.truncate(kept);
        self.kind.truncate(kept);
        self.value.truncate(kept);
        self.timestamp.truncate(kept);
        self.updated.truncate(kept);
    }
}

/// Everything a training cycle learns from. Cheap to clone only behind an `Arc`.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Users by index; an id keeps its index when the user is deleted.
    pub users: Dictionary,
    /// Items by index; an id keeps its index when the item is deleted.
    pub items: Dictionary,
    /// Feedback types by index.
    pub types: Dictionary,
    /// The feedback.
    pub rows: Rows,
    /// The user as JSON; empty if it does not exist.
    pub user_texts: Vec<Box<str>>,
    /// The item as JSON; empty if it does not exist.
    pub item_texts: Vec<Box<str>>,
}

/// What must be read again before the table is current.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dirty {
    users: FxHashSet<UserId>,
    items: FxHashSet<ItemId>,
    feedback_of: FxHashSet<UserId>,
    deleted_items: FxHashSet<ItemId>,
    everything: bool,
}

impl Dirty {
    /// Notes that changes may have been missed.
    pub const fn note_everything(&mut self) {
        self.everything = true;
    }

    /// Whether all data must be read again.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.everything
    }

    /// Notes what `change` touches.
    pub fn note(&mut self, change: &Change) {
        match change {
            Change::Users { user_ids } => self.users.extend(user_ids.iter().cloned()),
            Change::UserDeleted { user_id } => {
                self.users.insert(user_id.clone());
                self.feedback_of.insert(user_id.clone());
            }
            Change::Items { items } => self.items.extend(items.iter().map(|item| item.item_id.clone())),
            Change::ItemDeleted { item_id, .. } => {
                self.items.insert(item_id.clone());
                self.deleted_items.insert(item_id.clone());
            }
            Change::Feedback { pairs } => self.feedback_of.extend(pairs.iter().map(|(user, _)| user.clone())),
        }
    }

    /// Users whose rows must be read again.
    #[must_use]
    pub fn users(&self) -> usize {
        self.feedback_of.len()
    }

    /// Adds what `other` names.
    pub fn merge(&mut self, other: Self) {
        self.users.extend(other.users);
        self.items.extend(other.items);
        self.feedback_of.extend(other.feedback_of);
        self.deleted_items.extend(other.deleted_items);
        self.everything |= other.everything;
    }

    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.everything
            && self.users.is_empty()
            && self.items.is_empty()
            && self.feedback_of.is_empty()
            && self.deleted_items.is_empty()
    }
}

impl Table {
    /// Reads everything from the store.
    ///
    /// # Errors
    ///
    /// Whatever the store reports; the table is then of no use.
    pub async fn load(store: &dyn DataStore) -> Result<Self, StorageError> {
        let mut table = Self::default();
        let mut from: Option<UserId> = None;
        loop {
            let mut page = store.list_users(from.as_ref(), PAGE + 1).await?;
            from = if page.len() > PAGE { page.pop().map(|user| user.user_id) } else { None };
            page.iter().for_each(|user| table.put_user(user));
            if from.is_none() {
                break;
            }
        }
        let mut from: Option<ItemId> = None;
        loop {
            let mut page = store.list_items(from.as_ref(), PAGE + 1).await?;
            from = if page.len() > PAGE { page.pop().map(|item| item.item_id) } else { None };
            page.iter().for_each(|item| table.put_item(item));
            if from.is_none() {
                break;
            }
        }
        let counts = store.counts().await?;
        table.reserve(usize::try_from(counts.feedback).unwrap_or(0));
        let visit = &mut |batch: &[FeedbackRow<'_>]| {
            batch.iter().for_each(|row| table.push(row));
            true
        };
        store.scan_feedback(PAGE, visit).await?;
        table.sort_rows();
        Ok(table)
    }

    /// Puts the rows in the order that does not depend on how they came.
    pub(crate) fn sort_rows(&mut self) {
        let mut by_name: Vec<u16> = (0..u16::try_from(self.types.len()).unwrap_or(u16::MAX)).collect();
        by_name.sort_unstable_by_key(|&kind| self.types.id(u32::from(kind)));
        let mut rank = vec![0; by_name.len()];
        for (place, &kind) in by_name.iter().enumerate() {
            rank[usize::from(kind)] = place as u16;
        }
        self.rows.sort(&rank);
    }

    /// Brings the table up to date with what `dirty` names.
    ///
    /// # Errors
    ///
    /// Whatever the store reports; the table is then half updated, so the caller keeps `dirty` and tries again.
    pub async fn refresh(&mut self, dirty: &Dirty, store: &dyn DataStore) -> Result<(), StorageError> {
        self.refresh_metadata(dirty, store).await?;
        let stale: FxHashSet<u32> =
            dirty.feedback_of.iter().filter_map(|id| self.users.index(id.as_str())).collect();
        let gone: FxHashSet<u32> =
            dirty.deleted_items.iter().filter_map(|id| self.items.index(id.as_str())).collect();
        if !stale.is_empty() || !gone.is_empty() {
            self.rows.retain(|user, item| !stale.contains(&user) && !gone.contains(&item));
        }
        let mut ids: Vec<UserId> = dirty.feedback_of.iter().cloned().collect();
        // Reading in one order keeps new indexes, and with them the fit, the same from run to run.
        ids.sort_unstable();
        for some in ids.chunks(USERS_AT_ONCE) {
            let mut rows = store.users_feedback(some, None).await?;
            rows.sort_unstable_by(|a, b| (&a.user_id, &a.item_id).cmp(&(&b.user_id, &b.item_id)));
            rows.iter().for_each(|row| self.push_owned(row));
        }
        self.sort_rows();
        Ok(())
    }

    async fn refresh_metadata(&mut self, dirty: &Dirty, store: &dyn DataStore) -> Result<(), StorageError> {
        let mut users: Vec<UserId> = dirty.users.iter().cloned().collect();
        users.sort_unstable();
        for some in users.chunks(USERS_AT_ONCE) {
            some.iter().for_each(|id| self.forget_user(id));
            let mut found = store.users(some).await?;
            found.sort_unstable_by(|a, b| a.user_id.cmp(&b.user_id));
            found.iter().for_each(|user| self.put_user(user));
        }
        let mut items: Vec<ItemId> = dirty.items.iter().cloned().collect();
        items.sort_unstable();
        for some in items.chunks(USERS_AT_ONCE) {
            some.iter().for_each(|id| self.forget_item(id));
            let mut found = store.items(some).await?;
            found.sort_unstable_by(|a, b| a.item_id.cmp(&b.item_id));
            found.iter().for_each(|item| self.put_item(item));
        }
        Ok(())
    }

    /// Adds a user, or replaces it.
    pub fn put_user(&mut self, user: &User) {
        let index = self.users.intern(user.user_id.as_str());
        set(&mut self.user_texts, index, serde_json::to_string(user).unwrap_or_default());
    }

    /// Adds an item, or replaces it.
    pub fn put_item(&mut self, item: &Item) {
        let index = self.items.intern(item.item_id.as_str());
        set(&mut self.item_texts, index, serde_json::to_string(item).unwrap_or_default());
    }

    fn forget_user(&mut self, id: &UserId) {
        if let Some(index) = self.users.index(id.as_str()) {
            set(&mut self.user_texts, index, String::new());
        }
    }

    fn forget_item(&mut self, id: &ItemId) {
        if let Some(index) = self.items.index(id.as_str()) {
            set(&mut self.item_texts, index, String::new());
        }
    }

    fn reserve(&mut self, more: usize) {
        self.rows.user.reserve(more);
        self.rows.item.reserve(more);
        self.rows.kind.reserve(more);
        self.rows.value.reserve(more);
        self.rows.timestamp.reserve(more);
        self.rows.updated.reserve(more);
    }

    /// Appends a row. Only rows whose user and item exist are learned from.
    pub fn push(&mut self, row: &FeedbackRow<'_>) {
        let kind = self.types.intern(row.feedback_type);
        // Types are a handful; should there ever be more, the rest is learned from as one.
        self.rows.kind.push(u16::try_from(kind).unwrap_or(u16::MAX));
        self.rows.user.push(self.users.intern(row.user_id));
        self.rows.item.push(self.items.intern(row.item_id));
        self.rows.value.push(row.value as f32);
        self.rows.timestamp.push(row.timestamp);
        self.rows.updated.push(row.updated);
    }

    fn push_owned(&mut self, row: &Feedback) {
        self.push(&FeedbackRow {
            feedback_type: &row.feedback_type,
            user_id: row.user_id.as_str(),
            item_id: row.item_id.as_str(),
            value: row.value,
            timestamp: row.timestamp,
            updated: row.updated,
        });
    }

    /// The text of an item; empty if it does not exist.
    #[must_use]
    pub fn item_texts_of(&self, index: u32) -> &str {
        self.item_texts.get(index as usize).map_or("", |text| text)
    }

    /// The user of an index, or `None` if it does not exist (any more).
    #[must_use]
    pub fn user(&self, index: u32) -> Option<User> {
        serde_json::from_str(self.user_texts.get(index as usize)?).ok()
    }

    /// The item of an index, or `None` if it does not exist (any more).
    #[must_use]
    pub fn item(&self, index: u32) -> Option<Item> {
        serde_json::from_str(self.item_texts.get(index as usize)?).ok()
    }
}

fn set(texts: &mut Vec<Box<str>>, index: u32, text: String) {
    let index = index as usize;
    if texts.len() <= index {
        texts.resize(index + 1, Box::default());
    }
    texts[index] = text.into_boxed_str();
}

#[cfg(test)]
mod tests;
