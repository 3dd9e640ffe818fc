//! Key-value and object buckets, decoded.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::{Of, decode_bytes, encode};
use crate::BusError;
use crate::transport::{Entry, KeyEvent, ObjectInfo, RawBucket, RawObjects, RawWatch};

/// A value with its place in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// Key.
    pub key: String,
    /// Value.
    pub value: T,
    /// Revision: unique in the bucket and increasing.
    pub revision: u64,
}

/// A bucket of `T`. Cheap to clone.
pub struct Bucket<T> {
    raw: Arc<dyn RawBucket>,
    value: Of<T>,
}

impl<T> Clone for Bucket<T> {
    fn clone(&self) -> Self {
        Self { raw: Arc::clone(&self.raw), value: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Bucket<T> {
    pub(super) fn new(raw: Arc<dyn RawBucket>) -> Self {
        Self { raw, value: PhantomData }
    }

    /// The value now.
    ///
    /// # Errors
    ///
    /// [`BusError::Malformed`] if it is not a `T`, [`BusError::Token`] if the key cannot be one.
    pub async fn get(&self, key: &str) -> Result<Option<Stored<T>>, BusError> {
        self.raw.get(key).await?.map(read).transpose()
    }

    /// Writes whatever is there; returns the new revision.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if the bus cannot be reached.
    pub async fn put(&self, key: &str, value: &T) -> Result<u64, BusError> {
        self.raw.put(key, encode(key, value)?).await
    }

    /// Writes if the key does not exist.
    ///
    /// # Errors
    ///
    /// [`BusError::Conflict`] if it exists.
    pub async fn create(&self, key: &str, value: &T) -> Result<u64, BusError> {
        self.raw.create(key, encode(key, value)?).await
    }

    /// Writes if the key is still at `revision`.
    ///
    /// # Errors
    ///
    /// [`BusError::Conflict`] if it is not.
    pub async fn update(&self, key: &str, value: &T, revision: u64) -> Result<u64, BusError> {
        self.raw.update(key, encode(key, value)?, revision).await
    }

    /// Removes the key; nothing happens if it does not exist.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if the bus cannot be reached.
    pub async fn delete(&self, key: &str) -> Result<(), BusError> {
        self.raw.delete(key).await
    }

    /// Removes the key if it is still at `revision`.
    ///
    /// # Errors
    ///
    /// [`BusError::Conflict`] if it is not.
    pub async fn delete_at(&self, key: &str, revision: u64) -> Result<(), BusError> {
        self.raw.delete_at(key, revision).await
    }

    /// Every key with a readable value. Others are logged and left out.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if the bus cannot be reached.
    pub async fn entries(&self) -> Result<Vec<Stored<T>>, BusError> {
        Ok(readable(self.raw.entries().await?))
    }

    /// Older values of a key, oldest first, the present one last. Unreadable ones are logged and left out.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if the bus cannot be reached.
    pub async fn history(&self, key: &str) -> Result<Vec<Stored<T>>, BusError> {
        Ok(readable(self.raw.history(key).await?))
    }

    /// First every value that exists, then every change.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if the bus cannot be reached.
    pub async fn watch(&self) -> Result<Watch<T>, BusError> {
        Ok(Watch { raw: self.raw.watch().await?, value: PhantomData })
    }
}

fn read<T: DeserializeOwned>(entry: Entry) -> Result<Stored<T>, BusError> {
    let value = decode_bytes(&entry.key, &entry.value)?;
    Ok(Stored { key: entry.key, value, revision: entry.revision })
}

fn readable<T: DeserializeOwned>(entries: Vec<Entry>) -> Vec<Stored<T>> {
    let logged = |entry| match read(entry) {
        Ok(stored) => Some(stored),
        Err(error) => {
            warn!(%error, "left out a value that cannot be read");
            None
        }
    };
    entries.into_iter().filter_map(logged).collect()
}

/// What a watch reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed<T> {
    /// A key has this value now.
    Put(Stored<T>),
    /// A key is gone: deleted or expired.
    Gone {
        /// Which.
        key: String,
    },
}

/// A watch on a bucket of `T`.
pub struct Watch<T> {
    raw: Box<dyn RawWatch>,
    value: Of<T>,
}

impl<T: DeserializeOwned> Watch<T> {
    /// The next change; `None` once the bus is closed. An unreadable value is an error, and the next call gives
    /// what comes after it.
    pub async fn next(&mut self) -> Option<Result<Changed<T>, BusError>> {
        Some(match self.raw.next().await? {
            KeyEvent::Put(entry) => read(entry).map(Changed::Put),
            KeyEvent::Gone { key } => Ok(Changed::Gone { key }),
        })
    }
}

/// An object bucket. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    raw: Arc<dyn RawObjects>,
}

impl Objects {
    pub(super) fn new(raw: Arc<dyn RawObjects>) -> Self {
        Self { raw }
    }

    /// Stores bytes under a name; a name that exists is replaced as a whole.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if they could not be stored; then nothing has changed.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<ObjectInfo, BusError> {
        self.raw.put(name, bytes).await
    }

    /// The bytes, their digest checked; `None` if there is no such object.
    ///
    /// # Errors
    ///
    /// [`BusError::Corrupt`] if they are not what was stored.
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>, BusError> {
        self.raw.get(name).await
    }

    /// [`Objects::get`] if the object is the one with this digest.
    ///
    /// # Errors
    ///
    /// [`BusError::Corrupt`] if it is another one, or not what was stored.
    pub async fn get_exactly(&self, name: &str, digest: &str) -> Result<Option<Bytes>, BusError> {
        match self.raw.info(name).await? {
            None => Ok(None),
            Some(info) if info.digest == digest => self.raw.get(name).await,
            Some(_) => Err(BusError::Corrupt { name: name.to_owned() }),
        }
    }

    /// Removes an object; nothing happens if it does not exist.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if the bus cannot be reached.
    pub async fn delete(&self, name: &str) -> Result<(), BusError> {
        self.raw.delete(name).await
    }

    /// Everything there is, by name.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if the bus cannot be reached.
    pub async fn list(&self) -> Result<Vec<ObjectInfo>, BusError> {
        self.raw.list().await
    }
}
