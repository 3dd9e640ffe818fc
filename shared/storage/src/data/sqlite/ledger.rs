//! Which events were applied.
//!
//! Ids are kept for at least a day. The table has no index by age: a cursor walks it by id and removes what is
//! too old, twice as fast as new ids come, so an id is gone after about a day and a half under steady load.

use rusqlite::{Connection, Result, Statement, params};
use ulex_domain::{EventId, Timestamp};

use super::migrate::with_prefix;
use crate::data::LEDGER_NANOS;

/// After this many new ids the cursor looks at twice as many.
const STEP: i64 = 256;

/// The ledger table, inside the writer's transactions.
pub(super) struct Ledger<'connection> {
    insert: Statement<'connection>,
    walk: Statement<'connection>,
    delete: Statement<'connection>,
    entered: i64,
    cursor: String,
}

impl<'connection> Ledger<'connection> {
    pub fn open(connection: &'connection Connection, prefix: &str) -> Result<Self> {
        let prepare = |sql: &str| connection.prepare(&with_prefix(sql, prefix));
        Ok(Self {
            insert: prepare(
                r#"INSERT INTO "{p}ledger" (event_id, time) VALUES (?1, ?2) ON CONFLICT DO NOTHING"#,
            )?,
            walk: prepare(
                r#"SELECT event_id, time FROM "{p}ledger" WHERE event_id > ?1 ORDER BY event_id LIMIT ?2"#,
            )?,
            delete: prepare(r#"DELETE FROM "{p}ledger" WHERE event_id = ?1"#)?,
            entered: 0,
            cursor: String::new(),
        })
    }

    /// Enters an id; `false` if it was there.
    pub fn enter(&mut self, id: &EventId, now: Timestamp) -> Result<bool> {
        let rows = self.insert.execute(params![id.as_str(), now.as_nanos()])?;
        self.entered += i64::from(rows == 1);
        Ok(rows == 1)
    }

    /// Removes some of what is too old, if enough is new.
    pub fn prune_step(&mut self, now: Timestamp) -> Result<()> {
        if self.entered < STEP {
            return Ok(());
        }
        let looked_at = 2 * self.entered;
        self.entered = 0;
        let oldest_kept = now.plus_nanos(-LEDGER_NANOS).as_nanos();
        let mut expired = Vec::new();
        let mut last = None;
        let mut rows = self.walk.query(params![self.cursor, looked_at])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            if row.get::<_, i64>(1)? < oldest_kept {
                expired.push(id.clone());
            }
            last = Some(id);
        }
        drop(rows);
        for id in &expired {
            self.delete.execute([id])?;
        }
        self.cursor = last.unwrap_or_default();
        Ok(())
    }
}
