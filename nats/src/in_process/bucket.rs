//! A key-value bucket in memory, with a journal if it is durable.
//!
//! Every key has one mark at its latest revision: present or gone. A watch is a position in the marks, so it needs no
//! buffer, and values that follow one another faster than they are read collapse into the last. Expiry is done by
//! whoever comes next; a waiting watch wakes up for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use super::journal::{Journal, Record};
use crate::transport::{BucketSpec, Entry, KeyEvent, RawBucket, RawWatch};
use crate::{BusError, TokenError};

#[derive(Clone)]
struct Value {
    revision: u64,
    bytes: Bytes,
    written: SystemTime,
}

/// Latest revision of a key.
struct Mark {
    key: String,
    present: bool,
}

struct State {
    spec: BucketSpec,
    revision: u64,
    /// Present keys with their values, oldest first.
    values: HashMap<String, VecDeque<Value>>,
    marks: BTreeMap<u64, Mark>,
    /// Mark of a key, present or gone.
    latest: HashMap<String, u64>,
    /// Writes in order of time, for expiry.
    written: VecDeque<(Instant, u64)>,
    /// Positions of watches.
    watches: HashMap<u64, u64>,
    last_watch: u64,
    closed: bool,
}

/// See the module.
pub(super) struct Bucket {
    name: String,
    state: Mutex<State>,
    changed: Notify,
    /// Held for the whole of a write to a durable bucket, which makes writes one after the other.
    journal: Option<Mutex<Journal>>,
}

/// What a write expects to find.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Anything,
    Nothing,
    Revision(u64),
}

impl Bucket {
    /// Opens a bucket with what its journal holds. Revisions begin after `first_revision`.
    pub(super) fn new(
        spec: BucketSpec,
        first_revision: u64,
        journal: Option<(Journal, Vec<Record>)>,
    ) -> Self {
        let name = spec.name.clone().into_owned();
        let mut state = State {
            spec,
            revision: first_revision,
            values: HashMap::new(),
            marks: BTreeMap::new(),
            latest: HashMap::new(),
            written: VecDeque::new(),
            watches: HashMap::new(),
            last_watch: 0,
            closed: false,
        };
        let (journal, records) = journal.map_or((None, Vec::new()), |(file, records)| (Some(file), records));
        for record in records {
            state.apply(record);
        }
        Self { name, state: Mutex::new(state), changed: Notify::new(), journal: journal.map(Mutex::new) }
    }

    pub(super) fn redefine(&self, spec: BucketSpec) {
        self.state.lock().spec = spec;
        self.changed.notify_waiters();
    }

    pub(super) const fn is_durable(&self) -> bool {
        self.journal.is_some()
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_waiters();
    }

    /// Keys present or gone that are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.state.lock().marks.len()
    }

    /// Checks, then writes the journal if there is one, then the memory. `None` removes the key.
    fn write(&self, key: &str, value: Option<Bytes>, expected: Expected) -> Result<u64, BusError> {
        let journal = self.journal.as_ref().map(Mutex::lock);
        let mut state = self.state.lock();
        if state.closed {
            return Err(BusError::Closed);
        }
        state.expire(Instant::now());
        state.check(key, expected)?;
        if value.is_none() && !state.values.contains_key(key) {
            return Ok(state.revision);
        }
        let record =
            Record { revision: state.revision + 1, written: SystemTime::now(), key: key.to_owned(), value };
        if let Some(mut journal) = journal {
            // Readers go on during the write to disk; writers wait for the journal.
            drop(state);
            journal.append(&record).map_err(|error| BusError::transport(&self.name, error))?;
            state = self.state.lock();
            let revision = state.apply(record);
            let garbage = journal.is_mostly_garbage(state.live()).then(|| state.records());
            drop(state);
            self.changed.notify_waiters();
            if let Some(Err(error)) = garbage.map(|records| journal.rewrite(&records)) {
                warn!(bucket = self.name, %error, "could not shorten the journal");
            }
            return Ok(revision);
        }
        let revision = state.apply(record);
        drop(state);
        self.changed.notify_waiters();
        Ok(revision)
    }
}

