//! Durable consumers with an order: a cursor that one puller at a time moves forward.
//!
//! JetStream's own consumers deliver again out of order after a failure, and what a dead puller held comes back only
//! after `ack_wait`. So a consumer with [`crate::transport::Order::Strict`] is a value in a bucket instead: how far it has
//! come and which puller moves it. Its holder reads the stream with an ordered reader, hands messages out from memory by the
//! rules of `crate::queue::Queue`, and writes the cursor by compare-and-set, every second and when everything at hand is
//! settled. Settling costs no message, so thousands are settled at once for one small write.
//!
//! - The cursor is a lock and an optimisation. Where to go on is decided at every take by [`crate::handshake`], from what
//!   the data store has applied. A cursor that cannot be read is written anew from the store's place.
//! - A holder looks every `LOG_CHECK_INTERVAL`, and at once after a reconnect, whether the log is what it was: same name,
//!   not shorter, same message at the last position read. If not, it ends its tenure and takes the cursor anew.
//! - A holder that was not heard of for `TAKE_OVER_AFTER`, by the clock of whoever waits, is replaced; clocks of two
//!   machines are never compared. One that leaves says so and is replaced at once.
//! - A holder that could not write for 0.8 of that time hands out nothing more until it can. One that was replaced learns
//!   it from its next write, which fails; what it still works on then is delivered again by its successor, which is what
//!   at least once means.
//! - The cursor is behind by what was settled since it was last written; that is delivered again after a crash, too.
//! - Before the first message of a tenure is handed out, the cursor says so on the bus. If the holder ends without having
//!   settled it, the next one counts that ([`RawDelivery::lost_holders`]): a message that kills its process is found.
//!
//! [`LogServer`] is what the server of the log must do, so that the same code runs on JetStream and on a simulated server.

mod cursor;
mod hand;
mod held;
mod keeper;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::cursor::Cursor;
use self::hand::Shared;
use self::keeper::Keeper;
use crate::BusError;
use crate::handshake::LogState;
use crate::transport::{
    CheckpointSource, ConsumerSpec, Entry, RawDelivery, RawPuller, RawReader, ReadFrom, StreamMessage,
};

/// How often a holder writes its cursor.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
/// A holder that is not heard of for this long is replaced.
const TAKE_OVER_AFTER: Duration = Duration::from_secs(4);
/// How often a waiting puller looks whether it may take over.
const STANDBY_INTERVAL: Duration = Duration::from_millis(250);
/// How often a holder looks whether the log is what it was.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Shortest time between two writes because everything is settled.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

/// The server of a log, as the keeper of a cursor needs it. All of it is answered by the leader of a stream, never by a
/// copy that may be behind.
#[async_trait]
pub trait LogServer: Send + Sync + 'static {
    /// The cursor of this key and its revision.
    async fn cursor(&self, key: &str) -> Result<Option<Entry>, BusError>;
    /// Writes the cursor if it is still at `revision` (0: if it does not exist), otherwise [`BusError::Conflict`].
    async fn put_cursor(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, BusError>;
    /// State of the log of a stream.
    async fn log_state(&self, stream: &str) -> Result<LogState, BusError>;
    /// Writes the name of a log and its epoch into the metadata of its stream.
    async fn name_log(&self, stream: &str, log: &str, epoch: u64) -> Result<(), BusError>;
    /// The message at a position; `None` if the log does not hold it.
    async fn message_at(&self, stream: &str, sequence: u64) -> Result<Option<StreamMessage>, BusError>;
    /// Reads the log in order.
    async fn read(&self, stream: &str, filter: &str, from: ReadFrom) -> Result<Box<dyn RawReader>, BusError>;
    /// Creates again what a server that came back empty has lost.
    async fn furnish(&self) -> Result<(), BusError>;
    /// Number of connections that have been made: another number says that the server may be another one.
    fn connections(&self) -> u64;
    /// Unique name of this connection among all.
    fn node(&self) -> String;
    /// Becomes `true` when the bus is closed.
    fn closed(&self) -> watch::Receiver<bool>;
}

/// A puller of a consumer with an order. Its cursor is kept by a task of its own.
pub struct StrictPuller {
    server: Arc<dyn LogServer>,
    shared: Arc<Shared>,
}

impl StrictPuller {
    /// Begins to wait for the cursor of a consumer, and to read the log once it has it.
    #[must_use]
    pub fn start(
        server: Arc<dyn LogServer>,
        spec: &ConsumerSpec,
        checkpoints: Option<Arc<dyn CheckpointSource>>,
    ) -> Self {
        let shared = Arc::new(Shared::new(spec));
        let keeper = Keeper::new(Arc::clone(&server), checkpoints, Arc::clone(&shared));
        tokio::spawn(keeper.run());
        Self { server, shared }
    }
}

impl Drop for StrictPuller {
    fn drop(&mut self) {
        self.shared.leaving.store(true, Ordering::Release);
        self.shared.leave.notify_one();
    }
}

#[async_trait]
impl RawPuller for StrictPuller {
    fn has_begun_anew(&mut self) -> bool {
        self.shared.has_begun_anew.swap(false, Ordering::AcqRel)
    }

    async fn pull(&mut self, max: usize, wait: Duration) -> Result<Vec<Box<dyn RawDelivery>>, BusError> {
        let deadline = Instant::now() + wait;
        loop {
            let mut closed = self.server.closed();
            if *closed.borrow() {
                return Err(BusError::Closed);
            }
            let mut pullable = std::pin::pin!(self.shared.pullable.notified());
            pullable.as_mut().enable();
            let now = Instant::now();
            let (deliveries, next) = self.shared.look(max, now);
            if !deliveries.is_empty() || max == 0 || now >= deadline {
                return Ok(deliveries);
            }
            let until = next.map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                _ = timeout_at(until, pullable) => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        }
    }
}

/// The key of a consumer's cursor.
pub(crate) fn cursor_key(spec: &ConsumerSpec) -> String {
    format!("{}.{}", spec.stream, spec.name)
}
