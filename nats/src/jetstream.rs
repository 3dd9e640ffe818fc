//! The bus of a cluster: NATS with JetStream, server 2.11 or later.
//!
//! How each promise of [`crate::transport`] is kept stands in the table there. Everything that waits has a deadline, and
//! whatever was built on the server (consumers, subscriptions) is built again by itself after a lost connection.

mod bucket;
mod convert;
mod cursor;
mod definitions;
mod leader;
mod log_server;
mod objects;
mod reader;
mod shared_puller;
mod stream;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{Client, Request, Subscriber};
use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::sync::watch;

use self::convert::{headers_out, message_in};
use self::cursor::Cursors;
use self::definitions::Definitions;
use self::shared_puller::SharedPuller;
use crate::strict::StrictPuller;
use crate::transport::{
    Appended, ApplyMode, Backlog, BucketSpec, CheckpointSource, ConsumerSpec, Definition, DefinitionChange,
    Message, Order, RawBucket, RawObjects, RawPuller, RawReader, RawSubscription, ReadFrom, StreamSpec,
    StreamState, Transport,
};
use crate::{BusError, ConnectionSettings};

/// How long the server may take for anything but a caller's own request.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A connection to NATS. Share it as an `Arc<dyn Transport>`.
pub struct JetStream {
    inner: Arc<Inner>,
}

/// What pullers, readers and buckets share.
struct Inner {
    client: Client,
    context: async_nats::jetstream::Context,
    replicas: usize,
    /// Unique among processes.
    node: String,
    closed: watch::Sender<bool>,
    /// Number of times that a reader was built again: the server it reads from may be another one.
    rebuilds: AtomicU64,
    definitions: Definitions,
}

impl JetStream {
    /// Connects, trying for at most `patience`. Everything is driven on the runtime that calls this.
    ///
    /// # Errors
    ///
    /// [`BusError::Refused`] if the settings or the server cannot be used, [`BusError::Transport`] if it could not be
    /// reached.
    pub async fn connect(settings: &ConnectionSettings, patience: Duration) -> Result<Self, BusError> {
        let client = settings.connect(patience).await?;
        let context =
            async_nats::jetstream::ContextBuilder::new().timeout(ANSWER_WITHIN).build(client.clone());
        let node = format!("{}-{}", settings.name, uuid::Uuid::new_v4().simple());
        let replicas = settings.replicas.max(1);
        let inner = Inner {
            client,
            context,
            replicas,
            node,
            closed: watch::Sender::new(false),
            rebuilds: AtomicU64::new(0),
            definitions: Definitions::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    /// Refuses at once what would only wait for its deadline.
    fn check(&self, subject: &str) -> Result<(), BusError> {
        if *self.closed.borrow() {
            return Err(BusError::Closed);
        }
        if self.client.connection_state() != State::Connected {
            return Err(BusError::transport(subject, "NATS is not connected"));
        }
        Ok(())
    }

    /// Ends when the bus is closed.
    async fn ended(&self) {
        let mut closed = self.closed.subscribe();
        // The sender lives as long as `self`.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    async fn ask(&self, message: Message, timeout: Duration) -> Result<Message, BusError> {
        let subject = message.subject;
        self.check(&subject)?;
        let request = Request::new()
            .payload(message.payload)
            .headers(headers_out(&message.headers))
            .timeout(Some(timeout));
        // The client's own limit does not count the time until it takes the request.
        let asking = tokio::time::timeout(timeout, self.client.send_request(subject.clone(), request));
        let Ok(answer) = asking.await else { return Err(BusError::Timeout { subject }) };
        match answer {
            Ok(answer) => Ok(message_in(answer)),
            Err(reason) => Err(match reason.kind() {
                RequestErrorKind::TimedOut => BusError::Timeout { subject },
                RequestErrorKind::NoResponders => BusError::NoResponders { subject },
                RequestErrorKind::InvalidSubject
                | RequestErrorKind::MaxPayloadExceeded
                | RequestErrorKind::Other => BusError::transport(subject, reason),
            }),
        }
    }

    /// Subscribes and waits until the server knows.
    async fn subscribe(&self, filter: &str, queue: Option<&str>) -> Result<Subscriber, BusError> {
        self.check(filter)?;
        let failed = |reason: async_nats::SubscribeError| BusError::transport(filter, reason);
        let subscriber = match queue {
            None => self.client.subscribe(filter.to_owned()).await.map_err(failed)?,
            Some(queue) => {
                self.client.queue_subscribe(filter.to_owned(), queue.to_owned()).await.map_err(failed)?
            }
        };
        self.round_trip(filter).await?;
        Ok(subscriber)
    }

    /// The server works through what one connection sends in order: once it has sent this back, it has done everything
    /// before.
    async fn round_trip(&self, subject: &str) -> Result<(), BusError> {
        let inbox = self.client.new_inbox();
        let failed = |reason: String| BusError::transport(subject, reason);
        let mut echo = self.client.subscribe(inbox.clone()).await.map_err(|e| failed(e.to_string()))?;
        let sent = self.client.publish(inbox, bytes::Bytes::new()).await;
        sent.map_err(|reason| failed(reason.to_string()))?;
        match tokio::time::timeout(ANSWER_WITHIN, echo.next()).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(BusError::Closed),
            Err(_late) => Err(BusError::Timeout { subject: subject.to_owned() }),
        }
    }
}

#[async_trait]
impl Transport for JetStream {
    async fn publish(&self, message: Message) -> Result<(), BusError> {
        let Message { subject, reply, headers, payload } = message;
        self.inner.check(&subject)?;
        let (client, failed) = (&self.inner.client, |reason| BusError::transport(subject.clone(), reason));
        let publishing = async {
            match (reply, headers.is_empty()) {
                (None, true) => client.publish(subject.clone(), payload).await.map_err(failed),
                (None, false) => {
                    let headers = headers_out(&headers);
                    client.publish_with_headers(subject.clone(), headers, payload).await.map_err(failed)
                }
                (Some(reply), _) => {
                    let headers = headers_out(&headers);
                    client
                        .publish_with_reply_and_headers(subject.clone(), reply, headers, payload)
                        .await
                        .map_err(failed)
                }
            }
        };
        match tokio::time::timeout(ANSWER_WITHIN, publishing).await {
            Ok(published) => published,
            Err(_late) => Err(BusError::Timeout { subject: subject.clone() }),
        }
    }