impl State {
    fn check(&self, key: &str, expected: Expected) -> Result<(), BusError> {
        let present = self.values.get(key).and_then(VecDeque::back).map(|value| value.revision);
        let as_expected = match expected {
            Expected::Anything => true,
            Expected::Nothing => present.is_none(),
            Expected::Revision(revision) => present == Some(revision),
        };
        if as_expected { Ok(()) } else { Err(BusError::Conflict { key: key.to_owned() }) }
    }

    fn apply(&mut self, record: Record) -> u64 {
        let Record { revision, written, key, value } = record;
        self.revision = self.revision.max(revision);
        match value {
            None => {
                self.values.remove(&key);
                self.mark(key, revision, false);
            }
            Some(bytes) => {
                let values = self.values.entry(key.clone()).or_default();
                values.push_back(Value { revision, bytes, written });
                while values.len() > usize::from(self.spec.history.clamp(1, 64)) {
                    values.pop_front();
                }
                if self.spec.ttl.is_some() {
                    let age = SystemTime::now().duration_since(written).unwrap_or_default();
                    let at = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
                    self.written.push_back((at, revision));
                }
                self.mark(key, revision, true);
            }
        }
        revision
    }

    fn mark(&mut self, key: String, revision: u64, present: bool) {
        if let Some(before) = self.latest.insert(key.clone(), revision) {
            self.marks.remove(&before);
        }
        self.marks.insert(revision, Mark { key, present });
        if !present {
            self.forget_seen_removals();
        }
    }

