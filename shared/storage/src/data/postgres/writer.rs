//! The one task of this process that writes.
//!
//! Receives calls through a bounded queue and commits everything that waits, up to a limit, in one transaction (group
//! commit). If that fails for good, nothing of it stays and every call is tried in a transaction of its own, so that one
//! bad call does not fail the others. Answers after the commit. Conflicts and connections that are lost before the
//! commit was sent are tried again, a few times. If the connection is lost while it commits, the server is asked
//! what became of the transaction. Ends when all senders are gone and everything queued is done.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use ulex_domain::Timestamp;

use super::aside::{Aside, WORTHWHILE};
use super::connections::Connector;
use super::error::PostgresError;
use super::known::Known;
use super::statements::{SESSION, Statements};
use super::transaction::Transaction;
use crate::data::group::{gather, rows_of};
use crate::data::{LEDGER_NANOS, Outcome, Submission};

/// How often a group is begun again after a conflict or a lost connection.
const ATTEMPTS: u32 = 4;
/// How long the work of one transaction may take; the server's own limit for a statement is the same.
const TRANSACTION: Duration = Duration::from_secs(60);
/// How long the server may take for a commit, or for saying what became of one.
const COMMIT: Duration = Duration::from_secs(15);
/// How often ids that are too old are removed, and how many at once.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_AT_ONCE: i64 = 50_000;

type Outcomes = Result<Vec<Outcome>, PostgresError>;

/// A call, and who waits for what becomes of it.
pub(super) struct Job {
    pub submissions: Vec<Submission>,
    pub reply: oneshot::Sender<Outcomes>,
}

/// The task.
pub(super) struct Writer {
    connector: Connector,
    prefix: String,
    session: Option<Session>,
    aside: Aside,
    known: Known,
    /// No other writer has this name.
    name: String,
    pruned: Instant,
}

/// A connection with its statements.
struct Session {
    client: Client,
    statements: Statements,
}

/// Why a transaction was not committed, or perhaps was.
enum Failure {
    /// It was not.
    Before(PostgresError),
    /// Nobody knows: it had this id and would have had these outcomes.
    Commit { id: String, outcomes: Vec<Vec<Outcome>> },
}

impl From<PostgresError> for Failure {
    fn from(error: PostgresError) -> Self {
        Self::Before(error)
    }
}

