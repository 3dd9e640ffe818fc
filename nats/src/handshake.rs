//! Where a consumer goes on when it meets its log: a pure decision, made at every take of a cursor.
//!
//! The data store keeps, in the transaction of the data, the last message that it has applied ([`Checkpoint`]). The log has
//! a message at that position, or it has not. Same time and same checksum prove that both are what they were, and the
//! consumer never goes on behind more than the *store* has: a database that went back is brought forward by the log. What
//! the store has and the cursor has not was applied by one that ended before it could tell anybody: it comes again, is
//! found in the store, and is told. Otherwise the log was cut or replaced: a new epoch begins, at the first message younger
//! than the last one applied.
//!
//! | log | store | decision |
//! |---|---|---|
//! | message of the checkpoint is there | at or behind the cursor, or there is none | same epoch, behind the checkpoint |
//! | message of the checkpoint is there | ahead of the cursor | same epoch, behind the cursor: applied and not settled |
//! | message of the checkpoint was forgotten (age, room) | as it was | same epoch, behind the checkpoint; what lies between is a gap |
//! | ends before the checkpoint, or holds another message there | as it was | new epoch, from the time of the checkpoint |
//! | another name | knows other logs only | new epoch, from the first message |
//! | any | knows no log | from the first message |
//! | begun anew before, nothing applied since | as it was | that epoch, from where it began |

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use ulex_domain::log::{Checkpoint, payload_crc};

use crate::transport::{CLOCK_TOLERANCE, KnownLog, ReadFrom, StreamMessage};

/// State of a log, as its server tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Name of the log.
    pub log: SmolStr,
    /// Name that the server's time of creation gives the log. A log without a name in its metadata is called so.
    pub created_as: SmolStr,
    /// Whether [`LogState::log`] stands in the metadata.
    pub is_named: bool,
    /// The newest epoch that anything of the log was handed out in, as far as the metadata say; 0 if they do not. It
    /// outlives a lost cursor: a place in an older epoch would be taken for one that was applied before.
    pub epoch: u64,
    /// Position of the oldest message; one more than [`LogState::last_sequence`] if there is none.
    pub first_sequence: u64,
    /// Position of the last message ever appended.
    pub last_sequence: u64,
}

/// Place and epoch that a cursor remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CursorPlace {
    /// Name of the log.
    pub log: SmolStr,
    /// Epoch; 0 if the cursor was written before there were epochs.
    pub epoch: u64,
    /// Everything up to here is settled.
    pub done: u64,
    /// Where this epoch began, and behind which checkpoint; `None` in the first.
    pub begun: Option<EpochStart>,
}

/// The beginning of an epoch, kept until the store has applied something of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStart {
    /// Epoch of the store's checkpoint at that time; 0 if it had none.
    #[serde(default)]
    pub checkpoint_epoch: u64,
    /// Position of that checkpoint.
    #[serde(default)]
    pub checkpoint_sequence: u64,
    /// Append time of that checkpoint in nanoseconds since 1970: the epoch begins with what is younger. 0 is everything.
    #[serde(default)]
    pub after_nanos: i64,
}

/// Time and checksum of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Append time in nanoseconds since 1970.
    pub appended_at_nanos: i64,
    /// CRC-32 of the payload.
    pub crc: u32,
}

impl Fingerprint {
    /// The fingerprint of a message.
    #[must_use]
    pub fn of(message: &StreamMessage) -> Self {
        Self {
            appended_at_nanos: nanos_since_1970(message.appended_at),
            crc: payload_crc(&message.message.payload),
        }
    }
}

/// Nanoseconds since 1970, as [`Checkpoint::appended_at_nanos`] holds them.
#[must_use]
pub fn nanos_since_1970(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Everything the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Meeting<'a> {
    /// The log.
    pub state: &'a LogState,
    /// The cursor, if there is one that can be read.
    pub cursor: Option<&'a CursorPlace>,
    /// Knowledge of the store; `None` for a consumer without one.
    pub known: Option<&'a KnownLog>,
    /// The message at the position of the checkpoint, if the log has it.
    pub found: Option<Fingerprint>,
    /// Whether this process has seen the log lose messages since it last took the cursor.
    pub was_seen_cut: bool,
    /// Time of this process.
    pub now: SystemTime,
}

