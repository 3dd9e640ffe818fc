//! How far each consumer with an order has come, and who moves it on: a value in a bucket, see [`super::strict_puller`].

use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::bucket::{newest, newest_of_all, open_store};
use super::stream::log_of;
use super::{ANSWER_WITHIN, Inner};
use crate::BusError;
use crate::connection::pause;
use crate::transport::{Backlog, BucketSpec, ConsumerSpec, Entry};

/// Bucket of all cursors, by `<stream>.<consumer>`.
const BUCKET: &str = "ulex-cursors";
/// How often a cursor that cannot be read is asked for again.
const TRIES: usize = 4;

/// How far a consumer has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Which log [`Cursor::done`] is a position of.
    pub log: String,
    /// Everything up to here is settled.
    pub done: u64,
    /// Who moves it.
    pub holder: Option<String>,
}

/// The bucket of all cursors. Cheap to clone.
#[derive(Clone)]
pub(super) struct Cursors {
    store: Store,
}

impl Cursors {
    pub(super) async fn open(inner: &Inner) -> Result<Self, BusError> {
        inner.check(BUCKET)?;
        if let Ok(store) = inner.context.get_key_value(BUCKET).await {
            return Ok(Self { store });
        }
        let spec = BucketSpec { name: BUCKET.into(), history: 1, ttl: None, durable: true };
        Ok(Self { store: open_store(inner, &spec).await? })
    }

    /// The cursor and its revision. A bucket that is only just there is given a moment.
    pub(super) async fn get(&self, key: &str) -> Result<Option<(Cursor, u64)>, BusError> {
        let mut tries = 0;
        let found = loop {
            match newest(&self.store, key).await {
                Err(reason) if reason.is_transient() && tries < TRIES => {
                    tokio::time::sleep(pause(tries)).await;
                    tries += 1;
                }
                outcome => break outcome?,
            }
        };
        let Some(entry) = found else { return Ok(None) };
        Ok(Some((decode(&entry)?, entry.revision)))
    }

    /// Writes if the cursor is still at `revision`; 0 is a cursor that does not exist.
    pub(super) async fn put(&self, key: &str, cursor: &Cursor, revision: u64) -> Result<u64, BusError> {
        let value = serde_json::to_vec(cursor)
            .map_err(|source| BusError::Malformed { subject: key.to_owned(), source })?;
        let conflict = || BusError::Conflict { key: key.to_owned() };
        let write = async {
            if revision == 0 {
                return match self.store.create(key, value.into()).await {
                    Ok(revision) => Ok(revision),
                    Err(reason) if reason.kind() == CreateErrorKind::AlreadyExists => Err(conflict()),
                    Err(reason) => Err(BusError::transport(key, reason)),
                };
            }
            match self.store.update(key, value.into(), revision).await {
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
        let key = key(spec);
        if self.get(&key).await?.is_some() {
            return Ok(());
        }
        match self.put(&key, &Cursor { log, done: 0, holder: None }, 0).await {
            Ok(_) | Err(BusError::Conflict { .. }) => Ok(()),
            Err(reason) => Err(reason),
        }
    }

    /// What is behind the cursor; an upper bound if the consumer wants some subjects only.
    pub(super) async fn backlog(&self, inner: &Inner, spec: &ConsumerSpec) -> Result<Backlog, BusError> {
        let stream = inner.stream(&spec.stream).await?;
        let state = &stream.cached_info().state;
        let done = match self.get(&key(spec)).await? {
            Some((cursor, _)) if cursor.log == log_of(&stream) => cursor.done,
            Some(_) | None => 0,
        };
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
                let cursor = decode(&entry)?;
                note(if cursor.log == log { cursor.done } else { 0 });
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
}

fn decode(entry: &Entry) -> Result<Cursor, BusError> {
    serde_json::from_slice(&entry.value)
        .map_err(|source| BusError::Malformed { subject: entry.key.clone(), source })
}

/// The key of a consumer's cursor.
pub(super) fn key(spec: &ConsumerSpec) -> String {
    format!("{}.{}", spec.stream, spec.name)
}