    /// Marks of keys that are gone are kept until every watch has passed them.
    fn forget_seen_removals(&mut self) {
        let seen = self.watches.values().copied().min().unwrap_or(u64::MAX);
        let gone = self.marks.range(..=seen).filter(|(_, mark)| !mark.present);
        let gone: Vec<u64> = gone.map(|(revision, _)| *revision).collect();
        for revision in gone {
            if let Some(mark) = self.marks.remove(&revision) {
                self.latest.remove(&mark.key);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let Some(ttl) = self.spec.ttl else { return };
        while let Some(&(at, revision)) = self.written.front()
            && now.duration_since(at) >= ttl
        {
            self.written.pop_front();
            if let Some(mark) = self.marks.get(&revision) {
                let key = mark.key.clone();
                let next = self.revision + 1;
                self.apply(Record { revision: next, written: SystemTime::now(), key, value: None });
            }
        }
    }

    /// When something expires next.
    fn next_expiry(&self) -> Option<Instant> {
        let ttl = self.spec.ttl?;
        self.written.front().map(|(at, _)| *at + ttl)
    }

    /// Values that a journal needs to hold.
    fn live(&self) -> usize {
        self.values.values().map(VecDeque::len).sum()
    }

    fn records(&self) -> Vec<Record> {
        let all = self.values.iter().flat_map(|(key, values)| {
            values.iter().map(|value| Record {
                revision: value.revision,
                written: value.written,
                key: key.clone(),
                value: Some(value.bytes.clone()),
            })
        });
        let mut records: Vec<Record> = all.collect();
        records.sort_by_key(|record| record.revision);
        records
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        let value = self.values.get(key)?.back()?;
        Some(Entry { key: key.to_owned(), value: value.bytes.clone(), revision: value.revision })
    }

    /// The first change after a position.
    fn change_after(&self, position: u64) -> Option<(u64, KeyEvent)> {
        let (revision, mark) = self.marks.range(position + 1..).next()?;
        let event = match self.entry(&mark.key) {
            Some(entry) => KeyEvent::Put(entry),
            None => KeyEvent::Gone { key: mark.key.clone() },
        };
        Some((*revision, event))
    }
}

/// A bucket as it is handed out.
pub(super) struct Opened(pub(super) Arc<Bucket>);

impl Opened {
    /// Journals are written where blocking is allowed; the write goes on even if the caller is dropped.
    async fn write(&self, key: &str, value: Option<Bytes>, expected: Expected) -> Result<u64, BusError> {
        check_key(key)?;
        if !self.0.is_durable() {
            return self.0.write(key, value, expected);
        }
        let (bucket, key) = (Arc::clone(&self.0), key.to_owned());
        let written = tokio::task::spawn_blocking(move || bucket.write(&key, value, expected)).await;
        written.map_err(|error| BusError::transport(&self.0.name, error))?
    }
}

#[async_trait]
impl RawBucket for Opened {
    async fn get(&self, key: &str) -> Result<Option<Entry>, BusError> {
        check_key(key)?;
        let mut state = self.0.state.lock();
        state.expire(Instant::now());
        Ok(state.entry(key))
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<u64, BusError> {
        self.write(key, Some(value), Expected::Anything).await
    }

    async fn create(&self, key: &str, value: Bytes) -> Result<u64, BusError> {
        self.write(key, Some(value), Expected::Nothing).await
    }

    async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, BusError> {
        self.write(key, Some(value), Expected::Revision(revision)).await
    }

    async fn delete(&self, key: &str) -> Result<(), BusError> {
        self.write(key, None, Expected::Anything).await.map(drop)
    }

    async fn delete_at(&self, key: &str, revision: u64) -> Result<(), BusError> {
        self.write(key, None, Expected::Revision(revision)).await.map(drop)
    }

    async fn entries(&self) -> Result<Vec<Entry>, BusError> {
        let mut state = self.0.state.lock();
        state.expire(Instant::now());
        let mut entries: Vec<Entry> = state.values.keys().filter_map(|key| state.entry(key)).collect();
        entries.sort_by(|left, right| left.key.cmp(&right.key));
        Ok(entries)
    }

    async fn history(&self, key: &str) -> Result<Vec<Entry>, BusError> {
        check_key(key)?;
        let mut state = self.0.state.lock();
        state.expire(Instant::now());
        let entry = |value: &Value| Entry {
            key: key.to_owned(),
            value: value.bytes.clone(),
            revision: value.revision,
        };
        Ok(state.values.get(key).into_iter().flatten().map(entry).collect())
    }

    async fn watch(&self) -> Result<Box<dyn RawWatch>, BusError> {
        let mut state = self.0.state.lock();
        if state.closed {
            return Err(BusError::Closed);
        }
        state.expire(Instant::now());
        state.last_watch += 1;
        let (id, began) = (state.last_watch, state.revision);
        state.watches.insert(id, 0);
        Ok(Box::new(Watching { bucket: Arc::clone(&self.0), id, position: 0, began }))
    }
}

/// A watch; dropping it ends it.
struct Watching {
    bucket: Arc<Bucket>,
    id: u64,
    position: u64,
    /// Revision when it began: keys gone before are none of its business.
    began: u64,
}

impl Watching {
    /// The next change, or when to look again; an error once the bus is closed.
    fn look(&mut self) -> Result<Option<KeyEvent>, Option<Instant>> {
        let mut state = self.bucket.state.lock();
        state.expire(Instant::now());
        while let Some((revision, event)) = state.change_after(self.position) {
            self.position = revision;
            state.watches.insert(self.id, revision);
            if revision > self.began || matches!(event, KeyEvent::Put(_)) {
                return Ok(Some(event));
            }
        }
        if state.closed { Ok(None) } else { Err(state.next_expiry()) }
    }
}

#[async_trait]
impl RawWatch for Watching {
    async fn next(&mut self) -> Option<KeyEvent> {
        const LONG: Duration = Duration::from_secs(3600);
        loop {
            let bucket = Arc::clone(&self.bucket);
            let mut changed = std::pin::pin!(bucket.changed.notified());
            changed.as_mut().enable();
            let until = match self.look() {
                Ok(event) => return event,
                Err(until) => until.unwrap_or_else(|| Instant::now() + LONG),
            };
            let _ = tokio::time::timeout_at(until, changed).await;
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut state = self.bucket.state.lock();
        state.watches.remove(&self.id);
        state.forget_seen_removals();
    }
}

/// Refuses what cannot be a key anywhere.
fn check_key(key: &str) -> Result<(), BusError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=/.".contains(&byte);
    let dots = key.starts_with('.') || key.ends_with('.') || key.contains("..");
    if key.is_empty() || key.len() > 255 || dots || !key.bytes().all(fits) {
        return Err(BusError::Token(TokenError(key.to_owned())));
    }
    Ok(())
}

/// Milliseconds since 1970, as journals keep times.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
