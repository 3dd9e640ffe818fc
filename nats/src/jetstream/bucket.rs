//! Key-value buckets.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{CreateKeyValueErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::kv::{Config, CreateErrorKind, Entry as Found, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, StorageType};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::time::timeout;
use tracing::debug;

use super::{ANSWER_WITHIN, Inner};
use crate::connection::pause;
use crate::transport::{BucketSpec, Entry, KeyEvent, RawBucket, RawWatch};
use crate::{BusError, TokenError};

/// How often a write that nobody took is sent again.
const TRIES: usize = 6;
/// What says that a key is gone: removed by somebody, or by its age.
const GONE_HEADERS: [&str; 2] = ["KV-Operation", "Nats-Marker-Reason"];
/// How long the server keeps the news that a key is gone.
const MARKER: Duration = Duration::from_secs(60);

/// Opens a bucket, creating it or bringing it to this definition.
pub(super) async fn open_store(inner: &Inner, spec: &BucketSpec) -> Result<Store, BusError> {
    inner.check(&spec.name)?;
    let config = Config {
        bucket: spec.name.clone().into_owned(),
        history: i64::from(spec.history),
        max_age: spec.ttl.unwrap_or(Duration::ZERO),
        storage: if spec.durable { StorageType::File } else { StorageType::Memory },
        num_replicas: inner.replicas,
        limit_markers: spec.ttl.map(|_| MARKER),
        ..Config::default()
    };
    match timeout(ANSWER_WITHIN, inner.context.create_or_update_key_value(config)).await {
        Ok(Ok(store)) => Ok(store),
        Ok(Err(reason)) => Err(match reason.kind() {
            CreateKeyValueErrorKind::InvalidStoreName | CreateKeyValueErrorKind::TooLongHistory => {
                BusError::Refused { name: spec.name.clone().into_owned(), reason: reason.to_string() }
            }
            CreateKeyValueErrorKind::JetStream
            | CreateKeyValueErrorKind::BucketCreate
            | CreateKeyValueErrorKind::TimedOut
            | CreateKeyValueErrorKind::LimitMarkersNotSupported => {
                BusError::transport(spec.name.clone(), reason)
            }
        }),
        Err(_late) => Err(BusError::Timeout { subject: spec.name.clone().into_owned() }),
    }
}

/// A bucket.
pub(super) struct Opened {
    inner: Arc<Inner>,
    store: Store,
}

impl Opened {
    pub(super) async fn open(inner: &Arc<Inner>, spec: &BucketSpec) -> Result<Self, BusError> {
        Ok(Self { store: open_store(inner, spec).await?, inner: Arc::clone(inner) })
    }

    fn check(&self, key: &str) -> Result<(), BusError> {
        let fits =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=' | b'/' | b'.');
        let wrong = key.is_empty()
            || key.len() > 255
            || !key.bytes().all(fits)
            || key.starts_with('.')
            || key.ends_with('.')
            || key.contains("..");
        if wrong {
            return Err(BusError::Token(TokenError(key.to_owned())));
        }
        self.inner.check(key)
    }
}

/// Bounds a call to the server.
async fn within<T>(key: &str, call: impl Future<Output = Result<T, BusError>>) -> Result<T, BusError> {
    match timeout(ANSWER_WITHIN, call).await {
        Ok(outcome) => outcome,
        Err(_late) => Err(BusError::Timeout { subject: key.to_owned() }),
    }
}

/// The newest value of a key: the leader of the bucket is asked, because a copy may be a moment behind it.
pub(super) async fn newest(store: &Store, key: &str) -> Result<Option<Entry>, BusError> {
    within(key, async {
        let subject = format!("{}{key}", store.prefix);
        let found = match store.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(found) => found,
            Err(reason) if reason.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(reason) => return Err(BusError::transport(key, reason)),
        };
        let is_gone = GONE_HEADERS.iter().any(|name| found.headers.get(*name).is_some());
        let entry = Entry { key: key.to_owned(), value: found.payload, revision: found.sequence };
        Ok((!is_gone).then_some(entry))
    })
    .await
}

