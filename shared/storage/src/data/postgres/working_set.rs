//! What a run of events does to the rows it touches: a pure function of those rows.
//!
//! Everything the events touch is read first, then the events are applied in memory, one after the other, and what has
//! changed is written as a whole. So events of one transaction see each other, values add up as they do in every
//! other backend to the last bit, and a row that a thousand events touch is written once.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use ulex_domain::ItemState;
use ulex_domain::{Change, Command, Feedback, FeedbackMode, Item, ItemId, Timestamp, User, UserId, Version};

use crate::data::{bare_user, feedback_changes, set_category};

/// What has to be known before a run of events can be applied.
#[derive(Debug, Default)]
pub(super) struct Wanted<'event> {
    /// Users of whom it matters whether they exist.
    pub users: BTreeSet<&'event UserId>,
    /// Users of whom everything matters.
    pub whole_users: BTreeSet<&'event UserId>,
    pub items: BTreeSet<&'event ItemId>,
    pub whole_items: BTreeSet<&'event ItemId>,
    /// In the order of the key, which is the order of the table.
    pub feedback: Vec<Key<'event>>,
}

/// A feedback key, borrowed.
pub(super) type Key<'event> = (&'event str, &'event UserId, &'event ItemId);

fn key_of(row: &Feedback) -> Key<'_> {
    (row.feedback_type.as_str(), &row.user_id, &row.item_id)
}

impl<'event> Wanted<'event> {
    /// Of events that are no deletions.
    pub fn by(events: &[&'event Command]) -> Self {
        let mut wanted = Self::default();
        for event in events {
            match event {
                Command::PatchUser { user_id, .. } => drop(wanted.whole_users.insert(user_id)),
                Command::PatchItem { item_id, .. } | Command::SetCategory { item_id, .. } => {
                    wanted.whole_items.insert(item_id);
                }
                Command::PutFeedback { rows, .. } => {
                    wanted.feedback.extend(rows.iter().map(key_of));
                }
                Command::PutUsers { .. } | Command::PutItems { .. } => {}
                Command::DeleteUser { .. } | Command::DeleteItem { .. } | Command::DeleteFeedback { .. } => {}
            }
        }
        wanted.feedback.sort_unstable();
        wanted.feedback.dedup();
        // Sorted by type and user, so most repetitions are neighbours.
        let mut users: Vec<_> = wanted.feedback.iter().map(|(_type, user, _item)| *user).collect();
        users.dedup();
        wanted.users = users.into_iter().filter(|user| !wanted.whole_users.contains(user)).collect();
        let mut items: Vec<_> = wanted.feedback.iter().map(|(_type, _user, item)| *item).collect();
        items.sort_unstable();
        items.dedup();
        wanted.items = items.into_iter().filter(|item| !wanted.whole_items.contains(item)).collect();
        wanted
    }
}

/// What is stored of a feedback row, as far as it matters for what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub value: f64,
    pub timestamp: Timestamp,
    pub updated: Timestamp,
}

/// An item and the version of the command that wrote it.
#[derive(Clone, Debug)]
pub(super) struct VersionedItem {
    pub item: Item,
    pub version: Version,
}

/// A user or an item.
enum Entity<T> {
    /// It is in the table; what it is like does not matter.
    Known,
    /// It is in the table like this.
    Unchanged(T),
    /// It has to be written; `turn` is its place among what was written.
    Changed { now: T, turn: usize },
}

/// A row of feedback.
#[derive(Default)]
struct Row {
    /// What the table has.
    stored: Option<Stored>,
    /// What has to be written.
    now: Option<Feedback>,
    /// The last event that touched it.
    event: usize,
}

/// The rows that a run of events touches.
pub(super) struct WorkingSet<'event> {
    users: HashMap<&'event UserId, Entity<User>>,
    items: HashMap<&'event ItemId, Entity<VersionedItem>>,
    /// Where a row of feedback is.
    places: HashMap<Key<'event>, usize>,
    /// In the order of the key.
    feedback: Vec<Row>,
    turns: usize,
    events: usize,
    /// Of the command at hand.
    version: Version,
}

/// What has to be written: each row once.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub users: Vec<User>,
    /// In the order in which they came.
    pub items: Vec<VersionedItem>,
    /// Rows that are not in the table yet, by key.
    pub new_feedback: Vec<Feedback>,
    /// Rows that are, by key.
    pub old_feedback: Vec<Feedback>,
}

