//! What a bus must be able to do, in bytes. [`crate::Bus`] is the typed face that everybody else uses.
//!
//! Two implementations: in-process and (cluster) NATS JetStream; `conformance` is what both must pass.
//!
//! How each promise is kept on JetStream (server 2.11 or later):
//!
//! | here | there |
//! |---|---|
//! | [`Transport::append`] | JetStream publish, waits for the publish acknowledgement; it needs the reply subject for itself, so [`Message::reply`] is not kept |
//! | [`Retention::Limits`] | limits, discard new; on "maximum bytes exceeded" purge up to what every durable consumer is done with, try once more, then [`BusError::Full`] |
//! | [`Retention::WorkQueue`] | work queue, one message per subject (of one subject the older goes), discard new |
//! | [`Order::Strict`] | a cursor in a bucket, moved by compare-and-set by one puller at a time, which reads with an ordered consumer; `jetstream/strict_puller.rs` says why not by a durable consumer |
//! | [`Order::Any`] | one durable pull consumer that everybody shares |
//! | [`Transport::reader`] | ordered (ephemeral) consumer, built again from the next position when it breaks |
//! | [`BucketSpec::ttl`] | `max_age` of the bucket, with `limit_markers` so that watches hear of expiry |
//! | [`RawBucket::delete`], [`RawBucket::delete_at`] | purge, with expected revision; a key that is gone has no history |
//! | [`Transport::remove`], [`Transport::purge`] | delete message, purge by subject |
//! | [`ObjectInfo::digest`] | the store's SHA-256, base64 turned into hexadecimal |

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use smol_str::SmolStr;
use ulex_domain::log::{Checkpoint, LogEpoch};

use crate::BusError;

/// Headers of a message: [`SCHEMA_HEADER`], [`TRACE_HEADER`], [`MESSAGE_ID_HEADER`], ...
pub type Headers = BTreeMap<String, String>;

/// Which schema the payload follows: `event/1`.
pub const SCHEMA_HEADER: &str = "ulex-schema";
/// W3C trace context: the span in which the message was sent.
pub const TRACE_HEADER: &str = "traceparent";
/// What vendors of tracing add to it.
pub const TRACE_STATE_HEADER: &str = "tracestate";
/// Two messages of one stream with the same value, within its window, are one.
pub const MESSAGE_ID_HEADER: &str = "Nats-Msg-Id";
/// Inbox where the publisher of an appended message waits for what came of it.
pub const RECEIPT_HEADER: &str = "ulex-receipt-to";

/// Time after its append, in milliseconds, in which an appended message may still take effect. Whoever drains the stream
/// measures it by the clock of the server that took the message.
pub const EXPIRES_HEADER: &str = "ulex-expires-after-ms";

/// The event's id, where it cannot be [`MESSAGE_ID_HEADER`], because the stream would take a message that is sent again
/// on purpose for a repetition.
pub const EVENT_ID_HEADER: &str = "ulex-event-id";

/// The stream does not go on from what it told before, because the data was put back to an earlier state or its log was
/// replaced: whoever follows it reads the data itself again.
pub const GAP_HEADER: &str = "ulex-gap";

/// Which process sent it.
pub const NODE_HEADER: &str = "ulex-node";

/// A name in a specification: a constant in `topology`, made up in tests.
pub type Name = Cow<'static, str>;

/// A message as it travels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where it was sent.
    pub subject: String,
    /// Where an answer or a receipt is expected.
    pub reply: Option<String>,
    /// Headers.
    pub headers: Headers,
    /// Body.
    pub payload: Bytes,
}

/// Where an appended message stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position, from 1.
    pub sequence: u64,
    /// The stream held a message of the same `Nats-Msg-Id` already and kept that one.
    pub duplicate: bool,
}

/// What a stream keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Everything within the limits. A full stream makes room by forgetting the oldest messages that every durable
    /// consumer is done with; where one is not done, or there is none, it refuses with [`BusError::Full`].
    Limits,
    /// Everything within the limits; a full stream forgets the oldest (`discard old`).
    Recent,
    /// Until acknowledged; at most one message per subject, a newer one replaces the older, even one that is being
    /// worked on: whoever holds that one may finish, and the newer one is delivered as well. A full stream refuses.
    WorkQueue,
}

/// A stream, as `topology` declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Name: `EVENTS`.
    pub name: Name,
    /// Subjects it captures, from the root, with the tenant as `*`. No other stream captures any of them.
    pub subjects: Cow<'static, [Name]>,
    /// What it keeps.
    pub retention: Retention,
    /// Messages with the same [`MESSAGE_ID_HEADER`] within this time are one.
    pub dedup: Duration,
    /// Oldest message; `None` is no limit.
    pub max_age: Option<Duration>,
    /// Total size.
    pub max_bytes: u64,
}

