//! The one task of a process that writes.
//!
//! Commits everything that waits, up to a limit, in one transaction (group commit). Writers of several processes take
//! turns by a lock in the database, so no two of them can deadlock, and a log is applied in its order whoever applies it.
//! A group that fails is tried call by call, so that one bad call does not fail the others.
//!
//! An answer to COMMIT that is lost leaves open what happened. If every event of the group has an id or a position, the
//! group is simply applied again: what took effect does not do so twice. Otherwise its callers are told `Unavailable`.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use ulex_domain::{Event, Timestamp};

use super::apply::{Applying, Context};
use super::error::PostgresError;
use crate::data::{Outcome, Submission};

/// A group is closed when it has this many rows or calls.
const GROUP_ROWS: usize = 20_000;
const GROUP_CALLS: usize = 1_024;
/// How long a transaction may take.
const WITHIN: Duration = Duration::from_secs(30);
/// How often a group is tried at most.
const TRIES: u32 = 4;

/// A call that waits.
pub(super) struct Job {
    pub submissions: Vec<Submission>,
    pub reply: oneshot::Sender<Result<Vec<Outcome>, PostgresError>>,
}

/// Works until `jobs` is closed and empty.
pub(super) async fn run(pool: Pool, context: Arc<Context>, lock: i64, mut jobs: mpsc::Receiver<Job>) {
    let writer = Writer { pool, context, lock };
    let mut next = None;
    loop {
        let Some(first) = (match next.take() {
            Some(job) => Some(job),
            None => jobs.recv().await,
        }) else {
            return;
        };
        let mut rows = rows_of(&first);
        let (mut calls, mut replies) = (vec![first.submissions], vec![first.reply]);
        while rows < GROUP_ROWS && calls.len() < GROUP_CALLS {
            let Ok(job) = jobs.try_recv() else { break };
            rows += rows_of(&job);
            if rows > GROUP_ROWS {
                next = Some(job);
                break;
            }
            calls.push(job.submissions);
            replies.push(job.reply);
        }
        for (result, reply) in writer.commit(&calls).await.into_iter().zip(replies) {
            // Nobody waits for a call that was given up; its effect stays.
            let _gone = reply.send(result);
        }
    }
}

fn rows_of(job: &Job) -> usize {
    let rows = |submission: &Submission| match &submission.event {
        Event::PutUsers { users } => users.len().max(1),
        Event::PutItems { items } => items.len().max(1),
        Event::PutFeedback { rows, .. } => rows.len().max(1),
        Event::PatchUser { .. }
        | Event::DeleteUser { .. }
        | Event::PatchItem { .. }
        | Event::SetCategory { .. }
        | Event::DeleteItem { .. }
        | Event::DeleteFeedback { .. } => 1,
    };
    job.submissions.iter().map(rows).sum()
}

struct Writer {
    pool: Pool,
    context: Arc<Context>,
    lock: i64,
}

/// What went wrong, and whether the transaction may have been committed all the same.
struct Failed {
    error: PostgresError,
    is_open: bool,
}

impl<Error: Into<PostgresError>> From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error: error.into(), is_open: false }
    }
}

impl Writer {
    async fn commit(&self, calls: &[Vec<Submission>]) -> Vec<Result<Vec<Outcome>, PostgresError>> {
        match self.patiently(calls).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) if calls.len() == 1 => vec![Err(error)],
            Err(error) if error.is_transient() => {
                let text = error.to_string();
                let rest = (1..calls.len()).map(|_| Err(PostgresError::Group(text.clone())));
                std::iter::once(Err(error)).chain(rest).collect()
            }
            Err(error) => {
                tracing::warn!(%error, calls = calls.len(), "a group commit failed; trying its calls one by one");
                let mut results = Vec::with_capacity(calls.len());
                for call in calls {
                    let alone = self.patiently(std::slice::from_ref(call)).await;
                    results.push(alone.map(|mut outcomes| outcomes.pop().unwrap_or_default()));
                }
                results
            }
        }
    }

    /// Tries a few times what is likely to work the next time.
    async fn patiently(&self, calls: &[Vec<Submission>]) -> Result<Vec<Vec<Outcome>>, PostgresError> {
        let repeatable = calls.iter().flatten().all(|one| one.event_id.is_some() || one.position.is_some());
        let mut tries = 0;
        loop {
            tries += 1;
            let failed = match timeout(WITHIN, self.transaction(calls)).await {
                Ok(Ok(outcomes)) => return Ok(outcomes),
                Ok(Err(failed)) => failed,
                Err(_late) => return Err(PostgresError::Late),
            };
            let again = failed.error.is_worth_a_retry() && (!failed.is_open || repeatable);
            if !again || tries == TRIES {
                return Err(failed.error);
            }
            tracing::warn!(reason = %failed.error, "a transaction is tried again");
            sleep(pause(tries)).await;
        }
    }

    async fn transaction(&self, calls: &[Vec<Submission>]) -> Result<Vec<Vec<Outcome>>, Failed> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await?;
        let lock = format!("SET LOCAL lock_timeout = '10s'; SELECT pg_advisory_xact_lock({})", self.lock);
        transaction.batch_execute(&lock).await?;
        let applying = Applying { context: &self.context, transaction: &transaction, now: Timestamp::now() };
        let outcomes = applying.apply(calls).await?;
        transaction
            .commit()
            .await
            .map_err(|error| Failed { is_open: error.code().is_none(), error: error.into() })?;
        Ok(outcomes)
    }
}

/// 20 ms, doubled with each try, between half and all of it.
fn pause(tries: u32) -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    let share = 0.5 + f64::from(nanos % 1_000) / 2_000.0;
    (Duration::from_millis(10) * 2_u32.pow(tries.min(6))).mul_f64(share)
}
