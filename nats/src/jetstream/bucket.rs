//! Key-value buckets: streams as the client library and the `nats` program know them.
//!
//! Every bucket is kept in files, also one that need not survive ([`BucketSpec::durable`]): one in the server's memory is
//! gone when a single server is started again, and its revisions begin anew, under which an old fencing token would be
//! the higher one. Values are asked of the leader ([`super::leader`]), so `allow_direct` is off.

mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use self::watch::Watching;
use super::{ANSWER_WITHIN, Inner, leader};
use crate::backoff::pause;
use crate::transport::{BucketSpec, Entry, RawBucket, RawWatch};
use crate::{BusError, TokenError};

/// How often a write that nobody took is sent again.
const TRIES: usize = 6;
/// How long the server keeps the news that a key is gone.
const MARKER: Duration = Duration::from_secs(60);

/// The definition of a bucket as the server takes it.
pub(super) fn bucket_config(inner: &Inner, spec: &BucketSpec) -> Config {
    Config {
        name: format!("KV_{}", spec.name),
        subjects: vec![format!("$KV.{}.>", spec.name)],
        max_messages_per_subject: i64::from(spec.history),
        max_age: spec.ttl.unwrap_or(Duration::ZERO),
        storage: StorageType::File,
        num_replicas: inner.replicas,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: false,
        allow_message_ttl: spec.ttl.is_some(),
        subject_delete_marker_ttl: spec.ttl.map(|_| MARKER),
        ..Config::default()
    }
}

/// Opens a bucket, creating it if there is none.
pub(super) async fn open_store(inner: &Inner, spec: &BucketSpec) -> Result<Store, BusError> {
    inner.define(&spec.name, bucket_config(inner, spec)).await?;
    let opening = inner.context.get_key_value(spec.name.clone().into_owned());
    within(&spec.name, async { opening.await.map_err(|reason| BusError::transport(&*spec.name, reason)) })
        .await
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

/// The newest value of a key.
pub(super) async fn newest(store: &Store, key: &str) -> Result<Option<Entry>, BusError> {
    let subject = format!("{}{key}", store.prefix);
    let found = within(key, leader::newest(&store.stream, &subject)).await?;
    Ok(found.and_then(|found| entry_of(store, found)))
}

/// The newest value of every key that exists.
pub(super) async fn newest_of_all(store: &Store) -> Result<Vec<Entry>, BusError> {
    let filter = format!("{}>", store.prefix);
    let mut last = BTreeMap::new();
    for found in within(&store.name, leader::all(&store.stream, &filter)).await? {
        last.insert(found.subject.to_string(), found);
    }
    Ok(last.into_values().filter_map(|found| entry_of(store, found)).collect())
}

/// A value; `None` if the message says that its key is gone.
fn entry_of(store: &Store, found: StreamMessage) -> Option<Entry> {
    let key = found.subject.strip_prefix(store.prefix.as_str())?.to_owned();
    (!leader::is_gone(&found.headers)).then_some(Entry {
        key,
        value: found.payload,
        revision: found.sequence,
    })
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
        self.inner.check(&self.store.name)?;
        newest_of_all(&self.store).await
    }

    async fn history(&self, key: &str) -> Result<Vec<Entry>, BusError> {
        self.check(key)?;
        let subject = format!("{}{key}", self.store.prefix);
        let mut kept = Vec::new();
        for found in within(key, leader::all(&self.store.stream, &subject)).await? {
            match entry_of(&self.store, found) {
                Some(entry) => kept.push(entry),
                None => kept.clear(),
            }
        }
        Ok(kept)
    }

    async fn watch(&self) -> Result<Box<dyn RawWatch>, BusError> {
        self.inner.check(&self.store.name)?;
        Ok(Box::new(Watching::start(&self.inner, &self.store).await?))
    }
}
