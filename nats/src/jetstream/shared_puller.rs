//! Durable consumers without an order: any number of pullers share the work, by JetStream's own means.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::pull::{BatchConfig, Config};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::{StatusCode, Subject, Subscriber, jetstream};
use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;
use ulex_domain::LogEpoch;

use super::convert::stream_message;
use super::stream::{log_of, refused};
use super::{ANSWER_WITHIN, Inner};
use crate::BusError;
use crate::backoff::pause;
use crate::transport::{Backlog, ConsumerSpec, Message, RawDelivery, RawPuller};

/// Longest time a request for messages stays with the server; a lost one is noticed after it.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a word about a delivery may wait for room.
const WORD_WITHIN: Duration = Duration::from_secs(1);
/// How much longer than its time a request is believed to live.
const GRACE: Duration = Duration::from_millis(500);

impl Inner {
    /// The consumer, created if there is none.
    pub(super) async fn shared_consumer(&self, spec: &ConsumerSpec) -> Result<PullConsumer, BusError> {
        self.definitions.remember_consumer(spec);
        let stream = self.stream(&spec.stream).await?;
        let found = timeout(ANSWER_WITHIN, stream.get_consumer::<Config>(&spec.name)).await;
        match found {
            Ok(Ok(consumer)) => Ok(consumer),
            // One that cannot be read cannot be created, which says why.
            Ok(Err(_)) => self.define_consumer(spec).await,
            Err(_late) => Err(BusError::Timeout { subject: spec.name.clone().into_owned() }),
        }
    }

    /// Creates the consumer, or brings it to this definition.
    pub(super) async fn define_consumer(&self, spec: &ConsumerSpec) -> Result<PullConsumer, BusError> {
        let stream = self.stream(&spec.stream).await?;
        let config = Config {
            durable_name: Some(spec.name.clone().into_owned()),
            filter_subject: spec.filter.clone().into_owned(),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: spec.ack_wait,
            max_ack_pending: i64::try_from(spec.max_ack_pending).unwrap_or(i64::MAX),
            ..Config::default()
        };
        match timeout(ANSWER_WITHIN, stream.create_consumer(config)).await {
            Ok(Ok(consumer)) => Ok(consumer),
            Ok(Err(reason)) => Err(match reason.kind() {
                ConsumerErrorKind::JetStream(error) => refused(&spec.name, &error),
                ConsumerErrorKind::TimedOut
                | ConsumerErrorKind::Request
                | ConsumerErrorKind::InvalidConsumerType
                | ConsumerErrorKind::InvalidName
                | ConsumerErrorKind::Other => BusError::transport(spec.name.clone(), reason),
            }),
            Err(_late) => Err(BusError::Timeout { subject: spec.name.clone().into_owned() }),
        }
    }

    pub(super) async fn shared_backlog(&self, spec: &ConsumerSpec) -> Result<Backlog, BusError> {
        let stream = self.stream(&spec.stream).await?;
        let failed = |reason: String| BusError::transport(spec.name.clone(), reason);
        let info = stream.consumer_info(&spec.name).await.map_err(|reason| failed(reason.to_string()))?;
        Ok(Backlog { waiting: info.num_pending, in_flight: info.num_ack_pending as u64 })
    }
}

/// A puller. Its inbox lives as long as it does, so what arrives late is there for the next pull.
pub(super) struct SharedPuller {
    inner: Arc<Inner>,
    spec: ConsumerSpec,
    consumer: PullConsumer,
    log: Arc<LogEpoch>,
    inbox: Subject,
    arriving: Subscriber,
    /// Asked for and not yet arrived, and until when the server knows.
    asked: usize,
    asked_until: Instant,
    failures: usize,
    /// Arrived and not handed out yet: a pull that is dropped on its way leaves them for the next one.
    ready: Vec<Box<dyn RawDelivery>>,
}

impl SharedPuller {
    pub(super) async fn open(inner: &Arc<Inner>, spec: &ConsumerSpec) -> Result<Self, BusError> {
        let consumer = inner.shared_consumer(spec).await?;
        let log = Arc::new(LogEpoch { log: log_of(&inner.stream(&spec.stream).await?), epoch: 1 });
        let inbox = inner.client.new_inbox();
        let arriving = inner.subscribe(&inbox, None).await?;
        Ok(Self {
            inner: Arc::clone(inner),
            spec: spec.clone(),
            consumer,
            log,
            inbox: inbox.into(),
            arriving,
            asked: 0,
            asked_until: Instant::now(),
            failures: 0,
            ready: Vec::new(),
        })
    }

    async fn ask(&mut self, max: usize, until: Instant) -> Result<(), BusError> {
        let now = Instant::now();
        let expires = until.duration_since(now).clamp(Duration::from_millis(5), REQUEST);
        let batch = BatchConfig { batch: max, expires: Some(expires), ..BatchConfig::default() };
        let asking = self.consumer.request_batch(batch, self.inbox.clone()).await;
        asking.map_err(|reason| BusError::transport(self.spec.name.clone(), reason))?;
        self.asked = max;
        self.asked_until = now + expires + GRACE;
        Ok(())
    }