/// Relation of a log to what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encounter {
    /// Nothing was known of any log.
    First,
    /// The log is what it was.
    Same,
    /// The log is what it was, and the store stands before its cursor: the database went back.
    StoreWentBack,
    /// The log has lost its end.
    Cut,
    /// Another log stands in the place of the one that was known.
    Replaced,
    /// An epoch was begun before, and nothing of it has been applied yet.
    Continued,
}

/// Where a consumer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// What was met.
    pub encounter: Encounter,
    /// Epoch from now on.
    pub epoch: u64,
    /// First message to read.
    pub from: ReadFrom,
    /// Messages appended until then may have been applied before the log was cut.
    pub ambiguous_until: Option<SystemTime>,
    /// Beginning of the epoch, if it is not the first.
    pub begun: Option<EpochStart>,
    /// Number of messages that the log forgot before they were applied.
    pub gap: u64,
}

impl Resume {
    /// Whether what is read from here on does not follow from what was read before.
    #[must_use]
    pub const fn does_not_follow(&self) -> bool {
        matches!(self.encounter, Encounter::Cut | Encounter::Replaced | Encounter::StoreWentBack)
    }

    /// Whether an epoch begins.
    #[must_use]
    pub const fn is_new_epoch(&self) -> bool {
        matches!(self.encounter, Encounter::Cut | Encounter::Replaced)
    }
}

/// Decides where a consumer goes on, see the table above.
#[must_use]
pub fn handshake(meeting: Meeting<'_>) -> Resume {
    let cursor = meeting.cursor.filter(|cursor| cursor.log == meeting.state.log);
    let Some(known) = meeting.known else { return without_store(&meeting, cursor) };
    if let Some(checkpoint) = known.checkpoint.filter(|checkpoint| checkpoint.sequence > 0) {
        return with_checkpoint(&meeting, cursor, known, checkpoint);
    }
    if let Some(continued) = continued(&meeting, cursor, None) {
        return continued;
    }
    if known.knows_other_logs || known.newest_epoch > 0 {
        let epoch = next_epoch(&meeting, known.newest_epoch);
        let begun = EpochStart { checkpoint_epoch: 0, checkpoint_sequence: 0, after_nanos: 0 };
        if let Some(continued) = continued_without_cursor(&meeting, known, begun) {
            return continued;
        }
        return since(Encounter::Replaced, epoch, begun, meeting.now);
    }
    let epoch = cursor.map_or(1, |cursor| cursor.epoch.max(1)).max(meeting.state.epoch);
    let encounter = match cursor {
        Some(cursor) if cursor.done > 0 => Encounter::StoreWentBack,
        Some(_) | None => Encounter::First,
    };
    behind(encounter, epoch, 0)
}

/// A consumer whose only memory is its cursor.
fn without_store(meeting: &Meeting<'_>, cursor: Option<&CursorPlace>) -> Resume {
    match cursor {
        Some(cursor) if cursor.done <= meeting.state.last_sequence => {
            let gap = gap_behind(cursor.done, meeting.state);
            let begun = cursor.begun;
            Resume { gap, begun, ..behind(Encounter::Same, cursor.epoch.max(1), cursor.done) }
        }
        Some(_) => behind(Encounter::Cut, next_epoch(meeting, 0), 0),
        None if meeting.cursor.is_some() => behind(Encounter::Replaced, next_epoch(meeting, 0), 0),
        None => behind(Encounter::First, 1, 0),
    }
}

