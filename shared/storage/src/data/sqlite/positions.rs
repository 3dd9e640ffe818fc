//! How far each log was applied.

use rusqlite::{Connection, OptionalExtension as _, Result, Statement, params};

use super::migrate::with_prefix;
use crate::data::{LogPosition, Positions};

/// The table of positions, inside the writer's transactions. Remembers what it read until it is told to forget.
pub(super) struct PositionTable<'connection> {
    find: Statement<'connection>,
    put: Statement<'connection>,
    known: Positions,
    /// Whether what is known differs from the table.
    moved: bool,
}

impl<'connection> PositionTable<'connection> {
    pub fn open(connection: &'connection Connection, prefix: &str) -> Result<Self> {
        let prepare = |sql: &str| connection.prepare(&with_prefix(sql, prefix));
        Ok(Self {
            find: prepare(r#"SELECT sequence FROM "{p}logs" WHERE log = ?1"#)?,
            put: prepare(r#"INSERT OR REPLACE INTO "{p}logs" (log, sequence) VALUES (?1, ?2)"#)?,
            known: Positions::default(),
            moved: false,
        })
    }

    /// Forgets what is remembered: it may be wrong.
    pub fn forget(&mut self) {
        self.known = Positions::default();
        self.moved = false;
    }

    /// Enters a position; `false` if it was applied already.
    pub fn enter(&mut self, position: &LogPosition) -> Result<bool> {
        if !self.known.0.contains_key(&position.log) {
            let found =
                self.find.query_row([position.log.as_str()], |row| row.get::<_, i64>(0)).optional()?;
            if let Some(sequence) = found {
                self.known.0.insert(position.log.clone(), sequence.unsigned_abs());
            }
        }
        let entered = self.known.enter(position);
        self.moved |= entered;
        Ok(entered)
    }

    /// Writes down what was entered.
    pub fn keep(&mut self) -> Result<()> {
        if !self.moved {
            return Ok(());
        }
        for (log, sequence) in &self.known.0 {
            self.put.execute(params![log.as_str(), sequence.cast_signed()])?;
        }
        self.moved = false;
        Ok(())
    }
}