impl<'event> WorkingSet<'event> {
    /// For what is wanted; nothing of it is known yet.
    pub fn of(wanted: &Wanted<'event>) -> Self {
        let places: HashMap<_, _> = wanted.feedback.iter().copied().zip(0..).collect();
        let feedback = std::iter::repeat_with(Row::default).take(wanted.feedback.len()).collect();
        Self {
            users: HashMap::new(),
            items: HashMap::new(),
            places,
            feedback,
            turns: 0,
            events: 0,
            version: Version::ZERO,
        }
    }

    /// Learns that a user exists.
    pub fn know_user(&mut self, id: &'event UserId) {
        self.users.insert(id, Entity::Known);
    }

    /// Learns what a user is like.
    pub fn load_user(&mut self, id: &'event UserId, user: User) {
        self.users.insert(id, Entity::Unchanged(user));
    }

    /// Learns that an item exists.
    pub fn know_item(&mut self, id: &'event ItemId) {
        self.items.insert(id, Entity::Known);
    }

    /// Learns what an item is like.
    pub fn load_item(&mut self, id: &'event ItemId, item: Item) {
        self.items.insert(id, Entity::Unchanged(VersionedItem { item, version: Version::ZERO }));
    }

    /// Learns what is stored of a row, by the place of its key among those that are wanted.
    pub fn load_feedback(&mut self, place: usize, stored: Stored) {
        self.feedback[place].stored = Some(stored);
    }

    /// Applies an event that is no deletion, and says what it changed.
    pub fn apply(&mut self, event: &'event Command, version: Version) -> Vec<Change> {
        self.version = version;
        match event {
            Command::PutUsers { users } => self.put_users(users),
            Command::PutItems { items } => self.put_items(items),
            Command::PatchUser { user_id, patch } => {
                let patched = change(&mut self.users, user_id, &mut self.turns, |user| patch.apply(user));
                patched.map_or_else(Vec::new, |_user| vec![Change::Users { user_ids: vec![user_id.clone()] }])
            }
            Command::PatchItem { item_id, patch } => self.change_item(item_id, |item| patch.apply(item)),
            Command::SetCategory { item_id, category, present } => {
                self.change_item(item_id, |item| set_category(item, category, *present))
            }
            Command::PutFeedback { rows, mode, insert_users, insert_items } => {
                self.put_feedback(rows, *mode, *insert_users, *insert_items)
            }
            // Applied to the tables themselves, between two runs.
            Command::DeleteUser { .. } | Command::DeleteItem { .. } | Command::DeleteFeedback { .. } => {
                Vec::new()
            }
        }
    }

    fn turn(&mut self) -> usize {
        self.turns += 1;
        self.turns
    }

    fn put_users(&mut self, users: &'event [User]) -> Vec<Change> {
        let mut seen = HashSet::with_capacity(users.len());
        let mut user_ids = Vec::with_capacity(users.len());
        for user in users.iter().filter(|user| seen.insert(&user.user_id)) {
            user_ids.push(user.user_id.clone());
            let turn = self.turn();
            self.users.insert(&user.user_id, Entity::Changed { now: user.clone(), turn });
        }
        if user_ids.is_empty() { Vec::new() } else { vec![Change::Users { user_ids }] }
    }

    fn put_items(&mut self, items: &'event [Item]) -> Vec<Change> {
        let mut seen = HashSet::with_capacity(items.len());
        let mut states = Vec::with_capacity(items.len());
        for item in items.iter().filter(|item| seen.insert(&item.item_id)) {
            states.push(ItemState::of(item, self.version));
            // An item that came before keeps its place, and its version never goes back.
            let (turn, before) = match self.items.get(&item.item_id) {
                Some(Entity::Changed { turn, now }) => (*turn, now.version),
                Some(Entity::Known | Entity::Unchanged(_)) | None => (self.turn(), Version::ZERO),
            };
            let now = VersionedItem { item: item.clone(), version: self.version.max(before) };
            self.items.insert(&item.item_id, Entity::Changed { now, turn });
        }
        if states.is_empty() { Vec::new() } else { vec![Change::Items { items: states }] }
    }

