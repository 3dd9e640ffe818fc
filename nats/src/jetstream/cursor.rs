//! The bucket of cursors of consumers with an order, see [`crate::strict`].

use std::borrow::Cow;

use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::bucket::{newest, newest_of_all, open_store};
use super::stream::log_of;
use super::{ANSWER_WITHIN, Inner, leader};
use crate::BusError;
use crate::backoff::pause;
use crate::strict::{Cursor, cursor_key};
use crate::transport::{Backlog, BucketSpec, ConsumerSpec, Entry};

/// Bucket of all cursors, by `<stream>.<consumer>`.
const BUCKET: &str = "ulex-cursors";
/// Its definition.
pub(super) const CURSORS: BucketSpec =
    BucketSpec { name: Cow::Borrowed(BUCKET), history: 1, ttl: None, durable: true };
/// How often a cursor that cannot be read is asked for again.
const TRIES: usize = 4;

/// The bucket of all cursors. Cheap to clone.
#[derive(Clone)]
pub(super) struct Cursors {
    store: Store,
}

impl Cursors {
    pub(super) async fn open(inner: &Inner) -> Result<Self, BusError> {
        inner.check(BUCKET)?;
        match Self::find(inner).await {
            Some(cursors) => Ok(cursors),
            None => Ok(Self { store: open_store(inner, &CURSORS).await? }),
        }
    }

    /// The bucket, if it is there.
    pub(super) async fn find(inner: &Inner) -> Option<Self> {
        let store = inner.context.get_key_value(BUCKET).await.ok()?;
        Some(Self { store })
    }

    /// The cursor as it stands there. A bucket that is only just there is given a moment.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, BusError> {
        let mut tries = 0;
        loop {
            match newest(&self.store, key).await {
                Err(reason) if reason.is_transient() && tries < TRIES => {
                    tokio::time::sleep(pause(tries)).await;
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Writes if the cursor is still at `revision`; 0 is a cursor that does not exist.
    pub(super) async fn put(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, BusError> {
        let conflict = || BusError::Conflict { key: key.to_owned() };
        let write = async {
            if revision == 0 {
                return match self.store.create(key, value).await {
                    Ok(revision) => Ok(revision),
                    Err(reason) if reason.kind() == CreateErrorKind::AlreadyExists => Err(conflict()),
                    Err(reason) => Err(BusError::transport(key, reason)),
                };
            }
            match self.store.update(key, value, revision).await {
                Ok(revision) => Ok(revision),
                Err(reason) if reason.kind() == UpdateErrorKind::WrongLastRevision => Err(conflict()),
                Err(reason) => Err(BusError::transport(key, reason)),
            }
        };
        match timeout(ANSWER_WITHIN, write).await {
            Ok(outcome) => outcome,
            Err(_late) => Err(BusError::Timeout { subject: key.to_owned() }),
        }
    }

    /// Lets messages wait for this consumer from now on.
    pub(super) async fn ensure(&self, inner: &Inner, spec: &ConsumerSpec) -> Result<(), BusError> {
        let log = log_of(&inner.stream(&spec.stream).await?);
        let key = cursor_key(spec);
        if self.get(&key).await?.is_some() {
            return Ok(());
        }
        let cursor = serde_json::to_vec(&Cursor { log, ..Cursor::default() });
        let cursor = cursor.map_err(|source| BusError::Malformed { subject: key.clone(), source })?;
        match self.put(&key, cursor.into(), 0).await {
            Ok(_) | Err(BusError::Conflict { .. }) => Ok(()),
            Err(reason) => Err(reason),
        }
    }

    /// What is behind the cursor; an upper bound if the consumer wants some subjects only.
    pub(super) async fn backlog(&self, inner: &Inner, spec: &ConsumerSpec) -> Result<Backlog, BusError> {
        let stream = inner.stream(&spec.stream).await?;
        let state = &stream.cached_info().state;
        let found = self.get(&cursor_key(spec)).await?;
        let done = found.map_or(0, |entry| done_of(&entry, &log_of(&stream)));
        let from = done.max(state.first_sequence.saturating_sub(1));
        Ok(Backlog { waiting: state.last_sequence.saturating_sub(from), in_flight: 0 })
    }

    /// The position up to which every durable consumer of a stream is done; `None` if it has none.
    pub(super) async fn done(&self, inner: &Inner, stream: &str) -> Result<Option<u64>, BusError> {
        let handle = inner.stream(stream).await?;
        let log = log_of(&handle);
        let mut done: Option<u64> = None;
        let mut note = |position: u64| done = Some(done.map_or(position, |known| known.min(position)));
        let failed = |reason: String| BusError::transport(stream, reason);
        for entry in newest_of_all(&self.store).await? {
            if entry.key.split_once('.').is_some_and(|(of, _)| of == stream) {
                note(done_of(&entry, &log));
            }
        }
        let mut consumers = handle.consumers();
        while let Some(consumer) = consumers.next().await {
            let consumer = consumer.map_err(|reason| failed(reason.to_string()))?;
            if consumer.config.durable_name.is_some() {
                note(consumer.ack_floor.stream_sequence);
            }
        }
        Ok(done)
    }

    /// Epoch of a log: the newest that a cursor of its stream says.
    pub(super) async fn epoch(&self, stream: &str, log: &str) -> Result<u64, BusError> {
        let filter = format!("{}{stream}.>", self.store.prefix);
        let mut epoch = 1;
        for found in leader::all(&self.store.stream, &filter).await? {
            let cursor = serde_json::from_slice::<Cursor>(&found.payload).ok();
            epoch = epoch.max(cursor.filter(|cursor| cursor.log == log).map_or(1, |cursor| cursor.epoch));
        }
        Ok(epoch)
    }
}

/// The position up to which a consumer is done with a log. One whose cursor cannot be read is done with nothing.
fn done_of(entry: &Entry, log: &str) -> u64 {
    let cursor = serde_json::from_slice::<Cursor>(&entry.value).ok();
    cursor.filter(|cursor| cursor.log == log).map_or(0, |cursor| cursor.done)
}
