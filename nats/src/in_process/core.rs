//! Publish, subscribe, request: messages that nobody keeps.
//!
//! Every listener has a bounded buffer. One that is full forgets its oldest message, which is counted and logged, so
//! a slow listener costs the publisher nothing and the memory is bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tracing::warn;

use crate::subject::covers;
use crate::transport::{Message, RawSubscription};

/// Messages a listener may be behind.
pub(super) const BUFFERED: usize = 8192;

struct Buffer {
    messages: VecDeque<Message>,
    forgotten: u64,
    closed: bool,
}

struct Listener {
    filter: String,
    queue: Option<String>,
    buffer: Mutex<Buffer>,
    arrived: Notify,
}

impl Listener {
    fn put(&self, message: Message) {
        let mut buffer = self.buffer.lock();
        if buffer.messages.len() == BUFFERED {
            buffer.messages.pop_front();
            buffer.forgotten += 1;
            if buffer.forgotten.is_power_of_two() {
                warn!(filter = self.filter, forgotten = buffer.forgotten, "slow listener misses messages");
            }
        }
        buffer.messages.push_back(message);
        drop(buffer);
        self.arrived.notify_one();
    }
}

/// Listeners by what they listen to.
#[derive(Default)]
struct Table {
    exact: HashMap<String, Vec<Arc<Listener>>>,
    wild: Vec<Arc<Listener>>,
}

impl Table {
    fn list(&mut self, filter: &str) -> &mut Vec<Arc<Listener>> {
        if filter.split('.').any(|token| matches!(token, "*" | ">")) {
            return &mut self.wild;
        }
        self.exact.entry(filter.to_owned()).or_default()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Core {
    table: RwLock<Table>,
    turn: AtomicUsize,
    closed: AtomicBool,
}

impl Core {
    /// Hands a message to whoever listens; to how many.
    pub(super) fn publish(&self, message: Message) -> usize {
        let mut listeners = self.listeners_of(&message.subject);
        let count = listeners.len();
        let last = listeners.pop();
        for listener in listeners {
            listener.put(message.clone());
        }
        if let Some(listener) = last {
            listener.put(message);
        }
        count
    }

    /// Whether anybody listens to a subject.
    pub(super) fn is_heard(&self, subject: &str) -> bool {
        let table = self.table.read();
        table.exact.contains_key(subject) || table.wild.iter().any(|one| covers(&one.filter, subject))
    }

    /// Everybody on their own, and one of each queue.
    fn listeners_of(&self, subject: &str) -> Vec<Arc<Listener>> {
        let table = self.table.read();
        let exact = table.exact.get(subject).into_iter().flatten();
        let wild = table.wild.iter().filter(|listener| covers(&listener.filter, subject));
        let mut chosen: Vec<Arc<Listener>> = Vec::new();
        let mut queued: Vec<&Arc<Listener>> = Vec::new();
        for listener in exact.chain(wild) {
            match listener.queue {
                None => chosen.push(Arc::clone(listener)),
                Some(_) => queued.push(listener),
            }
        }
        queued.sort_by(|left, right| left.queue.cmp(&right.queue));
        let turn = if queued.is_empty() { 0 } else { self.turn.fetch_add(1, Ordering::Relaxed) };
        for group in queued.chunk_by(|left, right| left.queue == right.queue) {
            chosen.push(Arc::clone(group[turn % group.len()]));
        }
        chosen
    }

    /// Listens; `None` once the bus is closed.
    pub(super) fn subscribe(self: &Arc<Self>, filter: &str, queue: Option<&str>) -> Option<Listening> {
        let buffer = Buffer { messages: VecDeque::new(), forgotten: 0, closed: false };
        let listener = Arc::new(Listener {
            filter: filter.to_owned(),
            queue: queue.map(str::to_owned),
            buffer: Mutex::new(buffer),
            arrived: Notify::new(),
        });
        let mut table = self.table.write();
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        table.list(filter).push(Arc::clone(&listener));
        Some(Listening { core: Arc::clone(self), listener })
    }

    pub(super) fn close(&self) {
        let table = self.table.write();
        self.closed.store(true, Ordering::Release);
        for listener in table.exact.values().flatten().chain(&table.wild) {
            listener.buffer.lock().closed = true;
            listener.arrived.notify_one();
        }
    }
}

/// A subscription; dropping it ends it.
pub(super) struct Listening {
    core: Arc<Core>,
    listener: Arc<Listener>,
}

#[async_trait]
impl RawSubscription for Listening {
    async fn next(&mut self) -> Option<Message> {
        loop {
            {
                let mut buffer = self.listener.buffer.lock();
                if let Some(message) = buffer.messages.pop_front() {
                    return Some(message);
                }
                if buffer.closed {
                    return None;
                }
            }
            self.listener.arrived.notified().await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut table = self.core.table.write();
        let list = table.list(&self.listener.filter);
        list.retain(|listener| !Arc::ptr_eq(listener, &self.listener));
        if list.is_empty() {
            table.exact.remove(&self.listener.filter);
        }
    }
}
