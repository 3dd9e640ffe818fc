//! One SQLite file: the store of a single machine.
//!
//! A write-ahead log synced at every commit, so an answer means durable; one writer thread that commits what
//! waits together (`sqlite/writer.rs`); readers that never wait for the writer (`sqlite/reader.rs`). A full or
//! read-only disk makes calls fail with `Unavailable` and leaves nothing half done; the store works again when
//! the disk does. Several processes may use one file; each sees what the others committed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot};
use ulex_domain::{Feedback, FeedbackKey, Item, ItemId, ItemState, Timestamp, User, UserId};

use self::checkpoint::Checkpoints;
use self::error::{BACKEND, SqliteError};
use self::listing::Page;
use self::reader::{FEW_ROWS, Readers, row_limit};
use self::scan::{Batch, Scan};
use self::writer::Job;
use super::search_text::SearchText;
use super::validate::validate;
use super::{ArrivedItem, Counts, DataStore, FeedbackRow, LogPosition, Outcome, Submission};
use crate::StorageError;
use crate::address::Address;

mod checkpoint;
mod decode;
mod dictionary;
mod error;
mod fold;
mod ledger;
mod listing;
mod migrate;
mod positions;
mod prepared;
mod read_sql;
mod reader;
mod scan;
mod search;
mod tables;
mod writer;

/// Calls that may wait for the writer.
const QUEUE: usize = 1_024;
/// How long a call waits for a place in the queue.
const QUEUE_DEADLINE: Duration = Duration::from_secs(30);
/// How long SQLite waits for another process that writes.
const BUSY: Duration = Duration::from_secs(10);
/// Ids looked up where the call is made; more go to the blocking pool.
const FEW_IDS: usize = 64;

/// How to open a [`SqliteStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The file; created, with its directory, if it does not exist.
    pub path: PathBuf,
    /// Begins the name of every table.
    pub table_prefix: String,
    /// The file does not grow beyond this many pages of 8 KiB; writes then fail with `Unavailable`.
    pub max_page_count: Option<u64>,
    /// About how many feedback rows stay in the small table that new ones go into.
    pub recent_rows: usize,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data.db"),
            table_prefix: String::new(),
            max_page_count: None,
            recent_rows: 50_000,
        }
    }
}

impl SqliteSettings {
    pub(super) fn new(address: &Address<'_>, table_prefix: &str) -> Self {
        let mut settings = Self {
            path: PathBuf::from(address.location),
            table_prefix: table_prefix.to_owned(),
            ..Self::default()
        };
        for (name, value) in address.options() {
            match (name, value.parse()) {
                ("max_page_count", Ok(pages)) => settings.max_page_count = Some(pages),
                ("recent_rows", Ok(rows)) => {
                    settings.recent_rows = usize::try_from(rows).unwrap_or(usize::MAX)
                }
                _ => tracing::warn!(name, value, "the sqlite store does not have this option"),
            }
        }
        settings
    }
}

/// A [`DataStore`] in an SQLite file. Dropping it finishes what is queued.
#[derive(Debug)]
pub struct SqliteStore {
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
}

impl SqliteStore {
    /// Opens the file and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// `Rejected` if the file is damaged, of a later version, or holds tables of another program;
    /// `Unavailable` if it cannot be created or written to.
    pub async fn open(settings: SqliteSettings) -> Result<Self, StorageError> {
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&settings)).await;
        opened.unwrap_or(Err(SqliteError::Closed)).map_err(|error| error.while_opening("open the file"))
    }

    fn open_blocking(settings: &SqliteSettings) -> Result<Self, SqliteError> {
        if let Some(directory) = settings.path.parent().filter(|path| !path.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory)?;
        }
        let mut connection = open_connection(&settings.path, Access::Write)?;
        migrate::prepare_file(&connection)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        migrate::migrate(&mut connection, &settings.table_prefix)?;
        if let Some(pages) = settings.max_page_count {
            connection.pragma_update(None, "max_page_count", i64::try_from(pages).unwrap_or(i64::MAX))?;
        }
        let path = settings.path.clone();
        let mut checkpoints = Checkpoints::start(&mut connection, || open_connection(&path, Access::Write))?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let for_writer = settings.clone();
        let (ready, started) = oneshot::channel();
        let writer = std::thread::Builder::new().name("ulex-sqlite".to_owned()).spawn(move || {
            writer::run(&connection, &for_writer, queue, &mut checkpoints, ready);
            drop(checkpoints);
        })?;
        started.blocking_recv().unwrap_or(Err(SqliteError::Closed))?;
        let readers = Arc::new(Readers::new(settings.path.clone(), &settings.table_prefix));
        Ok(Self { jobs: Some(jobs), writer: Some(writer), readers })
    }

    async fn send(&self, job: Job) -> Result<(), SqliteError> {
        let jobs = self.jobs.as_ref().ok_or(SqliteError::Closed)?;
        match jobs.send_timeout(job, QUEUE_DEADLINE).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_job)) => Err(SqliteError::Overloaded),
            Err(mpsc::error::SendTimeoutError::Closed(_job)) => Err(SqliteError::Closed),
        }
    }

    async fn ask(
        &self,
        action: &'static str,
        job: impl FnOnce(oneshot::Sender<Result<(), SqliteError>>) -> Job + Send,
    ) -> Result<(), StorageError> {
        let (reply, answer) = oneshot::channel();
        let asked = match self.send(job(reply)).await {
            Ok(()) => answer.await.unwrap_or(Err(SqliteError::Closed)),
            Err(error) => Err(error),
        };
        asked.map_err(|error| error.while_trying_to(action))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the sqlite writer has panicked");
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn open_connection(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let mode = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    // Without this a statement is prepared anew whenever a parameter has another value than before.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "mmap_size", 256 << 20)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    match access {
        Access::Read => connection.pragma_update(None, "cache_size", -8_192)?,
        Access::Write => {
            connection.pragma_update(None, "cache_size", -65_536)?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update(None, "foreign_keys", false)?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            connection.pragma_update(None, "journal_size_limit", 128 << 20)?;
        }
    }
    Ok(connection)
}