/// What a stream holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Name of the log: a UUID that the stream keeps through backup and restore. A stream of the same name that was begun
    /// anew is another log.
    pub log: SmolStr,
    /// Epoch of the log: how often it has been cut or begun anew. Positions of one epoch only grow.
    pub epoch: u64,
    /// Position of the oldest message in it; one more than [`StreamState::last_sequence`] if it holds none.
    pub first_sequence: u64,
    /// Messages in it.
    pub messages: u64,
    /// Their size.
    pub bytes: u64,
    /// Position of the last message ever appended; 0 if there was none.
    pub last_sequence: u64,
}

/// In which order a durable consumer hands out its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Strictly in stream order. One puller at a time; others stand by. It may pull while it holds messages, and a pull
    /// that is dropped takes nothing with it. After a `nak` or when a message was not settled in time, nothing comes
    /// until all later ones are settled or given back; then they come again from that message on.
    Strict,
    /// No order; any number of pullers share the work.
    Any,
}

/// A durable pull consumer, as `topology` declares it. A new one starts with the oldest message there is.
///
/// With [`Order::Strict`], whoever settles messages goes by their order: after a `nak`, all later ones that it holds get a
/// `nak` as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSpec {
    /// Durable name; pullers of the same name share the work.
    pub name: Name,
    /// Of which stream.
    pub stream: Name,
    /// Only these subjects.
    pub filter: Name,
    /// Which message may overtake which.
    pub order: Order,
    /// Unacknowledged deliveries in flight at most.
    pub max_ack_pending: usize,
    /// A delivery that is neither settled nor extended in this time is delivered again.
    pub ack_wait: Duration,
}

/// What a consumer still has before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Never delivered, or waiting to be delivered again.
    pub waiting: u64,
    /// Delivered and not settled.
    pub in_flight: u64,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// With the oldest message there is.
    First,
    /// With the next message that is appended.
    New,
    /// With the first message at or after this position.
    Sequence(u64),
    /// With the first message appended at or after this time.
    Time(SystemTime),
}

/// A message as a stream keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMessage {
    /// Position.
    pub sequence: u64,
    /// When it was appended.
    pub appended_at: SystemTime,
    /// The message.
    pub message: Message,
}

/// A key-value bucket, as `topology` declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSpec {
    /// Name: letters, digits, `-` and `_`.
    pub name: Name,
    /// Values kept per key, the present one included, 1 to 64.
    pub history: u8,
    /// Values vanish this long after they were written, and each write starts anew; `None` never.
    pub ttl: Option<Duration>,
    /// Survives a restart of the bus.
    pub durable: bool,
}

/// A value in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Bytes,
    /// Revision: unique in the bucket and increasing.
    pub revision: u64,
}

/// What a watch reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// A key has this value now.
    Put(Entry),
    /// A key is gone: deleted or expired.
    Gone {
        /// Which.
        key: String,
    },
}

/// An object in an object bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, lower-case hexadecimal.
    pub digest: String,
}

/// Something that all processes of a deployment share and one command defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definition {
    /// A stream.
    Stream(StreamSpec),
    /// A durable consumer.
    Consumer(ConsumerSpec),
    /// A bucket.
    Bucket(BucketSpec),
    /// An object bucket.
    Objects(Name),
    /// The bus's own bucket of consumers with an order.
    Cursors,
}

/// How far a change of definitions may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// Nothing is changed.
    DryRun,
    /// What is missing is created, limits and replicas are raised and never lowered.
    Raise,
    /// Everything is brought to its definition.
    Force,
}

/// A difference between what is on the bus and what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionChange {
    /// Stream, bucket or object bucket.
    pub name: String,
    /// Field of its definition; `definition` if it does not exist.
    pub field: &'static str,
    /// Value on the bus.
    pub present: String,
    /// Value wanted.
    pub wanted: String,
    /// Whether the change makes less of something.
    pub is_lowering: bool,
    /// Whether it is left as it is, because it would make less of something.
    pub is_refused: bool,
}

impl DefinitionChange {
    pub(crate) fn creation(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            field: "definition",
            present: "missing".to_owned(),
            wanted: "present".to_owned(),
            is_lowering: false,
            is_refused: false,
        }
    }
}

/// A stream of messages of a core subscription.
#[async_trait]
pub trait RawSubscription: Send {
    /// The next message; `None` once the bus is closed.
    async fn next(&mut self) -> Option<Message>;
}

