//! Everything in ordered maps, for tests, for trying things out, and as the reference that other backends
//! are compared with. Forgets everything when it is dropped.
//!
//! One lock; calls take effect one after the other. After validation nothing can fail: a call is applied as a whole.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::ControlFlow;

use async_trait::async_trait;
use parking_lot::Mutex;
use smol_str::SmolStr;
use ulex_domain::{
    Change, Command, EventId, Feedback, FeedbackKey, FeedbackMode, Item, ItemId, ItemState, Timestamp, User,
    UserId, UserPatch, Version,
};

use super::search_text::{SearchText, query_words, words};
use super::validate::{check_place, validate};
use super::{ArrivedItem, Counts, DataStore, FeedbackRow, LEDGER_NANOS, LogPosition, Outcome, Submission};
use crate::StorageError;

const BACKEND: &str = "memory";

/// A [`DataStore`] in this process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    users: BTreeMap<UserId, User>,
    items: BTreeMap<ItemId, Item>,
    versions: BTreeMap<ItemId, Version>,
    feedback: BTreeMap<FeedbackKey, Feedback>,
    /// The keys of `feedback`, item first.
    by_item: BTreeSet<(ItemId, SmolStr, UserId)>,
    /// Every type there ever was.
    types: BTreeSet<SmolStr>,
    ledger: HashSet<EventId>,
    /// How far each log has been applied.
    positions: BTreeMap<SmolStr, LogPosition>,
    /// The ledger's ids, oldest first.
    ledger_order: VecDeque<(Timestamp, EventId)>,
    search: SearchText,
}

