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
//! Every wait has an end. A log that does not take the event within `APPEND_WITHIN`, because it is full or the bus is
//! away, is [`SubmitError::Unavailable`]; so is a receipt that does not come within `RECEIPT_WITHIN`. The event says
//! how long somebody waits for it, and an ingester that comes to it later removes it instead of applying it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::counter;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument as _, warn};
use ulex_domain::{Command, EventId};
use ulex_nats::bus::{AppendOptions, Inbox, InboxAddresses};
use ulex_nats::events::{EventEnvelope, Receipt};
use ulex_nats::topology::EVENTS;
use ulex_nats::transport::NOT_AFTER_HEADER;
use ulex_nats::{Bus, BusError};

use crate::parts::{cut, part_id, without_repetitions};

/// How long the log may take to accept an event.
const APPEND_WITHIN: Duration = Duration::from_secs(3);
/// A write that takes longer than this has an unknown outcome.
const RECEIPT_WITHIN: Duration = Duration::from_secs(15);
/// An ingester that comes to an event so shortly before its caller gives up leaves it alone.
const MARGIN: Duration = Duration::from_secs(1);
/// How long an answer waits for this process to hear of the change.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);
/// What a message needs besides the event: headers, the id, the subject.
const ROOM: usize = 4096;

/// Why a write was not acknowledged.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// Too many writes are waiting; nothing was appended.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The log or the store cannot take the write now. Repeating it is safe with an event id.
    #[error("{0}")]
    Unavailable(String),
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

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Receipt>>>>;

/// See the module documentation. Cheap to clone.
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

    /// Appends the event and waits until it has been applied.
    ///
    /// # Errors
    ///
    /// See [`SubmitError`].
    pub async fn submit(&self, event: Command, event_id: Option<EventId>) -> Result<Receipt, SubmitError> {
        let limit = self.bus.transport().max_payload().saturating_sub(ROOM);
        let parts = parts_of(event, limit)?;
        let whole = parts.len() == 1;
        let mut total = Receipt { duplicate: true, ..Receipt::default() };
        let mut sent = Vec::with_capacity(parts.len());
        for (part, event) in parts.into_iter().enumerate() {
            let event_id = event_id.as_ref().map(|id| part_id(id, part));
            let sending = self.send(EventEnvelope { event_id, event }).await;
            sent.push(sending.map_err(|error| if whole { error } else { partial(error) })?);
        }
        for part in sent {
            let receipt = part.receipt().await.map_err(|error| if whole { error } else { partial(error) })?;
            total.sequence = receipt.sequence;
            total.rows_deleted += receipt.rows_deleted;
            total.duplicate &= receipt.duplicate;
            self.known(&receipt).await;
        }
        Ok(total)
    }

    /// Waits until this process knows what another one has changed about items, so that a caller meets its own write. One
    /// that takes too long is only late: it is logged, and the write is durable all the same.
    async fn known(&self, receipt: &Receipt) {
        let Some(followed) = &self.followed else { return };
        if receipt.known_at == 0 || receipt.node == followed.node {
            return;
        }
        let mut position = followed.position.clone();
        let reached = position.wait_for(|position| *position >= receipt.known_at);
        if timeout(KNOWN_WITHIN, reached).await.is_err() {
            warn!(position = receipt.known_at, "this process is behind the changes of the others");
        }
    }

    /// Appends one message.
    async fn send(&self, envelope: EventEnvelope) -> Result<Sent, SubmitError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receipt) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= self.limit {
                counter!("ulex_gateway_overloaded_total").increment(1);
                return Err(SubmitError::Overloaded);
            }
            waiting.insert(number, sender);
        }
        let deadline = Instant::now() + RECEIPT_WITHIN;
        let sent =
            Sent { registered: Registered { waiting: Arc::clone(&self.waiting), number }, receipt, deadline };
        let mut options =
            AppendOptions { receipt_to: Some(self.addresses.address(number)), ..AppendOptions::default() };
        options.headers.insert(NOT_AFTER_HEADER.to_owned(), not_after(SystemTime::now()).to_string());
        let span = tracing::info_span!(
            "append",
            otel.kind = "producer",
            messaging.destination.name = %EVENTS.name,
        );
        let appending = self.bus.append(&envelope, options).instrument(span);
        match timeout(APPEND_WITHIN, appending).await {
            Ok(appended) => appended.map(|_| sent).map_err(|error| unavailable(&error)),
            Err(_elapsed) => {
                Err(SubmitError::Unavailable("the log did not take the write in time".to_owned()))
            }
        }
    }
}