/// A delivery of a pull consumer. Dropping it without a word is a `nak` after `ack_wait`. A word about a delivery that
/// was settled before, or that has been delivered again since, does no harm; a late `ack` still counts.
#[async_trait]
pub trait RawDelivery: Send + Sync {
    /// The message.
    fn message(&self) -> &Message;
    /// Position in the stream.
    fn sequence(&self) -> u64;
    /// Log that the position belongs to.
    fn log(&self) -> &LogEpoch;
    /// Whether a log that was cut may have delivered it before the cut: it was appended within [`CLOCK_TOLERANCE`] of the
    /// last message that the data store has applied.
    fn is_ambiguous(&self) -> bool;
    /// Number of deliveries, from 1, [`RawDelivery::lost_holders`] included. At least 2 for a message that an earlier
    /// puller of an ordered consumer may have at hand still: 1 says that nobody else can do anything with it.
    fn attempt(&self) -> u64;
    /// Number of pullers in a row that ended, without a word about it, while this was the first message they had. Survives
    /// the process: with [`Order::Strict`] it stands in the cursor before the message is handed out.
    fn lost_holders(&self) -> u64;
    /// When it was appended.
    fn appended_at(&self) -> SystemTime;
    /// Whether the puller has the message for certain, now and since it was delivered: nobody else can have been given it.
    fn is_held(&self) -> bool {
        true
    }
    /// Whether a successor of this puller begins with this message again although it is settled: what it led to has not
    /// been told to all who must hear of it. One message at a time; only a cursor ([`Order::Strict`] on a server)
    /// remembers it.
    fn set_restart(&self, _is_restart: bool) {}
    /// Done; never delivered again.
    async fn ack(&self) -> Result<(), BusError>;
    /// Deliver again, after `delay`.
    async fn nak(&self, delay: Duration) -> Result<(), BusError>;
    /// Still working: starts `ack_wait` anew.
    async fn in_progress(&self) -> Result<(), BusError>;
    /// Never deliver again, although it failed.
    async fn term(&self) -> Result<(), BusError>;
}

/// Largest difference between the clocks of two servers of the bus that is taken into account.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);

/// Knowledge of a data store about a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownLog {
    /// The last message of this log that was applied; `None` if the store does not know the log.
    pub checkpoint: Option<Checkpoint>,
    /// The newest epoch of all logs; 0 if the store knows none.
    pub newest_epoch: u64,
    /// Whether the store has applied messages of other logs.
    pub knows_other_logs: bool,
}

/// A data store that keeps its place in a log together with the data.
#[async_trait]
pub trait CheckpointSource: Send + Sync {
    /// The place of the store in the log of this name.
    async fn checkpoint(&self, log: &str) -> Result<KnownLog, BusError>;
}

/// A pull consumer.
#[async_trait]
pub trait RawPuller: Send {
    /// Waits for at least one message, at most `wait`, and returns up to `max` that are there. Dropping the future
    /// loses nothing. [`BusError::Closed`] once the bus is closed.
    async fn pull(&mut self, max: usize, wait: Duration) -> Result<Vec<Box<dyn RawDelivery>>, BusError>;

    /// Whether, since this was asked last, what is delivered stopped to follow from what was: the log was cut or
    /// replaced, the data store went back, or nobody knows how far the consumer had come.
    fn has_begun_anew(&mut self) -> bool {
        false
    }
}

/// Reads a stream in order, without acknowledging anything. Positions may be missing: forgotten, removed or filtered.
#[async_trait]
pub trait RawReader: Send {
    /// Waits for at least one message, at most `wait`, and returns up to `max`. Dropping the future loses nothing.
    async fn read(&mut self, max: usize, wait: Duration) -> Result<Vec<StreamMessage>, BusError>;
}

/// A bucket. A key is 1 to 255 letters, digits, `-`, `_`, `=`, `/` and `.`, not beginning or ending with `.`; others
/// are refused with [`BusError::Token`]. [`crate::Token::escape`] makes one of any text.
#[async_trait]
pub trait RawBucket: Send + Sync {
    /// The value now.
    async fn get(&self, key: &str) -> Result<Option<Entry>, BusError>;
    /// Writes whatever is there; returns the new revision.
    async fn put(&self, key: &str, value: Bytes) -> Result<u64, BusError>;
    /// Writes if the key does not exist; [`BusError::Conflict`] otherwise.
    async fn create(&self, key: &str, value: Bytes) -> Result<u64, BusError>;
    /// Writes if the key is still at `revision`; [`BusError::Conflict`] otherwise.
    async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, BusError>;
    /// Removes the key; nothing happens if it does not exist.
    async fn delete(&self, key: &str) -> Result<(), BusError>;
    /// Removes the key if it is still at `revision`; [`BusError::Conflict`] otherwise.
    async fn delete_at(&self, key: &str, revision: u64) -> Result<(), BusError>;
    /// Every key that exists, with its value.
    async fn entries(&self) -> Result<Vec<Entry>, BusError>;
    /// Older values of a key, oldest first, the present one last; nothing for a key that is gone.
    async fn history(&self, key: &str) -> Result<Vec<Entry>, BusError>;
    /// First every value that exists, then every change. Of values that follow one another faster than they are read,
    /// the last is never missed.
    async fn watch(&self) -> Result<Box<dyn RawWatch>, BusError>;
}

