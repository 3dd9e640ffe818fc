//! Our words and those of the client library.

use std::time::SystemTime;

use async_nats::HeaderMap;
use async_nats::jetstream;

use crate::BusError;
use crate::transport::{ConsumerSpec, Headers, Message, StreamMessage};

/// Headers as they are sent.
pub(super) fn headers_out(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(name.as_str(), value.as_str());
    }
    map
}

/// A core message. Of several values of one header the first counts.
pub(super) fn message_in(message: async_nats::Message) -> Message {
    let headers = message.headers.map(|map| headers_in(&map)).unwrap_or_default();
    Message {
        subject: message.subject.to_string(),
        reply: message.reply.map(|reply| reply.to_string()),
        headers,
        payload: message.payload,
    }
}

fn headers_in(map: &HeaderMap) -> Headers {
    map.iter()
        .filter_map(|(name, values)| Some((name.to_string(), values.first()?.as_str().to_owned())))
        .collect()
}

/// A message of a stream. Its reply subject is JetStream's own.
pub(super) fn stream_message(message: jetstream::Message) -> Result<StreamMessage, BusError> {
    let (sequence, appended_at) = {
        let info = message
            .info()
            .map_err(|reason| BusError::transport(message.subject.to_string(), reason.to_string()))?;
        (info.stream_sequence, SystemTime::from(info.published))
    };
    let mut message = message_in(message.message);
    message.reply = None;
    Ok(StreamMessage { sequence, appended_at, message })
}

/// Refuses what nobody can fulfil.
pub(super) fn check_consumer(spec: &ConsumerSpec) -> Result<(), BusError> {
    if spec.max_ack_pending == 0 {
        let reason = "max_ack_pending must be at least 1".to_owned();
        return Err(BusError::Refused { name: spec.name.clone().into_owned(), reason });
    }
    Ok(())
}
