//! A JetStream in memory whose contents can go back, be replaced or get lost, as those of a real server can.

mod buckets;
mod log_server;
mod readers;
mod streams;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use ulex_nats::BusError;
use ulex_nats::covers;
use ulex_nats::transport::{Message, StreamSpec};

pub use self::buckets::SimBucket;
pub use self::streams::SimStream;
pub use self::transport::SimTransport;
use crate::control::{ProcessControl, WorldClock};

/// A listener of core messages.
struct Listener {
    filter: String,
    control: Arc<ProcessControl>,
    sender: mpsc::UnboundedSender<Message>,
}

/// Contents of the server.
#[derive(Default)]
pub struct BrokerContents {
    /// Streams by name.
    pub streams: BTreeMap<String, SimStream>,
    /// Buckets by name.
    pub buckets: BTreeMap<String, SimBucket>,
    objects: BTreeMap<String, BTreeMap<String, bytes::Bytes>>,
    listeners: Vec<Listener>,
    /// Every message that was ever appended to the log of events, in order: number of the write and position.
    pub appended_writes: Vec<(u64, u64)>,
    /// Times that the server came back with other contents; its clients had to connect again.
    incidents: u64,
    next_log: u64,
    next_inbox: u64,
}

/// The server. Shared by all nodes.
pub struct Broker {
    /// What it holds.
    pub contents: Mutex<BrokerContents>,
    /// Something was appended, written or lost.
    pub changed: Notify,
    clock: WorldClock,
}

impl Broker {
    /// An empty server.
    #[must_use]
    pub fn new(clock: WorldClock) -> Arc<Self> {
        Arc::new(Self { contents: Mutex::default(), changed: Notify::new(), clock })
    }

    /// Changes the contents, and wakes whatever waits for a change.
    pub fn change<T>(&self, work: impl FnOnce(&mut BrokerContents) -> T) -> T {
        let result = work(&mut self.contents.lock());
        self.changed.notify_waiters();
        result
    }

    /// Loses up to `count` of the last messages of a stream: what was acknowledged before it was on disk.
    pub fn cut_stream(&self, stream: &str, count: u64) {
        self.change(|contents| {
            contents.incidents += 1;
            if let Some(stream) = contents.streams.get_mut(stream) {
                stream.cut(count);
            }
        });
    }

    /// Restores a stream from its own backup: the same log and messages, another creation time.
    pub fn restore_stream(&self, stream: &str) {
        let now = self.clock.wall();
        self.change(|contents| {
            contents.incidents += 1;
            if let Some(stream) = contents.streams.get_mut(stream) {
                stream.created = now;
            }
        });
    }

    /// Loses a stream; `ensure_stream` begins another one.
    pub fn lose_stream(&self, stream: &str) {
        self.change(|contents| {
            contents.incidents += 1;
            contents.streams.remove(stream);
        });
    }

    /// Begins a stream anew, empty.
    pub fn recreate_stream(&self, stream: &str) {
        self.change(|contents| {
            contents.incidents += 1;
            if let Some(spec) = contents.streams.get(stream).map(|stream| stream.spec.clone()) {
                contents.define(&spec, self.clock.wall());
            }
        });
    }

    /// Loses all keys of a bucket; revisions begin anew.
    pub fn lose_bucket(&self, bucket: &str) {
        self.change(|contents| {
            contents.incidents += 1;
            if let Some(bucket) = contents.buckets.get_mut(bucket) {
                bucket.empty();
            }
        });
    }
}

impl BrokerContents {
    /// Begins a stream.
    fn define(&mut self, spec: &StreamSpec, now: std::time::SystemTime) {
        self.next_log += 1;
        let log = format!("00000000-0000-4000-8000-{:012}", self.next_log).into();
        let stream = SimStream::new(spec.clone(), log, now);
        self.streams.insert(spec.name.clone().into_owned(), stream);
    }

    fn stream(&mut self, name: &str) -> Result<&mut SimStream, BusError> {
        self.streams.get_mut(name).ok_or_else(|| BusError::NoStream { subject: name.to_owned() })
    }

    fn capturing(&mut self, subject: &str) -> Result<&mut SimStream, BusError> {
        let captures = |stream: &&mut SimStream| stream.spec.subjects.iter().any(|one| covers(one, subject));
        let found = self.streams.values_mut().find(captures);
        found.ok_or_else(|| BusError::NoStream { subject: subject.to_owned() })
    }

    /// Hands a message to all that listen; the number of them.
    fn publish(&mut self, message: &Message) -> usize {
        self.listeners.retain(|listener| !listener.sender.is_closed() && !listener.control.is_dead());
        let mut heard = 0;
        for listener in self.listeners.iter().filter(|one| covers(&one.filter, &message.subject)) {
            heard += 1;
            let times = if listener.control.doubles() { 2 } else { 1 };
            for _ in 0..times {
                let _ = listener.sender.send(message.clone());
            }
        }
        heard
    }
}