/// A watch on a bucket.
#[async_trait]
pub trait RawWatch: Send {
    /// The next change; `None` once the bus is closed.
    async fn next(&mut self) -> Option<KeyEvent>;
}

/// An object bucket: immutable names, bytes of any size.
#[async_trait]
pub trait RawObjects: Send + Sync {
    /// Stores bytes under a name; a name that exists is replaced as a whole.
    async fn put(&self, name: &str, bytes: Bytes) -> Result<ObjectInfo, BusError>;
    /// What is stored under a name, without reading it; `None` if there is no such object.
    async fn info(&self, name: &str) -> Result<Option<ObjectInfo>, BusError>;
    /// The bytes, their digest checked; `None` if there is no such object.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, BusError>;
    /// Removes an object; nothing happens if it does not exist.
    async fn delete(&self, name: &str) -> Result<(), BusError>;
    /// Everything there is.
    async fn list(&self) -> Result<Vec<ObjectInfo>, BusError>;
}

/// A bus.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends to whoever listens now; returns once the bus has taken it.
    async fn publish(&self, message: Message) -> Result<(), BusError>;
    /// Sends and waits for one answer.
    async fn request(&self, message: Message, timeout: Duration) -> Result<Message, BusError>;
    /// Listens to a subject with wildcards `*` and `>`, from the moment this returns. With a `queue`, each message goes
    /// to one listener of it only. A listener that is too slow misses messages.
    async fn subscribe(
        &self,
        filter: &str,
        queue: Option<&str>,
    ) -> Result<Box<dyn RawSubscription>, BusError>;
    /// Most bytes of one message, headers included.
    fn max_payload(&self) -> usize;
    /// A new subject that nobody else listens to, for receipts. Subjects below it are the caller's, too.
    fn inbox(&self) -> String;
    /// Creates the stream if there is none. One that is there stays as it is; a difference is logged once.
    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), BusError>;
    /// Appends to the stream that captures the subject and waits for its word; who subscribed to the subject hears it
    /// too. [`Message::reply`] is not kept. [`BusError::Full`], or [`BusError::NoStream`] if no stream captures it.
    async fn append(&self, message: Message) -> Result<Appended, BusError>;
    /// What the stream holds.
    async fn stream_state(&self, stream: &str) -> Result<StreamState, BusError>;
    /// Forgets one message; whether it was there. Who has it at hand already may still deliver it.
    async fn remove(&self, stream: &str, sequence: u64) -> Result<bool, BusError>;
    /// Forgets all messages on these subjects; how many there were. As [`Transport::remove`] otherwise.
    async fn purge(&self, stream: &str, filter: &str) -> Result<u64, BusError>;
    /// Reads what the stream has on these subjects, and then what is appended.
    async fn reader(
        &self,
        stream: &str,
        filter: &str,
        from: ReadFrom,
    ) -> Result<Box<dyn RawReader>, BusError>;
    /// Creates the durable consumer if there is none. From then on its messages wait for it.
    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), BusError>;
    /// Binds to a durable consumer, creating it if need be. With [`Order::Strict`]: while another puller has it, pulls
    /// return nothing, and this one takes over soon after that one is dropped or lost; with `checkpoints`, it goes on
    /// behind the place that the data store has reached.
    async fn puller(
        &self,
        spec: &ConsumerSpec,
        checkpoints: Option<Arc<dyn CheckpointSource>>,
    ) -> Result<Box<dyn RawPuller>, BusError>;
    /// What the consumer has before it.
    async fn backlog(&self, spec: &ConsumerSpec) -> Result<Backlog, BusError>;
    /// Opens a bucket, creating it if there is none. One that is there stays as it is; a difference is logged once.
    async fn bucket(&self, spec: &BucketSpec) -> Result<Box<dyn RawBucket>, BusError>;
    /// Opens an object bucket, creating it if need be.
    async fn objects(&self, name: &str) -> Result<Box<dyn RawObjects>, BusError>;
    /// Creates what is missing and brings what is there to its definition, as far as `mode` allows; what was or would be
    /// changed, and what was left.
    async fn apply(
        &self,
        definition: &Definition,
        mode: ApplyMode,
    ) -> Result<Vec<DefinitionChange>, BusError>;
    /// Settles what is on its way and ends every subscription.
    async fn close(&self);
}
