//! One transaction of the writer: what is read, what the events make of it, what is written.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::SinkExt as _;
use smol_str::SmolStr;
use tokio::try_join;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use ulex_domain::{Change, Command, Feedback, ItemId, Timestamp, User, UserId};

use super::aside::{Aside, WORTHWHILE, stored_feedback};
use super::error::PostgresError;
use super::known::Known;
use super::statements::Statements;
use super::working_set::{Key, Stored, VersionedItem, Wanted, WorkingSet, Writes};
use super::{copy, decode};
use crate::data::row_text::{filled, json_text};
use crate::data::search_text::SearchText;
use crate::data::{LogPosition, Outcome, Submission};

/// Key of the mark among the facts about the store.
pub(super) const MARK: &str = "last_writer";
/// From this many new rows on `COPY` is faster than an insert.
const COPY_FROM: usize = 100;

type Fallible<T> = Result<T, PostgresError>;

/// A connection in the middle of a transaction.
///
/// What is asked for does not depend on what was asked before, mostly, so a small group takes three round trips: begin and
/// look up everything, write everything, commit.
pub(super) struct Transaction<'session> {
    client: &'session Client,
    statements: &'session Statements,
    known: &'session mut Known,
    search: SearchText,
    /// Left in the store when the ledger is written.
    mark: &'session str,
    /// Sees what this transaction sees, until that has changed something.
    aside: Option<&'session mut Aside>,
}

/// The marks that writers leave in the store, one in every transaction and no two alike.
#[derive(Clone, Copy)]
pub(super) struct Marks<'writer> {
    /// The mark of this writer's last transaction: it stands there unless somebody wrote or restored the tables since.
    pub before: &'writer str,
    /// What this transaction leaves.
    pub after: &'writer str,
}

/// What the server says when a transaction begins.
struct Begun {
    search: SearchText,
    mark: Option<String>,
}

/// Ids and positions that are new.
#[derive(Default)]
struct Ledger<'event> {
    ids: Vec<&'event str>,
    /// The newest position of each log.
    positions: Vec<&'event LogPosition>,
}

/// Rows that were looked up for a run of events.
struct Found<'event> {
    known_users: Vec<&'event UserId>,
    known_items: Vec<&'event ItemId>,
    users: Vec<Row>,
    whole_users: Vec<Row>,
    items: Vec<Row>,
    whole_items: Vec<Row>,
    /// Each with the place of the first key that was asked for.
    feedback: Vec<(usize, Vec<Row>)>,
}

impl<'session> Transaction<'session> {
    /// Begins a transaction, waits until no other writer has one, and applies submissions in their order. Whether that
    /// stays is decided by the commit.
    ///
    /// What is known holds if the store has the mark of this writer's last transaction. If the transaction does not end
    /// well, whoever began it has to forget it.
    pub async fn run(
        (client, statements): (&'session Client, &'session Statements),
        known: &'session mut Known,
        aside: &'session mut Aside,
        marks: Marks<'session>,
        submissions: &[&Submission],
    ) -> Fallible<Vec<Outcome>> {
        let search = SearchText::of_columns::<&str>(&[]);
        let leading: Vec<_> = submissions.iter().map_while(|one| put_of(&one.event)).collect();
        let wanted = Wanted::by(&leading);
        // Another connection may look up a part of many, but not before this one has the lock.
        let at_once = !aside.is_open() || wanted.feedback.len() < WORTHWHILE;
        let mut transaction =
            Self { client, statements, known, search, mark: marks.after, aside: Some(aside) };
        let (begun, (known_ids, positions), found) = try_join!(
            // Sent in this order, without waiting for answers.
            biased;
            transaction.begin(),
            transaction.entered(submissions),
            async { if at_once { transaction.look_up(&wanted, None).await.map(Some) } else { Ok(None) } },
        )?;
        transaction.search = begun.search;
        let mut found = found;
        if begun.mark.as_deref() != Some(marks.before) {
            // What was found was asked for by what is not known any more.
            found = None;
            *transaction.known = Known::default();
        }
        let (fresh, ledger) = news(submissions, &known_ids, &positions)?;
        transaction.apply(submissions, &fresh, ledger, (leading.len(), &wanted, found)).await
    }

