//! A durable consumer of a stream in memory, and the messages it has before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::queue::{Kept, Limits, Queue};
use crate::subject::covers;
use crate::transport::{ConsumerSpec, Message};

/// A message and who still has to deal with it.
pub(super) struct Slot {
    pub(super) kept: Arc<Kept>,
    /// Consumers that are not done with it.
    pub(super) owed: u32,
}

/// A consumer with its queue.
pub(super) struct Consumer {
    pub(super) spec: ConsumerSpec,
    /// Counts up when the queue is filled anew; what an older generation gave out is delivered again.
    pub(super) generation: u64,
    pub(super) queue: Queue,
    pub(super) notify: Arc<Notify>,
}

impl Consumer {
    pub(super) fn new(spec: ConsumerSpec, generation: u64) -> Self {
        let queue = Queue::new(Limits::from(&spec));
        Self { spec, generation, queue, notify: Arc::default() }
    }

    /// Whether a message is for this consumer.
    pub(super) fn wants(&self, message: &Message) -> bool {
        covers(&self.spec.filter, &message.subject)
    }

    /// A message is no longer in the stream.
    pub(super) fn forget(&mut self, kept: &Kept, slots: &BTreeMap<u64, Slot>, now: Instant) {
        if self.wants(&kept.message) {
            self.queue.forget(kept.sequence, kept.key, now);
            if self.queue.wants_compaction() {
                self.queue.compact(|sequence| slots.contains_key(&sequence));
            }
        }
    }
}
