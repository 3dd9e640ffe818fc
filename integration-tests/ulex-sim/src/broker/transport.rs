//! The connection of one node to the server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use ulex_nats::BusError;
use ulex_nats::strict::StrictPuller;
use ulex_nats::transport::{
    Appended, ApplyMode, Backlog, BucketSpec, CheckpointSource, ConsumerSpec, Definition, DefinitionChange,
    Message, ObjectInfo, RawBucket, RawObjects, RawPuller, RawReader, RawSubscription, ReadFrom, StreamSpec,
    StreamState, Transport,
};

use super::buckets::OpenedBucket;
use super::log_server::SimLogServer;
use super::readers::{SimReader, SimSubscription};
use super::{Broker, BrokerContents, Listener, SimBucket};
use crate::commands::number_in;
use crate::control::ProcessControl;

/// Most bytes of a message.
const MAX_PAYLOAD: usize = 1 << 20;

/// Connection of one process. Cheap to clone.
#[derive(Clone)]
pub struct SimTransport {
    broker: Arc<Broker>,
    control: Arc<ProcessControl>,
}

impl SimTransport {
    /// Connects a process.
    #[must_use]
    pub const fn new(broker: Arc<Broker>, control: Arc<ProcessControl>) -> Self {
        Self { broker, control }
    }

    pub(super) const fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    pub(super) const fn control(&self) -> &Arc<ProcessControl> {
        &self.control
    }

    /// A call that has no effect if it is given up before it arrives.
    pub(super) async fn call<T>(
        &self,
        subject: &str,
        work: impl FnOnce(&mut BrokerContents) -> Result<T, BusError>,
    ) -> Result<T, BusError> {
        self.control.way_out().await;
        let result = work(&mut self.broker.contents.lock());
        match self.control.way_back().await {
            Ok(()) => result,
            Err(_lost) => Err(BusError::Timeout { subject: subject.to_owned() }),
        }
    }

    /// A call that changes something, which lands also if its caller gives it up.
    pub(super) async fn call_that_lands<T: Send + 'static>(
        &self,
        subject: String,
        work: impl FnOnce(&mut BrokerContents) -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, BusError> {
        let (broker, control) = (Arc::clone(&self.broker), Arc::clone(&self.control));
        let calling = tokio::spawn(async move {
            control.way_out().await;
            let result = broker.change(work);
            match control.way_back().await {
                Ok(()) => result,
                Err(_lost) => Err(BusError::Timeout { subject }),
            }
        });
        calling.await.unwrap_or(Err(BusError::Closed))
    }
}

#[async_trait]
impl Transport for SimTransport {
    async fn publish(&self, message: Message) -> Result<(), BusError> {
        // A client writes to its connection and hears nothing of what becomes of it.
        self.control.way_out().await;
        self.broker.contents.lock().publish(&message);
        Ok(())
    }

    async fn request(&self, message: Message, within: Duration) -> Result<Message, BusError> {
        let (subject, inbox) = (message.subject.clone(), self.inbox());
        let mut answers = self.subscribe(&inbox, None).await?;
        let asked = Message { reply: Some(inbox), ..message };
        if self.call(&subject, |contents| Ok(contents.publish(&asked))).await? == 0 {
            return Err(BusError::NoResponders { subject });
        }
        let answer = tokio::time::timeout(within, answers.next()).await;
        answer.ok().flatten().ok_or(BusError::Timeout { subject })
    }