/// Creation of unknown entities by feedback.
#[derive(Clone, Copy, Debug)]
struct Inserts {
    users: bool,
    items: bool,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Tables {
    fn submit(&mut self, submission: Submission, now: Timestamp) -> Outcome {
        let version = submission.version();
        if let Some(position) = submission.position {
            if !position.is_ahead_of(self.positions.get(&position.log)) {
                return Outcome { duplicate: true, ..Outcome::default() };
            }
            self.positions.insert(position.log.clone(), position);
        }
        if let Some(id) = submission.event_id
            && !self.enter(id, now)
        {
            return Outcome { duplicate: true, ..Outcome::default() };
        }
        let (changes, rows_deleted) = self.apply(submission.event, version);
        Outcome { duplicate: false, rows_deleted, changes }
    }

    /// Enters an id into the ledger and drops ids that are too old; `false` if it was there.
    fn enter(&mut self, id: EventId, now: Timestamp) -> bool {
        while let Some((_time, expired)) =
            self.ledger_order.pop_front_if(|(time, _id)| *time < now.plus_nanos(-LEDGER_NANOS))
        {
            self.ledger.remove(&expired);
        }
        if !self.ledger.insert(id.clone()) {
            return false;
        }
        self.ledger_order.push_back((now, id));
        true
    }

    fn apply(&mut self, event: Command, version: Version) -> (Vec<Change>, u64) {
        let changes = match event {
            Command::PutUsers { users } => self.put_users(users),
            Command::PatchUser { user_id, patch } => self.patch_user(user_id, &patch),
            Command::DeleteUser { user_id } => self.delete_user(user_id),
            Command::PutItems { items } => self.put_items(items, version),
            Command::PatchItem { item_id, patch } => {
                self.change_item(&item_id, version, |item| patch.apply(item))
            }
            Command::SetCategory { item_id, category, present } => {
                self.change_item(&item_id, version, |item| super::set_category(item, &category, present))
            }
            Command::DeleteItem { item_id } => self.delete_item(item_id, version),
            Command::PutFeedback { rows, mode, insert_users, insert_items } => {
                self.put_feedback(rows, mode, Inserts { users: insert_users, items: insert_items }, version)
            }
            Command::DeleteFeedback { user_id, item_id, feedback_type } => {
                return self.delete_feedback(user_id, item_id, feedback_type);
            }
        };
        (changes, 0)
    }

    fn put_users(&mut self, users: Vec<User>) -> Vec<Change> {
        let mut seen = BTreeSet::new();
        let mut user_ids = Vec::new();
        for user in users {
            if seen.insert(user.user_id.clone()) {
                user_ids.push(user.user_id.clone());
                self.users.insert(user.user_id.clone(), user);
            }
        }
        if user_ids.is_empty() { Vec::new() } else { vec![Change::Users { user_ids }] }
    }

    fn patch_user(&mut self, user_id: UserId, patch: &UserPatch) -> Vec<Change> {
        let Some(user) = self.users.get_mut(&user_id) else { return Vec::new() };
        patch.apply(user);
        vec![Change::Users { user_ids: vec![user_id] }]
    }

    fn delete_user(&mut self, user_id: UserId) -> Vec<Change> {
        if self.users.remove(&user_id).is_none() {
            return Vec::new();
        }
        for key in self.user_rows(&user_id).map(Feedback::key).collect::<Vec<_>>() {
            self.remove_row(&key);
        }
        vec![Change::UserDeleted { user_id }]
    }

    fn put_items(&mut self, items: Vec<Item>, version: Version) -> Vec<Change> {
        let mut seen = BTreeSet::new();
        let mut states = Vec::new();
        for item in items {
            if seen.insert(item.item_id.clone()) {
                states.push(ItemState::of(&item, version));
                self.put_item(item, version);
            }
        }
        if states.is_empty() { Vec::new() } else { vec![Change::Items { items: states }] }
    }

    /// Writes an item; its version never goes back.
    fn put_item(&mut self, item: Item, version: Version) {
        let known = self.versions.entry(item.item_id.clone()).or_default();
        *known = version.max(*known);
        self.items.insert(item.item_id.clone(), item);
    }

    fn change_item(
        &mut self,
        item_id: &ItemId,
        version: Version,
        change: impl FnOnce(&mut Item),
    ) -> Vec<Change> {
        let Some(mut item) = self.items.remove(item_id) else { return Vec::new() };
        change(&mut item);
        let state = ItemState::of(&item, version);
        self.put_item(item, version);
        vec![Change::Items { items: vec![state] }]
    }

    fn version_of(&self, item_id: &ItemId) -> Version {
        self.versions.get(item_id).copied().unwrap_or_default()
    }

    fn delete_item(&mut self, item_id: ItemId, version: Version) -> Vec<Change> {
        if self.items.remove(&item_id).is_none() {
            return Vec::new();
        }
        self.versions.remove(&item_id);
        for key in self.item_rows(&item_id).map(Feedback::key).collect::<Vec<_>>() {
            self.remove_row(&key);
        }
        vec![Change::ItemDeleted { item_id, version }]
    }

    fn put_feedback(
        &mut self,
        rows: Vec<Feedback>,
        mode: FeedbackMode,
        insert: Inserts,
        version: Version,
    ) -> Vec<Change> {
        let (mut user_ids, mut items, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for row in rows {
            if insert.users && !self.users.contains_key(&row.user_id) {
                self.users.insert(row.user_id.clone(), super::bare_user(row.user_id.clone()));
                user_ids.push(row.user_id.clone());
            }
            if insert.items && !self.items.contains_key(&row.item_id) {
                let item = Item::bare(row.item_id.clone());
                items.push(ItemState::of(&item, version));
                self.put_item(item, version);
            }
            let known = self.users.contains_key(&row.user_id) && self.items.contains_key(&row.item_id);
            if known && seen.insert(row.key()) {
                pairs.push((row.user_id.clone(), row.item_id.clone()));
                self.put_row(row, mode);
            }
        }
        super::feedback_changes(user_ids, items, pairs)
    }

    fn put_row(&mut self, mut row: Feedback, mode: FeedbackMode) {
        row.updated = row.timestamp;
        let key = row.key();
        match (self.feedback.get_mut(&key), mode) {
            (Some(stored), FeedbackMode::Accumulate) => {
                stored.accumulate(row);
                stored.value = stored.value.clamp(f64::MIN, f64::MAX);
            }
            (Some(stored), FeedbackMode::Overwrite) => *stored = row,
            (None, FeedbackMode::Accumulate | FeedbackMode::Overwrite) => {
                self.types.insert(key.feedback_type.clone());
                self.by_item.insert((row.item_id.clone(), row.feedback_type.clone(), row.user_id.clone()));
                self.feedback.insert(key, row);
            }
        }
    }

    fn delete_feedback(
        &mut self,
        user_id: UserId,
        item_id: ItemId,
        feedback_type: Option<SmolStr>,
    ) -> (Vec<Change>, u64) {
        let types = feedback_type.map_or_else(|| self.types.iter().cloned().collect(), |name| vec![name]);
        let mut deleted = 0;
        for feedback_type in types {
            let key = FeedbackKey { feedback_type, user_id: user_id.clone(), item_id: item_id.clone() };
            deleted += u64::from(self.remove_row(&key));
        }
        let changes = if deleted == 0 {
            Vec::new()
        } else {
            vec![Change::Feedback { pairs: vec![(user_id, item_id)] }]
        };
        (changes, deleted)
    }

    fn remove_row(&mut self, key: &FeedbackKey) -> bool {
        self.by_item.remove(&(key.item_id.clone(), key.feedback_type.clone(), key.user_id.clone()));
        self.feedback.remove(key).is_some()
    }

    /// The user's rows by (type, item).
    fn user_rows<'tables>(&'tables self, id: &UserId) -> impl Iterator<Item = &'tables Feedback> {
        let id = id.clone();
        self.types.iter().flat_map(move |name| {
            let id = id.clone();
            let first =
                FeedbackKey { feedback_type: name.clone(), user_id: id.clone(), item_id: ItemId::new("") };
            let rows = self.feedback.range(first..).map(|(_key, row)| row);
            rows.take_while(move |row| row.feedback_type == *name && row.user_id == id)
        })
    }

