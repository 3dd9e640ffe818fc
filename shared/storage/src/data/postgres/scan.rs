//! All feedback, as fast as the server can send it: one `COPY`, so one state of the data.
//!
//! Rows are read where they lie in the messages of the server; one batch of messages is held, and the driver holds back
//! the server when nobody takes more.

use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::Pool;
use futures_util::StreamExt as _;
use tokio::time::timeout;
use ulex_domain::Timestamp;

use super::connections::from_pool;
use super::copy;
use super::error::PostgresError;
use super::migrate::with_prefix;
use crate::data::FeedbackRow;

/// How long the server may take for the next row.
const NEXT: Duration = Duration::from_secs(30);

/// A row as it came: type, user, item, value, time, updated.
struct Raw {
    message: Bytes,
    fields: [Range<usize>; 6],
}

impl Raw {
    fn decode(&self) -> Result<FeedbackRow<'_>, PostgresError> {
        let [feedback_type, user_id, item_id, value, time, updated] = &self.fields;
        let message = &self.message;
        let moment =
            |field| copy::eight(message, field).map(|bytes| Timestamp::from_nanos(i64::from_be_bytes(bytes)));
        Ok(FeedbackRow {
            feedback_type: copy::text(message, feedback_type)?,
            user_id: copy::text(message, user_id)?,
            item_id: copy::text(message, item_id)?,
            value: f64::from_be_bytes(copy::eight(message, value)?),
            timestamp: moment(time)?,
            updated: moment(updated)?,
        })
    }
}

/// Visits all rows until `visit` has enough.
pub(super) async fn scan(
    pool: &Pool,
    prefix: &str,
    batch: usize,
    visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
) -> Result<(), PostgresError> {
    let mut client = from_pool(pool).await?;
    let transaction = client.transaction().await?;
    // What takes long is looked at row by row, not as a whole.
    transaction.batch_execute("SET LOCAL statement_timeout = 0").await?;
    let copy = r#"COPY (SELECT feedback_type, user_id, item_id, value, time, updated FROM "{p}feedback")
        TO STDOUT (FORMAT binary)"#;
    let mut messages = pin!(transaction.copy_out(&with_prefix(copy, prefix)).await?);
    let mut rows = Vec::with_capacity(batch.min(1 << 16));
    let mut is_first = true;
    loop {
        let next = timeout(NEXT, messages.next()).await;
        let Some(message) = next.map_err(|_elapsed| PostgresError::Deadline(NEXT))? else { break };
        let message = message?;
        if let Some(fields) = copy::fields(&message, is_first)? {
            rows.push(Raw { message, fields });
        }
        is_first = false;
        if rows.len() == batch {
            if !visit_all(&rows, visit)? {
                // The server is still sending: the connection is of no use for others.
                drop(transaction);
                drop(deadpool_postgres::Object::take(client));
                return Ok(());
            }
            rows.clear();
        }
    }
    if !rows.is_empty() {
        visit_all(&rows, visit)?;
    }
    Ok(())
}

fn visit_all(
    rows: &[Raw],
    visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
) -> Result<bool, PostgresError> {
    let rows = rows.iter().map(Raw::decode).collect::<Result<Vec<_>, _>>()?;
    Ok(visit(&rows))
}
