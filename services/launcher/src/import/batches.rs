//! Rows gathered into events. Of rows with the same key in one batch only one goes to the store: the last, or with
//! [`FeedbackMode::Accumulate`] their sum, because of equal keys inside one event a store takes the first.

use std::collections::HashMap;
use std::path::Path;

use ulex_domain::{Command, EventId, Feedback, FeedbackKey, FeedbackMode, Item, ItemId, User, UserId};
use ulex_storage::data::Submission;

use super::Options;
use super::records::{Record, Row};
use super::rejects::Reject;
use super::state::{Position, State};

/// Rows on their way to the target, and where reading goes on once they are stored.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) submissions: Vec<Submission>,
    pub(super) users: u64,
    pub(super) items: u64,
    pub(super) feedback: u64,
    pub(super) rejects: Vec<Reject>,
    /// Number of the next batch.
    pub(super) next: u64,
    pub(super) position: Position,
}

/// Collects rows until there are enough.
pub(super) struct BatchBuilder {
    event_prefix: String,
    mode: FeedbackMode,
    insert: (bool, bool),
    capacity: usize,
    number: u64,
    records_before: u64,
    users: Keyed<UserId, User>,
    items: Keyed<ItemId, Item>,
    feedback: Keyed<FeedbackKey, Feedback>,
    counts: [u64; 3],
    rejects: Vec<Reject>,
}

impl BatchBuilder {
    pub(super) fn new(state: &State, options: &Options) -> Self {
        Self {
            event_prefix: format!("import:{}", state.event_digest()),
            mode: options.mode,
            insert: (options.insert_users, options.insert_items),
            capacity: options.batch_rows.max(1),
            number: state.batch,
            records_before: state.position.records_before,
            users: Keyed::default(),
            items: Keyed::default(),
            feedback: Keyed::default(),
            counts: [0; 3],
            rejects: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, file: &Path, record: Record) {
        match record.row {
            Ok(Row::User(user)) => {
                self.counts[0] += 1;
                self.users.put(user.user_id.clone(), user, replace);
            }
            Ok(Row::Item(item)) => {
                self.counts[1] += 1;
                self.items.put(item.item_id.clone(), item, replace);
            }
            Ok(Row::Feedback(row)) => {
                self.counts[2] += 1;
                let merge = match self.mode {
                    FeedbackMode::Accumulate => Feedback::accumulate,
                    FeedbackMode::Overwrite => replace,
                };
                self.feedback.put(row.key(), row, merge);
            }
            Err(reason) => self.rejects.push(Reject { file: file.to_path_buf(), line: record.line, reason }),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.counts.iter().sum::<u64>() + self.rejects.len() as u64 >= self.capacity as u64
    }

    /// What was collected. Reading goes on with record `records` of file `part`.
    pub(super) fn take(&mut self, part: usize, records: u64) -> Batch {
        let counts = std::mem::take(&mut self.counts);
        let rejects = std::mem::take(&mut self.rejects);
        self.records_before += counts.iter().sum::<u64>() + rejects.len() as u64;
        let submissions =
            self.events().into_iter().map(|(kind, event)| self.submission(kind, event)).collect();
        self.number += 1;
        let position = Position { part, records, records_before: self.records_before };
        let [users, items, feedback] = counts;
        Batch { submissions, users, items, feedback, rejects, next: self.number, position }
    }

    fn events(&mut self) -> Vec<(char, Command)> {
        let (users, items, rows) = (self.users.take(), self.items.take(), self.feedback.take());
        let mut events = Vec::new();
        if !users.is_empty() {
            events.push(('u', Command::PutUsers { users }));
        }
        if !items.is_empty() {
            events.push(('i', Command::PutItems { items }));
        }
        if !rows.is_empty() {
            let (insert_users, insert_items) = self.insert;
            let event = Command::PutFeedback { rows, mode: self.mode, insert_users, insert_items };
            events.push(('f', event));
        }
        events
    }

    fn submission(&self, kind: char, event: Command) -> Submission {
        let id = format!("{}:{}{kind}", self.event_prefix, self.number);
        let event_id = Some(EventId::new(&id).expect("a short id of digits and letters"));
        Submission { event_id, ..event.into() }
    }
}

fn replace<T>(old: &mut T, new: T) {
    *old = new;
}

/// Values in the order their keys came first.
struct Keyed<K, V> {
    positions: HashMap<K, usize>,
    values: Vec<V>,
}

impl<K, V> Default for Keyed<K, V> {
    fn default() -> Self {
        Self { positions: HashMap::new(), values: Vec::new() }
    }
}

impl<K: std::hash::Hash + Eq, V> Keyed<K, V> {
    fn put(&mut self, key: K, value: V, merge: impl FnOnce(&mut V, V)) {
        match self.positions.get(&key) {
            Some(&position) => merge(&mut self.values[position], value),
            None => {
                self.positions.insert(key, self.values.len());
                self.values.push(value);
            }
        }
    }

    fn take(&mut self) -> Vec<V> {
        self.positions.clear();
        std::mem::take(&mut self.values)
    }
}
