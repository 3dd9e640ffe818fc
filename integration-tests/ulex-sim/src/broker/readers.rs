//! Readers of streams and subscriptions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use ulex_nats::BusError;
use ulex_nats::transport::{Message, RawReader, RawSubscription, StreamMessage};

use super::transport::SimTransport;
use crate::control::ProcessControl;

/// A reader of a stream, which does not notice when the stream goes back: the server then waits for its position.
pub(super) struct SimReader {
    pub(super) transport: SimTransport,
    pub(super) stream: String,
    pub(super) filter: String,
    pub(super) position: u64,
}

#[async_trait]
impl RawReader for SimReader {
    async fn read(&mut self, max: usize, wait: Duration) -> Result<Vec<StreamMessage>, BusError> {
        let deadline = Instant::now() + wait;
        let broker = Arc::clone(self.transport.broker());
        loop {
            let mut changed = std::pin::pin!(broker.changed.notified());
            changed.as_mut().enable();
            let (filter, from) = (self.filter.clone(), self.position);
            let found = self
                .transport
                .call(&self.stream, |contents| Ok(contents.stream(&self.stream)?.read(&filter, from, max)))
                .await?;
            if let Some(last) = found.last() {
                self.position = last.sequence + 1;
            }
            if !found.is_empty() || max == 0 || timeout_at(deadline, changed).await.is_err() {
                return Ok(found);
            }
        }
    }
}

/// A subscription.
pub(super) struct SimSubscription {
    pub(super) control: Arc<ProcessControl>,
    pub(super) receiver: mpsc::UnboundedReceiver<Message>,
}

#[async_trait]
impl RawSubscription for SimSubscription {
    async fn next(&mut self) -> Option<Message> {
        loop {
            let message = self.receiver.recv().await?;
            if self.control.arrives().await {
                return Some(message);
            }
        }
    }
}