    async fn begin(&self) -> Fallible<Begun> {
        let columns: [&(dyn ToSql + Sync); 1] = [&"search_columns"];
        let mark: [&(dyn ToSql + Sync); 1] = [&MARK];
        let (_began, _locked, columns, mark) = try_join!(
            biased;
            self.client.batch_execute("BEGIN"),
            self.client.query_one(&self.statements.lock, &[]),
            self.client.query_opt(&self.statements.meta, &columns),
            self.client.query_opt(&self.statements.meta, &mark),
        )?;
        let columns: String = columns.map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
        let search = SearchText::of_columns(&columns.split(' ').collect::<Vec<_>>());
        Ok(Begun { search, mark: mark.map(|row| row.try_get(0)).transpose()? })
    }

    /// Those of the ids that are entered already, and how far each log was applied.
    async fn entered(&self, submissions: &[&Submission]) -> Fallible<(Vec<Row>, Vec<Row>)> {
        let ids = submissions.iter().filter_map(|submission| submission.event_id.as_ref());
        let ids: BTreeSet<&str> = ids.map(ulex_domain::EventId::as_str).collect();
        let is_of_log = submissions.iter().any(|submission| submission.position.is_some());
        try_join!(
            biased;
            self.ask(&self.statements.known_events, ids.into_iter().collect()),
            maybe(is_of_log, self.client.query(&self.statements.positions, &[])),
        )
    }

    /// Applies what is fresh. The first `leading` submissions are no deletions, and this is what they want, and perhaps
    /// what was found of it.
    async fn apply<'event>(
        &mut self,
        submissions: &[&'event Submission],
        fresh: &[usize],
        ledger: Ledger<'event>,
        (leading, wanted, found): (usize, &Wanted<'event>, Option<Found<'event>>),
    ) -> Fallible<Vec<Outcome>> {
        let mut outcomes = vec![Outcome { duplicate: true, ..Outcome::default() }; submissions.len()];
        let (mut ledger, mut found) = (Some(ledger), Some(found));
        // Runs of events that are applied together, and each deletion alone.
        let is_put = |one: &Submission| put_of(&one.event).is_some();
        for run in fresh.chunk_by(|one, other| is_put(submissions[*one]) && is_put(submissions[*other])) {
            let puts: Vec<_> =
                run.iter().map(|place| submissions[*place]).filter(|one| is_put(one)).collect();
            if puts.is_empty() {
                self.enter(ledger.take()).await?;
                // What was found is outdated by what is deleted now.
                found = None;
                outcomes[run[0]] = self.delete(submissions[run[0]]).await?;
                continue;
            }
            // Events that are no news among the first ones make no difference to what is wanted: it is more, not other.
            let is_wanted = run.last().is_some_and(|last| *last < leading);
            let mut set = match found.take().filter(|_found| is_wanted) {
                Some(Some(found)) => self.take_in(wanted, found)?,
                Some(None) => self.load(wanted).await?,
                None => {
                    let events: Vec<_> = puts.iter().map(|one| &one.event).collect();
                    self.load(&Wanted::by(&events)).await?
                }
            };
            let changes: Vec<_> = puts.iter().map(|one| set.apply(&one.event, one.version())).collect();
            Box::pin(self.write(&set.into_writes(), ledger.take())).await?;
            for (place, changes) in run.iter().zip(changes) {
                outcomes[*place] = Outcome { duplicate: false, rows_deleted: 0, changes };
            }
        }
        self.enter(ledger).await?;
        Ok(outcomes)
    }

    /// Enters ids and positions, and leaves the mark.
    async fn enter(&self, ledger: Option<Ledger<'_>>) -> Fallible<()> {
        let Some(Ledger { ids, positions }) = ledger else { return Ok(()) };
        let now = Timestamp::now().as_nanos();
        let events: [&(dyn ToSql + Sync); 2] = [&ids, &now];
        let mark: [&(dyn ToSql + Sync); 2] = [&MARK, &self.mark];
        try_join!(
            async { Ok::<_, PostgresError>(self.client.execute(&self.statements.put_meta, &mark).await?) },
            maybe(!ids.is_empty(), self.client.execute(&self.statements.put_events, &events)),
            maybe(!positions.is_empty(), self.put_positions(&positions)),
        )?;
        Ok(())
    }

