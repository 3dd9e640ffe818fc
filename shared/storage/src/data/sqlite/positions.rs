//! How far each log has been applied.

use rusqlite::{Connection, OptionalExtension as _, Result, Statement, params};
use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::migrate::with_prefix;
use crate::data::LogPosition;

/// The table of positions, inside the writer's transactions.
pub(super) struct Positions<'connection> {
    find: Statement<'connection>,
    store: Statement<'connection>,
    /// As in the table, or ahead of it until [`Positions::write`].
    known: FxHashMap<SmolStr, u64>,
    changed: Vec<SmolStr>,
}

impl<'connection> Positions<'connection> {
    pub fn open(connection: &'connection Connection, prefix: &str) -> Result<Self> {
        let prepare = |sql: &str| connection.prepare(&with_prefix(sql, prefix));
        Ok(Self {
            find: prepare(r#"SELECT sequence FROM "{p}positions" WHERE log = ?1"#)?,
            store: prepare(r#"INSERT OR REPLACE INTO "{p}positions" (log, sequence) VALUES (?1, ?2)"#)?,
            known: FxHashMap::default(),
            changed: Vec::new(),
        })
    }

    /// Moves the log on to this position; `false` if it was there already.
    pub fn advance(&mut self, position: &LogPosition) -> Result<bool> {
        if !self.known.contains_key(&position.log) {
            let found: Option<i64> =
                self.find.query_row([position.log.as_str()], |row| row.get(0)).optional()?;
            self.known.insert(position.log.clone(), found.map_or(0, i64::cast_unsigned));
        }
        let known = self.known.get_mut(&position.log).expect("it was looked up just now");
        if position.sequence <= *known {
            return Ok(false);
        }
        *known = position.sequence;
        if !self.changed.contains(&position.log) {
            self.changed.push(position.log.clone());
        }
        Ok(true)
    }

    /// Writes what has moved on.
    pub fn write(&mut self) -> Result<()> {
        for log in self.changed.drain(..) {
            let sequence = self.known.get(&log).copied().unwrap_or_default();
            self.store.execute(params![log.as_str(), sequence.cast_signed()])?;
        }
        Ok(())
    }

    /// Drops what is remembered of the table, which may have changed without us.
    pub fn reset(&mut self) {
        self.known.clear();
        self.changed.clear();
    }
}
