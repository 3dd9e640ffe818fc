//! The system of record.

use std::sync::Arc;

use async_trait::async_trait;
use smol_str::SmolStr;
use ulex_domain::log::PART_BITS;
use ulex_domain::{
    Change, Checkpoint, Command, EventId, Feedback, FeedbackKey, Item, ItemId, ItemState, Timestamp, User,
    UserId, Version,
};

pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresSettings, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteSettings, SqliteStore};

pub(crate) use group::rows_of;

use crate::StorageError;
use crate::address::Address;
use crate::layers::{Deadline, Deadlines, Layered, Metrics};

mod group;
mod memory;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod row_text;
mod search_text;
#[cfg(feature = "sqlite")]
mod sqlite;
mod validate;

/// How long the id of an event is kept at least.
const LEDGER_NANOS: i64 = 24 * 60 * 60 * 1_000_000_000;

/// The URL forms of this build.
const AVAILABLE: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "postgres")) {
    (true, true) => "sqlite://path, postgres://user:password@host:port/database and memory://",
    (true, false) => "sqlite://path and memory:// (it was built without postgres)",
    (false, true) => {
        "postgres://user:password@host:port/database and memory:// (it was built without sqlite)"
    }
    (false, false) => "memory:// (it was built without sqlite and postgres)",
};

/// Said of a store that lacks what its caller knows it to have applied, or has what only a successor of its caller knows.
const OUT_OF_PLACE: &str =
    "it was put back to an earlier state and lacks events that it had applied, or a newer epoch is applied";

/// An event on its way into the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// An event whose id is in the ledger has no effect. `None`: the event is not repeatable.
    pub event_id: Option<EventId>,
    /// What to do.
    pub event: Command,
    /// Where it stands in a log. If the store has come that far in this log, the event has no effect.
    pub position: Option<LogPosition>,
    /// The last place that this store has applied, as the caller knows; the default if it knows nothing. A store that has
    /// not come so far was put back to an earlier state since, and one that has a position of a newer epoch, in whatever
    /// log, is written by a successor of the caller: the call is refused as [`StorageError::Unavailable`] and nothing is
    /// applied. Only that of a call's first submission counts. `None`, and a store that belongs to one process: neither
    /// is looked at.
    pub follows: Option<LogPosition>,
}

impl From<Command> for Submission {
    /// Neither repeatable nor from a log.
    fn from(event: Command) -> Self {
        Self { event_id: None, event, position: None, follows: None }
    }
}

impl Submission {
    /// Whether a store that has these positions may not take it.
    fn is_out_of_place<'a>(&self, positions: impl Iterator<Item = &'a LogPosition>) -> bool {
        let (Some(follows), Some(at)) = (&self.follows, &self.position) else { return false };
        let mut applied = Version::ZERO;
        for position in positions {
            if position.epoch > at.epoch {
                return true;
            }
            if position.log == follows.log {
                applied = position.version();
            }
        }
        follows.version() > applied
    }

    /// The version of what it writes: its place in its log; zero if no log brought it.
    #[must_use]
    pub fn version(&self) -> Version {
        self.position.as_ref().map(LogPosition::version).unwrap_or_default()
    }
}

/// A place in a log that is applied in its order, and the fingerprint of the message there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Name of the log; another one that is begun anew has another name.
    pub log: SmolStr,
    /// Grows when the log is cut or replaced; below 2^63. A position of a newer epoch is new, however low its sequence.
    pub epoch: u64,
    /// From 1 and below 2^63; grows within an epoch from entry to entry, not necessarily by one. The lowest
    /// [`PART_BITS`] bits number the commands of one message, the others are the sequence of the message.
    pub sequence: u64,
    /// The time at which the log took the message, in nanoseconds since 1970; 0 if it is not known.
    pub appended_at_nanos: i64,
    /// CRC-32 of the payload of the message.
    pub crc: u32,
}

impl LogPosition {
    /// The version of what is written at this place.
    #[must_use]
    pub const fn version(&self) -> Version {
        Version::new(self.epoch, self.sequence)
    }

