//! A watch on a bucket: what the leader has, then what a reader of the bucket's stream brings.
//!
//! A watch knows what it has reported. When its reader broke off it compares that with what the leader has then, so it
//! reports what happened meanwhile even if the server no longer has the news of it: a key that is gone, and whose marker
//! is gone, too.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::Store;
use async_trait::async_trait;
use bytes::Bytes;
use tracing::debug;

use super::within;
use crate::BusError;
use crate::backoff::pause;
use crate::jetstream::reader::Reading;
use crate::jetstream::{Inner, leader};
use crate::transport::{Entry, KeyEvent, RawReader, RawWatch, ReadFrom};

/// How long one look for news may last.
const LOOK: Duration = Duration::from_secs(30);
/// Most news taken at a time.
const AT_ONCE: usize = 256;

/// See the module.
pub(super) struct Watching {
    inner: Arc<Inner>,
    store: Store,
    reading: Option<Reading>,
    /// Which log the revisions are of.
    log: smol_str::SmolStr,
    /// Keys that were reported and are not gone, with their revisions.
    known: HashMap<String, u64>,
    news: VecDeque<KeyEvent>,
    failures: usize,
}

impl Watching {
    pub(super) async fn start(inner: &Arc<Inner>, store: &Store) -> Result<Self, BusError> {
        let mut watching = Self {
            inner: Arc::clone(inner),
            store: store.clone(),
            reading: None,
            log: smol_str::SmolStr::default(),
            known: HashMap::new(),
            news: VecDeque::new(),
            failures: 0,
        };
        watching.compare().await?;
        Ok(watching)
    }

    /// Reports how what the leader has differs from what is known, and reads on behind it.
    async fn compare(&mut self) -> Result<(), BusError> {
        let (stream, filter) = (&self.store.stream_name, format!("{}>", self.store.prefix));
        let state = self.inner.stream_state(stream).await?;
        let reading =
            Reading::open(&self.inner, stream, &filter, ReadFrom::Sequence(state.last_sequence + 1)).await?;
        let found = within(&filter, leader::all(&self.store.stream, &filter)).await?;
        if state.log != self.log {
            // Revisions of another log say nothing about this one's.
            self.known.values_mut().for_each(|revision| *revision = 0);
            self.log = state.log;
        }
        let mut last = BTreeMap::new();
        for message in found {
            last.insert(message.subject.to_string(), message);
        }
        let mut found: Vec<_> = last.into_values().collect();
        found.retain(|message| !leader::is_gone(&message.headers));
        found.sort_by_key(|message| message.sequence);
        let present: HashSet<&str> = found.iter().filter_map(|found| self.key_of(&found.subject)).collect();
        let gone = self.known.keys().filter(|key| !present.contains(key.as_str()));
        let gone: Vec<String> = gone.cloned().collect();
        for key in gone {
            self.known.remove(&key);
            self.news.push_back(KeyEvent::Gone { key });
        }
        for message in found {
            self.note(&message.subject, message.sequence, Some(message.payload));
        }
        self.reading = Some(reading.fragile());
        self.failures = 0;
        Ok(())
    }

    fn key_of<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.store.prefix)
    }

    /// Reports a message of the bucket unless it is known: a value, or `None` for a key that is gone.
    fn note(&mut self, subject: &str, revision: u64, value: Option<Bytes>) {
        let Some(key) = self.key_of(subject).map(str::to_owned) else { return };
        let known = self.known.get(&key).copied();
        match value {
            Some(value) if known.is_none_or(|known| known < revision) => {
                self.known.insert(key.clone(), revision);
                self.news.push_back(KeyEvent::Put(Entry { key, value, revision }));
            }
            None if known.is_some_and(|known| known < revision) => {
                self.known.remove(&key);
                self.news.push_back(KeyEvent::Gone { key });
            }
            Some(_) | None => {}
        }
    }

    /// Waits for news of the reader; `None` if it broke off.
    async fn look(&mut self) -> Option<()> {
        let reading = self.reading.as_mut()?;
        let found = match reading.read(AT_ONCE, LOOK).await {
            Ok(found) => found,
            Err(reason) => {
                debug!(%reason, bucket = self.store.name, "the watch broke off");
                return None;
            }
        };
        for one in found {
            let value = (!leader::says_gone(&one.message.headers)).then_some(one.message.payload);
            self.note(&one.message.subject, one.sequence, value);
        }
        Some(())
    }
}

#[async_trait]
impl RawWatch for Watching {
    async fn next(&mut self) -> Option<KeyEvent> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Some(news);
            }
            if *self.inner.closed.borrow() {
                return None;
            }
            if self.reading.is_some() {
                if self.look().await.is_none() {
                    self.reading = None;
                }
                continue;
            }
            tokio::time::sleep(pause(self.failures)).await;
            if let Err(reason) = self.compare().await {
                self.failures += 1;
                debug!(%reason, bucket = self.store.name, "the watch cannot go on yet");
            }
        }
    }
}