/// When, in milliseconds since 1970, an event appended now must not take effect any more.
fn not_after(now: SystemTime) -> u128 {
    (now + RECEIPT_WITHIN - MARGIN).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// The event in parts that make messages of at most `limit` bytes.
fn parts_of(event: Command, limit: usize) -> Result<Vec<Command>, SubmitError> {
    if at_most(&event) <= limit {
        return Ok(vec![event]);
    }
    let size = |event: &Command| serde_json::to_vec(event).map_or(usize::MAX, |bytes| bytes.len());
    if size(&event) <= limit {
        return Ok(vec![event]);
    }
    let parts = cut(without_repetitions(event), &|part| size(part) <= limit);
    match parts.iter().map(size).find(|size| *size > limit) {
        Some(size) => Err(SubmitError::TooLarge { size, limit }),
        None => Ok(parts),
    }
}

/// A bound on the JSON of events that are mostly small, without writing it.
fn at_most(event: &Command) -> usize {
    const ROW: usize = 1024;
    match event {
        Command::PutFeedback { rows, .. } => {
            let row = |row: &ulex_domain::Feedback| {
                // A character is at most six bytes of JSON (`\u0001`).
                let text = row.feedback_type.len() + row.user_id.as_str().len() + row.item_id.as_str().len();
                let labels = if row.labels.is_null() { 0 } else { row.labels.to_string().len() };
                6 * (text + row.comment.len()) + labels + ROW
            };
            rows.iter().map(row).sum::<usize>() + ROW
        }
        Command::PutUsers { .. }
        | Command::PutItems { .. }
        | Command::PatchUser { .. }
        | Command::DeleteUser { .. }
        | Command::PatchItem { .. }
        | Command::SetCategory { .. }
        | Command::DeleteItem { .. }
        | Command::DeleteFeedback { .. } => usize::MAX,
    }
}

/// Of a write in parts some may have taken effect.
fn partial(error: SubmitError) -> SubmitError {
    match error {
        SubmitError::Overloaded => SubmitError::Unavailable("too many writes are waiting".to_owned()),
        SubmitError::Unavailable(text) => SubmitError::Unavailable(format!(
            "{text}; a part of this large write may have taken effect: repeat it with the same event id"
        )),
        other @ (SubmitError::Rejected(_) | SubmitError::TooLarge { .. }) => other,
    }
}

/// An event in the log, and the caller that waits for its receipt.
struct Sent {
    registered: Registered,
    receipt: oneshot::Receiver<Receipt>,
    deadline: Instant,
}

impl Sent {
    async fn receipt(self) -> Result<Receipt, SubmitError> {
        let Self { registered, receipt, deadline } = self;
        let Ok(Ok(receipt)) = timeout_at(deadline, receipt).await else {
            return Err(SubmitError::Unavailable(
                "the write was accepted but not confirmed in time".to_owned(),
            ));
        };
        drop(registered);
        match receipt.error {
            None => Ok(receipt),
            Some(error) if error.code == "unavailable" => Err(SubmitError::Unavailable(error.message)),
            Some(error) => Err(SubmitError::Rejected(error.message)),
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

fn unavailable(error: &BusError) -> SubmitError {
    SubmitError::Unavailable(error.to_string())
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