/// Writes, and again after a pause if nobody has taken it: a bucket that was created just now, or has lost its leader, is
/// without one for a moment.
async fn taken<T, E>(write: impl Fn() -> BoxFuture<'static, Result<T, E>>) -> Result<T, E>
where
    E: std::error::Error + 'static,
{
    let mut tries = 0;
    loop {
        match write().await {
            Err(reason) if tries < TRIES && nobody_took(&reason) => {}
            outcome => return outcome,
        }
        tokio::time::sleep(pause(tries)).await;
        tries += 1;
    }
}

/// Whether the server had nobody to hand a message to, so that it was not written for certain.
fn nobody_took(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<PublishError>().is_some_and(|e| e.kind() == PublishErrorKind::StreamNotFound)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn updated<T>(
    key: &str,
    outcome: Result<T, async_nats::error::Error<UpdateErrorKind>>,
) -> Result<T, BusError> {
    outcome.map_err(|reason| match reason.kind() {
        UpdateErrorKind::WrongLastRevision => BusError::Conflict { key: key.to_owned() },
        UpdateErrorKind::TimedOut => BusError::Timeout { subject: key.to_owned() },
        UpdateErrorKind::InvalidKey | UpdateErrorKind::Other => BusError::transport(key, reason),
    })
}

fn present(found: Found) -> Option<Entry> {
    (found.operation == Operation::Put).then_some(Entry {
        key: found.key,
        value: found.value,
        revision: found.revision,
    })
}

#[async_trait]
impl RawBucket for Opened {
    async fn get(&self, key: &str) -> Result<Option<Entry>, BusError> {
        self.check(key)?;
        newest(&self.store, key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<u64, BusError> {
        self.check(key)?;
        let (store, name) = (self.store.clone(), key.to_owned());
        let put = move || {
            let (store, name, value) = (store.clone(), name.clone(), value.clone());
            async move { store.put(name, value).await }.boxed()
        };
        within(key, async { taken(put).await.map_err(|reason| BusError::transport(key, reason)) }).await
    }

    async fn create(&self, key: &str, value: Bytes) -> Result<u64, BusError> {
        self.check(key)?;
        let (store, name) = (self.store.clone(), key.to_owned());
        let create = move || {
            let (store, name, value) = (store.clone(), name.clone(), value.clone());
            async move { store.create(name, value).await }.boxed()
        };
        within(key, async {
            taken(create).await.map_err(|reason| match reason.kind() {
                CreateErrorKind::AlreadyExists => BusError::Conflict { key: key.to_owned() },
                CreateErrorKind::InvalidKey
                | CreateErrorKind::Publish
                | CreateErrorKind::Ack
                | CreateErrorKind::Other => BusError::transport(key, reason),
            })
        })
        .await
    }

    async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, BusError> {
        self.check(key)?;
        let (store, name) = (self.store.clone(), key.to_owned());
        let update = move || {
            let (store, name, value) = (store.clone(), name.clone(), value.clone());
            async move { store.update(name, value, revision).await }.boxed()
        };
        within(key, async { updated(key, taken(update).await) }).await
    }

    async fn delete(&self, key: &str) -> Result<(), BusError> {
        self.check(key)?;
        within(key, async { updated(key, self.store.purge(key).await) }).await
    }

    async fn delete_at(&self, key: &str, revision: u64) -> Result<(), BusError> {
        self.check(key)?;
        within(key, async { updated(key, self.store.purge_expect_revision(key, Some(revision)).await) }).await
    }

    async fn entries(&self) -> Result<Vec<Entry>, BusError> {
        let name = self.store.name.clone();
        self.inner.check(&name)?;
        within(&name, async {
            let failed = |reason: String| BusError::transport(name.clone(), reason);
            let keys = self.store.keys().await.map_err(|reason| failed(reason.to_string()))?;
            let keys: Vec<_> = keys.collect().await;
            let mut entries = Vec::with_capacity(keys.len());
            for key in keys {
                let key = key.map_err(|reason| failed(reason.to_string()))?;
                entries.extend(newest(&self.store, &key).await?);
            }
            Ok(entries)
        })
        .await
    }

    async fn history(&self, key: &str) -> Result<Vec<Entry>, BusError> {
        self.check(key)?;
        within(key, async {
            let history = self.store.history(key).await.map_err(|reason| BusError::transport(key, reason))?;
            let found: Vec<_> = history.collect().await;
            let mut kept = Vec::new();
            for entry in found {
                let entry = entry.map_err(|reason| BusError::transport(key, reason))?;
                match present(entry) {
                    Some(entry) => kept.push(entry),
                    None => kept.clear(),
                }
            }
            Ok(kept)
        })
        .await
    }

    async fn watch(&self) -> Result<Box<dyn RawWatch>, BusError> {
        let name = self.store.name.clone();
        self.inner.check(&name)?;
        let mut watching = Watching {
            inner: Arc::clone(&self.inner),
            store: self.store.clone(),
            source: None,
            known: 0,
            failures: 0,
        };
        within(&name, watching.build()).await?;
        Ok(Box::new(watching))
    }
}

/// A watch.
struct Watching {
    inner: Arc<Inner>,
    store: Store,
    source: Option<async_nats::jetstream::kv::Watch>,
    /// Revision of the bucket when the watch began: keys that were gone then are not news.
    known: u64,
    failures: usize,
}

impl Watching {
    async fn build(&mut self) -> Result<(), BusError> {
        let failed = |reason: String| BusError::transport(self.store.name.clone(), reason);
        let info = self.store.stream.get_info().await.map_err(|reason| failed(reason.to_string()))?;
        self.known = info.state.last_sequence;
        let source = self.store.watch_with_history(">").await.map_err(|reason| failed(reason.to_string()))?;
        self.source = Some(source);
        Ok(())
    }
}

#[async_trait]
impl RawWatch for Watching {
    async fn next(&mut self) -> Option<KeyEvent> {
        loop {
            let Some(source) = &mut self.source else {
                if *self.inner.closed.borrow() {
                    return None;
                }
                tokio::time::sleep(pause(self.failures)).await;
                self.failures += 1;
                if let Err(reason) = self.build().await {
                    debug!(%reason, bucket = self.store.name, "the watch cannot go on yet");
                }
                continue;
            };
            let next = tokio::select! {
                next = source.next() => next,
                () = self.inner.ended() => return None,
            };
            match next {
                Some(Ok(found)) => {
                    self.failures = 0;
                    let (key, revision) = (found.key.clone(), found.revision);
                    match present(found) {
                        Some(entry) => return Some(KeyEvent::Put(entry)),
                        None if revision > self.known => return Some(KeyEvent::Gone { key }),
                        None => {}
                    }
                }
                Some(Err(reason)) => {
                    debug!(%reason, bucket = self.store.name, "the watch broke off");
                    self.source = None;
                }
                None => self.source = None,
            }
        }
    }
}
