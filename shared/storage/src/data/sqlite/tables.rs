//! What an event does to the tables. Runs on the writer's thread, inside its transactions.

use rusqlite::{Connection, Result, Statement, params};
use smol_str::SmolStr;
use ulex_domain::{Command, ItemId, Timestamp, UserId};

use super::SqliteSettings;
use super::dictionary::{Dictionary, Known};
use super::error::SqliteError;
use super::fold::Fold;
use super::ledger::Ledger;
use super::migrate::with_prefix;
use super::positions::Positions;
use super::prepared::{Call, Prepared};
use super::read_sql::ReadSql;
use super::search::SearchIndex;
use crate::data::Outcome;

mod entities;
mod feedback;

/// Texts of a kind the writer remembers; about 40 bytes each.
const REMEMBERED: usize = 1 << 20;

/// The tables of one prefix, as the writer sees them.
pub(super) struct Tables<'connection> {
    connection: &'connection Connection,
    prefix: String,
    read: ReadSql,
    users: Dictionary<UserId>,
    items: Dictionary<ItemId>,
    types: Dictionary<SmolStr>,
    pub search: SearchIndex<'connection>,
    ledger: Ledger<'connection>,
    positions: Positions<'connection>,
    fold: Fold<'connection>,
    statements: Statements<'connection>,
    /// Changes when another process wrote to the file: what is remembered may be wrong then.
    data_version: i64,
}

/// Prepared once; the SQL is in [`Statements::prepare`].
struct Statements<'connection> {
    begin: Statement<'connection>,
    commit: Statement<'connection>,
    data_version: Statement<'connection>,
    find_user: Statement<'connection>,
    find_item: Statement<'connection>,
    find_type: Statement<'connection>,
    new_user: Statement<'connection>,
    new_item: Statement<'connection>,
    new_type: Statement<'connection>,
    put_user: Statement<'connection>,
    put_item: Statement<'connection>,
    old_row: Statement<'connection>,
    accumulate: Statement<'connection>,
    overwrite: Statement<'connection>,
    index_by_item: Statement<'connection>,
}