    /// The message at this place.
    #[must_use]
    pub const fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            epoch: self.epoch,
            sequence: self.sequence >> PART_BITS,
            appended_at_nanos: self.appended_at_nanos,
            crc: self.crc,
        }
    }

    /// Whether an entry at this place is new to a store that has applied the log up to `applied`.
    fn is_ahead_of(&self, applied: Option<&Self>) -> bool {
        applied.is_none_or(|applied| self.version() > applied.version())
    }
}

/// An item as [`DataStore::items_by_arrival`] lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrivedItem {
    /// Its place in the order of arrival.
    pub number: u64,
    /// The item.
    pub item: Item,
    /// The version of the command that wrote it.
    pub version: Version,
}

impl ArrivedItem {
    /// The state of the item, with its version.
    #[must_use]
    pub fn state(&self) -> ItemState {
        ItemState::of(&self.item, self.version)
    }
}

/// What became of one [`Submission`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The id was in the ledger already, or the position was passed; nothing happened.
    pub duplicate: bool,
    /// Rows removed by a deletion of feedback; 0 for every other event.
    pub rows_deleted: u64,
    /// What changed; empty for a duplicate and for a patch of something that does not exist.
    pub changes: Vec<Change>,
}

/// How many rows there are. Exact or the backend's estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Users.
    pub users: u64,
    /// Items.
    pub items: u64,
    /// Feedback rows.
    pub feedback: u64,
}

