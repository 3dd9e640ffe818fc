//! What a bus must be able to do, in bytes. [`crate::Bus`] is the typed face that everybody else uses.
//!
//! Two implementations: in-process and (cluster) NATS JetStream; `conformance` is what both must pass.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::BusError;

/// Headers of a message: `ulex-schema`, `traceparent`, `Nats-Msg-Id`, ...
pub type Headers = BTreeMap<String, String>;

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
    /// Everything within the limits; a full stream refuses (`discard new`).
    Limits,
    /// Everything within the limits; a full stream forgets the oldest (`discard old`).
    Recent,
    /// Until acknowledged; at most one message per subject, a newer one replaces the older.
    WorkQueue,
}

/// A stream, as `topology` declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Name: `EVENTS`.
    pub name: &'static str,
    /// Subjects it captures, below the root, with the tenant as `*`.
    pub subjects: &'static [&'static str],
    /// What it keeps.
    pub retention: Retention,
    /// Messages with the same `Nats-Msg-Id` within this time are one.
    pub dedup: Duration,
    /// Oldest message; `None` is no limit.
    pub max_age: Option<Duration>,
    /// Total size.
    pub max_bytes: u64,
}

/// A durable pull consumer, as `topology` declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSpec {
    /// Durable name; pullers of the same name share the work.
    pub name: &'static str,
    /// Of which stream.
    pub stream: &'static str,
    /// Only these subjects.
    pub filter: &'static str,
    /// Unacknowledged deliveries in flight at most, per partition.
    pub max_ack_pending: usize,
    /// A delivery that is neither acknowledged nor extended in this time is delivered again.
    pub ack_wait: Duration,
    /// Number of partitions (>= 1). A message's partition is the hash of its last subject token; one partition is
    /// drained by one puller at a time, so messages of one token arrive in order.
    pub partitions: u16,
}

/// A key-value bucket, as `topology` declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSpec {
    /// Name.
    pub name: &'static str,
    /// Older values kept per key, 1 to 64.
    pub history: u8,
    /// Keys vanish this long after their last write; `None` never.
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

/// A stream of messages of a core subscription.
#[async_trait]
pub trait RawSubscription: Send {
    /// The next message; `None` once the bus is closed.
    async fn next(&mut self) -> Option<Message>;
}

/// A delivery of a pull consumer. Dropping it without a word is a `nak` after `ack_wait`.
#[async_trait]
pub trait RawDelivery: Send + Sync {
    /// The message.
    fn message(&self) -> &Message;
    /// Position in the stream.
    fn sequence(&self) -> u64;
    /// How often it has been delivered, from 1.
    fn attempt(&self) -> u64;
    /// Done; never delivered again.
    async fn ack(&self) -> Result<(), BusError>;
    /// Deliver again, after `delay`.
    async fn nak(&self, delay: Duration) -> Result<(), BusError>;
    /// Still working: starts `ack_wait` anew.
    async fn in_progress(&self) -> Result<(), BusError>;
    /// Never deliver again, although it failed.
    async fn term(&self) -> Result<(), BusError>;
}

/// A pull consumer bound to one partition.
#[async_trait]
pub trait RawPuller: Send {
    /// Waits for at least one message, at most `wait`, and returns up to `max` that are there.
    async fn pull(&mut self, max: usize, wait: Duration) -> Result<Vec<Box<dyn RawDelivery>>, BusError>;
}

/// A bucket.
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
    /// Every key that exists, with its value.
    async fn entries(&self) -> Result<Vec<Entry>, BusError>;
    /// Older values of a key, oldest first, the present one last.
    async fn history(&self, key: &str) -> Result<Vec<Entry>, BusError>;
    /// First every value that exists, then every change.
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
    /// Listens to a subject with wildcards `*` and `>`. With a `queue`, each message goes to one listener of it only.
    async fn subscribe(&self, filter: &str, queue: Option<&str>) -> Result<Box<dyn RawSubscription>, BusError>;
    /// A subject of its own that only the caller listens to, for receipts.
    fn inbox(&self) -> String;
    /// Creates the stream, or brings it to this definition.
    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), BusError>;
    /// Appends to the stream that captures the subject and waits for its word. A full stream: [`BusError::Full`].
    async fn append(&self, message: Message) -> Result<Appended, BusError>;
    /// Binds to one partition of a durable consumer, creating it if need be. While another puller holds
    /// the partition its pulls return nothing; it takes over when that one is dropped.
    async fn puller(&self, spec: &ConsumerSpec, partition: u16) -> Result<Box<dyn RawPuller>, BusError>;
    /// Messages the consumer has not been given yet.
    async fn pending(&self, spec: &ConsumerSpec) -> Result<u64, BusError>;
    /// Opens a bucket, creating it or bringing it to this definition.
    async fn bucket(&self, spec: &BucketSpec) -> Result<Box<dyn RawBucket>, BusError>;
    /// Opens an object bucket, creating it if need be.
    async fn objects(&self, name: &str) -> Result<Box<dyn RawObjects>, BusError>;
    /// Settles what is on its way and ends every subscription.
    async fn close(&self);
}
