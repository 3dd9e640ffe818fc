//! PostgreSQL: the store of a cluster.
//!
//! Any number of processes share the tables. Each has one task that writes (`postgres/writer.rs`), which commits what waits
//! together and takes turns with those of other processes, and a pool of connections for reads, which wait for nobody. The
//! writer has a connection of its own, and a second one that helps with large groups. All connections are driven by the
//! runtime that opened the store. A commit is on the server's disk before it is answered. A server that is away makes
//! calls fail with `Unavailable`; the store works again when the server does.
//!
//! Texts may hold everything but NUL, which PostgreSQL cannot keep: a call with a NUL in an id, a type or a comment is
//! refused.

use std::time::Duration;

use async_trait::async_trait;
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot};
use ulex_domain::{Feedback, FeedbackKey, Item, ItemId, ItemState, Timestamp, User, UserId};

pub use self::settings::PostgresSettings;

use self::connections::Connector;
use self::error::{BACKEND, PostgresError};
use self::migrate::with_prefix;
use self::read::Readers;
use self::writer::{Job, Writer};
use super::search_text::SearchText;
use super::validate::{refuse_nul, validate};
use super::{ArrivedItem, Counts, DataStore, FeedbackRow, LogPosition, Outcome, Submission};
use crate::StorageError;

mod aside;
pub(crate) mod connections;
mod copy;
mod decode;
pub(crate) mod error;
mod known;
pub(crate) mod migrate;
mod pruner;
mod read;
mod scan;
mod search;
pub(crate) mod settings;
mod statements;
mod transaction;
mod working_set;
mod writer;

/// Calls that may wait for the writer.
const QUEUE: usize = 1_024;
/// How long a call waits for a place in the queue.
const QUEUE_DEADLINE: Duration = Duration::from_secs(30);

/// A [`DataStore`] in a schema of a PostgreSQL database, version 13 or later. Dropping it finishes what is queued.
#[derive(Debug)]
pub struct PostgresStore {
    jobs: mpsc::Sender<Job>,
    readers: Readers,
    prefix: String,
}

impl PostgresStore {
    /// Connects, on the present runtime, and brings the tables up to date.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the server does not answer within the time to connect; `Rejected` if it does not let us in or the
    /// tables are of a later version or of another program.
    pub async fn open(settings: &PostgresSettings) -> Result<Self, StorageError> {
        Self::connect(settings).await.map_err(|error| error.while_opening("open the store"))
    }

    async fn connect(settings: &PostgresSettings) -> Result<Self, PostgresError> {
        let connector = Connector::new(settings)?;
        let prefix = settings.table_prefix.clone();
        let mut client = connector.connect("-c lock_timeout=0").await?;
        migrate::migrate(&mut client, &prefix).await?;
        drop(client);
        let readers = Readers::new(connector.pool(settings.pool_size)?, &prefix);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let runtime = connector.runtime().clone();
        runtime.spawn(Writer::new(connector, &prefix).run(queue));
        Ok(Self { jobs, readers, prefix })
    }

    async fn submit(&self, submissions: Vec<Submission>) -> Result<Vec<Outcome>, PostgresError> {
        let (reply, answer) = oneshot::channel();
        match self.jobs.send_timeout(Job { submissions, reply }, QUEUE_DEADLINE).await {
            // The task has died in the middle of it.
            Ok(()) => answer.await.unwrap_or(Err(PostgresError::Unknown)),
            Err(mpsc::error::SendTimeoutError::Timeout(_job)) => Err(PostgresError::Overloaded),
            Err(mpsc::error::SendTimeoutError::Closed(_job)) => Err(PostgresError::Closed),
        }
    }