    async fn put_positions(&self, positions: &[&LogPosition]) -> Result<u64, tokio_postgres::Error> {
        let logs: Vec<_> = positions.iter().map(|at| at.log.as_str()).collect();
        let epochs: Vec<_> = positions.iter().map(|at| at.epoch.cast_signed()).collect();
        let sequences: Vec<_> = positions.iter().map(|at| at.sequence.cast_signed()).collect();
        let times: Vec<_> = positions.iter().map(|at| at.appended_at_nanos).collect();
        let sums: Vec<_> = positions.iter().map(|at| i64::from(at.crc)).collect();
        let columns: [&(dyn ToSql + Sync); 5] = [&logs, &epochs, &sequences, &times, &sums];
        self.client.execute(&self.statements.put_positions, &columns).await
    }

    /// Rows that belong to any of the keys; nothing is asked for none.
    async fn ask(&self, statement: &Statement, keys: Vec<&str>) -> Fallible<Vec<Row>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.client.query(statement, &[&keys]).await?)
    }

    /// What a run of events that are no deletions is applied to.
    async fn load<'event>(&mut self, wanted: &Wanted<'event>) -> Fallible<WorkingSet<'event>> {
        let aside = self.aside.take();
        let found = self.look_up(wanted, aside).await?;
        self.take_in(wanted, found)
    }

    async fn look_up<'event>(
        &self,
        wanted: &Wanted<'event>,
        aside: Option<&mut Aside>,
    ) -> Fallible<Found<'event>> {
        let (known_users, strange) =
            wanted.users.iter().copied().partition::<Vec<_>, _>(|id| self.known.users.contains(id));
        let user_ids = |ids: Vec<&'event UserId>| ids.into_iter().map(UserId::as_str).collect();
        let (strange_users, whole_users) =
            (user_ids(strange), user_ids(wanted.whole_users.iter().copied().collect()));
        let (known_items, strange) =
            wanted.items.iter().copied().partition::<Vec<_>, _>(|id| self.known.items.contains(id));
        let item_ids = |ids: Vec<&'event ItemId>| ids.into_iter().map(ItemId::as_str).collect();
        let (strange_items, whole_items) =
            (item_ids(strange), item_ids(wanted.whole_items.iter().copied().collect()));
        let (users, whole_users, items, whole_items, feedback) = try_join!(
            biased;
            self.ask(&self.statements.known_users, strange_users),
            self.ask(&self.statements.whole_users, whole_users),
            self.ask(&self.statements.known_items, strange_items),
            self.ask(&self.statements.whole_items, whole_items),
            self.stored(&wanted.feedback, aside),
        )?;
        Ok(Found { known_users, known_items, users, whole_users, items, whole_items, feedback })
    }

    fn take_in<'event>(
        &mut self,
        wanted: &Wanted<'event>,
        found: Found<'event>,
    ) -> Fallible<WorkingSet<'event>> {
        let mut set = WorkingSet::of(wanted);
        found.known_users.into_iter().for_each(|id| set.know_user(id));
        found.known_items.into_iter().for_each(|id| set.know_item(id));
        for row in &found.users {
            let id = UserId::new(row.try_get::<_, &str>(0)?);
            self.known.users.insert(&id);
            wanted.users.get(&id).into_iter().for_each(|id| set.know_user(id));
        }
        for row in &found.items {
            let id = ItemId::new(row.try_get::<_, &str>(0)?);
            self.known.items.insert(&id);
            wanted.items.get(&id).into_iter().for_each(|id| set.know_item(id));
        }
        for row in &found.whole_users {
            let user = decode::user(row)?;
            wanted.whole_users.get(&user.user_id).into_iter().for_each(|id| set.load_user(id, user.clone()));
        }
        for row in &found.whole_items {
            let item = decode::item(row)?;
            wanted.whole_items.get(&item.item_id).into_iter().for_each(|id| set.load_item(id, item.clone()));
        }
        for (first, rows) in &found.feedback {
            for row in rows {
                let place = usize::try_from(row.try_get::<_, i64>(0)? - 1);
                let place =
                    place.ok().map(|place| first + place).filter(|place| *place < wanted.feedback.len());
                let place =
                    place.ok_or(PostgresError::Protocol("a row has a place that was not asked for"))?;
                let stored = Stored {
                    value: row.try_get(1)?,
                    timestamp: Timestamp::from_nanos(row.try_get(2)?),
                    updated: Timestamp::from_nanos(row.try_get(3)?),
                };
                set.load_feedback(place, stored);
            }
        }
        Ok(set)
    }

    /// What is stored under the keys, half of it looked up by another connection if there is one and that is worth it.
    async fn stored(&self, keys: &[Key<'_>], aside: Option<&mut Aside>) -> Fallible<Vec<(usize, Vec<Row>)>> {
        let ask = |keys| stored_feedback(self.client, &self.statements.stored_feedback, keys);
        let Some(aside) = aside.filter(|aside| aside.is_open() && keys.len() >= WORTHWHILE) else {
            return Ok(vec![(0, ask(keys).await?)]);
        };
        let (front, back) = keys.split_at(keys.len() / 2);
        let (theirs, ours) = tokio::join!(aside.stored(front), ask(back));
        let theirs = match theirs {
            Some(rows) => rows,
            None => ask(front).await?,
        };
        Ok(vec![(0, theirs), (front.len(), ours?)])
    }

    async fn write(&mut self, writes: &Writes, ledger: Option<Ledger<'_>>) -> Fallible<()> {
        self.aside = None;
        let types: BTreeSet<_> = writes.new_feedback.iter().map(|row| &row.feedback_type).collect();
        let types: Vec<_> = types.into_iter().filter(|name| !self.known.types.contains(name)).collect();
        let (few, many) = match writes.new_feedback.as_slice() {
            few if few.len() < COPY_FROM => (few, [].as_slice()),
            many => ([].as_slice(), many),
        };
        let (insert, update) = (&self.statements.insert_feedback, &self.statements.update_feedback);
        try_join!(
            biased;
            self.enter(ledger),
            maybe(!writes.users.is_empty(), self.put_users(&writes.users)),
            maybe(!writes.items.is_empty(), self.put_items(&writes.items)),
            maybe(!types.is_empty(), self.put_types(&types)),
            maybe(!writes.old_feedback.is_empty(), self.write_rows(update, &writes.old_feedback)),
            maybe(!few.is_empty(), self.write_rows(insert, few)),
        )?;
        if !many.is_empty() {
            self.copy(many).await?;
        }
        types.into_iter().for_each(|name| self.known.types.insert(name));
        writes.users.iter().for_each(|user| self.known.users.insert(&user.user_id));
        writes.items.iter().for_each(|item| self.known.items.insert(&item.item.item_id));
        Ok(())
    }

    async fn put_users(&self, users: &[User]) -> Fallible<()> {
        let ids: Vec<_> = users.iter().map(|user| user.user_id.as_str()).collect();
        let labels: Vec<_> = users.iter().map(|user| json_text(&user.labels)).collect();
        let comments: Vec<_> = users.iter().map(|user| filled(&user.comment)).collect();
        self.client.execute(&self.statements.put_users, &[&ids, &labels, &comments]).await?;
        Ok(())
    }

    async fn put_items(&self, written: &[VersionedItem]) -> Fallible<()> {
        let items: Vec<_> = written.iter().map(|one| &one.item).collect();
        let ids: Vec<_> = items.iter().map(|item| item.item_id.as_str()).collect();
        let hidden: Vec<_> = items.iter().map(|item| item.is_hidden).collect();
        let categories: Vec<_> = items.iter().map(|item| decode::categories_text(item)).collect();
        let times: Vec<_> = items.iter().map(|item| item.timestamp.as_nanos()).collect();
        let labels: Vec<_> = items.iter().map(|item| json_text(&item.labels)).collect();
        let comments: Vec<_> = items.iter().map(|item| filled(&item.comment)).collect();
        let words: Vec<_> = items.iter().map(|item| super::search::word_list(&self.search, item)).collect();
        let put = &self.statements.put_items;
        let epochs: Vec<_> = written.iter().map(|one| one.version.epoch.cast_signed()).collect();
        let positions: Vec<_> = written.iter().map(|one| one.version.position.cast_signed()).collect();
        let columns: [&(dyn ToSql + Sync); 9] =
            [&ids, &hidden, &categories, &times, &labels, &comments, &words, &epochs, &positions];
        self.client.execute(put, &columns).await?;
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
        // The server works on a piece while the next one is made.
        for piece in copy::pieces(rows) {
            sink.send(piece?).await?;
        }
        sink.as_mut().finish().await?;
        Ok(())
    }

    async fn delete(&mut self, submission: &Submission) -> Fallible<Outcome> {
        self.aside = None;
        let changes = match &submission.event {
            Command::DeleteUser { user_id } => {
                let (key, with) = (user_id.as_str(), &self.statements.delete_user_feedback);
                self.known.users.remove(user_id);
                let deleted = self.delete_with(&self.statements.delete_user, with, key).await?;
                deleted.then(|| Change::UserDeleted { user_id: user_id.clone() })
            }
            Command::DeleteItem { item_id } => {
                let (key, with) = (item_id.as_str(), &self.statements.delete_item_feedback);
                self.known.items.remove(item_id);
                let deleted = self.delete_with(&self.statements.delete_item, with, key).await?;
                let version = submission.version();
                deleted.then(|| Change::ItemDeleted { item_id: item_id.clone(), version })
            }
            Command::DeleteFeedback { user_id, item_id, feedback_type } => {
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
            Command::PutUsers { .. }
            | Command::PatchUser { .. }
            | Command::PutItems { .. }
            | Command::PatchItem { .. }
            | Command::SetCategory { .. }
            | Command::PutFeedback { .. } => None,
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

/// Says which submissions are new, by their places, and what is to be entered.
fn news<'event>(
    submissions: &[&'event Submission],
    known_ids: &[Row],
    applied: &[Row],
) -> Fallible<(Vec<usize>, Ledger<'event>)> {
    let mut known: HashSet<&str> = known_ids.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let stored = applied.iter().map(decode::position).collect::<Fallible<Vec<_>>>()?;
    let stored: BTreeMap<&str, &LogPosition> = stored.iter().map(|at| (at.log.as_str(), at)).collect();
    let mut moved: BTreeMap<&str, &'event LogPosition> = BTreeMap::new();
    if submissions.first().is_some_and(|first| first.is_out_of_place(stored.values().copied())) {
        return Err(PostgresError::OutOfPlace);
    }
    let (mut fresh, mut ledger) = (Vec::with_capacity(submissions.len()), Ledger::default());
    for (place, submission) in submissions.iter().enumerate() {
        // The position first: an entry of a log is settled whether or not its event was known.
        let is_ahead = submission.position.as_ref().is_none_or(|at| {
            let log = at.log.as_str();
            at.is_ahead_of(moved.get(log).copied().or_else(|| stored.get(log).copied()))
        });
        if let Some(position) = submission.position.as_ref().filter(|_position| is_ahead) {
            moved.insert(position.log.as_str(), position);
        }
        let id = submission.event_id.as_ref().filter(|_id| is_ahead);
        let is_unknown = id.is_none_or(|id| known.insert(id.as_str()));
        ledger.ids.extend(id.filter(|_id| is_unknown).map(ulex_domain::EventId::as_str));
        if is_ahead && is_unknown {
            fresh.push(place);
        }
    }
    ledger.positions = moved.into_values().collect();
    Ok((fresh, ledger))
}

/// An event that puts something there or changes it; `None` for one that deletes.
fn put_of(event: &Command) -> Option<&Command> {
    match event {
        Command::DeleteUser { .. } | Command::DeleteItem { .. } | Command::DeleteFeedback { .. } => None,
        Command::PutUsers { .. }
        | Command::PatchUser { .. }
        | Command::PutItems { .. }
        | Command::PatchItem { .. }
        | Command::SetCategory { .. }
        | Command::PutFeedback { .. } => Some(event),
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
