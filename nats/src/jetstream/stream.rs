//! Streams: definition, appending, forgetting.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, State, StorageType, Stream};
use serde::Deserialize;
use smol_str::{SmolStr, format_smolstr};
use tracing::debug;

use super::cursor::Cursors;
use super::{ANSWER_WITHIN, Inner};
use crate::BusError;
use crate::transport::{Appended, Message, Retention, StreamSpec, StreamState};

/// Metadata of a stream: the name of its log.
pub(super) const LOG_METADATA: &str = "ulex-log";
/// Key of the newest epoch that anything of it was handed out in.
pub(super) const EPOCH_METADATA: &str = "ulex-epoch";
/// How long a full stream is given for its consumers to say how far they are.
const SETTLING: Duration = Duration::from_millis(200);

/// Part of its bytes that a full stream keeps when it makes room.
const LOW_WATER_PART: f64 = 0.8;

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
    /// The definition of a stream as the server takes it.
    pub(super) fn stream_config(&self, spec: &StreamSpec) -> Config {
        let (retention, discard) = match spec.retention {
            Retention::Limits => (RetentionPolicy::Limits, DiscardPolicy::New),
            Retention::Recent => (RetentionPolicy::Limits, DiscardPolicy::Old),
            // Of one subject the older message goes even so.
            Retention::WorkQueue => (RetentionPolicy::WorkQueue, DiscardPolicy::New),
        };
        Config {
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
            Err(BusError::NoResponders { .. }) => {
                // A server that came back empty knows no stream; nobody has taken the message for certain.
                if let Err(reason) = self.furnish().await {
                    debug!(%reason, "the bus cannot be furnished");
                }
                match self.append_once(message).await {
                    Err(BusError::NoResponders { .. }) => Err(BusError::NoStream { subject }),
                    outcome => outcome,
                }
            }
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
            // A disk that is full or fails has the same code; only a limit of the stream's own is answered by forgetting.
            Some(error)
                if error.err_code == ErrorCode::STREAM_STORE_FAILED.0
                    && error.description.contains("maximum") =>
            {
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

    /// Forgets the oldest of what every durable consumer is done with, down to [`LOW_WATER_PART`]; how many messages.
    async fn make_room(&self, stream: &str) -> Result<u64, BusError> {
        let cursors = Cursors::open(self).await?;
        let Some(done) = cursors.done(self, stream).await? else { return Ok(0) };
        let handle = self.stream(stream).await?;
        let info = handle.cached_info();
        let Some(until) = purge_until(&info.state, info.config.max_bytes, done) else { return Ok(0) };
        let purged = handle.purge().sequence(until).await;
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
            epoch: self.epoch_of(&stream).await?,
            first_sequence: info.state.first_sequence.max(1),
            messages: info.state.messages,
            bytes: info.state.bytes,
            last_sequence: info.state.last_sequence,
        })
    }

    /// Epoch of a stream's log. A bucket has none.
    async fn epoch_of(&self, stream: &Stream) -> Result<u64, BusError> {
        let name = &stream.cached_info().config.name;
        if name.starts_with("KV_") || name.starts_with("OBJ_") {
            return Ok(1);
        }
        match Cursors::find(self).await {
            Some(cursors) => cursors.epoch(name, &log_of(stream)).await,
            None => Ok(1),
        }
    }

    pub(super) async fn remove(&self, stream: &str, sequence: u64) -> Result<bool, BusError> {
        use async_nats::jetstream::stream::DeleteMessageErrorKind as Kind;
        match self.stream(stream).await?.delete_message(sequence).await {
            Ok(removed) => Ok(removed),
            Err(reason) if matches!(reason.kind(), Kind::JetStream(error) if says_absent(&error)) => {
                Ok(false)
            }
            Err(reason) => Err(BusError::transport(stream, reason)),
        }
    }

    pub(super) async fn purge(&self, stream: &str, filter: &str) -> Result<u64, BusError> {
        let purged = self.stream(stream).await?.purge().filter(filter).await;
        Ok(purged.map_err(|reason| BusError::transport(stream, reason))?.purged)
    }
}

/// Whether the server could not remove a message because there is none. Without a leader, without its disk or without a
/// right it says something else, and the message may be there.
fn says_absent(error: &async_nats::jetstream::Error) -> bool {
    let text = error.to_string();
    error.error_code() == ErrorCode::SEQUENCE_NOT_FOUND
        || error.error_code() == ErrorCode::NO_MESSAGE_FOUND
        || text.contains("no message found")
        || text.contains("message not found")
        || text.contains("deleted message")
}

/// Name of a stream's log: what its metadata say. A stream without is known by its time of creation, until whoever takes
/// its cursor writes this name into the metadata.
pub(super) fn log_of(stream: &Stream) -> SmolStr {
    let info = stream.cached_info();
    match info.config.metadata.get(LOG_METADATA) {
        Some(log) => SmolStr::new(log),
        None => created_as(stream),
    }
}

/// Name that a stream's time of creation gives its log.
pub(super) fn created_as(stream: &Stream) -> SmolStr {
    let info = stream.cached_info();
    format_smolstr!("{}-{}", info.config.name, info.created.unix_timestamp_nanos())
}

/// First message that stays when a full stream makes room, by the mean size of its messages; `None` if nothing may go. What
/// no consumer needs may go, but the last message that all are done with only if nothing else is left: a data store
/// recognises its log by it.
fn purge_until(state: &State, max_bytes: i64, done: u64) -> Option<u64> {
    let low_water = (u64::try_from(max_bytes).unwrap_or(0) as f64 * LOW_WATER_PART) as u64;
    let mean = state.bytes.checked_div(state.messages)?.max(1);
    let excess = state.bytes.saturating_sub(low_water).div_ceil(mean).max(1);
    let wanted = state.first_sequence.saturating_add(excess);
    if done < state.first_sequence {
        return None;
    }
    Some(wanted.min(done.max(state.first_sequence + 1)))
}

/// A definition that the server does not accept.
pub(super) fn refused(name: &str, error: &async_nats::jetstream::Error) -> BusError {
    if error.code() == 503 || error.code() == 408 {
        return BusError::transport(name, error.to_string());
    }
    BusError::Refused { name: name.to_owned(), reason: error.to_string() }
}
