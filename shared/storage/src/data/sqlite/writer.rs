//! The one thread that writes.
//!
//! Receives calls through a bounded queue and commits everything that waits, up to a limit, in one transaction
//! with one sync of the disk (group commit). If that fails, nothing of it stays and every call is tried in a
//! transaction of its own, so that one bad call does not fail the others. Answers after the commit. Between
//! groups it does its own housekeeping in small steps: the search index, the ledger, the checkpoint.
//! Ends when all senders are gone and everything queued is done.

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use ulex_domain::Timestamp;

use super::SqliteSettings;
use super::checkpoint::Checkpoints;
use super::error::SqliteError;
use super::prepared::Call;
use super::tables::Tables;
use crate::data::group::gather;
use crate::data::search_text::SearchText;
use crate::data::{Outcome, Submission};

/// What became of a call, and the call itself: to drop a thousand rows is the caller's work, not the writer's.
pub(super) type Applied = (Result<Vec<Outcome>, SqliteError>, Call);

/// What the writer can be asked.
pub(super) enum Job {
    Apply { call: Call, reply: oneshot::Sender<Applied> },
    SetSearch { text: SearchText, reply: oneshot::Sender<Result<(), SqliteError>> },
    Purge { reply: oneshot::Sender<Result<(), SqliteError>> },
    Ping { reply: oneshot::Sender<Result<(), SqliteError>> },
}

/// How many rows a job adds to a group; `None` if it is none for a group.
fn rows_of(job: &Job) -> Option<usize> {
    match job {
        Job::Apply { call, .. } => Some(call.rows),
        Job::SetSearch { .. } | Job::Purge { .. } | Job::Ping { .. } => None,
    }
}

/// Says that it is ready, or why it is not; then works until `jobs` is closed and empty.
pub(super) fn run(
    connection: &Connection,
    settings: &SqliteSettings,
    mut jobs: mpsc::Receiver<Job>,
    checkpoints: &mut Checkpoints,
    ready: oneshot::Sender<Result<(), SqliteError>>,
) {
    let mut writer = match Tables::open(connection, settings) {
        Ok(tables) => Writer { tables, waiting_for_search: Vec::new() },
        Err(error) => return drop(ready.send(Err(error.into()))),
    };
    let _gone = ready.send(Ok(()));
    let mut next = None;
    loop {
        let job = next.take().or_else(|| writer.receive(&mut jobs));
        let idle = job.is_none();
        next = job.and_then(|job| writer.work_off(job, &mut jobs));
        if !writer.tables.search.is_building() && idle {
            return;
        }
        writer.build_search();
        checkpoints.after_commit(connection);
    }
}

struct Writer<'connection> {
    tables: Tables<'connection>,
    waiting_for_search: Vec<oneshot::Sender<Result<(), SqliteError>>>,
}

impl Writer<'_> {
    /// The next job; `None` if there never will be one, or if there is none and the search index needs work.
    fn receive(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Option<Job> {
        if !self.tables.search.is_building() {
            return jobs.blocking_recv();
        }
        let received = jobs.try_recv();
        if matches!(received, Err(mpsc::error::TryRecvError::Disconnected)) {
            // It goes on when the store is opened again.
            self.tables.search.pause();
        }
        received.ok()
    }

    /// Does a job and those behind it that fit into its group; returns one that does not.
    fn work_off(&mut self, job: Job, jobs: &mut mpsc::Receiver<Job>) -> Option<Job> {
        let Some(rows) = rows_of(&job) else {
            self.control(job);
            return None;
        };
        let mut group = vec![job];
        let left_over = gather(&mut group, rows, jobs, rows_of);
        let applied = group.into_iter().filter_map(|job| match job {
            Job::Apply { call, reply } => Some((call, reply)),
            Job::SetSearch { .. } | Job::Purge { .. } | Job::Ping { .. } => None,
        });
        let (calls, replies): (Vec<_>, Vec<_>) = applied.unzip();
        let results = self.commit(&calls);
        for ((result, call), reply) in results.into_iter().zip(calls).zip(replies) {
            // Nobody waits for a call that was given up; its effect stays.
            let _gone = reply.send((result, call));
        }
        left_over
    }

    fn commit(&mut self, calls: &[Call]) -> Vec<Result<Vec<Outcome>, SqliteError>> {
        let now = Timestamp::now();
        let together = self.tables.transaction(|tables| {
            calls.iter().map(|call| tables.apply(call, now)).collect::<Result<Vec<_>, _>>()
        });
        match together {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) if calls.len() == 1 => vec![Err(error)],
            Err(error) => {
                tracing::warn!(%error, calls = calls.len(), "a group commit failed; trying its calls one by one");
                let alone = |call| self.tables.transaction(|tables| tables.apply(call, now));
                calls.iter().map(alone).collect()
            }
        }
    }

    fn control(&mut self, job: Job) {
        match job {
            Job::Apply { .. } => {}
            Job::SetSearch { text, reply } => {
                match self.tables.transaction(|tables| tables.search.define(&text)) {
                    Ok(()) if self.tables.search.is_building() => self.waiting_for_search.push(reply),
                    settled @ (Ok(()) | Err(_)) => {
                        let _gone = reply.send(settled);
                    }
                }
            }
            Job::Purge { reply } => {
                let _gone = reply.send(self.tables.purge());
            }
            Job::Ping { reply } => {
                let _gone = reply.send(self.tables.transaction(|tables| tables.touch()));
            }
        }
    }

    /// One step of building the search index, if it needs building.
    fn build_search(&mut self) {
        if !self.tables.search.is_building() {
            return;
        }
        let step = self.tables.transaction(|tables| tables.search.build_step());
        if let Err(error) = step {
            tracing::error!(%error, "building the search index stopped; it goes on when the store is opened again");
            self.tables.search.pause();
            let waiting = self.waiting_for_search.drain(..);
            waiting.for_each(|reply| drop(reply.send(Err(SqliteError::Closed))));
        }
        if !self.tables.search.is_building() {
            self.waiting_for_search.drain(..).for_each(|reply| drop(reply.send(Ok(()))));
        }
    }
}

/// What a call asks for, ready for the queue.
pub(super) fn apply_job(submissions: Vec<Submission>) -> (Job, oneshot::Receiver<Applied>) {
    let (reply, answer) = oneshot::channel();
    (Job::Apply { call: Call::new(submissions), reply }, answer)
}
