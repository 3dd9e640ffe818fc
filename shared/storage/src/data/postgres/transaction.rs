//! One transaction of the writer: what is read, what the events make of it, what is written.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::SinkExt as _;
use smol_str::SmolStr;
use tokio::try_join;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use ulex_domain::{Change, Event, Feedback, Item, ItemId, Timestamp, User, UserId};

use super::aside::{Aside, WORTHWHILE, stored_feedback};
use super::error::PostgresError;
use super::known::Known;
use super::statements::Statements;
use super::working_set::{Key, Stored, Wanted, WorkingSet, Writes};
use super::{copy, decode};
use crate::data::row_text::{filled, json_text};
use crate::data::search_text::SearchText;
use crate::data::{Outcome, Submission};

/// From this many new rows on `COPY` is faster than an insert.
const COPY_FROM: usize = 100;

type Fallible<T> = Result<T, PostgresError>;

/// A connection in the middle of a transaction.
pub(super) struct Transaction<'session> {
    client: &'session Client,
    statements: &'session Statements,
    known: &'session mut Known,
    search: SearchText,
    /// Sees what this transaction sees, until that has changed something.
    aside: Option<&'session mut Aside>,
    /// How PostgreSQL calls it, for asking later whether it was committed.
    pub id: String,
}

impl<'session> Transaction<'session> {
    /// Begins one and waits until no other writer has one.
    ///
    /// What is known holds if `writer` was the last one that wrote. If the transaction does not end well, whoever began
    /// it has to forget it.
    pub async fn begin(
        client: &'session Client,
        statements: &'session Statements,
        known: &'session mut Known,
        aside: &'session mut Aside,
        writer: &str,
    ) -> Fallible<Self> {
        let columns: [&(dyn ToSql + Sync); 1] = [&"search_columns"];
        let last: [&(dyn ToSql + Sync); 1] = [&"last_writer"];
        let (_began, _locked, id, columns, last) = try_join!(
            // Sent in this order, without waiting for answers.
            biased;
            client.batch_execute("BEGIN"),
            client.query_one(&statements.lock, &[]),
            client.query_one(&statements.transaction_id, &[]),
            client.query_opt(&statements.meta, &columns),
            client.query_opt(&statements.meta, &last),
        )?;
        let columns: String = columns.map(|row| row.get(0)).unwrap_or_default();
        let search = SearchText::of_columns(&columns.split(' ').collect::<Vec<_>>());
        if last.is_none_or(|last| last.get::<_, &str>(0) != writer) {
            *known = Known::default();
            client.execute(&statements.put_meta, &[&"last_writer", &writer]).await?;
        }
        Ok(Self { client, statements, known, search, aside: Some(aside), id: id.get(0) })
    }

    /// Applies submissions in their order. Whether they stay is decided by the commit.
    pub async fn apply(&mut self, submissions: &[&Submission], now: Timestamp) -> Fallible<Vec<Outcome>> {
        let fresh = self.settle(submissions, now).await?;
        let mut outcomes = vec![Outcome { duplicate: true, ..Outcome::default() }; submissions.len()];
        let fresh: Vec<_> = (0..submissions.len()).filter(|place| fresh[*place]).collect();
        let is_deletion = |place: &usize| deletes(&submissions[*place].event);
        // Runs of events that are applied together, and each deletion alone.
        for run in fresh.chunk_by(|one, other| !is_deletion(one) && !is_deletion(other)) {
            if is_deletion(&run[0]) {
                outcomes[run[0]] = self.delete(&submissions[run[0]].event).await?;
                continue;
            }
            let events: Vec<_> = run.iter().map(|place| &submissions[*place].event).collect();
            let changes = self.put(&events).await?;
            for (place, changes) in run.iter().zip(changes) {
                outcomes[*place] = Outcome { duplicate: false, rows_deleted: 0, changes };
            }
        }
        Ok(outcomes)
    }