    async fn subscribe(
        &self,
        filter: &str,
        _queue: Option<&str>,
    ) -> Result<Box<dyn RawSubscription>, BusError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let listener = Listener { filter: filter.to_owned(), control: Arc::clone(&self.control), sender };
        let listen = move |contents: &mut BrokerContents| {
            contents.listeners.push(listener);
            Ok(())
        };
        self.call(filter, listen).await?;
        Ok(Box::new(SimSubscription { control: Arc::clone(&self.control), receiver }))
    }

    fn max_payload(&self) -> usize {
        MAX_PAYLOAD
    }

    fn inbox(&self) -> String {
        let mut contents = self.broker.contents.lock();
        contents.next_inbox += 1;
        format!("_INBOX.{}", contents.next_inbox)
    }

    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), BusError> {
        let (spec, now) = (spec.clone(), self.broker.clock.wall());
        let define = move |contents: &mut BrokerContents| {
            if !contents.streams.contains_key(spec.name.as_ref()) {
                contents.define(&spec, now);
            }
            Ok(())
        };
        self.call_that_lands("ensure stream".to_owned(), define).await
    }

    async fn append(&self, message: Message) -> Result<Appended, BusError> {
        let broker = Arc::clone(&self.broker);
        let append = move |contents: &mut BrokerContents| {
            let stream = contents.capturing(&message.subject)?;
            let is_event = stream.spec.name == ulex_nats::topology::EVENTS.name;
            let appended = stream.append(message.clone(), broker.clock.wall());
            contents.publish(&message);
            if let Some(number) = number_in(&message.payload).filter(|_| is_event && !appended.duplicate) {
                contents.appended_writes.push((number, appended.sequence));
            }
            Ok(appended)
        };
        self.call_that_lands("append".to_owned(), append).await
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BusError> {
        self.call(stream, |contents| Ok(contents.stream(stream)?.state())).await
    }

    async fn remove(&self, stream: &str, sequence: u64) -> Result<bool, BusError> {
        let name = stream.to_owned();
        let remove = move |contents: &mut BrokerContents| {
            Ok(contents.stream(&name)?.messages.remove(&sequence).is_some())
        };
        self.call_that_lands(stream.to_owned(), remove).await
    }

    async fn purge(&self, stream: &str, filter: &str) -> Result<u64, BusError> {
        let (name, filter) = (stream.to_owned(), filter.to_owned());
        let purge = move |contents: &mut BrokerContents| {
            let stream = contents.stream(&name)?;
            let before = stream.messages.len();
            stream.messages.retain(|_, kept| !ulex_nats::covers(&filter, &kept.message.subject));
            Ok((before - stream.messages.len()) as u64)
        };
        self.call_that_lands(stream.to_owned(), purge).await
    }

    async fn reader(
        &self,
        stream: &str,
        filter: &str,
        from: ReadFrom,
    ) -> Result<Box<dyn RawReader>, BusError> {
        let position = self.call(stream, |contents| Ok(contents.stream(stream)?.position(from))).await?;
        let (stream, filter) = (stream.to_owned(), filter.to_owned());
        Ok(Box::new(SimReader { transport: self.clone(), stream, filter, position }))
    }

    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), BusError> {
        self.call(&spec.stream, |contents| contents.stream(&spec.stream).map(drop)).await
    }

    async fn puller(
        &self,
        spec: &ConsumerSpec,
        checkpoints: Option<Arc<dyn CheckpointSource>>,
    ) -> Result<Box<dyn RawPuller>, BusError> {
        self.ensure_consumer(spec).await?;
        let server = Arc::new(SimLogServer::new(self.clone()));
        Ok(Box::new(StrictPuller::start(server, spec, checkpoints)))
    }

    async fn backlog(&self, spec: &ConsumerSpec) -> Result<Backlog, BusError> {
        let waiting = self.call(&spec.stream, |contents| Ok(contents.stream(&spec.stream)?.state().messages));
        Ok(Backlog { waiting: waiting.await?, in_flight: 0 })
    }

    async fn bucket(&self, spec: &BucketSpec) -> Result<Box<dyn RawBucket>, BusError> {
        let (name, spec) = (spec.name.clone().into_owned(), spec.clone());
        let key = name.clone();
        let open = move |contents: &mut BrokerContents| {
            contents.buckets.entry(key).or_insert_with(|| SimBucket::new(spec));
            Ok(())
        };
        self.call_that_lands(name.clone(), open).await?;
        Ok(Box::new(OpenedBucket { transport: self.clone(), name }))
    }

    async fn objects(&self, name: &str) -> Result<Box<dyn RawObjects>, BusError> {
        Ok(Box::new(SimObjects { transport: self.clone(), bucket: name.to_owned() }))
    }

    async fn apply(
        &self,
        definition: &Definition,
        _mode: ApplyMode,
    ) -> Result<Vec<DefinitionChange>, BusError> {
        match definition {
            Definition::Stream(spec) => self.ensure_stream(spec).await?,
            Definition::Consumer(spec) => self.ensure_consumer(spec).await?,
            Definition::Bucket(spec) => drop(self.bucket(spec).await?),
            Definition::Objects(_) | Definition::Cursors => {}
        }
        Ok(Vec::new())
    }

    async fn close(&self) {
        self.control.kill();
    }
}

/// An object bucket.
struct SimObjects {
    transport: SimTransport,
    bucket: String,
}

impl SimObjects {
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut std::collections::BTreeMap<String, Bytes>) -> T + Send + 'static,
    ) -> Result<T, BusError> {
        let bucket = self.bucket.clone();
        let with = move |contents: &mut BrokerContents| Ok(work(contents.objects.entry(bucket).or_default()));
        self.transport.call_that_lands(self.bucket.clone(), with).await
    }
}

/// The digest of a simulated object is its length: nothing here damages bytes.
fn info(name: &str, bytes: &Bytes) -> ObjectInfo {
    ObjectInfo { name: name.to_owned(), size: bytes.len() as u64, digest: format!("{:064x}", bytes.len()) }
}

#[async_trait]
impl RawObjects for SimObjects {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<ObjectInfo, BusError> {
        let (key, info) = (name.to_owned(), info(name, &bytes));
        self.with(move |objects| objects.insert(key, bytes)).await?;
        Ok(info)
    }

    async fn info(&self, name: &str) -> Result<Option<ObjectInfo>, BusError> {
        let key = name.to_owned();
        self.with(move |objects| objects.get(&key).map(|bytes| info(&key, bytes))).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, BusError> {
        let key = name.to_owned();
        self.with(move |objects| objects.get(&key).cloned()).await
    }

    async fn delete(&self, name: &str) -> Result<(), BusError> {
        let key = name.to_owned();
        self.with(move |objects| objects.remove(&key)).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<ObjectInfo>, BusError> {
        self.with(|objects| objects.iter().map(|(name, bytes)| info(name, bytes)).collect()).await
    }
}
