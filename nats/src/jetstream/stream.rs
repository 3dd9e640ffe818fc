//! Streams: definition, appending, forgetting.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use serde::Deserialize;

use super::cursor::Cursors;
use super::{ANSWER_WITHIN, Inner};
use crate::BusError;
use crate::transport::{Appended, Message, Retention, StreamSpec, StreamState};

/// How long a full stream is given for its consumers to say how far they are.
const SETTLING: Duration = Duration::from_millis(200);

/// What the server says to an append.
#[derive(Deserialize)]
struct AppendAnswer {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<AppendError>,
}

#[derive(Deserialize)]
struct AppendError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Inner {
    pub(super) async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), BusError> {
        let (retention, discard) = match spec.retention {
            Retention::Limits => (RetentionPolicy::Limits, DiscardPolicy::New),
            Retention::Recent => (RetentionPolicy::Limits, DiscardPolicy::Old),
            // Of one subject the older message goes even so.
            Retention::WorkQueue => (RetentionPolicy::WorkQueue, DiscardPolicy::New),
        };
        let config = Config {
            name: spec.name.clone().into_owned(),
            subjects: spec.subjects.iter().map(|subject| subject.clone().into_owned()).collect(),
            retention,
            discard,
            max_messages_per_subject: if spec.retention == Retention::WorkQueue { 1 } else { -1 },
            max_bytes: i64::try_from(spec.max_bytes).unwrap_or(i64::MAX),
            max_messages: -1,
            max_age: spec.max_age.unwrap_or(Duration::ZERO),
            duplicate_window: spec.dedup,
            storage: StorageType::File,
            num_replicas: self.replicas,
            allow_direct: true,
            ..Config::default()
        };
        self.define(&spec.name, config).await
    }

    /// Creates the stream of a stream, bucket or object bucket `name`, or brings it to this definition.
    pub(super) async fn define(&self, name: &str, config: Config) -> Result<(), BusError> {
        self.check(name)?;
        match self.context.create_or_update_stream(config).await {
            Ok(_) => Ok(()),
            Err(reason) => match reason.kind() {
                CreateStreamErrorKind::JetStream(error) => Err(refused(name, &error)),
                CreateStreamErrorKind::EmptyStreamName
                | CreateStreamErrorKind::InvalidStreamName
                | CreateStreamErrorKind::DomainAndExternalSet
                | CreateStreamErrorKind::JetStreamUnavailable
                | CreateStreamErrorKind::TimedOut
                | CreateStreamErrorKind::Response
                | CreateStreamErrorKind::NotFound
                | CreateStreamErrorKind::ResponseParse => Err(BusError::transport(name, reason)),
            },
        }
    }

    pub(super) async fn append(&self, message: Message) -> Result<Appended, BusError> {
        let message = Message { reply: None, ..message };
        let subject = message.subject.clone();
        match self.append_once(message.clone()).await {
            Err(BusError::Full { stream }) => {
                // Consumers report how far they are a moment later than they are there.
                if self.make_room(&stream).await? == 0 {
                    tokio::time::sleep(SETTLING).await;
                    if self.make_room(&stream).await? == 0 {
                        return Err(BusError::Full { stream });
                    }
                }
                self.append_once(message).await
            }
            Err(BusError::NoResponders { .. }) => Err(BusError::NoStream { subject }),
            outcome => outcome,
        }
    }

    async fn append_once(&self, message: Message) -> Result<Appended, BusError> {
        let subject = message.subject.clone();
        let answer = self.ask(message, ANSWER_WITHIN).await?;
        let answer: AppendAnswer = serde_json::from_slice(&answer.payload)
            .map_err(|source| BusError::Malformed { subject: subject.clone(), source })?;
        match answer.error {
            None => Ok(Appended { sequence: answer.seq, duplicate: answer.duplicate }),
            Some(error) if error.err_code == ErrorCode::STREAM_STORE_FAILED.0 => {
                let stream = match answer.stream.is_empty() {
                    false => answer.stream,
                    true => self.stream_of(&subject).await?,
                };
                Err(BusError::Full { stream })
            }
            Some(error) => Err(BusError::transport(subject, error.description)),
        }
    }

    async fn stream_of(&self, subject: &str) -> Result<String, BusError> {
        self.context.stream_by_subject(subject).await.map_err(|reason| BusError::transport(subject, reason))
    }

    /// Forgets what every durable consumer is done with; how many messages that were.
    async fn make_room(&self, stream: &str) -> Result<u64, BusError> {
        let cursors = Cursors::open(self).await?;
        let Some(done) = cursors.done(self, stream).await? else { return Ok(0) };
        let handle = self.stream(stream).await?;
        let purged = handle.purge().sequence(done + 1).await;
        Ok(purged.map_err(|reason| BusError::transport(stream, reason))?.purged)
    }

    pub(super) async fn stream(&self, name: &str) -> Result<Stream, BusError> {
        self.check(name)?;
        match self.context.get_stream(name).await {
            Ok(stream) => Ok(stream),
            Err(reason) => Err(match reason.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    BusError::NoStream { subject: name.to_owned() }
                }
                GetStreamErrorKind::EmptyName
                | GetStreamErrorKind::Request
                | GetStreamErrorKind::InvalidStreamName
                | GetStreamErrorKind::JetStream(_) => BusError::transport(name, reason),
            }),
        }
    }

    pub(super) async fn stream_state(&self, name: &str) -> Result<StreamState, BusError> {
        let stream = self.stream(name).await?;
        let info = stream.cached_info();
        Ok(StreamState {
            log: log_of(&stream),
            messages: info.state.messages,
            bytes: info.state.bytes,
            last_sequence: info.state.last_sequence,
        })
    }

    pub(super) async fn remove(&self, stream: &str, sequence: u64) -> Result<bool, BusError> {
        use async_nats::jetstream::stream::DeleteMessageErrorKind as Kind;
        match self.stream(stream).await?.delete_message(sequence).await {
            Ok(removed) => Ok(removed),
            // It says so by an error of its own, or by one of its storage.
            Err(reason) if matches!(reason.kind(), Kind::JetStream(_)) => Ok(false),
            Err(reason) => Err(BusError::transport(stream, reason)),
        }
    }

    pub(super) async fn purge(&self, stream: &str, filter: &str) -> Result<u64, BusError> {
        let purged = self.stream(stream).await?.purge().filter(filter).await;
        Ok(purged.map_err(|reason| BusError::transport(stream, reason))?.purged)
    }
}

/// Another stream of the same name was created at another time.
pub(super) fn log_of(stream: &Stream) -> String {
    let info = stream.cached_info();
    format!("{}-{}", info.config.name, info.created.unix_timestamp_nanos())
}

/// A definition that the server does not accept.
pub(super) fn refused(name: &str, error: &async_nats::jetstream::Error) -> BusError {
    if error.code() == 503 || error.code() == 408 {
        return BusError::transport(name, error.to_string());
    }
    BusError::Refused { name: name.to_owned(), reason: error.to_string() }
}
