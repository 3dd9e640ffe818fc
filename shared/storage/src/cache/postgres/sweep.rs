//! Makes room: deletes what has expired and, beyond the budget, what expires soonest.
//!
//! How much there is, is estimated from some of the table's pages, so a round costs the same however many rows there are,
//! beside what it deletes. Several processes may sweep at once: rows that another one has locked are left to it.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use crate::data::postgres::error::PostgresError;

/// Pause between two rounds, and as much again at random, so that processes do not sweep in step.
const EVERY: Duration = Duration::from_secs(15);
/// Rows deleted in one statement.
const ROWS: i64 = 1_000;
/// Statements of one round.
const STATEMENTS: usize = 200;
/// Pages looked at for an estimate, about.
const PAGES: f64 = 1_000.0;
const PAGE_BYTES: f64 = 8_192.0;
/// What a row takes beside its user and its entry: its head, and two places in indexes.
const OVERHEAD: f64 = 130.0;

/// Sweeps for ever.
pub(super) async fn run(inner: Arc<Inner>) {
    loop {
        let random = (uuid::Uuid::new_v4().as_u128() % 1_000) as u32;
        tokio::time::sleep(EVERY + EVERY * random / 1_000).await;
        if let Err(error) = once(&inner).await {
            tracing::debug!(%error, "old lists could not be deleted; later");
        }
    }
}

/// One round.
pub(super) async fn once(inner: &Inner) -> Result<(), PostgresError> {
    for _statement in 0..STATEMENTS {
        let deleted = inner.attempt(&inner.sql.expired, &[&ROWS]).await?.len();
        if deleted < ROWS as usize {
            break;
        }
    }
    let mut excess = excess(inner).await?;
    for _statement in 0..STATEMENTS {
        if excess <= 0 {
            break;
        }
        inner.attempt(&inner.sql.soonest, &[&excess.min(ROWS)]).await?;
        excess -= ROWS;
    }
    Ok(())
}

/// How many rows there are too many, about.
async fn excess(inner: &Inner) -> Result<i64, PostgresError> {
    let size = inner.attempt(&inner.sql.size, &[]).await?;
    let pages = size.first().map_or(0, |row| row.get::<_, i64>(0)) as f64 / PAGE_BYTES;
    let percent = (100.0 * PAGES / pages.max(1.0)).clamp(0.001, 100.0);
    let sample = inner.attempt(&inner.sql.sample, &[&percent]).await?;
    let Some(row) = sample.first() else { return Ok(0) };
    let rows = row.get::<_, i64>(0) as f64 * 100.0 / percent;
    let bytes = row.get::<_, i64>(1) as f64 * 100.0 / percent;
    Ok(too_many(rows, bytes, inner.limits.max_bytes))
}

fn too_many(rows: f64, bytes: f64, max_bytes: usize) -> i64 {
    let bytes = bytes + rows * OVERHEAD;
    let over = bytes - max_bytes as f64;
    if rows < 1.0 || over <= 0.0 { 0 } else { (over / (bytes / rows)).ceil() as i64 }
}

#[cfg(test)]
mod tests {
    use super::too_many;

    #[test]
    fn as_many_rows_are_too_many_as_take_what_is_beyond_the_budget() {
        assert_eq!(too_many(0.0, 0.0, 0), 0);
        assert_eq!(too_many(100.0, 87_000.0, 100_000), 0);
        assert_eq!(too_many(200.0, 174_000.0, 100_000), 100);
    }
}
