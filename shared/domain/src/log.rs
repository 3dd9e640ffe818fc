//! The identity of a log, and the place up to which it was applied.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Bits of a position that number the commands of one message; the bits above are the sequence of the message.
pub const PART_BITS: u32 = 16;

/// A log and the epoch in which it is read.
///
/// A log is cut when its end is lost or an older copy of it is restored. It keeps its name, and its epoch grows: no two
/// epochs of a deployment are equal, whatever their logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogEpoch {
    /// The name that the log got when it was made.
    pub log: SmolStr,
    /// Grows each time that the log is cut or replaced.
    pub epoch: u64,
}

/// The last message of a log that a store has applied, and what tells it from another message at the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The epoch in which the message was applied; 0 if that was before there were epochs.
    pub epoch: u64,
    /// The sequence of the message in its stream.
    pub sequence: u64,
    /// The time at which the stream took the message, in nanoseconds since 1970; 0 if it is not known.
    pub appended_at_nanos: i64,
    /// CRC-32 of the payload.
    pub crc: u32,
}

impl Checkpoint {
    /// Whether the time and the checksum of the message are known.
    #[must_use]
    pub const fn has_fingerprint(&self) -> bool {
        self.appended_at_nanos != 0
    }
}

/// CRC-32 (IEEE) of the payload of a message, as [`Checkpoint::crc`] holds it.
#[must_use]
pub fn payload_crc(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}
