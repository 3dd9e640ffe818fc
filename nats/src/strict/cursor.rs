//! The record of a consumer with an order: how far it has come, in which epoch of which log, and who moves it on.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::handshake::{CursorPlace, EpochStart};

/// How far a consumer has come. Fields that are missing were not known to the version that wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Log that [`Cursor::done`] is a position of.
    pub log: SmolStr,
    /// Everything up to here is settled.
    pub done: u64,
    /// Puller that moves it.
    pub holder: Option<String>,
    /// Epoch of the log; 0 from before there were epochs.
    #[serde(default)]
    pub epoch: u64,
    /// Name that the stream's time of creation gave the log, to recognise a stream whose metadata were removed.
    #[serde(default)]
    pub created_as: SmolStr,
    /// Beginning of the epoch, until the store has applied something of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<EpochStart>,
    /// The first message that is being worked on, and how many holders began with it and ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<HeadAttempt>,
    /// Message that is settled and with which a successor of the holder begins again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<u64>,
}

/// How often holders have begun to work on the first message that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeadAttempt {
    /// Position of the message.
    pub sequence: u64,
    /// Number of holders, the present one included.
    pub holders: u64,
}

impl Cursor {
    /// Whether a puller ever held it.
    pub fn was_taken(&self) -> bool {
        self.holder.is_some() || self.epoch > 0 || self.done > 0
    }

    /// What a handshake compares.
    pub fn place(&self) -> CursorPlace {
        let done = self.restart.map_or(self.done, |first| self.done.min(first.saturating_sub(1)));
        CursorPlace { log: self.log.clone(), epoch: self.epoch, done, begun: self.begun }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_begins_with_the_message_that_was_not_told_to_all() {
        let cursor = Cursor { done: 9, restart: Some(5), ..Cursor::default() };
        assert_eq!(cursor.place().done, 4);
        assert_eq!(Cursor { restart: None, ..cursor }.place().done, 9);
    }
}
