//! Events applied inside one transaction: set by set, in their order.
//!
//! Neighbouring events of one kind are folded in memory and written by one statement, so a thousand single rows cost as
//! much as one body with a thousand. Keys are written in the order of their bytes.

use std::collections::{BTreeMap, HashMap, HashSet};

use deadpool_postgres::Transaction;
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio_postgres::types::ToSql;
use ulex_domain::event::ItemState;
use ulex_domain::{
    Change, Event, EventId, Feedback, FeedbackKey, FeedbackMode, Item, ItemId, Timestamp, User, UserId,
};

use super::decode::{self, filled, json_text};
use super::error::PostgresError;
use super::sql::Sql;
use crate::data::search_text::{SearchText, words};
use crate::data::{LEDGER_NANOS, Outcome, Submission, feedback_changes, set_category};

type Result<T> = std::result::Result<T, PostgresError>;

/// Old ids removed from the ledger in one transaction at most.
const PRUNE: i64 = 2_000;

/// What is the same for every transaction.
#[derive(Debug)]
pub(super) struct Context {
    pub sql: Sql,
    pub search: Mutex<SearchText>,
    /// Types that are in the table for certain.
    pub types: Mutex<HashSet<SmolStr>>,
}

impl Context {
    /// What search finds an item by, one word a line; `None` if nothing is searchable.
    pub fn words(&self, item: &Item) -> Option<String> {
        let search = self.search.lock();
        if search.is_empty() {
            return None;
        }
        let text = search.of(item);
        Some(words(&text).collect::<Vec<_>>().join("\n"))
    }
}

/// One transaction.
pub(super) struct Applying<'a> {
    pub context: &'a Context,
    pub transaction: &'a Transaction<'a>,
    pub now: Timestamp,
}

/// Which feedback events can be written together.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Manner {
    mode: FeedbackMode,
    insert_users: bool,
    insert_items: bool,
}

