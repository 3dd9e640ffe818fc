//! A durable consumer of a stream in memory, and the messages it deals to its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::partition::{Limits, Partition};
use crate::subject::{covers, last_token, partition_of};
use crate::transport::{ConsumerSpec, Message};

/// A message in a stream.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    pub(super) appended_at: SystemTime,
    pub(super) at: Instant,
    pub(super) key: u64,
    pub(super) size: u64,
    pub(super) message: Message,
}

/// A message and who still has to deal with it.
pub(super) struct Slot {
    pub(super) kept: Arc<Kept>,
    /// Consumers' partitions that are not done with it.
    pub(super) owed: u32,
}

/// A consumer with its partitions.
pub(super) struct Consumer {
    pub(super) spec: ConsumerSpec,
    /// Counts up when the partitions are dealt anew; what an older generation gave out is delivered again.
    pub(super) generation: u64,
    pub(super) partitions: Vec<Partition>,
    pub(super) notify: Vec<Arc<Notify>>,
}

impl Consumer {
    pub(super) fn new(spec: ConsumerSpec, generation: u64) -> Self {
        let partitions = (0..spec.partitions).map(|_| Partition::new(Limits::from(&spec))).collect();
        let notify = (0..spec.partitions).map(|_| Arc::new(Notify::new())).collect();
        Self { spec, generation, partitions, notify }
    }

    /// The partitions a message goes to.
    pub(super) fn route(&self, message: &Message) -> std::ops::Range<usize> {
        if !covers(&self.spec.filter, &message.subject) {
            return 0..0;
        }
        if self.partitions.len() == 1
            || self.spec.to_all.as_deref().is_some_and(|all| covers(all, &message.subject))
        {
            return 0..self.partitions.len();
        }
        let partition = usize::from(partition_of(last_token(&message.subject), self.spec.partitions));
        partition..partition + 1
    }

    /// A message is no longer in the stream.
    pub(super) fn forget(&mut self, kept: &Kept, slots: &BTreeMap<u64, Slot>, now: Instant) {
        for index in self.route(&kept.message) {
            let partition = &mut self.partitions[index];
            partition.forget(kept.sequence, kept.key, now);
            if partition.wants_compaction() {
                partition.compact(|sequence| slots.contains_key(&sequence));
            }
        }
    }
}
