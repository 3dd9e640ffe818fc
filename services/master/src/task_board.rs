//! Progress of everything that takes longer than a moment, for the dashboard.
//!
//! A handle writes to the bucket `progress` through one task, so whoever computes never waits for the bus. Of several
//! updates of one task only the newest is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::debug;
use ulex_domain::Timestamp;
use ulex_nats::bus::Bucket;
use ulex_nats::topology::PROGRESS;
use ulex_nats::training::{Progress, TaskStatus};
use ulex_nats::{Bus, BusError};

#[derive(Default)]
struct Pending {
    updates: Mutex<BTreeMap<String, Progress>>,
    changed: Notify,
}

/// See the module documentation. Cheap to clone.
#[derive(Clone)]
pub struct TaskBoard {
    node: Arc<str>,
    pending: Arc<Pending>,
}

impl TaskBoard {
    /// Opens the bucket and starts the task that writes to it.
    ///
    /// # Errors
    ///
    /// Whatever the bus reports.
    pub async fn open(bus: &Bus, node: &str) -> Result<Self, BusError> {
        let bucket: Bucket<Progress> = bus.bucket(&PROGRESS).await?;
        let board = Self::unattended(node);
        tokio::spawn(write(bucket, Arc::downgrade(&board.pending)));
        Ok(board)
    }

    /// A board nobody looks at.
    #[must_use]
    pub fn unattended(node: &str) -> Self {
        Self { node: node.into(), pending: Arc::default() }
    }

    /// Notes that a task of `total` steps has begun.
    #[must_use]
    pub fn begin(&self, name: &str, total: u64) -> Task {
        let progress = Progress {
            name: name.to_owned(),
            node: self.node.to_string(),
            status: TaskStatus::Running,
            count: 0,
            total,
            error: String::new(),
            start: Timestamp::now(),
            finish: Timestamp::ZERO,
        };
        self.put(&progress);
        Task { board: self.clone(), progress: Mutex::new(progress) }
    }

    fn put(&self, progress: &Progress) {
        self.pending.updates.lock().insert(progress.key(), progress.clone());
        self.pending.changed.notify_one();
    }
}

/// A task under way. Dropping it without a word leaves it running on the board.
pub struct Task {
    board: TaskBoard,
    progress: Mutex<Progress>,
}

impl Task {
    /// `count` steps are done.
    pub fn at(&self, count: u64) {
        self.change(|progress| progress.count = count);
    }

    /// All steps are done.
    pub fn finish(self) {
        self.change(|progress| {
            progress.count = progress.total;
            progress.status = TaskStatus::Complete;
            progress.finish = Timestamp::now();
        });
        self.measure("complete");
    }

    /// It could not be done.
    pub fn fail(self, reason: &str) {
        self.change(|progress| {
            reason.clone_into(&mut progress.error);
            progress.status = TaskStatus::Failed;
            progress.finish = Timestamp::now();
        });
        self.measure("failed");
    }

    /// Names of tasks are few: they are written in this crate.
    fn measure(&self, outcome: &'static str) {
        let progress = self.progress.lock();
        let seconds = (progress.finish.as_nanos() - progress.start.as_nanos()).max(0) as f64 / 1e9;
        let name = progress.name.clone();
        counter!("ulex_tasks_total", "task" => name.clone(), "outcome" => outcome).increment(1);
        gauge!("ulex_task_seconds", "task" => name).set(seconds);
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        let mut progress = self.progress.lock();
        change(&mut progress);
        self.board.put(&progress);
    }
}

async fn write(bucket: Bucket<Progress>, pending: std::sync::Weak<Pending>) {
    loop {
        let Some(alive) = pending.upgrade() else { return };
        let next = alive.updates.lock().pop_first();
        match next {
            Some((key, progress)) => {
                if let Err(reason) = bucket.put(&key, &progress).await {
                    debug!(%reason, "progress could not be shown");
                }
            }
            None => {
                // A board that is gone wakes nobody, so the wait has an end.
                let _ =
                    tokio::time::timeout(std::time::Duration::from_secs(5), alive.changed.notified()).await;
            }
        }
    }
}
