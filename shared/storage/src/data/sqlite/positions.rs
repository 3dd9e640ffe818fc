//! How far each log has been applied.

use rusqlite::{Connection, OptionalExtension as _, Result, Statement, params};
use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::decode;
use super::migrate::with_prefix;
use crate::data::LogPosition;

/// The table of positions, inside the writer's transactions.
pub(super) struct Positions<'connection> {
    find: Statement<'connection>,
    store: Statement<'connection>,
    /// As in the table, or ahead of it until [`Positions::write`].
    known: FxHashMap<SmolStr, Option<LogPosition>>,
    changed: Vec<SmolStr>,
}

impl<'connection> Positions<'connection> {
    pub fn open(connection: &'connection Connection, prefix: &str) -> Result<Self> {
        let prepare = |sql: &str| connection.prepare(&with_prefix(sql, prefix));
        Ok(Self {
            find: prepare(
                r#"SELECT log, epoch, sequence, appended_at, crc FROM "{p}positions" WHERE log = ?1"#,
            )?,
            store: prepare(
                r#"INSERT OR REPLACE INTO "{p}positions" (log, epoch, sequence, appended_at, crc)
                   VALUES (?1, ?2, ?3, ?4, ?5)"#,
            )?,
            known: FxHashMap::default(),
            changed: Vec::new(),
        })
    }

    /// Moves the log on to this position; `false` if it was there already.
    pub fn advance(&mut self, position: &LogPosition) -> Result<bool> {
        if !self.known.contains_key(&position.log) {
            let found = self.find.query_row([position.log.as_str()], decode::position).optional()?;
            self.known.insert(position.log.clone(), found);
        }
        let known = self.known.get_mut(&position.log).expect("it was looked up just now");
        if !position.is_ahead_of(known.as_ref()) {
            return Ok(false);
        }
        *known = Some(position.clone());
        if !self.changed.contains(&position.log) {
            self.changed.push(position.log.clone());
        }
        Ok(true)
    }

    /// Writes what has moved on.
    pub fn write(&mut self) -> Result<()> {
        for log in self.changed.drain(..) {
            let Some(Some(at)) = self.known.get(&log) else { continue };
            let (epoch, sequence) = (at.epoch.cast_signed(), at.sequence.cast_signed());
            self.store.execute(params![log.as_str(), epoch, sequence, at.appended_at_nanos, at.crc])?;
        }
        Ok(())
    }

    /// Drops what is remembered of the table, which may have changed without us.
    pub fn reset(&mut self) {
        self.known.clear();
        self.changed.clear();
    }
}