fn with_checkpoint(
    meeting: &Meeting<'_>,
    cursor: Option<&CursorPlace>,
    known: &KnownLog,
    checkpoint: Checkpoint,
) -> Resume {
    let state = meeting.state;
    let is_same = checkpoint.sequence <= state.last_sequence
        && meeting.found.is_none_or(|found| {
            checkpoint.appended_at_nanos == 0
                || (found.appended_at_nanos == checkpoint.appended_at_nanos && found.crc == checkpoint.crc)
        });
    if !is_same {
        if let Some(continued) = continued(meeting, cursor, Some(checkpoint)) {
            return continued;
        }
        let begun = EpochStart {
            checkpoint_epoch: checkpoint.epoch,
            checkpoint_sequence: checkpoint.sequence,
            after_nanos: checkpoint.appended_at_nanos,
        };
        if let Some(continued) = continued_without_cursor(meeting, known, begun) {
            return continued;
        }
        return since(Encounter::Cut, next_epoch(meeting, known.newest_epoch), begun, meeting.now);
    }
    let epoch = checkpoint.epoch.max(cursor.map_or(0, |cursor| cursor.epoch)).max(state.epoch).max(1);
    // What the cursor says is settled was applied or refused; a store that went back has it no more.
    let done = cursor.map_or(0, |cursor| cursor.done);
    let went_back = done > checkpoint.sequence && meeting.found.is_some();
    let encounter = if went_back { Encounter::StoreWentBack } else { Encounter::Same };
    let gap = gap_behind(done.min(state.last_sequence).max(checkpoint.sequence), state);
    // Applied in this epoch and not settled, unless the cursor counts another.
    let unsettled = cursor.filter(|cursor| cursor.epoch.max(1) == checkpoint.epoch.max(1));
    let from = unsettled.map_or(checkpoint.sequence, |cursor| cursor.done.min(checkpoint.sequence));
    Resume { gap, ..behind(encounter, epoch, from) }
}

/// An epoch that the cursor says has begun behind this checkpoint: the store has applied nothing of it. If the log was cut
/// again, other messages stand at places of which a transaction may be under way, and another epoch begins.
fn continued(
    meeting: &Meeting<'_>,
    cursor: Option<&CursorPlace>,
    checkpoint: Option<Checkpoint>,
) -> Option<Resume> {
    let cursor = cursor.filter(|_| !meeting.was_seen_cut)?;
    let begun = cursor.begun?;
    let known = checkpoint.map_or((0, 0), |checkpoint| (checkpoint.epoch, checkpoint.sequence));
    if (begun.checkpoint_epoch, begun.checkpoint_sequence) != known || cursor.epoch <= known.0 {
        return None;
    }
    Some(since(Encounter::Continued, cursor.epoch, begun, meeting.now))
}

/// An epoch that was begun in this log, of which the store has applied nothing, and whose cursor was lost. It goes on: in
/// another one a transaction of the last holder, which may be under way, would count as nothing, and its events twice.
fn continued_without_cursor(meeting: &Meeting<'_>, known: &KnownLog, begun: EpochStart) -> Option<Resume> {
    let is_begun =
        meeting.cursor.is_none() && !meeting.was_seen_cut && meeting.state.epoch > known.newest_epoch;
    is_begun.then(|| since(Encounter::Continued, meeting.state.epoch, begun, meeting.now))
}

fn next_epoch(meeting: &Meeting<'_>, newest: u64) -> u64 {
    newest.max(meeting.cursor.map_or(0, |cursor| cursor.epoch)).max(meeting.state.epoch).max(1) + 1
}

const fn gap_behind(done: u64, state: &LogState) -> u64 {
    state.first_sequence.saturating_sub(done + 1)
}

const fn behind(encounter: Encounter, epoch: u64, done: u64) -> Resume {
    let from = ReadFrom::Sequence(done + 1);
    Resume { encounter, epoch, from, ambiguous_until: None, begun: None, gap: 0 }
}

/// An epoch that begins with what is younger than the last message applied, and what may be.
fn since(encounter: Encounter, epoch: u64, begun: EpochStart, now: SystemTime) -> Resume {
    let last_applied = UNIX_EPOCH + Duration::from_nanos(u64::try_from(begun.after_nanos).unwrap_or(0));
    let is_all_new = begun.checkpoint_sequence == 0;
    let (from, ambiguous_until) = match (is_all_new, begun.after_nanos) {
        (true, _) => (ReadFrom::First, None),
        // The time of the last message was not recorded: each may have been applied.
        (false, 0) => (ReadFrom::First, Some(now)),
        (false, _) => {
            let from = last_applied.checked_sub(CLOCK_TOLERANCE).unwrap_or(UNIX_EPOCH);
            (ReadFrom::Time(from), Some(last_applied))
        }
    };
    Resume { encounter, epoch, from, ambiguous_until, begun: Some(begun), gap: 0 }
}

#[cfg(test)]
mod tests;