impl Applying<'_> {
    /// Applies calls one after the other; one list of outcomes for each.
    pub async fn apply(&self, calls: &[Vec<Submission>]) -> Result<Vec<Vec<Outcome>>> {
        let all: Vec<&Submission> = calls.iter().flatten().collect();
        all.iter().try_for_each(|submission| refuse_nul(&submission.event))?;
        let is_new = self.new_ones(&all).await?;
        let mut outcomes: Vec<Outcome> =
            is_new.iter().map(|is_new| Outcome { duplicate: !is_new, ..Outcome::default() }).collect();
        let mut at = 0;
        while at < all.len() {
            let kind = std::mem::discriminant(&all[at].event);
            let manner = manner(&all[at].event);
            let alike = all[at..].iter().take_while(|other| {
                std::mem::discriminant(&other.event) == kind && self::manner(&other.event) == manner
            });
            let end = at + alike.count();
            let places: Vec<usize> = (at..end).filter(|&place| is_new[place]).collect();
            self.run(&all, &places, &mut outcomes).await?;
            at = end;
        }
        let mut rest = outcomes.into_iter();
        Ok(calls.iter().map(|call| rest.by_ref().take(call.len()).collect()).collect())
    }

    /// Which submissions have an effect. Enters their ids and moves their logs on.
    async fn new_ones(&self, all: &[&Submission]) -> Result<Vec<bool>> {
        let mut is_new = vec![true; all.len()];
        let mut logs: BTreeMap<&str, i64> = BTreeMap::new();
        for submission in all {
            if let Some(position) = &submission.position {
                logs.insert(&position.log, 0);
            }
        }
        if !logs.is_empty() {
            let names: Vec<&str> = logs.keys().copied().collect();
            let rows = self.query(&self.context.sql.positions, &[&names]).await?;
            for row in &rows {
                let (log, sequence): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
                if let Some(known) = logs.get_mut(log) {
                    *known = sequence;
                }
            }
            for (place, submission) in all.iter().enumerate() {
                let Some(position) = &submission.position else { continue };
                let known = logs.entry(&position.log).or_default();
                let sequence = position.sequence.cast_signed();
                is_new[place] = sequence > *known;
                *known = sequence.max(*known);
            }
            let (names, sequences): (Vec<&str>, Vec<i64>) = logs.into_iter().unzip();
            self.execute(&self.context.sql.put_positions, &[&names, &sequences]).await?;
        }
        let mut first: HashMap<&EventId, usize> = HashMap::new();
        for (place, submission) in all.iter().enumerate() {
            if let (Some(id), true) = (&submission.event_id, is_new[place]) {
                is_new[place] = *first.entry(id).or_insert(place) == place;
            }
        }
        if !first.is_empty() {
            let ids: Vec<&str> = first.keys().map(|id| id.as_str()).collect();
            let rows = self.query(&self.context.sql.enter, &[&ids, &self.now.as_nanos()]).await?;
            let entered: HashSet<&str> = rows.iter().map(|row| row.get(0)).collect();
            for (id, place) in first {
                is_new[place] = entered.contains(id.as_str());
            }
            let oldest = self.now.plus_nanos(-LEDGER_NANOS).as_nanos();
            self.execute(&self.context.sql.prune, &[&oldest, &PRUNE]).await?;
        }
        Ok(is_new)
    }

    /// Events of one kind.
    async fn run(&self, all: &[&Submission], places: &[usize], outcomes: &mut [Outcome]) -> Result<()> {
        let Some(&first) = places.first() else { return Ok(()) };
        match &all[first].event {
            Event::PutUsers { .. } => self.put_users(all, places, outcomes).await,
            Event::PutItems { .. } => self.put_items(all, places, outcomes).await,
            Event::PutFeedback { .. } => self.put_feedback(all, places, outcomes).await,
            Event::PatchUser { .. }
            | Event::DeleteUser { .. }
            | Event::PatchItem { .. }
            | Event::SetCategory { .. }
            | Event::DeleteItem { .. }
            | Event::DeleteFeedback { .. } => {
                for &place in places {
                    let (changes, rows_deleted) = self.one(&all[place].event).await?;
                    outcomes[place].changes = changes;
                    outcomes[place].rows_deleted = rows_deleted;
                }
                Ok(())
            }
        }
    }

    /// An event about one thing.
    async fn one(&self, event: &Event) -> Result<(Vec<Change>, u64)> {
        let sql = &self.context.sql;
        let changes = match event {
            Event::PutUsers { .. } | Event::PutItems { .. } | Event::PutFeedback { .. } => Vec::new(),
            Event::PatchUser { user_id, patch } => {
                let Some(row) = self.query(&sql.user, &[&user_id.as_str()]).await?.into_iter().next() else {
                    return Ok((Vec::new(), 0));
                };
                let mut user = decode::user(&row)?;
                patch.apply(&mut user);
                self.write_users(&BTreeMap::from([(&user.user_id, &user)])).await?;
                vec![Change::Users { user_ids: vec![user_id.clone()] }]
            }
            Event::DeleteUser { user_id } => {
                if self.execute(&sql.delete_user, &[&user_id.as_str()]).await? == 0 {
                    return Ok((Vec::new(), 0));
                }
                self.execute(&sql.delete_feedback_of_user, &[&user_id.as_str()]).await?;
                vec![Change::UserDeleted { user_id: user_id.clone() }]
            }
            Event::PatchItem { item_id, patch } => {
                self.change_item(item_id, |item| patch.apply(item)).await?
            }
            Event::SetCategory { item_id, category, present } => {
                self.change_item(item_id, |item| set_category(item, category, *present)).await?
            }
            Event::DeleteItem { item_id } => {
                if self.execute(&sql.delete_item, &[&item_id.as_str()]).await? == 0 {
                    return Ok((Vec::new(), 0));
                }
                self.execute(&sql.delete_feedback_of_item, &[&item_id.as_str()]).await?;
                vec![Change::ItemDeleted { item_id: item_id.clone() }]
            }
            Event::DeleteFeedback { user_id, item_id, feedback_type } => {
                let of_type = feedback_type.as_deref();
                let key: [&(dyn ToSql + Sync); 3] = [&user_id.as_str(), &item_id.as_str(), &of_type];
                let deleted = self.execute(&sql.delete_feedback, &key).await?;
                let pair = || vec![Change::Feedback { pairs: vec![(user_id.clone(), item_id.clone())] }];
                return Ok((if deleted == 0 { Vec::new() } else { pair() }, deleted));
            }
        };
        Ok((changes, 0))
    }

    async fn change_item(&self, id: &ItemId, change: impl FnOnce(&mut Item)) -> Result<Vec<Change>> {
        let rows = self.query(&self.context.sql.item, &[&id.as_str()]).await?;
        let Some(row) = rows.first() else { return Ok(Vec::new()) };
        let mut item = decode::item(row)?;
        change(&mut item);
        self.write_items(&BTreeMap::from([(&item.item_id, &item)])).await?;
        Ok(vec![Change::Items { items: vec![ItemState::from(&item)] }])
    }

    async fn put_users(&self, all: &[&Submission], places: &[usize], outcomes: &mut [Outcome]) -> Result<()> {
        let mut last: BTreeMap<&UserId, &User> = BTreeMap::new();
        for &place in places {
            let Event::PutUsers { users } = &all[place].event else { continue };
            let mut seen = HashSet::new();
            let mut user_ids = Vec::new();
            // Of one id the first in an event counts, of several events the last.
            for user in users.iter().filter(|user| seen.insert(&user.user_id)) {
                user_ids.push(user.user_id.clone());
                last.insert(&user.user_id, user);
            }
            if !user_ids.is_empty() {
                outcomes[place].changes = vec![Change::Users { user_ids }];
            }
        }
        self.write_users(&last).await
    }

    async fn write_users(&self, users: &BTreeMap<&UserId, &User>) -> Result<()> {
        let ids: Vec<&str> = users.keys().map(|id| id.as_str()).collect();
        let labels: Vec<Option<String>> = users.values().map(|user| json_text(&user.labels)).collect();
        let comments: Vec<Option<&str>> = users.values().map(|user| filled(&user.comment)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.execute(&self.context.sql.put_users, &[&ids, &labels, &comments]).await.map(drop)
    }

    async fn put_items(&self, all: &[&Submission], places: &[usize], outcomes: &mut [Outcome]) -> Result<()> {
        let mut last: BTreeMap<&ItemId, &Item> = BTreeMap::new();
        for &place in places {
            let Event::PutItems { items } = &all[place].event else { continue };
            let mut seen = HashSet::new();
            let mut states = Vec::new();
            for item in items.iter().filter(|item| seen.insert(&item.item_id)) {
                states.push(ItemState::from(item));
                last.insert(&item.item_id, item);
            }
            if !states.is_empty() {
                outcomes[place].changes = vec![Change::Items { items: states }];
            }
        }
        self.write_items(&last).await
    }

    async fn write_items(&self, items: &BTreeMap<&ItemId, &Item>) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = items.keys().map(|id| id.as_str()).collect();
        let hidden: Vec<bool> = items.values().map(|item| item.is_hidden).collect();
        let categories: Vec<Option<String>> = items
            .values()
            .map(|item| {
                item.categories.as_ref().map(|list| serde_json::Value::from(list.clone()).to_string())
            })
            .collect();
        let times: Vec<i64> = items.values().map(|item| item.timestamp.as_nanos()).collect();
        let labels: Vec<Option<String>> = items.values().map(|item| json_text(&item.labels)).collect();
        let comments: Vec<Option<&str>> = items.values().map(|item| filled(&item.comment)).collect();
        let words: Vec<Option<String>> = items.values().map(|item| self.context.words(item)).collect();
        let columns: [&(dyn ToSql + Sync); 7] =
            [&ids, &hidden, &categories, &times, &labels, &comments, &words];
        self.execute(&self.context.sql.put_items, &columns).await.map(drop)
    }

    async fn put_feedback(
        &self,
        all: &[&Submission],
        places: &[usize],
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        let events: Vec<(usize, &Vec<Feedback>)> = places
            .iter()
            .filter_map(|&place| {
                let Event::PutFeedback { rows, .. } = &all[place].event else { return None };
                Some((place, rows))
            })
            .collect();
        let Some(manner) = places.first().and_then(|&place| manner(&all[place].event)) else { return Ok(()) };
        let rows = || events.iter().flat_map(|(_, rows)| rows.iter());
        let users = self.ensure_users(rows().map(|row| row.user_id.as_str()), manner.insert_users).await?;
        let items = self.ensure_items(rows().map(|row| row.item_id.as_str()), manner.insert_items).await?;
        let (mut new_users, mut new_items) = (users.new, items.new);
        let mut folded: BTreeMap<FeedbackKey, Feedback> = BTreeMap::new();
        for (place, rows) in events {
            let (mut seen, mut user_ids, mut states, mut pairs) =
                (HashSet::new(), Vec::new(), Vec::new(), Vec::new());
            for row in rows {
                if new_users.remove(row.user_id.as_str()) {
                    user_ids.push(row.user_id.clone());
                }
                if new_items.remove(row.item_id.as_str()) {
                    states.push(ItemState::from(&Item::bare(row.item_id.clone())));
                }
                let is_known =
                    users.known.contains(row.user_id.as_str()) && items.known.contains(row.item_id.as_str());
                let key = row.key();
                if is_known && seen.insert(key.clone()) {
                    pairs.push((row.user_id.clone(), row.item_id.clone()));
                    fold(&mut folded, key, row, manner.mode);
                }
            }
            outcomes[place].changes = feedback_changes(user_ids, states, pairs);
        }
        self.write_feedback(&folded, manner.mode).await
    }

    async fn ensure_users<'a>(&self, ids: impl Iterator<Item = &'a str>, insert: bool) -> Result<Known<'a>> {
        let ids: Vec<&str> = std::collections::BTreeSet::from_iter(ids).into_iter().collect();
        let sql = &self.context.sql;
        let found = self.query(if insert { &sql.bare_users } else { &sql.known_users }, &[&ids]).await?;
        Known::of(ids, &found, insert)
    }

    async fn ensure_items<'a>(&self, ids: impl Iterator<Item = &'a str>, insert: bool) -> Result<Known<'a>> {
        let ids: Vec<&str> = std::collections::BTreeSet::from_iter(ids).into_iter().collect();
        let sql = &self.context.sql;
        if !insert {
            let found = self.query(&sql.known_items, &[&ids]).await?;
            return Known::of(ids, &found, false);
        }
        let words: Vec<Option<String>> =
            ids.iter().map(|id| self.context.words(&Item::bare(ItemId::new(*id)))).collect();
        let found = self.query(&sql.bare_items, &[&ids, &Timestamp::ZERO.as_nanos(), &words]).await?;
        Known::of(ids, &found, true)
    }

    async fn write_feedback(&self, rows: &BTreeMap<FeedbackKey, Feedback>, mode: FeedbackMode) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.ensure_types(rows.keys()).await?;
        let types: Vec<&str> = rows.keys().map(|key| key.feedback_type.as_str()).collect();
        let users: Vec<&str> = rows.keys().map(|key| key.user_id.as_str()).collect();
        let items: Vec<&str> = rows.keys().map(|key| key.item_id.as_str()).collect();
        let values: Vec<f64> = rows.values().map(|row| row.value).collect();
        let times: Vec<i64> = rows.values().map(|row| row.timestamp.as_nanos()).collect();
        let updated: Vec<i64> = rows.values().map(|row| row.updated.as_nanos()).collect();
        let labels: Vec<Option<String>> = rows.values().map(|row| json_text(&row.labels)).collect();
        let comments: Vec<Option<&str>> = rows.values().map(|row| filled(&row.comment)).collect();
        let sql = match mode {
            FeedbackMode::Accumulate => &self.context.sql.accumulate,
            FeedbackMode::Overwrite => &self.context.sql.overwrite,
        };
        let columns: [&(dyn ToSql + Sync); 8] =
            [&types, &users, &items, &values, &times, &updated, &labels, &comments];
        self.execute(sql, &columns).await.map(drop)
    }

    async fn ensure_types(&self, keys: impl Iterator<Item = &FeedbackKey>) -> Result<()> {
        let mut new: Vec<SmolStr> = Vec::new();
        {
            let known = self.context.types.lock();
            for key in keys {
                if !known.contains(&key.feedback_type) && new.last() != Some(&key.feedback_type) {
                    new.push(key.feedback_type.clone());
                }
            }
        }
        if !new.is_empty() {
            let names: Vec<&str> = new.iter().map(SmolStr::as_str).collect();
            self.execute(&self.context.sql.new_types, &[&names]).await?;
        }
        Ok(())
    }

    async fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<tokio_postgres::Row>> {
        let statement = self.transaction.prepare_cached(sql).await?;
        Ok(self.transaction.query(&statement, values).await?)
    }

    async fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let statement = self.transaction.prepare_cached(sql).await?;
        Ok(self.transaction.execute(&statement, values).await?)
    }
}