#[async_trait]
impl DataStore for SqliteStore {
    async fn apply(&self, submissions: Vec<Submission>) -> Result<Vec<Outcome>, StorageError> {
        validate(BACKEND, &submissions)?;
        if submissions.is_empty() {
            return Ok(Vec::new());
        }
        let (job, answer) = writer::apply_job(submissions);
        let applied = match self.send(job).await {
            Ok(()) => answer.await.map_or(Err(SqliteError::Unknown), |(result, _call)| result),
            Err(error) => Err(error),
        };
        applied.map_err(|error| error.while_trying_to("apply events"))
    }

    async fn log_position(&self, log: &str) -> Result<Option<LogPosition>, StorageError> {
        let read = self.readers.now(|reader| reader.log_position(log)).await;
        read.map_err(|error| error.while_trying_to("read the position of a log"))
    }

    async fn logs(&self) -> Result<Vec<LogPosition>, StorageError> {
        let read = self.readers.now(reader::Reader::logs).await;
        read.map_err(|error| error.while_trying_to("list the logs"))
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, StorageError> {
        let read = self.readers.now(|reader| reader.user(id)).await;
        read.map_err(|error| error.while_trying_to("read a user"))
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, StorageError> {
        let ids = distinct(ids);
        let read = if ids.len() <= FEW_IDS {
            self.readers.now(|reader| reader.users(&ids)).await
        } else {
            self.readers.long(move |reader| reader.users(&ids)).await
        };
        read.map_err(|error| error.while_trying_to("read users"))
    }

    async fn list_users(&self, from: Option<&UserId>, limit: usize) -> Result<Vec<User>, StorageError> {
        let from = from.map_or_else(String::new, UserId::to_string);
        let read = self.readers.long(move |reader| reader.list_users(&from, limit)).await;
        read.map_err(|error| error.while_trying_to("list users"))
    }

    async fn item(&self, id: &ItemId) -> Result<Option<Item>, StorageError> {
        let read = self.readers.now(|reader| reader.item(id)).await;
        read.map_err(|error| error.while_trying_to("read an item"))
    }

    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Item>, StorageError> {
        let ids = distinct(ids);
        let read = if ids.len() <= FEW_IDS {
            self.readers.now(|reader| reader.items(&ids)).await
        } else {
            self.readers.long(move |reader| reader.items(&ids)).await
        };
        read.map_err(|error| error.while_trying_to("read items"))
    }

    async fn list_items(&self, from: Option<&ItemId>, limit: usize) -> Result<Vec<Item>, StorageError> {
        let from = from.map_or_else(String::new, ItemId::to_string);
        let read = self.readers.long(move |reader| reader.list_items(&from, limit)).await;
        read.map_err(|error| error.while_trying_to("list items"))
    }

    async fn items_by_arrival(&self, from: u64, limit: usize) -> Result<Vec<ArrivedItem>, StorageError> {
        let read = self.readers.long(move |reader| reader.items_by_arrival(from, limit)).await;
        read.map_err(|error| error.while_trying_to("list items"))
    }

    async fn item_states(&self, ids: &[ItemId]) -> Result<Vec<ItemState>, StorageError> {
        let ids = distinct(ids);
        let read = if ids.len() <= FEW_IDS {
            self.readers.now(|reader| reader.item_states(&ids)).await
        } else {
            self.readers.long(move |reader| reader.item_states(&ids)).await
        };
        read.map_err(|error| error.while_trying_to("read the states of items"))
    }

    async fn search_items(&self, query: &str, limit: usize) -> Result<Vec<(Item, f64)>, StorageError> {
        let query = query.to_owned();
        let read = self.readers.long(move |reader| reader.search(&query, limit)).await;
        read.map_err(|error| error.while_trying_to("search items"))
    }

    async fn set_search_columns(&self, columns: &[String]) -> Result<(), StorageError> {
        let text = SearchText::of_columns(columns);
        self.ask("build the search index", |reply| Job::SetSearch { text, reply }).await
    }

    async fn user_feedback(
        &self,
        id: &UserId,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let few = self.readers.now(|reader| reader.user_feedback(id, until, FEW_ROWS)).await;
        let read = match few {
            Ok(None) => {
                let id = id.clone();
                self.readers.long(move |reader| reader.user_feedback(&id, until, i64::MAX)).await
            }
            settled @ (Ok(Some(_)) | Err(_)) => settled,
        };
        let read = read.map(Option::unwrap_or_default);
        read.map_err(|error| error.while_trying_to("read the feedback of a user"))
    }

    async fn users_feedback(
        &self,
        ids: &[UserId],
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let ids = distinct(ids);
        let read = self.readers.long(move |reader| reader.users_feedback(&ids, until)).await;
        read.map_err(|error| error.while_trying_to("read the feedback of users"))
    }

    async fn item_feedback(
        &self,
        id: &ItemId,
        until: Option<Timestamp>,
        limit: Option<usize>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let limit = limit.unwrap_or(usize::MAX);
        // Each may be stored twice.
        let stored = row_limit(limit.saturating_mul(2));
        let few = self.readers.now(|reader| reader.item_feedback(id, until, FEW_ROWS)).await;
        let read = match few {
            Ok((_some, true)) if stored > FEW_ROWS => {
                let id = id.clone();
                self.readers.long(move |reader| reader.item_feedback(&id, until, stored)).await
            }
            settled => settled,
        };
        let (mut rows, _may_have_more) =
            read.map_err(|error| error.while_trying_to("read the feedback of an item"))?;
        rows.truncate(limit);
        Ok(rows)
    }

    async fn pair_feedback(&self, user: &UserId, item: &ItemId) -> Result<Vec<Feedback>, StorageError> {
        let read = self.readers.now(|reader| reader.pair_feedback(user, item)).await;
        read.map_err(|error| error.while_trying_to("read the feedback of a pair"))
    }

    async fn list_feedback(
        &self,
        from: Option<&FeedbackKey>,
        limit: usize,
        feedback_type: Option<&SmolStr>,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let page = Page { from: from.cloned(), limit, feedback_type: feedback_type.cloned(), until };
        let read = self.readers.long(move |reader| page.read(reader)).await;
        read.map_err(|error| error.while_trying_to("list feedback"))
    }

    async fn scan_feedback(
        &self,
        batch: usize,
        visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
    ) -> Result<(), StorageError> {
        let (sender, mut batches) = mpsc::channel::<Batch>(1);
        let readers = Arc::clone(&self.readers);
        let size = batch.max(1);
        let reading =
            tokio::spawn(async move { readers.long(move |reader| scan_all(reader, size, &sender)).await });
        while let Some(batch) = batches.recv().await {
            if !visit(&batch.borrow()) {
                break;
            }
        }
        drop(batches);
        let read = reading.await.unwrap_or(Err(SqliteError::Closed));
        read.map_err(|error| error.while_trying_to("scan the feedback"))
    }

    async fn counts(&self) -> Result<Counts, StorageError> {
        let read = self.readers.long(reader::Reader::counts).await;
        read.map_err(|error| error.while_trying_to("count rows"))
    }

    async fn ping(&self) -> Result<(), StorageError> {
        self.ask("write", |reply| Job::Ping { reply }).await
    }

    async fn purge(&self) -> Result<(), StorageError> {
        self.ask("remove everything", |reply| Job::Purge { reply }).await
    }
}

fn scan_all(reader: &reader::Reader, size: usize, batches: &mpsc::Sender<Batch>) -> rusqlite::Result<()> {
    let mut scan = Scan::default();
    loop {
        let batch = scan.next(reader, size)?;
        if batch.is_empty() || batches.blocking_send(batch).is_err() {
            return Ok(());
        }
    }
}

fn distinct<Id: Clone + Ord>(ids: &[Id]) -> Vec<Id> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}