    async fn remove_everything(&self) -> Result<(), PostgresError> {
        let client = connections::from_pool(self.readers.pool()).await?;
        let lock = statements::LOCK_SQL.replace("{lock}", &migrate::LOCK.to_string());
        let sql = format!(
            r#"BEGIN; SET LOCAL statement_timeout = '10min'; {lock};
               TRUNCATE "{{p}}users", "{{p}}items", "{{p}}types", "{{p}}feedback", "{{p}}ledger", "{{p}}positions";
               DELETE FROM "{{p}}meta" WHERE key = 'last_writer'; COMMIT"#
        );
        let removed = client.batch_execute(&with_prefix(&sql, &self.prefix)).await;
        if removed.is_err() {
            // Perhaps in the middle of a transaction.
            drop(deadpool_postgres::Object::take(client));
        }
        Ok(removed?)
    }
}

fn texts<'ids, Id>(ids: &'ids [Id], text: impl Fn(&'ids Id) -> &'ids str) -> Vec<&'ids str> {
    let mut texts: Vec<_> = ids.iter().map(text).filter(|text| can_exist(text)).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// What holds a NUL was never stored, and cannot be asked for.
fn can_exist(text: &str) -> bool {
    !text.contains('\0')
}

#[async_trait]
impl DataStore for PostgresStore {
    async fn apply(&self, submissions: Vec<Submission>) -> Result<Vec<Outcome>, StorageError> {
        validate(BACKEND, &submissions)?;
        refuse_nul(BACKEND, &submissions)?;
        if submissions.is_empty() {
            return Ok(Vec::new());
        }
        self.submit(submissions).await.map_err(|error| error.while_trying_to("apply events"))
    }

    async fn log_position(&self, log: &str) -> Result<Option<LogPosition>, StorageError> {
        if !can_exist(log) {
            return Ok(None);
        }
        let read = self.readers.log_position(log).await;
        read.map_err(|error| error.while_trying_to("read the position of a log"))
    }

