//! Streams: messages, what of them is gone, and the identity of the log.

use std::collections::BTreeMap;
use std::time::SystemTime;

use smol_str::SmolStr;
use tokio::time::Instant;
use ulex_nats::covers;
use ulex_nats::handshake::LogState;
use ulex_nats::transport::{
    Appended, MESSAGE_ID_HEADER, Message, ReadFrom, Retention, StreamMessage, StreamSpec, StreamState,
};

/// A stream.
pub struct SimStream {
    /// Definition.
    pub spec: StreamSpec,
    /// Name of the log, kept through backup and restore.
    pub log: SmolStr,
    /// Epoch of the log, as its cursor counts it.
    pub epoch: u64,
    /// Creation time, which a restore changes.
    pub created: SystemTime,
    /// Messages by position.
    pub messages: BTreeMap<u64, StreamMessage>,
    /// Last position ever given out.
    pub last: u64,
    ids: BTreeMap<String, (u64, Instant)>,
}

impl SimStream {
    pub(super) fn new(spec: StreamSpec, log: SmolStr, created: SystemTime) -> Self {
        Self { spec, log, epoch: 0, created, messages: BTreeMap::new(), last: 0, ids: BTreeMap::new() }
    }

    pub(super) fn append(&mut self, message: Message, appended_at: SystemTime) -> Appended {
        let now = Instant::now();
        let window = self.spec.dedup;
        self.ids.retain(|_, (_, at)| now.duration_since(*at) < window);
        let id = message.headers.get(MESSAGE_ID_HEADER).filter(|_| !window.is_zero()).cloned();
        if let Some((sequence, _)) = id.as_ref().and_then(|id| self.ids.get(id)) {
            return Appended { sequence: *sequence, duplicate: true };
        }
        if self.spec.retention == Retention::WorkQueue {
            self.messages.retain(|_, kept| kept.message.subject != message.subject);
        }
        self.last += 1;
        let sequence = self.last;
        if let Some(id) = id {
            self.ids.insert(id, (sequence, now));
        }
        let message = Message { reply: None, ..message };
        self.messages.insert(sequence, StreamMessage { sequence, appended_at, message });
        Appended { sequence, duplicate: false }
    }

    pub(super) fn state(&self) -> StreamState {
        StreamState {
            log: self.log.clone(),
            epoch: self.epoch.max(1),
            first_sequence: self.first_sequence(),
            messages: self.messages.len() as u64,
            bytes: self.messages.values().map(|kept| kept.message.payload.len() as u64).sum(),
            last_sequence: self.last,
        }
    }

    /// State of the log, for the handshake with the store.
    pub(super) fn log_state(&self) -> LogState {
        LogState {
            log: self.log.clone(),
            created_as: self.created_as(),
            is_named: true,
            epoch: self.epoch,
            first_sequence: self.first_sequence(),
            last_sequence: self.last,
        }
    }

    fn first_sequence(&self) -> u64 {
        self.messages.first_key_value().map_or(self.last + 1, |(first, _)| *first)
    }

    /// Name that the time of creation gives the log.
    fn created_as(&self) -> SmolStr {
        let since = self.created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{}-{}", self.spec.name, since.as_nanos()).into()
    }

    /// First position to read.
    pub(super) fn position(&self, from: ReadFrom) -> u64 {
        match from {
            ReadFrom::First => 1,
            ReadFrom::New => self.last + 1,
            ReadFrom::Sequence(sequence) => sequence.max(1),
            ReadFrom::Time(time) => {
                let first = self.messages.values().find(|kept| kept.appended_at >= time);
                first.map_or(self.last + 1, |kept| kept.sequence)
            }
        }
    }

    /// Messages from a position on.
    pub(super) fn read(&self, filter: &str, from: u64, max: usize) -> Vec<StreamMessage> {
        let wanted = |kept: &&StreamMessage| covers(filter, &kept.message.subject);
        self.messages.range(from..).map(|(_, kept)| kept).filter(wanted).take(max).cloned().collect()
    }

    pub(super) fn cut(&mut self, count: u64) {
        self.last = self.last.saturating_sub(count);
        let last = self.last;
        self.messages.retain(|sequence, _| *sequence <= last);
        self.ids.retain(|_, (sequence, _)| *sequence <= last);
    }
}
