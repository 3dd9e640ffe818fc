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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600 * 1_000_000_000;

    fn enter(ledger: &mut Ledger<'_>, name: &str, count: usize, now: Timestamp) -> usize {
        let mut new = 0;
        for number in 0..count {
            let id = EventId::new(&format!("{name} {number}")).unwrap();
            new += usize::from(ledger.enter(&id, now).unwrap());
            ledger.prune_step(now).unwrap();
        }
        new
    }

    #[test]
    fn ids_are_kept_for_a_day_and_removed_by_and_by_after_that() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&with_prefix(include_str!("../sqlite.sql"), "")).unwrap();
        let mut ledger = Ledger::open(&connection, "").unwrap();
        let start = Timestamp::from_unix_seconds(1_700_000_000);
        assert_eq!(enter(&mut ledger, "b", 1_000, start), 1_000);
        assert_eq!(enter(&mut ledger, "a", 2_000, start.plus_nanos(23 * HOUR)), 2_000);
        assert_eq!(enter(&mut ledger, "b", 1_000, start.plus_nanos(23 * HOUR)), 0, "kept for a day");
        assert_eq!(enter(&mut ledger, "c", 4_000, start.plus_nanos(25 * HOUR)), 4_000);
        let left: i64 = connection.query_row("SELECT count(*) FROM ledger", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 6_000, "the oldest thousand are gone");
        assert_eq!(enter(&mut ledger, "a", 2_000, start.plus_nanos(25 * HOUR)), 0);
    }
}