impl Writer {
    /// A writer for the tables of `prefix`; connects when there is something to write.
    pub fn new(connector: Connector, prefix: &str) -> Self {
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), prefix);
        let name = format!("{:x}-{random:x}", started.unwrap_or_default().as_nanos());
        let (prefix, known) = (prefix.to_owned(), Known::default());
        let aside = Aside::default();
        Self { connector, prefix, session: None, aside, known, name, pruned: Instant::now() }
    }

    /// Works until `jobs` is closed and empty.
    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(job) => job,
                None => match jobs.recv().await {
                    Some(job) => job,
                    None => return,
                },
            };
            let rows = rows_of(&job.submissions);
            let mut group = vec![job];
            next = gather(&mut group, rows, &mut jobs, |job| Some(rows_of(&job.submissions)));
            self.work_off(group).await;
            self.prune().await;
        }
    }

    async fn work_off(&mut self, group: Vec<Job>) {
        let calls: Vec<_> = group.iter().map(|job| job.submissions.as_slice()).collect();
        let results = match self.commit(&calls).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) if calls.len() == 1 || is_of_all(&error) => same_for_all(error, calls.len()),
            Err(error) => {
                tracing::warn!(%error, calls = calls.len(), "a group commit failed; trying its calls one by one");
                self.commit_each(&calls).await
            }
        };
        for (job, result) in group.into_iter().zip(results) {
            // Nobody waits for a call that was given up; its effect stays.
            let _gone = job.reply.send(result);
        }
    }

    async fn commit_each(&mut self, calls: &[&[Submission]]) -> Vec<Outcomes> {
        let mut results = Vec::with_capacity(calls.len());
        for call in calls {
            let alone = self.commit(&[*call]).await;
            results.push(alone.map(|outcomes| outcomes.into_iter().next().unwrap_or_default()));
        }
        results
    }

    /// Applies calls in one transaction, several times if it has to be.
    async fn commit(&mut self, calls: &[&[Submission]]) -> Result<Vec<Vec<Outcome>>, PostgresError> {
        for attempt in 1.. {
            let error = match self.attempt(calls).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(Failure::Before(error)) => error,
                Err(Failure::Commit { id, outcomes }) => match self.was_committed(&id).await {
                    Some(true) => return Ok(outcomes),
                    Some(false) => PostgresError::Unknown,
                    None => return Err(PostgresError::Unknown),
                },
            };
            let is_known_lost = matches!(error, PostgresError::Unknown);
            if attempt >= ATTEMPTS || !(is_known_lost || error.is_worth_repeating()) {
                return Err(error);
            }
            tracing::debug!(%error, attempt, "trying a transaction again");
            tokio::time::sleep(pause(attempt)).await;
        }
        Err(PostgresError::Closed)
    }

    async fn attempt(&mut self, calls: &[&[Submission]]) -> Result<Vec<Vec<Outcome>>, Failure> {
        let mut session = match self.session.take().filter(|session| !session.client.is_closed()) {
            Some(session) => session,
            None => self.connect().await?,
        };
        if rows_of(calls.iter().copied().flatten()) >= WORTHWHILE {
            self.aside.connect(&self.connector, &self.prefix).await;
        }
        // What is learned holds if all of it is committed; until that is certain nothing is known.
        let mut known = std::mem::take(&mut self.known);
        let worked =
            timeout(TRANSACTION, Box::pin(session.work(calls, &mut known, &mut self.aside, &self.name)))
                .await;
        let (id, outcomes) = match worked.unwrap_or(Err(PostgresError::Deadline(TRANSACTION))) {
            Ok(done) => done,
            Err(error) => {
                if session.roll_back().await {
                    self.session = Some(session);
                }
                return Err(error.into());
            }
        };
        match timeout(COMMIT, session.client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                self.session = Some(session);
                self.known = known;
                Ok(outcomes)
            }
            Ok(Err(error)) if error.as_db_error().is_some() && !session.client.is_closed() => {
                // The server says that it did not.
                Err(Failure::Before(error.into()))
            }
            Ok(Err(_)) | Err(_) => Err(Failure::Commit { id, outcomes }),
        }
    }

    async fn connect(&self) -> Result<Session, PostgresError> {
        let client = self.connector.connect(SESSION).await?;
        let prepared = timeout(COMMIT, Box::pin(Statements::prepare(&client, &self.prefix))).await;
        let statements = prepared.unwrap_or(Err(PostgresError::Deadline(COMMIT)))?;
        Ok(Session { client, statements })
    }

    /// What the server says of a transaction; `None` if it cannot be asked, or does not know.
    async fn was_committed(&mut self, id: &str) -> Option<bool> {
        for attempt in 1..=ATTEMPTS {
            tokio::time::sleep(pause(attempt)).await;
            let status = timeout(COMMIT, self.status(id)).await;
            match status.unwrap_or(Err(PostgresError::Deadline(COMMIT))).as_deref() {
                Ok("committed") => return Some(true),
                Ok("aborted") => return Some(false),
                // Its server process has not noticed yet that we are gone.
                Ok("in progress") => {}
                Ok(_) => return None,
                Err(error) => tracing::debug!(%error, attempt, "could not ask what became of a transaction"),
            }
        }
        None
    }

    async fn status(&mut self, id: &str) -> Result<String, PostgresError> {
        let session = match self.session.take().filter(|session| !session.client.is_closed()) {
            Some(session) => session,
            None => self.connect().await?,
        };
        let sql = "SELECT coalesce(pg_xact_status($1::text::xid8), 'unknown')";
        let row = session.client.query_one(sql, &[&id]).await?;
        let status = row.try_get(0)?;
        self.session = Some(session);
        Ok(status)
    }

    /// Removes ids that are too old, now and then.
    async fn prune(&mut self) {
        if self.pruned.elapsed() < PRUNE_EVERY {
            return;
        }
        self.pruned = Instant::now();
        let Some(session) = &self.session else { return };
        let oldest_kept = Timestamp::now().plus_nanos(-LEDGER_NANOS).as_nanos();
        let parameters: [&(dyn ToSql + Sync); 2] = [&oldest_kept, &PRUNE_AT_ONCE];
        let prune = session.client.execute(&session.statements.prune_events, &parameters);
        match timeout(COMMIT, prune).await {
            Ok(Ok(_rows)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "old event ids could not be removed"),
            Err(_elapsed) => self.session = None,
        }
    }
}

impl Session {
    /// Everything but the commit.
    async fn work(
        &self,
        calls: &[&[Submission]],
        known: &mut Known,
        aside: &mut Aside,
        writer: &str,
    ) -> Result<(String, Vec<Vec<Outcome>>), PostgresError> {
        let submissions: Vec<_> = calls.iter().flat_map(|call| call.iter()).collect();
        let on = (&self.client, &self.statements);
        let (id, outcomes) = Transaction::run(on, known, aside, writer, &submissions).await?;
        let mut outcomes = outcomes.into_iter();
        let outcomes = calls.iter().map(|call| outcomes.by_ref().take(call.len()).collect()).collect();
        Ok((id, outcomes))
    }

    /// Ends a transaction that failed; says whether the connection can be used on.
    async fn roll_back(&mut self) -> bool {
        let rolled_back = timeout(COMMIT, self.client.batch_execute("ROLLBACK")).await;
        matches!(rolled_back, Ok(Ok(())))
    }
}

/// Whether every call would fail like that, so that it is no use to try each.
fn is_of_all(error: &PostgresError) -> bool {
    error.is_lost_connection()
        || matches!(error, PostgresError::Deadline(_) | PostgresError::Unknown | PostgresError::Closed)
}

fn same_for_all(error: PostgresError, calls: usize) -> Vec<Outcomes> {
    let message = error.to_string();
    let is_unknown = matches!(error, PostgresError::Unknown);
    let of_other =
        |_call| Err(if is_unknown { PostgresError::Unknown } else { PostgresError::Group(message.clone()) });
    let mut results: Vec<Outcomes> = vec![Err(error)];
    results.extend((1..calls).map(of_other));
    results
}

/// Longer from time to time, and different for everybody.
fn pause(attempt: u32) -> Duration {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let most = 20_u64 << attempt.min(5);
    Duration::from_millis(most / 2 + u64::from(clock.subsec_nanos()) % (most / 2))
}