    /// Takes a message that has arrived: a delivery, or a word of the server about the request.
    async fn arrived(&mut self, message: async_nats::Message) {
        let Some(status) = message.status else {
            self.asked = self.asked.saturating_sub(1);
            self.failures = 0;
            let message = jetstream::Message { message, context: self.inner.context.clone() };
            if let Some(delivery) = Shared::of(message, &self.log) {
                self.ready.push(Box::new(delivery));
            }
            return;
        };
        self.asked = 0;
        match status {
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => {}
            // Nobody leads the consumer at present, or it is gone.
            StatusCode::NO_RESPONDERS => self.recover().await,
            status if status.as_u16() == 409 => {
                if message.description.as_deref().is_some_and(|text| text.contains("Deleted")) {
                    self.recover().await;
                }
            }
            status => debug!(?status, consumer = %self.spec.name, "a request for messages ended"),
        }
    }

    async fn recover(&mut self) {
        tokio::time::sleep(pause(self.failures)).await;
        self.failures += 1;
        match self.inner.shared_consumer(&self.spec).await {
            Ok(consumer) => self.consumer = consumer,
            Err(reason) => debug!(%reason, consumer = %self.spec.name, "the consumer is not there yet"),
        }
    }
}

#[async_trait]
impl RawPuller for SharedPuller {
    async fn pull(&mut self, max: usize, wait: Duration) -> Result<Vec<Box<dyn RawDelivery>>, BusError> {
        let deadline = Instant::now() + wait;
        while self.ready.len() < max {
            if *self.inner.closed.borrow() {
                return Err(BusError::Closed);
            }
            if let Some(Some(message)) = self.arriving.next().now_or_never() {
                self.arrived(message).await;
                continue;
            }
            let now = Instant::now();
            if !self.ready.is_empty() || now >= deadline {
                break;
            }
            if self.asked == 0 || now >= self.asked_until {
                self.ask(max, deadline).await?;
            }
            let until = deadline.min(self.asked_until);
            let message = tokio::select! {
                message = timeout_at(until, self.arriving.next()) => message,
                () = self.inner.ended() => return Err(BusError::Closed),
            };
            match message {
                Ok(Some(message)) => {
                    self.arrived(message).await;
                    // The rest of a batch is close behind.
                    tokio::task::yield_now().await;
                }
                Ok(None) => return Err(BusError::Closed),
                Err(_late) => {}
            }
        }
        let count = max.min(self.ready.len());
        Ok(self.ready.drain(..count).collect())
    }
}

/// A delivery.
struct Shared {
    message: Message,
    log: Arc<LogEpoch>,
    acker: jetstream::message::Acker,
    sequence: u64,
    attempt: u64,
    appended_at: SystemTime,
}

impl Shared {
    fn of(message: jetstream::Message, log: &Arc<LogEpoch>) -> Option<Self> {
        let attempt = u64::try_from(message.info().ok()?.delivered).unwrap_or(1);
        let acker = jetstream::message::Acker::new(message.context.clone(), message.message.reply.clone());
        let kept = stream_message(message).ok()?;
        Some(Self {
            message: kept.message,
            log: Arc::clone(log),
            acker,
            sequence: kept.sequence,
            attempt,
            appended_at: kept.appended_at,
        })
    }

    async fn say(&self, word: AckKind) -> Result<(), BusError> {
        // While NATS is away words wait for it, as many as fit; a late one still counts.
        let failed = |reason| BusError::transport(self.message.subject.clone(), reason);
        match timeout(WORD_WITHIN, self.acker.ack_with(word)).await {
            Ok(said) => said.map_err(failed),
            Err(_late) => Err(failed("NATS does not take it".into())),
        }
    }
}

#[async_trait]
impl RawDelivery for Shared {
    fn message(&self) -> &Message {
        &self.message
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn log(&self) -> &LogEpoch {
        &self.log
    }

    fn is_ambiguous(&self) -> bool {
        false
    }

    fn attempt(&self) -> u64 {
        self.attempt
    }

    fn lost_holders(&self) -> u64 {
        0
    }

    fn appended_at(&self) -> SystemTime {
        self.appended_at
    }

    async fn ack(&self) -> Result<(), BusError> {
        self.say(AckKind::Ack).await
    }

    async fn nak(&self, delay: Duration) -> Result<(), BusError> {
        self.say(AckKind::Nak((!delay.is_zero()).then_some(delay))).await
    }

    async fn in_progress(&self) -> Result<(), BusError> {
        self.say(AckKind::Progress).await
    }

    async fn term(&self) -> Result<(), BusError> {
        self.say(AckKind::Term).await
    }
}