    async fn logs(&self) -> Result<Vec<LogPosition>, StorageError> {
        self.readers.logs().await.map_err(|error| error.while_trying_to("list the logs"))
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, StorageError> {
        let read = self.readers.users(&texts(std::slice::from_ref(id), UserId::as_str)).await;
        read.map(|mut users| users.pop()).map_err(|error| error.while_trying_to("read a user"))
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, StorageError> {
        let read = self.readers.users(&texts(ids, UserId::as_str)).await;
        read.map_err(|error| error.while_trying_to("read users"))
    }

    async fn list_users(&self, from: Option<&UserId>, limit: usize) -> Result<Vec<User>, StorageError> {
        let from = start(from.map_or("", UserId::as_str));
        let read = self.readers.list_users(&from, limit).await;
        read.map_err(|error| error.while_trying_to("list users"))
    }

    async fn item(&self, id: &ItemId) -> Result<Option<Item>, StorageError> {
        let read = self.readers.items(&texts(std::slice::from_ref(id), ItemId::as_str)).await;
        read.map(|mut items| items.pop()).map_err(|error| error.while_trying_to("read an item"))
    }

    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Item>, StorageError> {
        let read = self.readers.items(&texts(ids, ItemId::as_str)).await;
        read.map_err(|error| error.while_trying_to("read items"))
    }

    async fn list_items(&self, from: Option<&ItemId>, limit: usize) -> Result<Vec<Item>, StorageError> {
        let from = start(from.map_or("", ItemId::as_str));
        let read = self.readers.list_items(&from, limit).await;
        read.map_err(|error| error.while_trying_to("list items"))
    }

    async fn items_by_arrival(&self, from: u64, limit: usize) -> Result<Vec<ArrivedItem>, StorageError> {
        let read = self.readers.items_by_arrival(from, limit).await;
        read.map_err(|error| error.while_trying_to("list items"))
    }

    async fn item_states(&self, ids: &[ItemId]) -> Result<Vec<ItemState>, StorageError> {
        let read = self.readers.item_states(&texts(ids, ItemId::as_str)).await;
        read.map_err(|error| error.while_trying_to("read the states of items"))
    }

    async fn search_items(&self, query: &str, limit: usize) -> Result<Vec<(Item, f64)>, StorageError> {
        let read = self.readers.search(query, limit).await;
        read.map_err(|error| error.while_trying_to("search items"))
    }

    async fn set_search_columns(&self, columns: &[String]) -> Result<(), StorageError> {
        let text = SearchText::of_columns(columns);
        let built = search::define(self.readers.pool(), &self.prefix, &text).await;
        built.map_err(|error| error.while_trying_to("build the search index"))
    }

    async fn user_feedback(
        &self,
        id: &UserId,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let read = self.readers.users_feedback(&texts(std::slice::from_ref(id), UserId::as_str), until).await;
        let mut rows = read.map_err(|error| error.while_trying_to("read the feedback of a user"))?;
        rows.sort_unstable_by(|one, other| {
            (&one.feedback_type, &one.item_id).cmp(&(&other.feedback_type, &other.item_id))
        });
        Ok(rows)
    }

    async fn users_feedback(
        &self,
        ids: &[UserId],
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        let read = self.readers.users_feedback(&texts(ids, UserId::as_str), until).await;
        read.map_err(|error| error.while_trying_to("read the feedback of users"))
    }

    async fn item_feedback(
        &self,
        id: &ItemId,
        until: Option<Timestamp>,
        limit: Option<usize>,
    ) -> Result<Vec<Feedback>, StorageError> {
        if !can_exist(id.as_str()) {
            return Ok(Vec::new());
        }
        let read = self.readers.item_feedback(id.as_str(), until, limit).await;
        read.map_err(|error| error.while_trying_to("read the feedback of an item"))
    }

    async fn pair_feedback(&self, user: &UserId, item: &ItemId) -> Result<Vec<Feedback>, StorageError> {
        if !can_exist(user.as_str()) || !can_exist(item.as_str()) {
            return Ok(Vec::new());
        }
        let read = self.readers.pair_feedback(user.as_str(), item.as_str()).await;
        read.map_err(|error| error.while_trying_to("read the feedback of a pair"))
    }

    async fn list_feedback(
        &self,
        from: Option<&FeedbackKey>,
        limit: usize,
        feedback_type: Option<&SmolStr>,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError> {
        if feedback_type.is_some_and(|name| !can_exist(name)) {
            return Ok(Vec::new());
        }
        let from = from.map(|from| FeedbackKey {
            feedback_type: SmolStr::new(start(&from.feedback_type)),
            user_id: UserId::new(start(from.user_id.as_str())),
            item_id: ItemId::new(start(from.item_id.as_str())),
        });
        let read = self.readers.list_feedback(from.as_ref(), limit, feedback_type, until).await;
        read.map_err(|error| error.while_trying_to("list feedback"))
    }

    async fn scan_feedback(
        &self,
        batch: usize,
        visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
    ) -> Result<(), StorageError> {
        let scanned = scan::scan(self.readers.pool(), &self.prefix, batch.max(1), visit).await;
        scanned.map_err(|error| error.while_trying_to("scan the feedback"))
    }

    /// Estimates of the server for tables of more than a million rows.
    async fn counts(&self) -> Result<Counts, StorageError> {
        self.readers.counts().await.map_err(|error| error.while_trying_to("count rows"))
    }

    async fn ping(&self) -> Result<(), StorageError> {
        self.readers.ping().await.map_err(|error| error.while_trying_to("reach the server"))
    }

    async fn purge(&self) -> Result<(), StorageError> {
        self.remove_everything().await.map_err(|error| error.while_trying_to("remove everything"))
    }
}

/// Where a list begins that is asked to begin at `from`: the first text without a NUL that is not before it.
fn start(from: &str) -> String {
    // NUL comes before everything, so what follows it cannot make a difference to texts that have none.
    from.split_once('\0').map_or_else(|| from.to_owned(), |(before, _after)| format!("{before}\u{1}"))
}