    /// Enters ids and positions; says which submissions are new.
    async fn settle(&self, submissions: &[&Submission], now: Timestamp) -> Fallible<Vec<bool>> {
        let ids = submissions.iter().filter_map(|submission| submission.event_id.as_ref());
        let ids: BTreeSet<&str> = ids.map(ulex_domain::EventId::as_str).collect();
        let logs = submissions.iter().filter_map(|submission| submission.position.as_ref());
        let logs: BTreeSet<&str> = logs.map(|position| position.log.as_str()).collect();
        let (known, applied) = try_join!(
            self.ask(&self.statements.known_events, ids.iter().copied().collect()),
            self.ask(&self.statements.positions, logs.iter().copied().collect()),
        )?;
        let mut known: HashSet<&str> = known.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let mut positions = BTreeMap::new();
        for row in &applied {
            let (log, sequence): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
            positions.insert(log, sequence.unsigned_abs());
        }
        let mut moved = BTreeMap::new();
        let mut entered = Vec::new();
        let mut fresh = Vec::with_capacity(submissions.len());
        for submission in submissions {
            // The position first: an entry of a log is settled whether or not its event was known.
            let is_ahead = submission
                .position
                .as_ref()
                .is_none_or(|at| positions.get(at.log.as_str()).is_none_or(|applied| at.sequence > *applied));
            if let Some(position) = submission.position.as_ref().filter(|_position| is_ahead) {
                positions.insert(position.log.as_str(), position.sequence);
                moved.insert(position.log.as_str(), position.sequence.cast_signed());
            }
            let id = submission.event_id.as_ref().filter(|_id| is_ahead);
            let is_unknown = id.is_none_or(|id| known.insert(id.as_str()));
            entered.extend(id.filter(|_id| is_unknown).map(ulex_domain::EventId::as_str));
            fresh.push(is_ahead && is_unknown);
        }
        let (logs, sequences): (Vec<_>, Vec<_>) = moved.into_iter().unzip();
        let (put_events, put_positions) = (&self.statements.put_events, &self.statements.put_positions);
        let now = now.as_nanos();
        let events: [&(dyn ToSql + Sync); 2] = [&entered, &now];
        let positions: [&(dyn ToSql + Sync); 2] = [&logs, &sequences];
        try_join!(
            maybe(!entered.is_empty(), self.client.execute(put_events, &events)),
            maybe(!logs.is_empty(), self.client.execute(put_positions, &positions)),
        )?;
        Ok(fresh)
    }

