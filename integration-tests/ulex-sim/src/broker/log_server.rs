//! What the keeper of a cursor asks of the simulated server.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use ulex_nats::BusError;
use ulex_nats::handshake::LogState;
use ulex_nats::strict::LogServer;
use ulex_nats::topology::STREAMS;
use ulex_nats::transport::{
    BucketSpec, Entry, RawBucket, RawReader, ReadFrom, StreamMessage, Transport as _,
};

use super::transport::SimTransport;

/// Bucket of the cursors.
const CURSORS: &str = "ulex-cursors";

/// The simulated server as the server of logs.
pub(super) struct SimLogServer {
    transport: SimTransport,
    closed: watch::Sender<bool>,
}

impl SimLogServer {
    pub(super) fn new(transport: SimTransport) -> Self {
        Self { transport, closed: watch::Sender::new(false) }
    }

    async fn bucket(&self) -> Result<Box<dyn RawBucket>, BusError> {
        let spec = BucketSpec { name: CURSORS.into(), history: 1, ttl: None, durable: true };
        self.transport.bucket(&spec).await
    }
}

#[async_trait]
impl LogServer for SimLogServer {
    async fn cursor(&self, key: &str) -> Result<Option<Entry>, BusError> {
        self.bucket().await?.get(key).await
    }

    async fn put_cursor(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, BusError> {
        let bucket = self.bucket().await?;
        match revision {
            0 => bucket.create(key, value).await,
            revision => bucket.update(key, value, revision).await,
        }
    }

    async fn log_state(&self, stream: &str) -> Result<LogState, BusError> {
        self.transport.call(stream, |contents| Ok(contents.stream(stream)?.log_state())).await
    }

    async fn name_log(&self, stream: &str, log: &str, epoch: u64) -> Result<(), BusError> {
        let rename = |contents: &mut super::BrokerContents| {
            let stream = contents.stream(stream)?;
            (stream.log, stream.epoch) = (log.into(), epoch);
            Ok(())
        };
        self.transport.call(stream, rename).await
    }

    async fn message_at(&self, stream: &str, sequence: u64) -> Result<Option<StreamMessage>, BusError> {
        let find = |contents: &mut super::BrokerContents| {
            Ok(contents.stream(stream)?.messages.get(&sequence).cloned())
        };
        self.transport.call(stream, find).await
    }

    async fn read(&self, stream: &str, filter: &str, from: ReadFrom) -> Result<Box<dyn RawReader>, BusError> {
        self.transport.reader(stream, filter, from).await
    }

    async fn furnish(&self) -> Result<(), BusError> {
        for stream in &STREAMS {
            self.transport.ensure_stream(stream).await?;
        }
        Ok(())
    }

    fn connections(&self) -> u64 {
        self.transport.broker().contents.lock().incidents
    }

    fn node(&self) -> String {
        format!("{:p}", Arc::as_ptr(self.transport.control()))
    }

    fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }
}
