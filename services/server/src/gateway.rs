//! How a write becomes durable: appended to the log, applied by whichever ingester drains it, acknowledged by a
//! receipt after the store has committed.
//!
//! One gateway for each process. Its inbox is read by one task; a caller waits on a number of its own. Bounded by the
//! number of callers that wait; beyond it [`SubmitError::Overloaded`].
//!
//! A write that is larger than a message of the bus may be goes in parts, one after the other: each takes effect as a
//! whole, and the answer is given when all have. Parts of an event with an id have ids made from it, so a retry repeats
//! only what is missing.
//!
//! # Outcomes
//! A write is done, certainly not done, or unknown, and the answer says which of the three it is.
//!
//! - Done: a receipt without an error arrived.
//! - Not done: nothing was appended, or a receipt says that the event was taken out of the log before it had an effect.
//! - Unknown: an append may have happened and no receipt came. [`SubmitError::Unknown`] carries the id of the write; a
//!   write that is repeated with it has its effect once. Each write has an id: the caller's, or a new one of the gateway.
//!
//! Every wait has an end: the caller's, or `RECEIPT_TIMEOUT`. The event says how long after its append it may still be
//! applied, and an ingester that comes to it later removes it instead.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::counter;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument as _, warn};

use ulex_domain::split::cut;
use ulex_domain::{Command, EventId};
use ulex_nats::bus::{AppendOptions, Inbox, InboxAddresses};
use ulex_nats::events::{EventEnvelope, Receipt};
use ulex_nats::topology::EVENTS;
use ulex_nats::transport::EXPIRES_HEADER;
use ulex_nats::{Bus, BusError};

use crate::parts::part_id;

/// Longest wait for the log to accept an event.
const APPEND_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for a receipt where the caller names no deadline.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time before the deadline from which on an ingester leaves an event alone.
const EXPIRY_MARGIN: Duration = Duration::from_secs(1);
/// Longest wait of an answer for this process to hear of the change.
const FOLLOWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a message besides the event: headers, the id, the subject.
const MESSAGE_OVERHEAD_BYTES: usize = 4096;

/// Why a write was not acknowledged.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// Too many writes are waiting; nothing was appended.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The log or the store cannot take the write now. It has no effect.
    #[error("{0}")]
    Unavailable(String),
    /// Not known whether the write has taken or will take effect. Repeated with this id it has its effect once.
    #[error("not known whether the write takes effect; repeat it with event id {event_id}: {reason}")]
    Unknown {
        /// The id of the write, the caller's or one that the gateway made.
        event_id: EventId,
        /// Why it is not known.
        reason: String,
    },
    /// The store refused the event.
    #[error("{0}")]
    Rejected(String),
    /// One row is larger than the bus takes.
    #[error("a row of {size} bytes is larger than the bus takes: expected at most {limit}")]
    TooLarge {
        /// Bytes as they would be sent.
        size: usize,
        /// Most bytes.
        limit: usize,
    },
}

/// Write that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedWrite {
    /// The id of the write, the caller's or one that the gateway made.
    pub event_id: EventId,
    /// Of the last part, with the sum of all.
    pub receipt: Receipt,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Receipt>>>>;

/// Appends writes and waits for their receipts. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    bus: Bus,
    addresses: InboxAddresses,
    waiting: Waiting,
    next: Arc<AtomicU64>,
    limit: usize,
    followed: Option<Followed>,
}

/// How far this process has followed what other processes changed about items.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Name of this process.
    pub node: String,
    /// Position in `CHANGES`.
    pub position: watch::Receiver<u64>,
}

impl Gateway {
    /// Opens the inbox and starts the task that reads it, on the runtime of the caller. At most `limit` writes wait.
    ///
    /// # Errors
    ///
    /// Whatever the bus reports.
    pub async fn open(bus: Bus, limit: usize, followed: Option<Followed>) -> Result<Self, BusError> {
        let inbox: Inbox<Receipt> = bus.inbox().await?;
        let addresses = inbox.addresses();
        let waiting = Waiting::default();
        tokio::spawn(deliver(inbox, Arc::clone(&waiting)));
        Ok(Self { bus, addresses, waiting, next: Arc::new(AtomicU64::new(1)), limit, followed })
    }