    /// The item's rows by (type, user).
    fn item_rows<'tables>(&'tables self, id: &ItemId) -> impl Iterator<Item = &'tables Feedback> {
        let id = id.clone();
        let keys = self.by_item.range((id.clone(), SmolStr::default(), UserId::new(""))..);
        keys.take_while(move |(item_id, _name, _user)| *item_id == id).filter_map(
            |(item_id, name, user_id)| {
                let (feedback_type, user_id, item_id) = (name.clone(), user_id.clone(), item_id.clone());
                self.feedback.get(&FeedbackKey { feedback_type, user_id, item_id })
            },
        )
    }

    fn search(&self, query: &str, limit: usize) -> Vec<(Item, f64)> {
        let wanted = query_words(query);
        if self.search.is_empty() || wanted.is_empty() {
            return Vec::new();
        }
        let score = |item: &Item| {
            let found = words(&self.search.of(item)).filter(|word| wanted.contains(word)).count();
            f64::from(u32::try_from(found).unwrap_or(u32::MAX))
        };
        let mut found: Vec<_> = self.items.values().map(|item| (item, score(item))).collect();
        found.retain(|(_item, score)| *score > 0.0);
        found.sort_by(|(_one, left), (_other, right)| right.total_cmp(left));
        found.into_iter().take(limit).map(|(item, score)| (item.clone(), score)).collect()
    }
}

fn visible(row: &Feedback, until: Option<Timestamp>) -> bool {
    until.is_none_or(|until| row.timestamp <= until)
}

#[async_trait]
impl DataStore for MemoryStore {
    async fn apply(&self, submissions: Vec<Submission>) -> Result<Vec<Outcome>, StorageError> {
        validate(BACKEND, &submissions)?;
        let (now, mut tables) = (Timestamp::now(), self.tables.lock());
        check_place(BACKEND, &submissions, tables.positions.values())?;
        Ok(submissions.into_iter().map(|submission| tables.submit(submission, now)).collect())
    }

    async fn log_position(&self, log: &str) -> Result<Option<LogPosition>, StorageError> {
        Ok(self.tables.lock().positions.get(log).cloned())
    }