impl<'connection> Statements<'connection> {
    fn prepare(connection: &'connection Connection, prefix: &str) -> Result<Self> {
        let prepare = |sql: &str| connection.prepare(&with_prefix(sql, prefix));
        Ok(Self {
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            data_version: prepare("PRAGMA data_version")?,
            find_user: prepare(r#"SELECT no FROM "{p}users" WHERE id = ?1"#)?,
            find_item: prepare(r#"SELECT no FROM "{p}items" WHERE id = ?1"#)?,
            find_type: prepare(r#"SELECT no FROM "{p}types" WHERE name = ?1"#)?,
            new_user: prepare(r#"INSERT INTO "{p}users" (id) VALUES (?1)"#)?,
            new_item: prepare(r#"INSERT INTO "{p}items" (id, epoch, position) VALUES (?1, ?2, ?3)"#)?,
            new_type: prepare(r#"INSERT INTO "{p}types" (name) VALUES (?1)"#)?,
            put_user: prepare(
                r#"INSERT INTO "{p}users" (id, labels, comment) VALUES (?1, ?2, ?3)
                   ON CONFLICT (id) DO UPDATE SET labels = excluded.labels, comment = excluded.comment
                   RETURNING no"#,
            )?,
            put_item: prepare(
                r#"INSERT INTO "{p}items" AS stored
                       (id, is_hidden, categories, time, labels, comment, epoch, position)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                   ON CONFLICT (id) DO UPDATE SET is_hidden = excluded.is_hidden,
                       categories = excluded.categories, time = excluded.time, labels = excluded.labels,
                       comment = excluded.comment, epoch = max(stored.epoch, excluded.epoch),
                       position = CASE WHEN (excluded.epoch, excluded.position) > (stored.epoch, stored.position)
                           THEN excluded.position ELSE stored.position END
                   RETURNING no"#,
            )?,
            old_row: prepare(
                r#"SELECT value, time, ifnull(updated, time) FROM "{p}feedback"
                   WHERE type_no = ?1 AND user_no = ?2 AND item_no = ?3"#,
            )?,
            // Parameters 4 to 6 are the row together with what "feedback" has of it, 9 and 10 the row alone. One
            // row at a time and no query inside: then SQLite needs no journal to undo the statement. The sum is
            // kept finite, as the values added are.
            accumulate: prepare(
                r#"INSERT INTO "{p}recent" (type_no, user_no, item_no, value, time, updated, labels, comment)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                   ON CONFLICT (type_no, user_no, item_no) DO UPDATE SET
                       value = max(-1.7976931348623157e308, min(1.7976931348623157e308, value + ?9)),
                       time = min(time, ?10), updated = max(ifnull(updated, time), ?10),
                       labels = excluded.labels, comment = excluded.comment"#,
            )?,
            overwrite: prepare(
                r#"INSERT OR REPLACE INTO "{p}recent" (type_no, user_no, item_no, value, time, updated, labels, comment)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"#,
            )?,
            index_by_item: prepare(
                r#"INSERT INTO "{p}recent_by_item" (type_no, user_no, item_no) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO NOTHING"#,
            )?,
        })
    }
}

impl<'connection> Tables<'connection> {
    pub fn open(connection: &'connection Connection, settings: &SqliteSettings) -> Result<Self> {
        let prefix = settings.table_prefix.as_str();
        connection.set_prepared_statement_cache_capacity(64);
        let mut tables = Self {
            connection,
            prefix: prefix.to_owned(),
            read: ReadSql::new(prefix),
            users: Dictionary::new(REMEMBERED),
            items: Dictionary::new(REMEMBERED),
            types: Dictionary::new(REMEMBERED),
            search: SearchIndex::open(connection, prefix)?,
            ledger: Ledger::open(connection, prefix)?,
            positions: Positions::open(connection, prefix)?,
            fold: Fold::open(connection, prefix, settings.recent_rows)?,
            statements: Statements::prepare(connection, prefix)?,
            data_version: 0,
        };
        tables.begin()?;
        tables.statements.commit.execute([])?;
        Ok(tables)
    }

    /// Runs `work` in one transaction. On an error nothing has changed, in the tables and in memory.
    pub fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> std::result::Result<T, SqliteError> {
        self.begin()?;
        let done = work(self).and_then(|done| self.statements.commit.execute([]).map(|_rows| done));
        if done.is_err() {
            self.roll_back();
        }
        Ok(done?)
    }

    fn begin(&mut self) -> Result<()> {
        self.statements.begin.execute([])?;
        let version = self.statements.data_version.query_row([], |row| row.get(0));
        match version {
            Ok(version) if version == self.data_version => Ok(()),
            Ok(version) => {
                self.data_version = version;
                self.forget().inspect_err(|_error| self.roll_back())
            }
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    /// Drops what is remembered of the tables, which may have changed without us.
    fn forget(&mut self) -> Result<()> {
        let is_empty = |table: &str| {
            let sql =
                with_prefix(&format!(r#"SELECT NOT EXISTS (SELECT 1 FROM "{{p}}{table}")"#), &self.prefix);
            self.connection.query_row(&sql, [], |row| row.get(0))
        };
        let (users, items, types) = (is_empty("users")?, is_empty("items")?, is_empty("types")?);
        self.users.reset(users);
        self.items.reset(items);
        self.types.reset(types);
        self.positions.reset();
        self.fold.recount()?;
        self.search.reload()
    }

    fn roll_back(&mut self) {
        // After some failures, such as a full disk, SQLite has rolled back by itself.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "could not roll back");
        }
        self.users.reset(false);
        self.items.reset(false);
        self.types.reset(false);
        self.positions.reset();
        // The next transaction reads again whatever else is remembered.
        self.data_version = -1;
    }

    pub fn apply(&mut self, call: &Call, now: Timestamp) -> Result<Vec<Outcome>> {
        let outcomes: Result<Vec<_>> =
            call.submissions.iter().map(|prepared| self.submit(prepared, now)).collect();
        let outcomes = outcomes?;
        self.positions.write()?;
        self.ledger.prune_step(now)?;
        self.fold.step()?;
        Ok(outcomes)
    }

    fn submit(&mut self, prepared: &Prepared, now: Timestamp) -> Result<Outcome> {
        let submission = &prepared.submission;
        if let Some(position) = &submission.position
            && !self.positions.advance(position)?
        {
            return Ok(Outcome { duplicate: true, ..Outcome::default() });
        }
        if let Some(id) = &submission.event_id
            && !self.ledger.enter(id, now)?
        {
            return Ok(Outcome { duplicate: true, ..Outcome::default() });
        }
        let changes = match &submission.event {
            Command::PutUsers { users } => self.put_users(users, prepared),
            Command::PatchUser { user_id, patch } => self.patch_user(user_id, patch),
            Command::DeleteUser { user_id } => self.delete_user(user_id),
            Command::PutItems { items } => self.put_items(items, prepared),
            Command::PatchItem { item_id, patch } => {
                self.change_item(item_id, prepared.submission.version(), |item| patch.apply(item))
            }
            Command::SetCategory { item_id, category, present } => {
                self.change_item(item_id, prepared.submission.version(), |item| {
                    crate::data::set_category(item, category, *present);
                })
            }
            Command::DeleteItem { item_id } => self.delete_item(item_id, prepared.submission.version()),
            Command::PutFeedback { rows, mode, insert_users, insert_items } => {
                let insert = feedback::Insert { users: *insert_users, items: *insert_items };
                self.put_feedback(rows, prepared, *mode, insert)
            }
            Command::DeleteFeedback { user_id, item_id, feedback_type } => {
                return self.delete_feedback(user_id, item_id, feedback_type.as_deref());
            }
        }?;
        Ok(Outcome { duplicate: false, rows_deleted: 0, changes })
    }

    /// The user's number, if it exists.
    fn user_number(&mut self, id: &UserId) -> Result<Option<i64>> {
        number_in(&mut self.users, id, id.as_str(), &mut self.statements.find_user)
    }

    /// The item's number, if it exists.
    fn item_number(&mut self, id: &ItemId) -> Result<Option<i64>> {
        number_in(&mut self.items, id, id.as_str(), &mut self.statements.find_item)
    }

    /// The type's number; a type is created when it is first used.
    fn type_number(&mut self, name: &SmolStr) -> Result<i64> {
        if let Some(number) = number_in(&mut self.types, name, name, &mut self.statements.find_type)? {
            return Ok(number);
        }
        let number = self.statements.new_type.insert([name.as_str()])?;
        self.types.insert(name, number);
        Ok(number)
    }

    /// Removes every row of every table; what is searchable stays defined.
    pub fn purge(&mut self) -> std::result::Result<(), SqliteError> {
        let sql = with_prefix(
            r#"DELETE FROM "{p}users"; DELETE FROM "{p}items"; DELETE FROM "{p}types";
               DELETE FROM "{p}recent"; DELETE FROM "{p}feedback"; DELETE FROM "{p}recent_by_item";
               DELETE FROM "{p}by_item"; DELETE FROM "{p}ledger"; DELETE FROM "{p}positions";
               INSERT INTO "{p}search" ("{p}search") VALUES ('delete-all')"#,
            &self.prefix,
        );
        self.transaction(|tables| {
            tables.connection.execute_batch(&sql)?;
            tables.forget()
        })
    }

    /// Writes something that matters to nobody, to prove that writing works.
    pub fn touch(&mut self) -> Result<()> {
        let sql = with_prefix(r#"INSERT OR REPLACE INTO "{p}meta" VALUES ('touched', ?1)"#, &self.prefix);
        self.connection.prepare_cached(&sql)?.execute(params![Timestamp::now().to_string()]).map(drop)
    }
}

/// The number of `text`, from memory or from the table.
fn number_in<Text: std::hash::Hash + Eq + Clone>(
    dictionary: &mut Dictionary<Text>,
    key: &Text,
    text: &str,
    find: &mut Statement<'_>,
) -> Result<Option<i64>> {
    match dictionary.get(key) {
        Known::Number(number) => Ok(Some(number)),
        Known::Absent => Ok(None),
        Known::Unknown => {
            use rusqlite::OptionalExtension as _;
            let found = find.query_row([text], |row| row.get(0)).optional()?;
            if let Some(number) = found {
                dictionary.insert(key, number);
            }
            Ok(found)
        }
    }
}
