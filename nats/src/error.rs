//! Why a message did not arrive.

use thiserror::Error;

use crate::TokenError;

/// Whatever the layer below had to say.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A failure on the bus. Callers branch on the variant; the source is for the log.
#[derive(Debug, Error)]
pub enum BusError {
    /// Nobody answered in time; the request may or may not have been handled.
    #[error("no answer on {subject}")]
    Timeout {
        /// Where the request went.
        subject: String,
    },
    /// Nobody serves this subject.
    #[error("nobody serves {subject}")]
    NoResponders {
        /// Where the request went.
        subject: String,
    },
    /// The payload is not what this version of the program expects.
    #[error("malformed message on {subject}")]
    Malformed {
        /// Where the message came from.
        subject: String,
        /// What serde objected to.
        source: serde_json::Error,
    },
    /// The message says that it follows another schema.
    #[error("message on {subject} follows {found:?}, expected {expected:?}")]
    Schema {
        /// Where the message came from.
        subject: String,
        /// What this version of the program reads.
        expected: &'static str,
        /// What its header says.
        found: String,
    },
    /// A subject or a key could not be built.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Somebody else wrote the key first; read it again before you decide again.
    #[error("{key} was written by somebody else")]
    Conflict {
        /// Which key.
        key: String,
    },
    /// The stream has no room; try again when its consumers have caught up.
    #[error("stream {stream} is full")]
    Full {
        /// Which stream.
        stream: String,
    },
    /// No stream has this name or captures this subject: the topology has not been brought to the bus.
    #[error("no stream for {subject}")]
    NoStream {
        /// Name or subject.
        subject: String,
    },
    /// Stored bytes are not those that were written.
    #[error("{name} is corrupt")]
    Corrupt {
        /// Which object or file.
        name: String,
    },
    /// A specification nobody can fulfil.
    #[error("{name} cannot be defined: {reason}")]
    Refused {
        /// Which stream, consumer or bucket.
        name: String,
        /// Why.
        reason: String,
    },
    /// The bus is shut down.
    #[error("the bus is closed")]
    Closed,
    /// The connection, the server or the disk failed.
    #[error("the bus failed on {subject}")]
    Transport {
        /// What was being done to.
        subject: String,
        /// The layer's own error.
        source: Cause,
    },
}

impl BusError {
    /// Wraps an error of the layer below.
    pub fn transport(subject: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Transport { subject: subject.into(), source: source.into() }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::NoResponders { .. } | Self::Full { .. } | Self::Transport { .. } => {
                true
            }
            Self::Malformed { .. }
            | Self::Schema { .. }
            | Self::Token(_)
            | Self::Conflict { .. }
            | Self::NoStream { .. }
            | Self::Corrupt { .. }
            | Self::Refused { .. }
            | Self::Closed => false,
        }
    }
}