    async fn request(&self, message: Message, timeout: Duration) -> Result<Message, BusError> {
        self.inner.ask(message, timeout).await
    }

    async fn subscribe(
        &self,
        filter: &str,
        queue: Option<&str>,
    ) -> Result<Box<dyn RawSubscription>, BusError> {
        let subscriber = self.inner.subscribe(filter, queue).await?;
        Ok(Box::new(Listening { inner: Arc::clone(&self.inner), subscriber }))
    }

    fn max_payload(&self) -> usize {
        self.inner.client.max_payload()
    }

    fn inbox(&self) -> String {
        self.inner.client.new_inbox()
    }

    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), BusError> {
        self.inner.define(&spec.name, self.inner.stream_config(spec)).await
    }

    async fn append(&self, message: Message) -> Result<Appended, BusError> {
        self.inner.append(message).await
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, BusError> {
        self.inner.stream_state(stream).await
    }

    async fn remove(&self, stream: &str, sequence: u64) -> Result<bool, BusError> {
        self.inner.remove(stream, sequence).await
    }

    async fn purge(&self, stream: &str, filter: &str) -> Result<u64, BusError> {
        self.inner.purge(stream, filter).await
    }

    async fn reader(
        &self,
        stream: &str,
        filter: &str,
        from: ReadFrom,
    ) -> Result<Box<dyn RawReader>, BusError> {
        Ok(Box::new(reader::Reading::open(&self.inner, stream, filter, from).await?))
    }

    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), BusError> {
        convert::check_consumer(spec)?;
        match spec.order {
            Order::Strict => Cursors::open(&self.inner).await?.ensure(&self.inner, spec).await,
            Order::Any => self.inner.shared_consumer(spec).await.map(drop),
        }
    }

    async fn puller(
        &self,
        spec: &ConsumerSpec,
        checkpoints: Option<Arc<dyn CheckpointSource>>,
    ) -> Result<Box<dyn RawPuller>, BusError> {
        self.ensure_consumer(spec).await?;
        match spec.order {
            Order::Strict => {
                let server = log_server::CursorServer::new(Arc::clone(&self.inner));
                Ok(Box::new(StrictPuller::start(Arc::new(server), spec, checkpoints)))
            }
            Order::Any => Ok(Box::new(SharedPuller::open(&self.inner, spec).await?)),
        }
    }

    async fn backlog(&self, spec: &ConsumerSpec) -> Result<Backlog, BusError> {
        match spec.order {
            Order::Strict => Cursors::open(&self.inner).await?.backlog(&self.inner, spec).await,
            Order::Any => self.inner.shared_backlog(spec).await,
        }
    }

    async fn bucket(&self, spec: &BucketSpec) -> Result<Box<dyn RawBucket>, BusError> {
        Ok(Box::new(bucket::Opened::open(&self.inner, spec).await?))
    }

    async fn objects(&self, name: &str) -> Result<Box<dyn RawObjects>, BusError> {
        Ok(Box::new(objects::Objects::open(&self.inner, name).await?))
    }

    async fn apply(
        &self,
        definition: &Definition,
        mode: ApplyMode,
    ) -> Result<Vec<DefinitionChange>, BusError> {
        let inner = &self.inner;
        match definition {
            Definition::Stream(spec) => inner.redefine(&spec.name, inner.stream_config(spec), mode).await,
            Definition::Bucket(spec) => {
                inner.redefine(&spec.name, bucket::bucket_config(inner, spec), mode).await
            }
            Definition::Objects(name) => {
                inner.redefine(name, objects::objects_config(inner, name), mode).await
            }
            Definition::Consumer(spec) => {
                match (mode, spec.order) {
                    (ApplyMode::DryRun, _) => {}
                    (_, Order::Any) => drop(inner.define_consumer(spec).await?),
                    (_, Order::Strict) => self.ensure_consumer(spec).await?,
                }
                Ok(Vec::new())
            }
            Definition::Cursors => {
                let config = bucket::bucket_config(inner, &cursor::CURSORS);
                inner.redefine(&cursor::CURSORS.name, config, mode).await
            }
        }
    }

    async fn close(&self) {
        // Pullers give back what they hold while there still is a connection.
        self.inner.closed.send_replace(true);
        let settled = async {
            while self.inner.closed.receiver_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), settled).await;
        let _ = tokio::time::timeout(ANSWER_WITHIN, self.inner.client.drain()).await;
    }
}

/// A core subscription.
struct Listening {
    inner: Arc<Inner>,
    subscriber: Subscriber,
}

#[async_trait]
impl RawSubscription for Listening {
    async fn next(&mut self) -> Option<Message> {
        tokio::select! {
            biased;
            message = self.subscriber.next() => message.map(message_in),
            () = self.inner.ended() => None,
        }
    }
}

#[cfg(test)]
mod tests;
