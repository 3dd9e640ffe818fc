//! First stage of an ingester: pulls messages of the log, decodes them, and reads ahead of the transaction.
//!
//! - Owns: the puller, the buffer of messages read ahead, the difference to the server's clock.
//! - On failure: the caller hears of it; what was pulled before stays.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::error;
use ulex_nats::topology::INGEST;
use ulex_nats::transport::{CheckpointSource, RawDelivery, RawPuller};
use ulex_nats::{Bus, BusError};
use ulex_storage::data::DataStore;

use super::checkpoints::StoreCheckpoints;
use super::driver::stopped;
use super::entry::IngestEntry;
use super::measures::Measures;
use super::prefetch::PrefetchBuffer;
use super::server_clock::ServerClock;
use crate::published::Admission;

/// Longest wait of one pull.
const PULL_TIMEOUT: Duration = Duration::from_secs(1);
/// A pull that took at least this long waited for the message that it returned.
const FRESH_AFTER: Duration = Duration::from_millis(50);
/// Most messages read ahead, if they are small.
const PREFETCH_MESSAGES: usize = 4_096;
/// Fewest messages of one pull, however large they are.
const PULL_MESSAGES_MIN: usize = 16;
/// Bytes meant to be read ahead, going by the size of the messages before.
const PREFETCH_BYTES: usize = 32 << 20;

/// Reads the log.
pub(super) struct EventReader {
    bus: Bus,
    admission: Admission,
    stop: watch::Receiver<bool>,
    measures: Rc<Measures>,
    checkpoints: Arc<dyn CheckpointSource>,
    puller: Box<dyn RawPuller>,
    prefetched: PrefetchBuffer,
    /// Bytes of a message, going by the last pull.
    message_size: usize,
    server_clock: ServerClock,
    /// Time at which the server last heard that the messages read ahead are worked on.
    reported_at: Option<Instant>,
}

impl EventReader {
    pub(super) async fn open(
        bus: Bus,
        store: Arc<dyn DataStore>,
        admission: Admission,
        stop: watch::Receiver<bool>,
        measures: Rc<Measures>,
    ) -> Result<Self, BusError> {
        let checkpoints: Arc<dyn CheckpointSource> = Arc::new(StoreCheckpoints::new(store));
        let puller = bus.raw_puller(&INGEST, Some(Arc::clone(&checkpoints))).await?;
        Ok(Self {
            bus,
            admission,
            stop,
            measures,
            checkpoints,
            puller,
            prefetched: PrefetchBuffer::default(),
            message_size: PREFETCH_BYTES / 256,
            server_clock: ServerClock::new(),
            reported_at: None,
        })
    }

    /// Compares the log with the store again and reads from where that says.
    pub(super) async fn begin_again(&mut self) -> Result<(), BusError> {
        // What was read ahead comes again.
        self.take_prefetched();
        self.puller = self.bus.raw_puller(&INGEST, Some(Arc::clone(&self.checkpoints))).await?;
        Ok(())
    }

    /// Whether the log begins anew for this ingester, see [`RawPuller::has_begun_anew`].
    pub(super) fn has_begun_anew(&mut self) -> bool {
        self.puller.has_begun_anew()
    }

    /// Messages read ahead.
    pub(super) const fn prefetched(&self) -> &PrefetchBuffer {
        &self.prefetched
    }

    /// Takes messages for one transaction of about `most` rows, and decides which of them have expired.
    pub(super) fn next_group(&mut self, most: usize) -> Vec<IngestEntry> {
        let mut group = self.prefetched.next_group(most);
        let now = self.bus.clock().wall();
        group.iter_mut().for_each(|entry| entry.check_expiry(&self.server_clock, now));
        group
    }

    /// Takes everything that was read ahead.
    pub(super) fn take_prefetched(&mut self) -> Vec<IngestEntry> {
        self.prefetched.take_all()
    }

    /// Waits for messages unless some are there; at most for a while or until asked to stop.
    pub(super) async fn pull(&mut self) -> Result<(), BusError> {
        let wait = if self.prefetched.is_empty() { PULL_TIMEOUT } else { Duration::ZERO };
        let most = self.room().max(PULL_MESSAGES_MIN);
        let begun = Instant::now();
        let batch = tokio::select! {
            biased;
            () = stopped(&mut self.stop) => Vec::new(),
            pulled = self.puller.pull(most, wait) => pulled?,
        };
        if begun.elapsed() >= FRESH_AFTER {
            self.note_clock(&batch);
        }
        self.accept(batch);
        Ok(())
    }

    /// Does the work, and reads ahead for as long as it takes. A failure of reading is met again by the next pull.
    pub(super) async fn read_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let room = self.room();
            if room == 0 {
                return work.await;
            }
            let pulled = tokio::select! {
                biased;
                done = &mut work => return done,
                pulled = self.puller.pull(room, PULL_TIMEOUT) => pulled,
            };
            match pulled {
                Ok(batch) => self.accept(batch),
                Err(_met_again) => return work.await,
            }
        }
    }

    /// Number of messages like the last ones that may be read ahead besides these.
    fn room(&self) -> usize {
        let messages = PREFETCH_MESSAGES.saturating_sub(self.prefetched.message_count());
        messages.min(PREFETCH_BYTES.saturating_sub(self.prefetched.body_bytes()) / self.message_size)
    }

    /// Decodes a pull.
    pub(super) fn accept(&mut self, batch: Vec<Box<dyn RawDelivery>>) {
        if batch.is_empty() {
            return;
        }
        let bytes: usize = batch.iter().map(|delivery| delivery.message().payload.len() + 1).sum();
        self.message_size = (bytes / batch.len()).max(1);
        let now = self.bus.clock().wall();
        for delivery in batch {
            self.server_clock.observe(delivery.appended_at(), now, false);
            self.prefetched.push(IngestEntry::decode(delivery, self.admission));
        }
    }

    /// Takes note of a message that was waited for.
    fn note_clock(&mut self, batch: &[Box<dyn RawDelivery>]) {
        let Some(last) = batch.last() else { return };
        let now = self.bus.clock().wall();
        self.server_clock.observe(last.appended_at(), now, true);
        if let Some(difference) = self.server_clock.difference() {
            self.measures.clock_difference.set(difference);
        }
        if let Some(seconds) = self.server_clock.take_alarm() {
            error!(seconds, "clock: this process and the NATS server disagree; set their clocks");
        }
    }

    /// Messages that are not settled in time are delivered again: says of those read ahead that they will be settled.
    pub(super) async fn report_progress(&mut self) {
        let reported_at = self.reported_at.get_or_insert_with(Instant::now);
        if reported_at.elapsed() > INGEST.ack_wait / 4 {
            *reported_at = Instant::now();
            for entry in self.prefetched.iter() {
                // A report that is lost makes the message come again, which is free.
                let _ = entry.delivery.in_progress().await;
            }
        }
    }
}