    /// Writes that wait for their receipt.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Appends the command and waits until it has been applied, at most for `wait` or `RECEIPT_TIMEOUT`.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; all but [`SubmitError::Unknown`] say that the write has no effect.
    pub async fn submit(
        &self,
        command: Command,
        event_id: Option<EventId>,
        wait: Option<Duration>,
    ) -> Result<AppliedWrite, SubmitError> {
        let event_id = event_id.unwrap_or_else(new_event_id);
        let limit = self.bus.transport().max_payload().saturating_sub(MESSAGE_OVERHEAD_BYTES);
        let parts = parts_of(command, limit)?;
        let whole = parts.len() == 1;
        let deadline = Instant::now() + wait.unwrap_or(RECEIPT_TIMEOUT);
        let mut receipt = Receipt { duplicate: true, ..Receipt::default() };
        let mut sent = Vec::with_capacity(parts.len());
        for (part, event) in parts.into_iter().enumerate() {
            let envelope = EventEnvelope { event_id: Some(part_id(&event_id, part)), event };
            let sending = self.send(envelope, deadline).await;
            let begun = part > 0;
            sent.push(sending.map_err(|failure| failure.into_error(&event_id, begun))?);
        }
        for part in sent {
            let part = part.receipt().await.map_err(|failure| failure.into_error(&event_id, !whole))?;
            receipt.sequence = part.sequence;
            receipt.rows_deleted += part.rows_deleted;
            receipt.duplicate &= part.duplicate;
            self.wait_until_followed(&part).await;
        }
        Ok(AppliedWrite { event_id, receipt })
    }

    /// Waits until this process knows what another one has changed about items, so that a caller meets its own write. One
    /// that takes too long is only late: it is logged, and the write is durable all the same.
    async fn wait_until_followed(&self, receipt: &Receipt) {
        let Some(followed) = &self.followed else { return };
        if receipt.known_at == 0 || receipt.node == followed.node {
            return;
        }
        let mut position = followed.position.clone();
        let reached = position.wait_for(|position| *position >= receipt.known_at);
        if timeout(FOLLOWER_TIMEOUT, reached).await.is_err() {
            warn!(position = receipt.known_at, "this process is behind the changes of the others");
        }
    }

    /// Appends one message.
    async fn send(&self, envelope: EventEnvelope, deadline: Instant) -> Result<Sent, SendFailure> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receipt) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= self.limit {
                counter!("ulex_gateway_overloaded_total").increment(1);
                return Err(SendFailure::NotDone(SubmitError::Overloaded));
            }
            waiting.insert(number, sender);
        }
        let sent =
            Sent { registered: Registered { waiting: Arc::clone(&self.waiting), number }, receipt, deadline };
        let mut options =
            AppendOptions { receipt_to: Some(self.addresses.address(number)), ..AppendOptions::default() };
        let expires_after = expires_after(deadline.saturating_duration_since(Instant::now()));
        options.headers.insert(EXPIRES_HEADER.to_owned(), expires_after.as_millis().to_string());
        let span = tracing::info_span!(
            "append",
            otel.kind = "producer",
            messaging.destination.name = %EVENTS.name,
        );
        let appending = self.bus.append(&envelope, options).instrument(span);
        match timeout_at(deadline.min(Instant::now() + APPEND_TIMEOUT), appending).await {
            Ok(Ok(_)) => Ok(sent),
            Ok(Err(error)) if is_certainly_not_appended(&error) => {
                Err(SendFailure::NotDone(SubmitError::Unavailable(error.to_string())))
            }
            Ok(Err(error)) => Err(SendFailure::Unknown(error.to_string())),
            Err(_elapsed) => Err(SendFailure::Unknown("the log did not take the write in time".to_owned())),
        }
    }
}

