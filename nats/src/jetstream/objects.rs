//! Object buckets: as the client library and the `nats` program know them.
//!
//! What there is says the leader ([`super::leader`]). The bytes are read by a reader, which waits for as many chunks as
//! the object has: a copy of the bucket that is behind has fewer of them for a moment.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::object_store::{DeleteErrorKind, ObjectInfo as Described, ObjectStore};
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType, Stream};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::reader::Reading;
use super::{ANSWER_WITHIN, Inner, leader};
use crate::BusError;
use crate::transport::{ObjectInfo, RawObjects, RawReader, ReadFrom};

/// Slowest transfer that is waited for, bytes a second.
const SLOWEST: u64 = 2 << 20;

/// Chunks in memory beside what has been put together of them; they have 128 KiB each.
const CHUNKS_AT_ONCE: usize = 256;

/// The definition of an object bucket as the server takes it.
pub(super) fn objects_config(inner: &Inner, name: &str) -> Config {
    Config {
        name: format!("OBJ_{name}"),
        subjects: vec![format!("$O.{name}.C.>"), format!("$O.{name}.M.>")],
        storage: StorageType::File,
        num_replicas: inner.replicas,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        allow_direct: false,
        ..Config::default()
    }
}

/// An object bucket.
pub(super) struct Objects {
    inner: Arc<Inner>,
    name: String,
    store: ObjectStore,
    stream: Stream,
}

impl Objects {
    pub(super) async fn open(inner: &Arc<Inner>, name: &str) -> Result<Self, BusError> {
        inner.define(name, objects_config(inner, name)).await?;
        let opening = async {
            let store = inner.context.get_object_store(name).await;
            let store = store.map_err(|reason| BusError::transport(name, reason))?;
            Ok::<_, BusError>((store, inner.stream(&format!("OBJ_{name}")).await?))
        };
        let (store, stream) = match timeout(ANSWER_WITHIN, opening).await {
            Ok(opened) => opened?,
            Err(_late) => return Err(BusError::Timeout { subject: name.to_owned() }),
        };
        Ok(Self { inner: Arc::clone(inner), name: name.to_owned(), store, stream })
    }

    async fn within<T>(
        &self,
        bytes: u64,
        call: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        self.inner.check(&self.name)?;
        let limit = ANSWER_WITHIN + Duration::from_secs(bytes / SLOWEST);
        match timeout(limit, call).await {
            Ok(outcome) => outcome,
            Err(_late) => Err(BusError::Timeout { subject: self.name.clone() }),
        }
    }

    /// What the bucket says about an object; `None` if there is no such object.
    async fn find(&self, name: &str) -> Result<Option<Described>, BusError> {
        let subject = format!("$O.{}.M.{}", self.name, URL_SAFE.encode(name));
        let Some(found) = leader::newest(&self.stream, &subject).await? else { return Ok(None) };
        let info = described(&found)?;
        Ok((!info.deleted).then_some(info))
    }

    /// The bytes of an object.
    async fn chunks(&self, info: &Described) -> Result<Bytes, BusError> {
        let (stream, filter) = (format!("OBJ_{}", self.name), format!("$O.{}.C.{}", self.name, info.nuid));
        let mut bytes = Vec::with_capacity(info.size);
        if info.chunks == 0 {
            return Ok(bytes.into());
        }
        let (mut reading, mut left) =
            (Reading::open(&self.inner, &stream, &filter, ReadFrom::First).await?, info.chunks);
        while left > 0 {
            let found = reading.read(left.min(CHUNKS_AT_ONCE), ANSWER_WITHIN).await?;
            if found.is_empty() && self.find(&info.name).await?.is_none_or(|now| now.nuid != info.nuid) {
                // Removed or replaced meanwhile: its chunks will not come.
                return Err(self.failed("the object was removed while it was being read"));
            }
            left -= found.len();
            found.iter().for_each(|chunk| bytes.extend_from_slice(&chunk.message.payload));
        }
        Ok(bytes.into())
    }

    fn failed(&self, reason: impl std::fmt::Display) -> BusError {
        BusError::transport(self.name.clone(), reason.to_string())
    }
}

/// What a message of the bucket says about an object.
fn described(message: &StreamMessage) -> Result<Described, BusError> {
    serde_json::from_slice(&message.payload)
        .map_err(|source| BusError::Malformed { subject: message.subject.to_string(), source })
}

/// Ours from theirs, whose digest is `SHA-256=` and base64 for URLs, with or without padding.
fn info_of(info: &Described) -> ObjectInfo {
    let text = info.digest.as_deref().and_then(|digest| digest.split_once('=')).map_or("", |(_, text)| text);
    let bytes = URL_SAFE.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).unwrap_or_default();
    ObjectInfo { name: info.name.clone(), size: info.size as u64, digest: hexadecimal(&bytes) }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[async_trait]
impl RawObjects for Objects {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<ObjectInfo, BusError> {
        self.within(bytes.len() as u64, async {
            let stored = self.store.put(name, &mut bytes.as_ref()).await;
            stored.map(|info| info_of(&info)).map_err(|reason| self.failed(reason))
        })
        .await
    }

    async fn info(&self, name: &str) -> Result<Option<ObjectInfo>, BusError> {
        let found = self.within(0, self.find(name)).await?;
        Ok(found.as_ref().map(info_of))
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, BusError> {
        let Some(found) = self.within(0, self.find(name)).await? else { return Ok(None) };
        let bytes = self.within(found.size as u64, self.chunks(&found)).await?;
        if bytes.len() != found.size || hexadecimal(&Sha256::digest(&bytes)) != info_of(&found).digest {
            return Err(BusError::Corrupt { name: name.to_owned() });
        }
        Ok(Some(bytes))
    }

    async fn delete(&self, name: &str) -> Result<(), BusError> {
        self.within(0, async {
            match self.store.delete(name).await {
                Ok(()) => Ok(()),
                Err(reason) if reason.kind() == DeleteErrorKind::NotFound => Ok(()),
                Err(reason) => Err(self.failed(reason)),
            }
        })
        .await
    }

    async fn list(&self) -> Result<Vec<ObjectInfo>, BusError> {
        let filter = format!("$O.{}.M.>", self.name);
        let found = self.within(0, leader::all(&self.stream, &filter)).await?;
        let mut list = Vec::with_capacity(found.len());
        for message in found {
            let info = described(&message)?;
            if !info.deleted {
                list.push(info_of(&info));
            }
        }
        Ok(list)
    }
}