/// Keeps users, items and feedback. Cheap to share, safe to call concurrently; one handle per process.
#[async_trait]
pub trait DataStore: Send + Sync + 'static {
    /// Applies events in the given order, in one transaction together with their ids in the ledger, and
    /// returns one [`Outcome`] for each, in order, once they are durable. All or none are applied: on an
    /// error nothing has changed. Concurrent calls may be grouped into one commit; they then take effect in
    /// the order in which they were called. Ids in the ledger are kept for at least 24 hours.
    ///
    /// The position up to which each log was applied is kept in the same transaction. Of events with a [`LogPosition`]
    /// whose (epoch, sequence) is at or below that of its log, none has an effect: an entry that is delivered again is a
    /// duplicate. Positions of one log ascend within a call.
    ///
    /// Items keep the version of the event that wrote them, and never an older one than they have; changes carry the
    /// version of their submission.
    ///
    /// An error of the kind [`ErrorKind::Unknown`](crate::ErrorKind::Unknown) is the exception to "all or none": all of
    /// it may have happened or may still happen. Whether it has is answered by [`DataStore::log_position`].
    async fn apply(&self, submissions: Vec<Submission>) -> Result<Vec<Outcome>, StorageError>;

    /// The newest position of this log that was applied; `None` if none was.
    async fn log_position(&self, log: &str) -> Result<Option<LogPosition>, StorageError>;

    /// The newest position of every log of which something was applied, by name.
    async fn logs(&self) -> Result<Vec<LogPosition>, StorageError>;

    /// The last message of this log that was applied, as a whole or in part.
    async fn checkpoint(&self, log: &str) -> Result<Option<Checkpoint>, StorageError> {
        Ok(self.log_position(log).await?.map(|position| position.checkpoint()))
    }

    /// The highest epoch of all logs; 0 if there is none.
    async fn newest_epoch(&self) -> Result<u64, StorageError> {
        Ok(self.logs().await?.iter().map(|position| position.epoch).max().unwrap_or_default())
    }

    /// The user, or `None`.
    async fn user(&self, id: &UserId) -> Result<Option<User>, StorageError>;

    /// Those of the users that exist, in any order.
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, StorageError>;

    /// Up to `limit` users with ids at or above `from`, by ascending bytes of the id; `None` starts at the first.
    async fn list_users(&self, from: Option<&UserId>, limit: usize) -> Result<Vec<User>, StorageError>;

    /// The item, or `None`. Hidden items are returned.
    async fn item(&self, id: &ItemId) -> Result<Option<Item>, StorageError>;

    /// Those of the items that exist, in any order.
    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Item>, StorageError>;

    /// Up to `limit` items with ids at or above `from`, by ascending bytes of the id; `None` starts at the first.
    async fn list_items(&self, from: Option<&ItemId>, limit: usize) -> Result<Vec<Item>, StorageError>;

    /// Up to `limit` items with a number at or above `from`, by ascending number: the order in which they came, where the
    /// backend keeps it; an item that is replaced keeps its number. Whoever wants all of them goes on after the
    /// last number.
    async fn items_by_arrival(&self, from: u64, limit: usize) -> Result<Vec<ArrivedItem>, StorageError>;

    /// The states of those of the items that exist, in any order, each with the version of the event that wrote it.
    async fn item_states(&self, ids: &[ItemId]) -> Result<Vec<ItemState>, StorageError>;

    /// Up to `limit` items whose text holds any of the words of `query`, best match first. The text is what
    /// the columns given to [`DataStore::set_search_columns`] name. Hidden items are found.
    async fn search_items(&self, query: &str, limit: usize) -> Result<Vec<(Item, f64)>, StorageError>;

    /// Says what [`DataStore::search_items`] looks at: `item.ItemId`, `item.Categories`, `item.Comment`,
    /// `item.Labels`, `item.Labels.a.b`; others are ignored. Rebuilds the index if the columns changed, and
    /// returns when it is ready. Later writes are searchable at once.
    async fn set_search_columns(&self, columns: &[String]) -> Result<(), StorageError>;

    /// All feedback of a user with `timestamp <= until` (`None`: all), by (type, item) bytes.
    async fn user_feedback(
        &self,
        id: &UserId,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError>;

    /// All feedback of several users with `timestamp <= until`, one call for many, in any order.
    async fn users_feedback(
        &self,
        ids: &[UserId],
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError>;

    /// The feedback of an item with `timestamp <= until` (`None`: all), by (type, user) bytes; if it has more rows than
    /// `limit`, at most so many of them, whichever are cheapest to read. Time and memory are bounded by the limit.
    async fn item_feedback(
        &self,
        id: &ItemId,
        until: Option<Timestamp>,
        limit: Option<usize>,
    ) -> Result<Vec<Feedback>, StorageError>;

    /// All feedback of a pair, of whatever time, by type.
    async fn pair_feedback(&self, user: &UserId, item: &ItemId) -> Result<Vec<Feedback>, StorageError>;

    /// Up to `limit` rows with keys at or above `from` in the order of [`FeedbackKey`], with
    /// `timestamp <= until`, of one type if given.
    async fn list_feedback(
        &self,
        from: Option<&FeedbackKey>,
        limit: usize,
        feedback_type: Option<&SmolStr>,
        until: Option<Timestamp>,
    ) -> Result<Vec<Feedback>, StorageError>;

    /// Calls `visit` with every feedback row in batches of up to `batch` rows, each row exactly once if nothing
    /// is written meanwhile, in whatever order is fastest; stops early when `visit` returns `false`. Labels and
    /// comments may be left empty. Memory is bounded by one batch.
    async fn scan_feedback(
        &self,
        batch: usize,
        visit: &mut (dyn for<'a> FnMut(&'a [FeedbackRow<'a>]) -> bool + Send),
    ) -> Result<(), StorageError>;

    /// How many rows there are.
    async fn counts(&self) -> Result<Counts, StorageError>;

    /// Whether the store can be reached and written to.
    async fn ping(&self) -> Result<(), StorageError>;

    /// Removes every user, item, feedback row, ledger entry and position.
    async fn purge(&self) -> Result<(), StorageError>;
}

/// One row of [`DataStore::scan_feedback`], borrowed.
#[derive(Clone, Copy, Debug)]
pub struct FeedbackRow<'a> {
    /// Type.
    pub feedback_type: &'a str,
    /// User.
    pub user_id: &'a str,
    /// Item.
    pub item_id: &'a str,
    /// Accumulated value.
    pub value: f64,
    /// First time.
    pub timestamp: Timestamp,
    /// Last time.
    pub updated: Timestamp,
}

impl<'a> From<&'a Feedback> for FeedbackRow<'a> {
    fn from(row: &'a Feedback) -> Self {
        Self {
            feedback_type: row.feedback_type.as_str(),
            user_id: row.user_id.as_str(),
            item_id: row.item_id.as_str(),
            value: row.value,
            timestamp: row.timestamp,
            updated: row.updated,
        }
    }
}

/// What [`Command::SetCategory`] does to an item; removing the last category leaves an empty list.
fn set_category(item: &mut Item, category: &str, present: bool) {
    if !present {
        item.categories.iter_mut().for_each(|categories| categories.retain(|other| other != category));
        return;
    }
    let categories = item.categories.get_or_insert_default();
    if !categories.iter().any(|other| other == category) {
        categories.push(category.to_owned());
    }
}

/// What [`Command::PutFeedback`] changed: what it created, then the pairs it wrote.
fn feedback_changes(
    user_ids: Vec<UserId>,
    items: Vec<ItemState>,
    pairs: Vec<(UserId, ItemId)>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    if !user_ids.is_empty() {
        changes.push(Change::Users { user_ids });
    }
    if !items.is_empty() {
        changes.push(Change::Items { items });
    }
    if !pairs.is_empty() {
        changes.push(Change::Feedback { pairs });
    }
    changes
}

/// The user that is created for an id that feedback names and nobody has described yet.
fn bare_user(user_id: UserId) -> User {
    User { user_id, labels: serde_json::Value::Null, comment: String::new() }
}

/// Opens the store that `url` names and brings its tables up to date; every table name begins with
/// `table_prefix`.
///
/// `sqlite://path?max_page_count=n` is a file, created with its directory if absent;
/// `postgres://user:password@host:port/database?sslmode=...` (also `postgresql://`) a database of a PostgreSQL server, whose
/// options are those of `PostgresSettings::new`; `memory://` keeps everything in this process and forgets it at the end.
/// Every call has a deadline, is timed and has a span.
///
/// # Errors
///
/// [`StorageError::UnknownScheme`] if this build has no such backend, else what the backend answers: a file
/// of a newer version, a damaged file or one of another program is `Rejected`.
pub async fn open(url: &str, table_prefix: &str) -> Result<Arc<dyn DataStore>, StorageError> {
    open_with(url, table_prefix, Deadlines::default()).await
}

/// The same with deadlines of one's own.
///
/// # Errors
///
/// Those of [`open`].
pub async fn open_with(
    url: &str,
    table_prefix: &str,
    deadlines: Deadlines,
) -> Result<Arc<dyn DataStore>, StorageError> {
    let address = Address::parse(url);
    let (store, backend, label): (Arc<dyn DataStore>, _, _) = match address.scheme {
        "memory" => (Arc::new(MemoryStore::new()), "memory", "data/memory"),
        "sqlite" => (open_sqlite(&address, table_prefix).await?, "sqlite", "data/sqlite"),
        "postgres" | "postgresql" => (open_postgres(url, table_prefix).await?, "postgres", "data/postgres"),
        other => return Err(unknown_scheme(other)),
    };
    let around = (Metrics { store: label }, Deadline { backend, deadlines });
    Ok(Arc::new(Layered::new(store, around)))
}

fn unknown_scheme(scheme: &str) -> StorageError {
    StorageError::UnknownScheme { scheme: scheme.to_owned(), available: AVAILABLE }
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(address: &Address<'_>, table_prefix: &str) -> Result<Arc<dyn DataStore>, StorageError> {
    Ok(Arc::new(SqliteStore::open(SqliteSettings::new(address, table_prefix)).await?))
}

#[cfg(not(feature = "sqlite"))]
#[expect(clippy::unused_async, reason = "takes the place of one that waits")]
async fn open_sqlite(address: &Address<'_>, _prefix: &str) -> Result<Arc<dyn DataStore>, StorageError> {
    Err(unknown_scheme(address.scheme))
}

#[cfg(feature = "postgres")]
async fn open_postgres(url: &str, table_prefix: &str) -> Result<Arc<dyn DataStore>, StorageError> {
    Ok(Arc::new(PostgresStore::open(&PostgresSettings::new(url, table_prefix)?).await?))
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "takes the place of one that waits")]
async fn open_postgres(_url: &str, _prefix: &str) -> Result<Arc<dyn DataStore>, StorageError> {
    Err(unknown_scheme("postgres"))
}
