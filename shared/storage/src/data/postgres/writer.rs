//! The one task of this process that writes.
//!
//! Receives calls through a bounded queue and commits everything that waits, up to a limit, in one transaction (group
//! commit). If that fails for good, nothing of it stays and every call is tried in a transaction of its own, so that one
//! bad call does not fail the others. Answers after the commit. Conflicts and connections that are lost before the
//! commit was sent are tried again, a few times. If the connection is lost while it commits, the mark that every
//! transaction leaves says what became of it: read under the lock of writers, when it has ended one way or the other.
//! (PostgreSQL's own numbers of transactions do not: a standby that was promoted gives them out again.) Ends when all senders are gone and everything queued is done.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::aside::{Aside, WORTHWHILE};
use super::connections::Connector;
use super::error::PostgresError;
use super::known::Known;
use super::pruner::Pruner;
use super::statements::{SESSION, Statements};
use super::transaction::{MARK, Marks, Transaction};
use crate::data::group::{gather, rows_of};
use crate::data::{Outcome, Submission};

/// How often a group is begun again after a conflict or a lost connection.
const ATTEMPTS: u32 = 4;
/// How long the work of one transaction may take; the server's own limit for a statement is the same.
const TRANSACTION: Duration = Duration::from_secs(60);
/// How long the server may take for a commit, or for saying what became of one.
const COMMIT: Duration = Duration::from_secs(15);

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
    /// Transactions begun.
    begun: u64,
    /// Mark of the last transaction that was committed, as far as this writer knows.
    mark: String,
    pruner: Pruner,
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
    /// Nobody knows: it left this mark, and would have had these outcomes.
    Commit { mark: String, outcomes: Vec<Vec<Outcome>> },
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
        let (begun, mark) = (0, String::new());
        let pruner = Pruner::new(connector.clone(), &prefix);
        Self { connector, prefix, session: None, aside, known, name, begun, mark, pruner }
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
                Err(Failure::Commit { mark, outcomes }) => match self.was_committed(&mark).await {
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
        self.begun += 1;
        let mark = format!("{}/{}", self.name, self.begun);
        let marks = Marks { before: &self.mark, after: &mark };
        let work = Box::pin(session.work(calls, &mut known, &mut self.aside, marks));
        let worked = timeout(TRANSACTION, work).await;
        let outcomes = match worked.unwrap_or(Err(PostgresError::Deadline(TRANSACTION))) {
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
                self.mark = mark;
                let ids = calls.iter().copied().flatten().filter(|one| one.event_id.is_some());
                self.pruner.note(ids.count());
                Ok(outcomes)
            }
            Ok(Err(error)) if error.as_db_error().is_some() && !session.client.is_closed() => {
                // The server says that it did not.
                Err(Failure::Before(error.into()))
            }
            Ok(Err(_)) | Err(_) => Err(Failure::Commit { mark, outcomes }),
        }
    }

    async fn connect(&self) -> Result<Session, PostgresError> {
        let client = self.connector.connect(SESSION).await?;
        let prepared = timeout(COMMIT, Box::pin(Statements::prepare(&client, &self.prefix))).await;
        let statements = prepared.unwrap_or(Err(PostgresError::Deadline(COMMIT)))?;
        Ok(Session { client, statements })
    }

    /// Whether the store has what a transaction wrote; `None` if it cannot be asked, or another writer came since.
    async fn was_committed(&mut self, mark: &str) -> Option<bool> {
        for attempt in 1..=ATTEMPTS {
            tokio::time::sleep(pause(attempt)).await;
            let found = timeout(COMMIT, self.found_mark()).await;
            match found.unwrap_or(Err(PostgresError::Deadline(COMMIT))) {
                Ok(found) if found == mark => return Some(true),
                Ok(found) if found == self.mark => return Some(false),
                Ok(_of_another) => return None,
                Err(error) => tracing::debug!(%error, attempt, "could not ask what became of a transaction"),
            }
        }
        None
    }

    /// The mark of the last transaction that was committed. Waits until none is going on, as one may whose client is gone.
    async fn found_mark(&mut self) -> Result<String, PostgresError> {
        let mut session = match self.session.take().filter(|session| !session.client.is_closed()) {
            Some(session) => session,
            None => self.connect().await?,
        };
        let found = session.mark().await?;
        if session.roll_back().await {
            self.session = Some(session);
        }
        Ok(found)
    }
}

impl Session {
    /// Everything but the commit.
    async fn work(
        &self,
        calls: &[&[Submission]],
        known: &mut Known,
        aside: &mut Aside,
        marks: Marks<'_>,
    ) -> Result<Vec<Vec<Outcome>>, PostgresError> {
        let submissions: Vec<_> = calls.iter().flat_map(|call| call.iter()).collect();
        let on = (&self.client, &self.statements);
        let mut outcomes = Transaction::run(on, known, aside, marks, &submissions).await?.into_iter();
        Ok(calls.iter().map(|call| outcomes.by_ref().take(call.len()).collect()).collect())
    }

    /// Begins a transaction that nothing is written in, and reads the mark when no other writer has one.
    async fn mark(&self) -> Result<String, PostgresError> {
        self.client.batch_execute("BEGIN").await?;
        self.client.query_one(&self.statements.lock, &[]).await?;
        let row = self.client.query_opt(&self.statements.meta, &[&MARK]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
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
