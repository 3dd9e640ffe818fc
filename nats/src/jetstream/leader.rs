//! What the leader of a stream says.
//!
//! Consumers and direct reads are served by any copy of a stream, and a copy may be a moment behind: it does not know yet
//! what was written just now, though the writer has its acknowledgement. The leader does, so it is asked wherever an
//! answer has to contain what the caller wrote before: one round trip a message.

use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage as Found;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageError, Stream};

use crate::BusError;

/// What says that a key is gone: removed by somebody, or by its age.
const GONE_HEADERS: [&str; 2] = ["KV-Operation", "Nats-Marker-Reason"];

/// The newest message on a subject.
pub(super) async fn newest<I>(stream: &Stream<I>, subject: &str) -> Result<Option<Found>, BusError> {
    found(stream.get_last_raw_message_by_subject(subject).await, subject)
}

/// Every message on the subjects of a filter, in the order of the stream.
pub(super) async fn all<I>(stream: &Stream<I>, filter: &str) -> Result<Vec<Found>, BusError> {
    let (mut messages, mut from) = (Vec::new(), 1);
    while let Some(message) = found(stream.get_first_raw_message_by_subject(filter, from).await, filter)? {
        from = message.sequence + 1;
        messages.push(message);
    }
    Ok(messages)
}

/// The message at a position.
pub(super) async fn at<I>(stream: &Stream<I>, sequence: u64) -> Result<Option<Found>, BusError> {
    found(stream.get_raw_message(sequence).await, "message")
}

fn found(outcome: Result<Found, RawMessageError>, subject: &str) -> Result<Option<Found>, BusError> {
    match outcome {
        Ok(message) => Ok(Some(message)),
        Err(reason) if reason.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(reason) => Err(BusError::transport(subject, reason)),
    }
}

/// Whether a message in a bucket says that its key is gone.
pub(super) fn is_gone(headers: &HeaderMap) -> bool {
    GONE_HEADERS.iter().any(|name| headers.get(*name).is_some())
}

/// [`is_gone`] of headers that were read as ours.
pub(super) fn says_gone(headers: &crate::transport::Headers) -> bool {
    GONE_HEADERS.iter().any(|name| headers.contains_key(*name))
}
