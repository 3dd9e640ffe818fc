//! Reading a stream in order, without acknowledging.
//!
//! A reader stands on a consumer of its own that lives in the memory of one server and is built again, from the next
//! position, when it breaks: the server says that it is gone, it is not heard of for two heartbeats, or a message is
//! missing. The client library's ordered consumer is not used: one that has delivered nothing yet begins with the oldest
//! message when it builds itself again, and it takes a minute to notice that its server is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Config, Stream as Pulled};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::convert::stream_message;
use super::{ANSWER_WITHIN, Inner};
use crate::BusError;
use crate::backoff::pause;
use crate::transport::{RawReader, ReadFrom, StreamMessage};

/// How often the server says that the consumer is there, if it has nothing else to say.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long one request for messages stays with the server.
const REQUEST: Duration = Duration::from_secs(30);
/// Messages asked for at a time.
const BATCH: usize = 500;
/// How long the server keeps a consumer that nobody asks for messages.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Where to go on after the reading broke off.
#[derive(Clone, Copy)]
enum Place {
    Sequence(u64),
    Time(std::time::SystemTime),
}

/// A reader. What it stands on is built again from the next position whenever it breaks.
pub(super) struct Reading {
    inner: Arc<Inner>,
    stream: String,
    filter: String,
    place: Place,
    source: Option<Source>,
    failures: usize,
    heals: bool,
}

/// What a reader stands on.
struct Source {
    pulled: Box<Pulled>,
    /// Messages that its consumer has delivered.
    delivered: u64,
}

impl Reading {
    pub(super) async fn open(
        inner: &Arc<Inner>,
        stream: &str,
        filter: &str,
        from: ReadFrom,
    ) -> Result<Self, BusError> {
        let place = match from {
            ReadFrom::First => Place::Sequence(1),
            ReadFrom::New => Place::Sequence(inner.stream_state(stream).await?.last_sequence + 1),
            ReadFrom::Sequence(sequence) => Place::Sequence(sequence.max(1)),
            ReadFrom::Time(time) => Place::Time(time),
        };
        let source = build(Arc::clone(inner), stream.to_owned(), filter.to_owned(), place).await?;
        Ok(Self {
            inner: Arc::clone(inner),
            stream: stream.to_owned(),
            filter: filter.to_owned(),
            place,
            source: Some(source),
            failures: 0,
            heals: true,
        })
    }

    /// One that fails when it breaks, for whoever has to know.
    pub(super) fn fragile(mut self) -> Self {
        self.heals = false;
        self
    }

    /// What it stands on is of no use any more.
    fn broke(&mut self, reason: impl std::fmt::Display) -> Result<(), BusError> {
        debug!(%reason, stream = self.stream, "reading broke off");
        self.source = None;
        self.failures += 1;
        if self.heals { Ok(()) } else { Err(BusError::transport(self.stream.clone(), reason.to_string())) }
    }

    /// The next message, waiting until `deadline`.
    async fn next(&mut self, deadline: Instant) -> Result<Option<StreamMessage>, BusError> {
        loop {
            let Some(source) = &mut self.source else {
                if !self.heals {
                    return Err(BusError::transport(self.stream.clone(), "reading broke off"));
                }
                if !self.rebuild(deadline).await? {
                    return Ok(None);
                }
                continue;
            };
            let next = tokio::select! {
                biased;
                next = timeout_at(deadline, source.pulled.next()) => next,
                () = self.inner.ended() => return Err(BusError::Closed),
            };
            match next {
                Err(_late) => return Ok(None),
                Ok(Some(Ok(message))) => {
                    if let Some(message) = self.took(message)? {
                        return Ok(Some(message));
                    }
                }
                Ok(Some(Err(reason))) => self.broke(reason)?,
                Ok(None) => self.broke("the consumer has ended")?,
            }
        }
    }

