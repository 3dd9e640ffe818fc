//! Identity of a log, and the place that a data store has reached in it.
//!
//! A log is a stream of the bus, named by a UUID that it keeps through backup, restore and mirroring. Its epoch counts how
//! often it was cut or begun anew; positions are compared as (epoch, sequence). A data store keeps a [`Checkpoint`] of
//! every log in the transaction of the data: time and checksum of the last message applied prove, when a log and a store
//! meet again, that both are what they were.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Bits of a position that number the commands of one message; the bits above are the sequence of the message.
pub const PART_BITS: u32 = 16;

/// A log in one of its epochs.
///
/// A log is cut when its end is lost or an older copy of it is restored. It keeps its name, and its epoch grows: no two
/// epochs of a deployment are equal, whatever their logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogEpoch {
    /// Name of the log: a UUID.
    pub log: SmolStr,
    /// Epoch, from 1.
    pub epoch: u64,
}

/// The last message of a log that a data store has applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Epoch of the log at that message; 0 if it was applied before there were epochs.
    pub epoch: u64,
    /// Position of the message in its stream.
    pub sequence: u64,
    /// Append time of the message in nanoseconds since 1970; 0 if it was not recorded.
    pub appended_at_nanos: i64,
    /// CRC-32 of its payload.
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