    /// Rows that belong to any of the keys; nothing is asked for none.
    async fn ask(&self, statement: &Statement, keys: Vec<&str>) -> Fallible<Vec<tokio_postgres::Row>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.client.query(statement, &[&keys]).await?)
    }

    /// Applies a run of events that are no deletions.
    async fn put(&mut self, events: &[&Event]) -> Fallible<Vec<Vec<Change>>> {
        let wanted = Wanted::by(events);
        let mut set = self.load(&wanted).await?;
        let changes = events.iter().map(|event| set.apply(event)).collect();
        let writes = set.into_writes();
        self.write(&writes).await?;
        writes.users.iter().for_each(|user| self.known.users.insert(&user.user_id));
        writes.items.iter().for_each(|item| self.known.items.insert(&item.item_id));
        Ok(changes)
    }

    async fn load<'event>(&mut self, wanted: &Wanted<'event>) -> Fallible<WorkingSet<'event>> {
        let mut set = WorkingSet::default();
        // Once: what comes next is a change.
        let aside = self.aside.take();
        let (known, strange) =
            wanted.users.iter().copied().partition::<Vec<_>, _>(|id| self.known.users.contains(id));
        known.into_iter().for_each(|id| set.know_user(id));
        let user_ids = |ids: Vec<&'event UserId>| ids.into_iter().map(UserId::as_str).collect();
        let (strange_users, whole_users) =
            (user_ids(strange), user_ids(wanted.whole_users.iter().copied().collect()));
        let (known, strange) =
            wanted.items.iter().copied().partition::<Vec<_>, _>(|id| self.known.items.contains(id));
        known.into_iter().for_each(|id| set.know_item(id));
        let item_ids = |ids: Vec<&'event ItemId>| ids.into_iter().map(ItemId::as_str).collect();
        let (strange_items, whole_items) =
            (item_ids(strange), item_ids(wanted.whole_items.iter().copied().collect()));
        let (known_users, whole_users, known_items, whole_items, stored) = try_join!(
            self.ask(&self.statements.known_users, strange_users),
            self.ask(&self.statements.whole_users, whole_users),
            self.ask(&self.statements.known_items, strange_items),
            self.ask(&self.statements.whole_items, whole_items),
            self.stored(&wanted.feedback, aside),
        )?;
        for row in &known_users {
            let id = UserId::new(row.try_get::<_, &str>(0)?);
            self.known.users.insert(&id);
            wanted.users.get(&id).into_iter().for_each(|id| set.know_user(id));
        }
        for row in &known_items {
            let id = ItemId::new(row.try_get::<_, &str>(0)?);
            self.known.items.insert(&id);
            wanted.items.get(&id).into_iter().for_each(|id| set.know_item(id));
        }
        for row in &whole_users {
            let user = decode::user(row)?;
            wanted.whole_users.get(&user.user_id).into_iter().for_each(|id| set.load_user(id, user.clone()));
        }
        for row in &whole_items {
            let item = decode::item(row)?;
            wanted.whole_items.get(&item.item_id).into_iter().for_each(|id| set.load_item(id, item.clone()));
        }
        for (keys, rows) in stored {
            for row in &rows {
                let place = usize::try_from(row.try_get::<_, i64>(0)? - 1).unwrap_or(usize::MAX);
                let stored = Stored {
                    value: row.try_get(1)?,
                    timestamp: Timestamp::from_nanos(row.try_get(2)?),
                    updated: Timestamp::from_nanos(row.try_get(3)?),
                };
                keys.get(place).into_iter().for_each(|key| set.load_feedback(*key, stored));
            }
        }
        Ok(set)
    }

    /// What is stored under the keys, half of it looked up by another connection if there is one and that is worth it.
    async fn stored<'keys, 'event>(
        &self,
        keys: &'keys [Key<'event>],
        aside: Option<&mut Aside>,
    ) -> Fallible<Vec<(&'keys [Key<'event>], Vec<tokio_postgres::Row>)>> {
        let ask = |keys| stored_feedback(self.client, &self.statements.stored_feedback, keys);
        let Some(aside) = aside.filter(|aside| aside.is_open() && keys.len() >= WORTHWHILE) else {
            return Ok(vec![(keys, ask(keys).await?)]);
        };
        let (front, back) = keys.split_at(keys.len() / 2);
        let (theirs, ours) = tokio::join!(aside.stored(front), ask(back));
        let theirs = match theirs {
            Some(rows) => rows,
            None => ask(front).await?,
        };
        Ok(vec![(front, theirs), (back, ours?)])
    }

    async fn write(&mut self, writes: &Writes) -> Fallible<()> {
        let types: BTreeSet<_> = writes.new_feedback.iter().map(|row| &row.feedback_type).collect();
        let types: Vec<_> = types.into_iter().filter(|name| !self.known.types.contains(name)).collect();
        try_join!(
            maybe(!writes.users.is_empty(), self.put_users(&writes.users)),
            maybe(!writes.items.is_empty(), self.put_items(&writes.items)),
            maybe(!types.is_empty(), self.put_types(&types)),
            maybe(
                !writes.old_feedback.is_empty(),
                self.write_rows(&self.statements.update_feedback, &writes.old_feedback)
            ),
        )?;
        types.into_iter().for_each(|name| self.known.types.insert(name));
        match writes.new_feedback.as_slice() {
            [] => Ok(()),
            few if few.len() < COPY_FROM => self.write_rows(&self.statements.insert_feedback, few).await,
            many => self.copy(many).await,
        }
    }

    async fn put_users(&self, users: &[User]) -> Fallible<()> {
        let ids: Vec<_> = users.iter().map(|user| user.user_id.as_str()).collect();
        let labels: Vec<_> = users.iter().map(|user| json_text(&user.labels)).collect();
        let comments: Vec<_> = users.iter().map(|user| filled(&user.comment)).collect();
        self.client.execute(&self.statements.put_users, &[&ids, &labels, &comments]).await?;
        Ok(())
    }

    async fn put_items(&self, items: &[Item]) -> Fallible<()> {
        let ids: Vec<_> = items.iter().map(|item| item.item_id.as_str()).collect();
        let hidden: Vec<_> = items.iter().map(|item| item.is_hidden).collect();
        let categories: Vec<_> = items.iter().map(decode::categories_text).collect();
        let times: Vec<_> = items.iter().map(|item| item.timestamp.as_nanos()).collect();
        let labels: Vec<_> = items.iter().map(|item| json_text(&item.labels)).collect();
        let comments: Vec<_> = items.iter().map(|item| filled(&item.comment)).collect();
        let words: Vec<_> = items.iter().map(|item| super::search::word_list(&self.search, item)).collect();
        let put = &self.statements.put_items;
        self.client.execute(put, &[&ids, &hidden, &categories, &times, &labels, &comments, &words]).await?;
        Ok(())
    }

    async fn put_types(&self, types: &[&SmolStr]) -> Fallible<()> {
        let types: Vec<_> = types.iter().map(|name| name.as_str()).collect();
        self.client.execute(&self.statements.put_types, &[&types]).await?;
        Ok(())
    }

    async fn write_rows(&self, statement: &Statement, rows: &[Feedback]) -> Fallible<()> {
        let values: Vec<_> = rows.iter().map(|row| row.value).collect();
        let times: Vec<_> = rows.iter().map(|row| row.timestamp.as_nanos()).collect();
        let updated: Vec<_> = rows.iter().map(|row| row.updated.as_nanos()).collect();
        let types: Vec<_> = rows.iter().map(|row| row.feedback_type.as_str()).collect();
        let users: Vec<_> = rows.iter().map(|row| row.user_id.as_str()).collect();
        let items: Vec<_> = rows.iter().map(|row| row.item_id.as_str()).collect();
        let labels: Vec<_> = rows.iter().map(|row| json_text(&row.labels)).collect();
        let comments: Vec<_> = rows.iter().map(|row| filled(&row.comment)).collect();
        self.client
            .execute(statement, &[&values, &times, &updated, &types, &users, &items, &labels, &comments])
            .await?;
        Ok(())
    }

    async fn copy(&self, rows: &[Feedback]) -> Fallible<()> {
        let mut sink = Box::pin(self.client.copy_in(&self.statements.copy_feedback).await?);
        for piece in copy::encode(rows)? {
            sink.feed(piece).await?;
        }
        sink.as_mut().finish().await?;
        Ok(())
    }

    async fn delete(&mut self, event: &Event) -> Fallible<Outcome> {
        self.aside = None;
        let changes = match event {
            Event::DeleteUser { user_id } => {
                let (key, with) = (user_id.as_str(), &self.statements.delete_user_feedback);
                self.known.users.remove(user_id);
                let deleted = self.delete_with(&self.statements.delete_user, with, key).await?;
                deleted.then(|| Change::UserDeleted { user_id: user_id.clone() })
            }
            Event::DeleteItem { item_id } => {
                let (key, with) = (item_id.as_str(), &self.statements.delete_item_feedback);
                self.known.items.remove(item_id);
                let deleted = self.delete_with(&self.statements.delete_item, with, key).await?;
                deleted.then(|| Change::ItemDeleted { item_id: item_id.clone() })
            }
            Event::DeleteFeedback { user_id, item_id, feedback_type } => {
                let (user, item) = (user_id.as_str(), item_id.as_str());
                let rows_deleted = match feedback_type.as_deref() {
                    None => self.client.execute(&self.statements.delete_pair, &[&user, &item]).await?,
                    Some(name) => {
                        let statement = &self.statements.delete_pair_of_type;
                        self.client.execute(statement, &[&user, &item, &name]).await?
                    }
                };
                let pairs = vec![(user_id.clone(), item_id.clone())];
                let changes = if rows_deleted == 0 { Vec::new() } else { vec![Change::Feedback { pairs }] };
                return Ok(Outcome { duplicate: false, rows_deleted, changes });
            }
            Event::PutUsers { .. }
            | Event::PatchUser { .. }
            | Event::PutItems { .. }
            | Event::PatchItem { .. }
            | Event::SetCategory { .. }
            | Event::PutFeedback { .. } => None,
        };
        Ok(Outcome { changes: changes.into_iter().collect(), ..Outcome::default() })
    }

    /// Removes an entity and, if there was one, its feedback.
    async fn delete_with(&self, entity: &Statement, feedback: &Statement, id: &str) -> Fallible<bool> {
        let deleted = self.client.execute(entity, &[&id]).await? > 0;
        if deleted {
            self.client.execute(feedback, &[&id]).await?;
        }
        Ok(deleted)
    }
}

fn deletes(event: &Event) -> bool {
    match event {
        Event::DeleteUser { .. } | Event::DeleteItem { .. } | Event::DeleteFeedback { .. } => true,
        Event::PutUsers { .. }
        | Event::PatchUser { .. }
        | Event::PutItems { .. }
        | Event::PatchItem { .. }
        | Event::SetCategory { .. }
        | Event::PutFeedback { .. } => false,
    }
}

/// Does something if there is something to do.
async fn maybe<T: Default, E>(
    wanted: bool,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, PostgresError>
where
    PostgresError: From<E>,
{
    if wanted { Ok(work.await?) } else { Ok(T::default()) }
}
