//! What the keeper of a cursor asks of JetStream.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use smol_str::SmolStr;
use tokio::sync::watch;

use super::cursor::Cursors;
use super::reader::Reading;
use super::stream::{EPOCH_METADATA, LOG_METADATA, created_as};
use super::{Inner, leader};
use crate::BusError;
use crate::handshake::LogState;
use crate::strict::LogServer;
use crate::transport::{Entry, Message, RawReader, ReadFrom, StreamMessage};

/// JetStream as the server of logs.
pub(super) struct CursorServer {
    inner: Arc<Inner>,
}

impl CursorServer {
    pub(super) const fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl LogServer for CursorServer {
    async fn cursor(&self, key: &str) -> Result<Option<Entry>, BusError> {
        Cursors::open(&self.inner).await?.get(key).await
    }

    async fn put_cursor(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, BusError> {
        Cursors::open(&self.inner).await?.put(key, value, revision).await
    }

    async fn log_state(&self, stream: &str) -> Result<LogState, BusError> {
        let handle = self.inner.stream(stream).await?;
        let info = handle.cached_info();
        let created_as = created_as(&handle);
        let name = info.config.metadata.get(LOG_METADATA).map(SmolStr::new);
        Ok(LogState {
            is_named: name.is_some(),
            epoch: info.config.metadata.get(EPOCH_METADATA).and_then(|text| text.parse().ok()).unwrap_or(0),
            log: name.unwrap_or_else(|| created_as.clone()),
            created_as,
            first_sequence: info.state.first_sequence.max(1),
            last_sequence: info.state.last_sequence,
        })
    }

    async fn name_log(&self, stream: &str, log: &str, epoch: u64) -> Result<(), BusError> {
        let mut config = self.inner.stream(stream).await?.cached_info().config.clone();
        config.metadata.insert(LOG_METADATA.to_owned(), log.to_owned());
        config.metadata.insert(EPOCH_METADATA.to_owned(), epoch.to_string());
        let updated = self.inner.context.update_stream(config).await;
        updated.map(drop).map_err(|reason| BusError::transport(stream, reason))
    }

    async fn message_at(&self, stream: &str, sequence: u64) -> Result<Option<StreamMessage>, BusError> {
        let handle = self.inner.stream(stream).await?;
        let found = leader::at(&handle, sequence).await?;
        Ok(found.map(|found| StreamMessage {
            sequence: found.sequence,
            appended_at: SystemTime::from(found.time),
            message: Message {
                subject: found.subject.to_string(),
                payload: found.payload,
                ..Message::default()
            },
        }))
    }

    async fn read(&self, stream: &str, filter: &str, from: ReadFrom) -> Result<Box<dyn RawReader>, BusError> {
        Ok(Box::new(Reading::open(&self.inner, stream, filter, from).await?))
    }

    async fn furnish(&self) -> Result<(), BusError> {
        self.inner.furnish().await
    }

    fn connections(&self) -> u64 {
        let connects = self.inner.client.statistics().connects.load(Ordering::Acquire);
        connects + self.inner.rebuilds.load(Ordering::Acquire)
    }

    fn node(&self) -> String {
        self.inner.node.clone()
    }

    fn closed(&self) -> watch::Receiver<bool> {
        self.inner.closed.subscribe()
    }
}
