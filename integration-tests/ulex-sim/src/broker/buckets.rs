//! Key-value buckets with revisions and a time to live.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use ulex_nats::BusError;
use ulex_nats::transport::{BucketSpec, Entry, KeyEvent, RawBucket, RawWatch};

use super::transport::SimTransport;

struct SimValue {
    bytes: Bytes,
    revision: u64,
    written_at: Instant,
}

/// A bucket.
pub struct SimBucket {
    spec: BucketSpec,
    values: BTreeMap<String, Vec<SimValue>>,
    revision: u64,
    /// Last change of every key, present or gone, for watches.
    marks: BTreeMap<u64, String>,
    /// Number of times that its contents were lost.
    losses: u64,
}

impl SimBucket {
    pub(super) fn new(spec: BucketSpec) -> Self {
        Self { spec, values: BTreeMap::new(), revision: 0, marks: BTreeMap::new(), losses: 0 }
    }

    /// Loses everything.
    pub fn empty(&mut self) {
        self.values.clear();
        self.marks.clear();
        self.revision = 0;
        self.losses += 1;
    }

    fn mark(&mut self, key: &str) -> u64 {
        self.marks.retain(|_, marked| marked != key);
        self.revision += 1;
        self.marks.insert(self.revision, key.to_owned());
        self.revision
    }

    fn expire(&mut self) {
        let Some(ttl) = self.spec.ttl else { return };
        let now = Instant::now();
        let is_old = |values: &Vec<SimValue>| {
            values.last().is_some_and(|value| now.duration_since(value.written_at) >= ttl)
        };
        let old = self.values.iter().filter(|(_, values)| is_old(values));
        let old: Vec<String> = old.map(|(key, _)| key.clone()).collect();
        for key in old {
            self.values.remove(&key);
            self.mark(&key);
        }
    }

    fn next_expiry(&self) -> Option<Instant> {
        let ttl = self.spec.ttl?;
        self.values.values().filter_map(|values| values.last()).map(|value| value.written_at + ttl).min()
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        let value = self.values.get(key)?.last()?;
        Some(Entry { key: key.to_owned(), value: value.bytes.clone(), revision: value.revision })
    }

    /// Writes, or removes with `None`, if the key is at `expected`; 0 is a key that is not there.
    fn write(&mut self, key: &str, value: Option<Bytes>, expected: Option<u64>) -> Result<u64, BusError> {
        self.expire();
        let present = self.entry(key).map_or(0, |entry| entry.revision);
        if expected.is_some_and(|expected| expected != present) {
            return Err(BusError::Conflict { key: key.to_owned() });
        }
        let Some(bytes) = value else {
            if self.values.remove(key).is_none() {
                return Ok(self.revision);
            }
            return Ok(self.mark(key));
        };
        let revision = self.mark(key);
        let history = usize::from(self.spec.history.max(1));
        let values = self.values.entry(key.to_owned()).or_default();
        values.push(SimValue { bytes, revision, written_at: Instant::now() });
        let excess = values.len().saturating_sub(history);
        values.drain(..excess);
        Ok(revision)
    }
}

/// A bucket as a node has opened it.
pub(super) struct OpenedBucket {
    pub(super) transport: SimTransport,
    pub(super) name: String,
}

impl OpenedBucket {
    async fn write(&self, key: &str, value: Option<Bytes>, expected: Option<u64>) -> Result<u64, BusError> {
        let (name, key) = (self.name.clone(), key.to_owned());
        let subject = key.clone();
        let work = move |contents: &mut super::BrokerContents| match contents.buckets.get_mut(&name) {
            Some(bucket) => bucket.write(&key, value, expected),
            None => Err(BusError::NoStream { subject: name.clone() }),
        };
        self.transport.call_that_lands(subject, work).await
    }

    async fn read<T>(&self, key: &str, work: impl FnOnce(&mut SimBucket) -> T) -> Result<T, BusError> {
        let read = |contents: &mut super::BrokerContents| match contents.buckets.get_mut(&self.name) {
            Some(bucket) => {
                bucket.expire();
                Ok(work(bucket))
            }
            None => Err(BusError::NoStream { subject: self.name.clone() }),
        };
        self.transport.call(key, read).await
    }
}

#[async_trait]
impl RawBucket for OpenedBucket {
    async fn get(&self, key: &str) -> Result<Option<Entry>, BusError> {
        self.read(key, |bucket| bucket.entry(key)).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<u64, BusError> {
        self.write(key, Some(value), None).await
    }

    async fn create(&self, key: &str, value: Bytes) -> Result<u64, BusError> {
        self.write(key, Some(value), Some(0)).await
    }

    async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, BusError> {
        self.write(key, Some(value), Some(revision)).await
    }

    async fn delete(&self, key: &str) -> Result<(), BusError> {
        self.write(key, None, None).await.map(drop)
    }

    async fn delete_at(&self, key: &str, revision: u64) -> Result<(), BusError> {
        self.write(key, None, Some(revision)).await.map(drop)
    }

    async fn entries(&self) -> Result<Vec<Entry>, BusError> {
        let all = |bucket: &mut SimBucket| {
            bucket.values.keys().filter_map(|key| bucket.entry(key)).collect::<Vec<_>>()
        };
        self.read(&self.name, all).await
    }

    async fn history(&self, key: &str) -> Result<Vec<Entry>, BusError> {
        let entry = |value: &SimValue| Entry {
            key: key.to_owned(),
            value: value.bytes.clone(),
            revision: value.revision,
        };
        let all = |bucket: &mut SimBucket| {
            bucket.values.get(key).into_iter().flatten().map(entry).collect::<Vec<_>>()
        };
        self.read(key, all).await
    }

    async fn watch(&self) -> Result<Box<dyn RawWatch>, BusError> {
        let losses = self.read(&self.name, |bucket| bucket.losses).await?;
        Ok(Box::new(SimWatch {
            transport: self.transport.clone(),
            name: self.name.clone(),
            position: 0,
            losses,
        }))
    }
}

struct SimWatch {
    transport: SimTransport,
    name: String,
    position: u64,
    losses: u64,
}

impl SimWatch {
    fn look(&mut self) -> (Option<KeyEvent>, Option<Instant>) {
        let broker = Arc::clone(self.transport.broker());
        let mut contents = broker.contents.lock();
        let Some(bucket) = contents.buckets.get_mut(&self.name) else { return (None, None) };
        bucket.expire();
        if bucket.losses != self.losses {
            (self.losses, self.position) = (bucket.losses, 0);
        }
        let Some((revision, key)) = bucket.marks.range(self.position + 1..).next() else {
            return (None, bucket.next_expiry());
        };
        self.position = *revision;
        let event = match bucket.entry(key) {
            Some(entry) => KeyEvent::Put(entry),
            None => KeyEvent::Gone { key: key.clone() },
        };
        (Some(event), None)
    }
}

#[async_trait]
impl RawWatch for SimWatch {
    async fn next(&mut self) -> Option<KeyEvent> {
        let broker = Arc::clone(self.transport.broker());
        loop {
            let mut changed = std::pin::pin!(broker.changed.notified());
            changed.as_mut().enable();
            self.transport.control().is_running().await;
            let (event, expiry) = self.look();
            if event.is_some() {
                return event;
            }
            match expiry {
                None => changed.await,
                Some(at) => tokio::select! {
                    biased;
                    () = &mut changed => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }
}
