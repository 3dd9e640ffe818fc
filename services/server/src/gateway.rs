//! How a write becomes durable: appended to the log, applied by whichever ingester drains it, acknowledged by a
//! receipt after the store has committed.
//!
//! One gateway for each process. Its inbox is read by one task; a caller waits on a number of its own. Bounded by the
//! number of callers that wait; beyond it [`SubmitError::Overloaded`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::warn;
use ulex_domain::{Event, EventId};
use ulex_nats::bus::{AppendOptions, Inbox, InboxAddresses};
use ulex_nats::events::{EventEnvelope, Receipt};
use ulex_nats::{Bus, BusError};

/// A write that takes longer than this has an unknown outcome.
const RECEIPT_WITHIN: Duration = Duration::from_secs(30);

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
}

impl Gateway {
    /// Opens the inbox and starts the task that reads it, on the runtime of the caller. At most `limit` writes wait.
    ///
    /// # Errors
    ///
    /// Whatever the bus reports.
    pub async fn open(bus: Bus, limit: usize) -> Result<Self, BusError> {
        let inbox: Inbox<Receipt> = bus.inbox().await?;
        let addresses = inbox.addresses();
        let waiting = Waiting::default();
        tokio::spawn(deliver(inbox, Arc::clone(&waiting)));
        Ok(Self { bus, addresses, waiting, next: Arc::new(AtomicU64::new(1)), limit })
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
    pub async fn submit(&self, event: Event, event_id: Option<EventId>) -> Result<Receipt, SubmitError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receipt) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= self.limit {
                return Err(SubmitError::Overloaded);
            }
            waiting.insert(number, sender);
        }
        let registered = Registered { waiting: &self.waiting, number };
        let options =
            AppendOptions { receipt_to: Some(self.addresses.address(number)), ..AppendOptions::default() };
        self.bus
            .append(&EventEnvelope { event_id, event }, options)
            .await
            .map_err(|error| unavailable(&error))?;
        let Ok(Ok(receipt)) = timeout(RECEIPT_WITHIN, receipt).await else {
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
struct Registered<'a> {
    waiting: &'a Waiting,
    number: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.number);
    }
}

fn unavailable(error: &BusError) -> SubmitError {
    if matches!(error, BusError::Full { .. }) {
        SubmitError::Overloaded
    } else {
        SubmitError::Unavailable(error.to_string())
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
