//! Object buckets.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::{
    Config, DeleteErrorKind, GetErrorKind, InfoErrorKind, ObjectStore,
};
use async_nats::jetstream::stream::StorageType;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::{ANSWER_WITHIN, Inner};
use crate::BusError;
use crate::connection::pause;
use crate::transport::{ObjectInfo, RawObjects};

/// How often a new bucket is asked whether it answers.
const READY_TRIES: usize = 8;
/// Slowest transfer that is waited for, bytes a second.
const SLOWEST: u64 = 2 << 20;

/// An object bucket.
pub(super) struct Objects {
    inner: Arc<Inner>,
    name: String,
    store: ObjectStore,
}

impl Objects {
    pub(super) async fn open(inner: &Arc<Inner>, name: &str) -> Result<Self, BusError> {
        inner.check(name)?;
        let config = Config {
            bucket: name.to_owned(),
            storage: StorageType::File,
            num_replicas: inner.replicas,
            ..Config::default()
        };
        let opening = async {
            if let Ok(store) = inner.context.get_object_store(name).await {
                return Ok(store);
            }
            match inner.context.create_object_store(config).await {
                Ok(store) => {
                    until_ready(&store).await;
                    Ok(store)
                }
                // Another process was faster.
                Err(reason) => inner
                    .context
                    .get_object_store(name)
                    .await
                    .map_err(|_absent| BusError::transport(name, reason)),
            }
        };
        let store = match timeout(ANSWER_WITHIN, opening).await {
            Ok(store) => store?,
            Err(_late) => return Err(BusError::Timeout { subject: name.to_owned() }),
        };
        Ok(Self { inner: Arc::clone(inner), name: name.to_owned(), store })
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

    fn failed(&self, reason: impl std::fmt::Display) -> BusError {
        BusError::transport(self.name.clone(), reason.to_string())
    }
}

/// A bucket that was created just now has no copy yet that answers.
async fn until_ready(store: &ObjectStore) {
    for tries in 0..READY_TRIES {
        match store.info("-").await {
            Ok(_) => return,
            Err(reason) if reason.kind() == InfoErrorKind::NotFound => return,
            Err(_) => tokio::time::sleep(pause(tries)).await,
        }
    }
}

/// Ours from theirs, whose digest is `SHA-256=` and base64 for URLs, with or without padding.
fn info_of(info: &async_nats::jetstream::object_store::ObjectInfo) -> ObjectInfo {
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
        self.within(0, async {
            match self.store.info(name).await {
                Ok(info) if info.deleted => Ok(None),
                Ok(info) => Ok(Some(info_of(&info))),
                Err(reason) if reason.kind() == InfoErrorKind::NotFound => Ok(None),
                Err(reason) => Err(self.failed(reason)),
            }
        })
        .await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, BusError> {
        let Some(info) = self.info(name).await? else { return Ok(None) };
        self.within(info.size, async {
            let mut object = match self.store.get(name).await {
                Ok(object) => object,
                Err(reason) if reason.kind() == GetErrorKind::NotFound => return Ok(None),
                Err(reason) => return Err(self.failed(reason)),
            };
            let expected = info_of(object.info());
            let mut bytes = Vec::with_capacity(usize::try_from(expected.size).unwrap_or(0));
            object.read_to_end(&mut bytes).await.map_err(|reason| self.failed(reason))?;
            if hexadecimal(&Sha256::digest(&bytes)) != expected.digest {
                return Err(BusError::Corrupt { name: name.to_owned() });
            }
            Ok(Some(Bytes::from(bytes)))
        })
        .await
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
        self.within(0, async {
            let mut listing = self.store.list().await.map_err(|reason| self.failed(reason))?;
            let mut found = Vec::new();
            while let Some(info) = listing.next().await {
                let info = info.map_err(|reason| self.failed(reason))?;
                if !info.deleted {
                    found.push(info_of(&info));
                }
            }
            Ok(found)
        })
        .await
    }
}