    /// Tries once to build what it stands on again, after a pause that grows; `false` if the deadline has come.
    async fn rebuild(&mut self, deadline: Instant) -> Result<bool, BusError> {
        if self.failures > 0 {
            let until = Instant::now() + pause(self.failures);
            tokio::time::sleep_until(until.min(deadline)).await;
            if until >= deadline {
                return Ok(false);
            }
        }
        let (inner, stream, filter) = (Arc::clone(&self.inner), self.stream.clone(), self.filter.clone());
        self.inner.rebuilds.fetch_add(1, Ordering::AcqRel);
        match build(inner, stream, filter, self.place).await {
            Ok(source) => self.source = Some(source),
            Err(reason @ (BusError::Closed | BusError::NoStream { .. })) => return Err(reason),
            Err(reason) => {
                debug!(%reason, stream = self.stream, "reading cannot go on yet");
                self.failures += 1;
            }
        }
        Ok(true)
    }

    /// A message that has arrived; `None` if it stands before where reading is to go on (a copy of the stream that was
    /// behind when it was asked begins with what it has), or if one before it is missing.
    fn took(&mut self, message: async_nats::jetstream::Message) -> Result<Option<StreamMessage>, BusError> {
        let delivered = message.info().map(|info| info.consumer_sequence);
        let delivered =
            delivered.map_err(|reason| BusError::transport(self.stream.clone(), reason.to_string()))?;
        let Some(source) = &mut self.source else { return Ok(None) };
        if delivered != source.delivered + 1 {
            self.broke("a message is missing")?;
            return Ok(None);
        }
        source.delivered = delivered;
        let message = stream_message(message)?;
        self.failures = 0;
        if matches!(self.place, Place::Sequence(next) if message.sequence < next) {
            return Ok(None);
        }
        self.place = Place::Sequence(message.sequence + 1);
        Ok(Some(message))
    }

    /// A message that is there already.
    fn ready(&mut self) -> Option<Result<StreamMessage, BusError>> {
        loop {
            match self.source.as_mut()?.pulled.next().now_or_never()? {
                Some(Ok(message)) => {
                    if let Some(message) = self.took(message).transpose() {
                        return Some(message);
                    }
                }
                // The next call says so.
                Some(Err(_)) | None => return self.broke("the consumer has ended").err().map(Err),
            }
        }
    }
}

/// A consumer that begins at `place`.
async fn build(inner: Arc<Inner>, stream: String, filter: String, place: Place) -> Result<Source, BusError> {
    let deliver_policy = match place {
        Place::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
        Place::Time(time) => DeliverPolicy::ByStartTime { start_time: time.into() },
    };
    let config = Config {
        filter_subject: filter,
        deliver_policy,
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: FORGOTTEN_AFTER,
        ..Config::default()
    };
    let building = async {
        let handle = inner.stream(&stream).await?;
        let failed = |reason: String| BusError::transport(stream.clone(), reason);
        let consumer = handle.create_consumer(config).await.map_err(|reason| failed(reason.to_string()))?;
        let pulling = consumer.stream().max_messages_per_batch(BATCH).expires(REQUEST).heartbeat(HEARTBEAT);
        let pulled = pulling.messages().await.map_err(|reason| failed(reason.to_string()))?;
        Ok(Source { pulled: Box::new(pulled), delivered: 0 })
    };
    match tokio::time::timeout(ANSWER_WITHIN, building).await {
        Ok(built) => built,
        Err(_late) => Err(BusError::Timeout { subject: stream.clone() }),
    }
}

#[async_trait]
impl RawReader for Reading {
    async fn read(&mut self, max: usize, wait: Duration) -> Result<Vec<StreamMessage>, BusError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let Some(first) = self.next(Instant::now() + wait).await? else { return Ok(Vec::new()) };
        let mut found = vec![first];
        while found.len() < max {
            match self.ready() {
                Some(Ok(message)) => found.push(message),
                // The source is gone with it, so the next call finds out by itself.
                Some(Err(_)) | None => break,
            }
        }
        Ok(found)
    }
}