    fn change_item(&mut self, id: &'event ItemId, how: impl FnOnce(&mut Item)) -> Vec<Change> {
        let version = self.version;
        let changed = change(&mut self.items, id, &mut self.turns, |now| {
            how(&mut now.item);
            now.version = version.max(now.version);
        });
        let state = changed.map(|now| ItemState::of(&now.item, version));
        state.map_or_else(Vec::new, |state| vec![Change::Items { items: vec![state] }])
    }

    fn put_feedback(
        &mut self,
        rows: &'event [Feedback],
        mode: FeedbackMode,
        insert_users: bool,
        insert_items: bool,
    ) -> Vec<Change> {
        let (mut user_ids, mut items, mut pairs) = (Vec::new(), Vec::new(), Vec::with_capacity(rows.len()));
        self.events += 1;
        for row in rows {
            if insert_users && !self.users.contains_key(&row.user_id) {
                let (now, turn) = (bare_user(row.user_id.clone()), self.turn());
                self.users.insert(&row.user_id, Entity::Changed { now, turn });
                user_ids.push(row.user_id.clone());
            }
            if insert_items && !self.items.contains_key(&row.item_id) {
                let item = Item::bare(row.item_id.clone());
                items.push(ItemState::of(&item, self.version));
                let (now, turn) = (VersionedItem { item, version: self.version }, self.turn());
                self.items.insert(&row.item_id, Entity::Changed { now, turn });
            }
            let known = self.users.contains_key(&row.user_id) && self.items.contains_key(&row.item_id);
            if known && self.put_row(row, mode) {
                pairs.push((row.user_id.clone(), row.item_id.clone()));
            }
        }
        feedback_changes(user_ids, items, pairs)
    }

    /// Applies a row of the event at hand; `false` if the event had one of the same key before.
    fn put_row(&mut self, row: &'event Feedback, mode: FeedbackMode) -> bool {
        let (end, feedback) = (self.feedback.len(), &mut self.feedback);
        let place = *self.places.entry(key_of(row)).or_insert_with(|| {
            feedback.push(Row::default());
            end
        });
        let at = &mut feedback[place];
        if std::mem::replace(&mut at.event, self.events) == self.events {
            return false;
        }
        let new = Feedback { updated: row.timestamp, ..row.clone() };
        let before = match (mode, at.now.take(), at.stored) {
            (FeedbackMode::Accumulate, Some(now), _) => Some(now),
            (FeedbackMode::Accumulate, None, Some(Stored { value, timestamp, updated })) => {
                Some(Feedback { value, timestamp, updated, ..row.clone() })
            }
            _ => None,
        };
        at.now = Some(match before {
            Some(mut sum) => {
                sum.accumulate(new);
                sum.value = sum.value.clamp(f64::MIN, f64::MAX);
                sum
            }
            None => new,
        });
        true
    }

    /// What has become of everything.
    pub fn into_writes(self) -> Writes {
        let (mut new_feedback, mut old_feedback) = (Vec::new(), Vec::new());
        for row in self.feedback {
            let writes = if row.stored.is_some() { &mut old_feedback } else { &mut new_feedback };
            writes.extend(row.now);
        }
        Writes { users: written(self.users), items: written(self.items), new_feedback, old_feedback }
    }
}

/// Changes an entity that exists; `None` if it does not.
fn change<'set, 'event, Id: std::hash::Hash + Eq, T>(
    entities: &'set mut HashMap<&'event Id, Entity<T>>,
    id: &'event Id,
    turns: &mut usize,
    how: impl FnOnce(&mut T),
) -> Option<&'set T> {
    let Entry::Occupied(entry) = entities.entry(id) else { return None };
    let entity = entry.into_mut();
    *turns += 1;
    let turn = *turns;
    *entity = match std::mem::replace(entity, Entity::Known) {
        Entity::Unchanged(now) => Entity::Changed { now, turn },
        // What is changed is always loaded as a whole, so `Known` does not occur.
        other @ (Entity::Changed { .. } | Entity::Known) => other,
    };
    let Entity::Changed { now, .. } = entity else { return None };
    how(now);
    Some(now)
}

fn written<Id, T>(entities: HashMap<Id, Entity<T>>) -> Vec<T> {
    let changed = entities.into_values().filter_map(|entity| match entity {
        Entity::Changed { now, turn } => Some((turn, now)),
        Entity::Known | Entity::Unchanged(_) => None,
    });
    let mut changed: Vec<_> = changed.collect();
    changed.sort_unstable_by_key(|(turn, _now)| *turn);
    changed.into_iter().map(|(_turn, now)| now).collect()
}
