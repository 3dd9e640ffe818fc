//! Events that could never be applied: kept to be looked at, corrected and replayed.
//!
//! | what | subject | from | to | delivery |
//! |---|---|---|---|---|
//! | [`DeadLetter`] | `dead.<kind>`, stream `DEAD` | whoever drains a stream | operators | kept until the stream's limits |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use ulex_domain::log::LogEpoch;
use ulex_domain::{FailureCode, Timestamp};

use crate::transport::{Headers, Message};
use crate::{Payload, Subject, Token};

/// A message that was given up, as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Where it was sent.
    pub subject: String,
    /// Its position in the stream it came from.
    pub sequence: u64,
    /// How often it was delivered.
    pub attempts: u64,
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub reason: String,
    /// When it was given up.
    pub at: Timestamp,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: DeadBody,
}

/// Bytes that are shown as text where they are text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadBody {
    /// UTF-8.
    Text(String),
    /// Anything else, in base64.
    Base64(String),
    /// How a body begins that is too large for a letter; the whole is in the log for as long as that keeps it.
    Beginning {
        /// Its first bytes, as text.
        text: String,
        /// How many there are in all.
        bytes: usize,
    },
}

impl DeadBody {
    /// Keeps any bytes.
    #[must_use]
    pub fn keep(payload: &[u8]) -> Self {
        match std::str::from_utf8(payload) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(payload)),
        }
    }

    /// Keeps the first `most` bytes only.
    #[must_use]
    pub fn begin(payload: &[u8], most: usize) -> Self {
        let text = String::from_utf8_lossy(&payload[..most.min(payload.len())]).into_owned();
        Self::Beginning { text, bytes: payload.len() }
    }

    /// The bytes again; `None` if they are not all here, or if somebody edited the base64 wrongly.
    #[must_use]
    pub fn bytes(&self) -> Option<Bytes> {
        match self {
            Self::Text(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
            Self::Base64(text) => STANDARD.decode(text).ok().map(Bytes::from),
            Self::Beginning { .. } => None,
        }
    }
}

impl DeadLetter {
    /// Gives up `message`, which was delivered `attempts` times from position `sequence`.
    #[must_use]
    pub fn of(
        message: &Message,
        (sequence, attempts): (u64, u64),
        code: FailureCode,
        reason: String,
    ) -> Self {
        Self {
            subject: message.subject.clone(),
            sequence,
            attempts,
            code,
            reason,
            at: Timestamp::now(),
            headers: message.headers.clone(),
            body: DeadBody::keep(&message.payload),
        }
    }

    /// Names the letter: that of a message which is given up twice is the same.
    #[must_use]
    pub fn message_id(log: &LogEpoch, sequence: u64) -> String {
        let LogEpoch { log, epoch } = log;
        format!("dead {log} {epoch} {sequence}")
    }

    /// The message as it came, to be appended again; `None` if its body cannot be restored.
    #[must_use]
    pub fn revive(&self) -> Option<Message> {
        let payload = self.body.bytes()?;
        Some(Message { subject: self.subject.clone(), reply: None, headers: self.headers.clone(), payload })
    }
}

/// Wish of an operator to make a dead letter of the event that the log stands still at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuryRequest {
    /// Time of the request.
    pub at: Timestamp,
}

impl BuryRequest {
    /// Key of the request for the event at a position of `EVENTS`.
    #[must_use]
    pub fn key(sequence: u64) -> String {
        format!("event-{sequence}")
    }
}

impl Payload for BuryRequest {
    const SCHEMA: &'static str = "bury-request/1";
}

impl Payload for DeadLetter {
    const SCHEMA: &'static str = "dead-letter/1";
}

impl Subject for DeadLetter {
    const PATTERN: &'static str = "dead.*";

    fn tokens(&self) -> Vec<Token> {
        // `ulex.v1.<tenant>.<kind>...`
        vec![Token::escape(self.subject.split('.').nth(3).unwrap_or("unknown"))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back_as_they_were() {
        for payload in [&b"{\"a\": 1}"[..], b"", b"\xff\x00\xfe"] {
            let subject = "ulex.v1.default.event.user.x".to_owned();
            let message = Message { subject, payload: Bytes::copy_from_slice(payload), ..Message::default() };
            let letter = DeadLetter::of(&message, (7, 3), FailureCode::Malformed, "no".to_owned());
            assert_eq!(letter.tokens(), vec![Token::escape("event")]);
            let kept: DeadLetter = serde_json::from_str(&serde_json::to_string(&letter).unwrap()).unwrap();
            assert_eq!(kept.revive(), Some(message));
        }
    }
}