/// Ids that exist now, and those of them that did not exist before.
struct Known<'a> {
    known: HashSet<&'a str>,
    new: HashSet<&'a str>,
}

impl<'a> Known<'a> {
    /// `found` are the created ones if missing ones were created, else those that exist.
    fn of(ids: Vec<&'a str>, found: &[tokio_postgres::Row], inserted: bool) -> Result<Self> {
        let names: HashSet<&str> =
            found.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?;
        let listed = ids.iter().copied().filter(|id| names.contains(id)).collect();
        if inserted {
            return Ok(Self { known: ids.into_iter().collect(), new: listed });
        }
        Ok(Self { known: listed, new: HashSet::new() })
    }
}

fn manner(event: &Event) -> Option<Manner> {
    let Event::PutFeedback { mode, insert_users, insert_items, .. } = event else { return None };
    Some(Manner { mode: *mode, insert_users: *insert_users, insert_items: *insert_items })
}

fn fold(folded: &mut BTreeMap<FeedbackKey, Feedback>, key: FeedbackKey, row: &Feedback, mode: FeedbackMode) {
    let row = Feedback { updated: row.timestamp, ..row.clone() };
    match (folded.get_mut(&key), mode) {
        (Some(stored), FeedbackMode::Accumulate) => {
            stored.accumulate(row);
            stored.value = stored.value.clamp(f64::MIN, f64::MAX);
        }
        (Some(stored), FeedbackMode::Overwrite) => *stored = row,
        (None, FeedbackMode::Accumulate | FeedbackMode::Overwrite) => {
            folded.insert(key, row);
        }
    }
}