/// Failure of one message.
enum SendFailure {
    /// The message has no effect.
    NotDone(SubmitError),
    /// The message may take effect.
    Unknown(String),
}

impl SendFailure {
    /// The failure of the whole write; `is_partial` if another part of it may take effect.
    fn into_error(self, event_id: &EventId, is_partial: bool) -> SubmitError {
        let reason = match self {
            Self::Unknown(reason) => reason,
            Self::NotDone(error @ (SubmitError::Overloaded | SubmitError::Unavailable(_))) if is_partial => {
                format!("{error}; a part of this large write may have taken effect")
            }
            Self::NotDone(error) => return error,
        };
        SubmitError::Unknown { event_id: event_id.clone(), reason }
    }
}

/// An id for a write whose caller gave none: a UUID, ordered by time.
#[must_use]
pub fn new_event_id() -> EventId {
    let id = uuid::Uuid::now_v7().to_string();
    EventId::new(&id).expect("a UUID is an event id")
}

/// Time after its append in which an event may still be applied if its caller waits for so long.
fn expires_after(wait: Duration) -> Duration {
    wait.saturating_sub(EXPIRY_MARGIN.min(wait / 4))
}

/// Whether the log has certainly not taken a message whose append failed with `error`. A server that answers nothing, or
/// a connection that breaks, may have taken it.
const fn is_certainly_not_appended(error: &BusError) -> bool {
    match error {
        BusError::NoResponders { .. }
        | BusError::Full { .. }
        | BusError::NoStream { .. }
        | BusError::Token(_)
        | BusError::Refused { .. } => true,
        BusError::Timeout { .. }
        | BusError::Malformed { .. }
        | BusError::Schema { .. }
        | BusError::Conflict { .. }
        | BusError::Corrupt { .. }
        | BusError::Closed
        | BusError::Transport { .. } => false,
    }
}

/// The event in parts that make messages of at most `limit` bytes.
fn parts_of(event: Command, limit: usize) -> Result<Vec<Command>, SubmitError> {
    if event.encoded_size_bound() <= limit {
        return Ok(vec![event]);
    }
    let size = |event: &Command| serde_json::to_vec(event).map_or(usize::MAX, |bytes| bytes.len());
    if size(&event) <= limit {
        return Ok(vec![event]);
    }
    let parts = cut(event.without_repetitions(), &|part| size(part) <= limit);
    match parts.iter().map(size).find(|size| *size > limit) {
        Some(size) => Err(SubmitError::TooLarge { size, limit }),
        None => Ok(parts),
    }
}

/// An event in the log, and the caller that waits for its receipt.
struct Sent {
    registered: Registered,
    receipt: oneshot::Receiver<Receipt>,
    deadline: Instant,
}

impl Sent {
    async fn receipt(self) -> Result<Receipt, SendFailure> {
        let Self { registered, receipt, deadline } = self;
        let Ok(Ok(receipt)) = timeout_at(deadline, receipt).await else {
            return Err(SendFailure::Unknown("the write was accepted but not confirmed in time".to_owned()));
        };
        drop(registered);
        match receipt.error {
            None => Ok(receipt),
            Some(error) if error.code.is_transient() => {
                Err(SendFailure::NotDone(SubmitError::Unavailable(error.message)))
            }
            Some(error) => Err(SendFailure::NotDone(SubmitError::Rejected(error.message))),
        }
    }
}

/// Takes a caller off the list, also when it stops waiting.
struct Registered {
    waiting: Waiting,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.number);
    }
}

/// Hands each receipt to whoever waits for it, until the bus is closed.
async fn deliver(mut inbox: Inbox<Receipt>, waiting: Waiting) {
    while let Some(message) = inbox.next().await {
        match message {
            Ok((number, receipt)) => {
                if let Some(sender) = waiting.lock().remove(&number) {
                    // A caller that has gone away needs no receipt.
                    let _ = sender.send(receipt);
                }
            }
            Err(error) => warn!(%error, "unreadable receipt"),
        }
    }
}