    async fn logs(&self) -> Result<Vec<LogPosition>, StorageError> {
        Ok(self.tables.lock().positions.values().cloned().collect())
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, StorageError> {
        Ok(self.tables.lock().users.get(id).cloned())
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, StorageError> {
        let tables = self.tables.lock();
        let ids: BTreeSet<_> = ids.iter().collect();
        Ok(ids.into_iter().filter_map(|id| tables.users.get(id).cloned()).collect())
    }

    async fn list_users(&self, from: Option<&UserId>, limit: usize) -> Result<Vec<User>, StorageError> {
        let from = from.cloned().unwrap_or_else(|| UserId::new(""));
        Ok(self.tables.lock().users.range(from..).take(limit).map(|(_id, user)| user.clone()).collect())
    }

    async fn item(&self, id: &ItemId) -> Result<Option<Item>, StorageError> {
        Ok(self.tables.lock().items.get(id).cloned())
    }

    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Item>, StorageError> {
        let tables = self.tables.lock();
        let ids: BTreeSet<_> = ids.iter().collect();
        Ok(ids.into_iter().filter_map(|id| tables.items.get(id).cloned()).collect())
    }

    async fn list_items(&self, from: Option<&ItemId>, limit: usize) -> Result<Vec<Item>, StorageError> {
        let from = from.cloned().unwrap_or_else(|| ItemId::new(""));
        Ok(self.tables.lock().items.range(from..).take(limit).map(|(_id, item)| item.clone()).collect())
    }

    /// By id: nothing that is gone with the process is ever read from its start.
    async fn items_by_arrival(&self, from: u64, limit: usize) -> Result<Vec<ArrivedItem>, StorageError> {
        let tables = self.tables.lock();
        let numbered = (0_u64..).zip(tables.items.values()).skip(usize::try_from(from).unwrap_or(usize::MAX));
        let listed = numbered.take(limit).map(|(number, item)| {
            let version = tables.version_of(&item.item_id);
            ArrivedItem { number, item: item.clone(), version }
        });
        Ok(listed.collect())
    }

    async fn item_states(&self, ids: &[ItemId]) -> Result<Vec<ItemState>, StorageError> {
        let tables = self.tables.lock();
        let ids: BTreeSet<_> = ids.iter().collect();
        let items = ids.into_iter().filter_map(|id| tables.items.get(id));
        Ok(items.map(|item| ItemState::of(item, tables.version_of(&item.item_id))).collect())
    }

    async fn search_items(&self, query: &str, limit: usize) -> Result<Vec<(Item, f64)>, StorageError> {
        Ok(self.tables.lock().search(query, limit))
    }

    async fn set_search_columns(&self, columns: &[String]) -> Result<(), StorageError> {
        self.tables.lock().search = SearchText::of_columns(columns);
        Ok(())
    }

    async fn user_feedback(
        &self,
        id: &UserId,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let tables = self.tables.lock();
        Ok(tables.user_rows(id).filter(|row| visible(row, until)).cloned().collect())
    }

    async fn users_feedback(
        &self,
        ids: &[UserId],
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let tables = self.tables.lock();
        let ids: BTreeSet<_> = ids.iter().collect();
        let rows = ids.into_iter().flat_map(|id| tables.user_rows(id));
        Ok(rows.filter(|row| visible(row, until)).cloned().collect())
    }

    async fn item_feedback(
        &self,
        id: &ItemId,
        until: Option<Timestamp>,
        limit: Option<usize>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let tables = self.tables.lock();
        let rows = tables.item_rows(id).filter(|row| visible(row, until));
        Ok(rows.take(limit.unwrap_or(usize::MAX)).cloned().collect())
    }

    async fn pair_feedback(&self, user: &UserId, item: &ItemId) -> Result<Vec<Feedback>, StorageError> {
        let tables = self.tables.lock();
        let row_of = |name: &SmolStr| {
            let (feedback_type, user_id, item_id) = (name.clone(), user.clone(), item.clone());
            tables.feedback.get(&FeedbackKey { feedback_type, user_id, item_id }).cloned()
        };
        Ok(tables.types.iter().filter_map(row_of).collect())
    }

    async fn list_feedback(
        &self,
        from: Option<&FeedbackKey>,
        limit: usize,
        feedback_type: Option<&SmolStr>,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let first = |feedback_type: SmolStr| FeedbackKey {
            feedback_type,
            user_id: UserId::new(""),
            item_id: ItemId::new(""),
        };
        let start = first(feedback_type.cloned().unwrap_or_default());
        let start = from.map_or(start.clone(), |from| from.clone().max(start));
        let tables = self.tables.lock();
        let rows = tables.feedback.range(start..).map(|(_key, row)| row);
        let rows = rows.take_while(|row| feedback_type.is_none_or(|name| row.feedback_type == *name));
        Ok(rows.filter(|row| visible(row, until)).take(limit).cloned().collect())
    }

    async fn scan_feedback(
        &self,
        batch: usize,
        visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
    ) -> Result<(), StorageError> {
        let mut after = None;
        while let ControlFlow::Continue(next) = self.visit_batch(after.take(), batch.max(1), visit) {
            after = Some(next);
        }
        Ok(())
    }

    async fn counts(&self) -> Result<Counts, StorageError> {
        let tables = self.tables.lock();
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        Ok(Counts {
            users: count(tables.users.len()),
            items: count(tables.items.len()),
            feedback: count(tables.feedback.len()),
        })
    }

    async fn ping(&self) -> Result<(), StorageError> {
        Ok(())
    }

    async fn purge(&self) -> Result<(), StorageError> {
        let mut tables = self.tables.lock();
        let search = std::mem::take(&mut tables.search);
        *tables = Tables { search, ..Tables::default() };
        Ok(())
    }
}

impl MemoryStore {
    /// Visits the rows from `from` on without holding the lock; continues with the key of the next batch.
    fn visit_batch(
        &self,
        from: Option<FeedbackKey>,
        batch: usize,
        visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
    ) -> ControlFlow<(), FeedbackKey> {
        let from = from.unwrap_or_else(|| FeedbackKey {
            feedback_type: SmolStr::default(),
            user_id: UserId::new(""),
            item_id: ItemId::new(""),
        });
        let (rows, next) = {
            let tables = self.tables.lock();
            let mut range = tables.feedback.range(from..);
            let rows: Vec<_> = range.by_ref().take(batch).map(|(_key, row)| row.clone()).collect();
            (rows, range.next().map(|(key, _row)| key.clone()))
        };
        let borrowed: Vec<_> = rows.iter().map(FeedbackRow::from).collect();
        if borrowed.is_empty() || !visit(&borrowed) {
            return ControlFlow::Break(());
        }
        next.map_or(ControlFlow::Break(()), ControlFlow::Continue)
    }
}