/// Text with the character NUL, which PostgreSQL does not keep. Labels are JSON, where it is written as an escape.
fn refuse_nul(event: &Event) -> Result<()> {
    let check = |text: &str, what: &'static str| {
        if text.contains('\0') { Err(PostgresError::Nul(what)) } else { Ok(()) }
    };
    match event {
        Event::PutUsers { users } => users.iter().try_for_each(|user| {
            check(user.user_id.as_str(), "a user's id")?;
            check(&user.comment, "a user's comment")
        }),
        Event::PutItems { items } => items.iter().try_for_each(|item| {
            check(item.item_id.as_str(), "an item's id")?;
            check(&item.comment, "an item's comment")
        }),
        Event::PutFeedback { rows, .. } => rows.iter().try_for_each(|row| {
            check(&row.feedback_type, "a feedback type")?;
            check(row.user_id.as_str(), "a user's id")?;
            check(row.item_id.as_str(), "an item's id")?;
            check(&row.comment, "a comment")
        }),
        Event::PatchUser { user_id, patch } => {
            check(user_id.as_str(), "a user's id")?;
            patch.comment.as_deref().map_or(Ok(()), |comment| check(comment, "a user's comment"))
        }
        Event::PatchItem { item_id, patch } => {
            check(item_id.as_str(), "an item's id")?;
            patch.comment.as_deref().map_or(Ok(()), |comment| check(comment, "an item's comment"))
        }
        Event::DeleteUser { user_id } => check(user_id.as_str(), "a user's id"),
        Event::DeleteItem { item_id } | Event::SetCategory { item_id, .. } => {
            check(item_id.as_str(), "an item's id")
        }
        Event::DeleteFeedback { user_id, item_id, feedback_type } => {
            check(user_id.as_str(), "a user's id")?;
            check(item_id.as_str(), "an item's id")?;
            feedback_type.as_deref().map_or(Ok(()), |name| check(name, "a feedback type"))
        }
    }
}
