//! A bus that can be away for a while, and come back as another one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::BusError;
use crate::transport::{
    Appended, ApplyMode, Backlog, BucketSpec, CheckpointSource, ConsumerSpec, Definition, DefinitionChange,
    Message, RawBucket, RawObjects, RawPuller, RawReader, RawSubscription, ReadFrom, StreamMessage,
    StreamSpec, StreamState, Transport,
};

/// A bus whose streams cannot be followed while it is interrupted. Appending is not interrupted: other processes reach it.
pub struct InterruptedBus {
    state: Arc<RwLock<BusState>>,
}

struct BusState {
    bus: Arc<dyn Transport>,
    is_interrupted: bool,
    /// Number of interruptions: a reader of an earlier time stays broken.
    interruptions: u64,
}

impl BusState {
    fn check(&self, stream: &str) -> Result<Arc<dyn Transport>, BusError> {
        if self.is_interrupted {
            return Err(BusError::transport(stream, "interrupted"));
        }
        Ok(Arc::clone(&self.bus))
    }
}

impl InterruptedBus {
    /// Wraps a bus.
    #[must_use]
    pub fn new(bus: Arc<dyn Transport>) -> Self {
        let state = BusState { bus, is_interrupted: false, interruptions: 0 };
        Self { state: Arc::new(RwLock::new(state)) }
    }

    /// Breaks every reader, and refuses new ones.
    pub fn interrupt(&self) {
        let mut state = self.state.write();
        state.is_interrupted = true;
        state.interruptions += 1;
    }

    /// Lets streams be followed again.
    pub fn restore(&self) {
        self.state.write().is_interrupted = false;
    }

    /// Puts another bus into the place of this one.
    pub fn replace(&self, bus: Arc<dyn Transport>) {
        self.state.write().bus = bus;
    }

    fn bus(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.state.read().bus)
    }
}

struct InterruptedReader {
    reader: Box<dyn RawReader>,
    state: Arc<RwLock<BusState>>,
    interruptions: u64,
}

#[async_trait]
impl RawReader for InterruptedReader {
    async fn read(&mut self, max: usize, wait: Duration) -> Result<Vec<StreamMessage>, BusError> {
        let messages = self.reader.read(max, wait).await?;
        if self.state.read().interruptions == self.interruptions {
            Ok(messages)
        } else {
            Err(BusError::transport("reader", "interrupted"))
        }
    }
}

#[async_trait]
impl Transport for InterruptedBus {
    async fn publish(&self, message: Message) -> Result<(), BusError> {
        self.bus().publish(message).await
    }

    async fn request(&self, message: Message, timeout: Duration) -> Result<Message, BusError> {
        self.bus().request(message, timeout).await
    }

    async fn subscribe(
        &self,
        filter: &str,
        queue: Option<&str>,
    ) -> Result<Box<dyn RawSubscription>, BusError> {
        self.bus().subscribe(filter, queue).await
    }

    fn max_payload(&self) -> usize {
        self.bus().max_payload()
    }

    fn inbox(&self) -> String {
        self.bus().inbox()
    }

    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), BusError> {
        self.bus().ensure_stream(spec).await
    }

    async fn append(&self, message: Message) -> Result<Appended, BusError> {
        self.bus().append(message).await
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BusError> {
        let bus = self.state.read().check(stream)?;
        bus.stream_state(stream).await
    }

    async fn remove(&self, stream: &str, sequence: u64) -> Result<bool, BusError> {
        self.bus().remove(stream, sequence).await
    }

    async fn purge(&self, stream: &str, filter: &str) -> Result<u64, BusError> {
        self.bus().purge(stream, filter).await
    }

    async fn reader(
        &self,
        stream: &str,
        filter: &str,
        from: ReadFrom,
    ) -> Result<Box<dyn RawReader>, BusError> {
        let (bus, interruptions) = {
            let state = self.state.read();
            (state.check(stream)?, state.interruptions)
        };
        let reader = bus.reader(stream, filter, from).await?;
        Ok(Box::new(InterruptedReader { reader, state: Arc::clone(&self.state), interruptions }))
    }

    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), BusError> {
        self.bus().ensure_consumer(spec).await
    }

    async fn puller(
        &self,
        spec: &ConsumerSpec,
        checkpoints: Option<Arc<dyn CheckpointSource>>,
    ) -> Result<Box<dyn RawPuller>, BusError> {
        self.bus().puller(spec, checkpoints).await
    }

    async fn apply(
        &self,
        definition: &Definition,
        mode: ApplyMode,
    ) -> Result<Vec<DefinitionChange>, BusError> {
        self.bus().apply(definition, mode).await
    }

    async fn backlog(&self, spec: &ConsumerSpec) -> Result<Backlog, BusError> {
        self.bus().backlog(spec).await
    }

    async fn bucket(&self, spec: &BucketSpec) -> Result<Box<dyn RawBucket>, BusError> {
        self.bus().bucket(spec).await
    }

    async fn objects(&self, name: &str) -> Result<Box<dyn RawObjects>, BusError> {
        self.bus().objects(name).await
    }

    async fn close(&self) {
        self.bus().close().await;
    }
}
