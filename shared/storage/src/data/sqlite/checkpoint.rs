//! Moves committed pages from the log into the file, without making the writer wait for long.
//!
//! When the log has grown, a thread of its own copies the bulk of it while writing goes on. Only when little is
//! left does the writer copy the rest itself, between two groups, after which the log starts from the front.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, Result};

/// Pages in the log from which on it is worth copying them: 32 MiB.
const WORTHWHILE: i64 = 4_096;
/// What the writer copies itself, in pages: a few milliseconds.
const REST: i64 = 512;
/// How far the log grows before the writer tries again after a reader stood in the way.
const PATIENCE: i64 = 1_024;

/// The writer's end.
pub(super) struct Checkpoints {
    pages: Arc<AtomicI64>,
    copied: Arc<AtomicI64>,
    seen: i64,
    not_before: i64,
    signal: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Watches the log of `connection` and starts the thread that copies, on a connection of its own.
    pub fn start(connection: &mut Connection, open: impl FnOnce() -> Result<Connection>) -> Result<Self> {
        let pages = Arc::new(AtomicI64::new(0));
        let copied = Arc::new(AtomicI64::new(0));
        let counter = Arc::clone(&pages);
        connection.wal_hook(Some(move |_log: &mut rusqlite::hooks::Wal, pages| {
            counter.store(i64::from(pages), Ordering::Relaxed);
            Ok(())
        }))?;
        let copier = open()?;
        let progress = Arc::clone(&copied);
        let (signal, signals) = sync_channel(1);
        let name = "ulex-checkpoint".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            for () in signals {
                progress.store(copy(&copier), Ordering::Release);
            }
        });
        let thread = thread.inspect_err(|error| tracing::error!(%error, "no thread for checkpoints")).ok();
        Ok(Self { pages, copied, seen: 0, not_before: 0, signal: Some(signal), thread })
    }

    /// Called by the writer after every commit.
    pub fn after_commit(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.seen {
            // The log started from the front.
            self.copied.store(0, Ordering::Release);
            self.not_before = 0;
        }
        self.seen = pages;
        if pages < WORTHWHILE || pages < self.not_before {
            return;
        }
        if pages - self.copied.load(Ordering::Acquire) < REST {
            if copy(connection) < pages {
                self.not_before = pages + PATIENCE;
            }
            return;
        }
        match self.signal.as_ref().map(|signal| signal.try_send(())) {
            None | Some(Ok(()) | Err(TrySendError::Full(()))) => {}
            Some(Err(TrySendError::Disconnected(()))) => drop(copy(connection)),
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.signal = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread has panicked");
        }
    }
}

/// Copies what no reader stands in the way of; returns how much of the log is in the file now.
fn copy(connection: &Connection) -> i64 {
    match connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2)) {
        Ok(copied) => copied,
        Err(error) => {
            tracing::warn!(%error, "a checkpoint failed; the next one will copy more");
            0
        }
    }
}
