//! Following a stream: every message behind a position, in order, or word that some were missed.
//!
//! A [`Follower`] keeps its position, not its reader: a reader that breaks is built again behind the last message that was
//! handed out, so what was appended meanwhile is read. Three things make a position useless: the stream has forgotten
//! messages behind it, another stream has taken its place, or the stream ends before it. The stream is compared with the
//! position before a reader is built, when messages are missing between two, and every five seconds, so that a gap
//! is noticed on a quiet system, too. A gap is one [`Followed::Gap`]; the position is then the end that the stream had
//! before, and the caller reads the data itself again. So is a message with [`GAP_HEADER`], with which whoever writes the
//! stream says the same.

use std::marker::PhantomData;
use std::time::Duration;

use smol_str::SmolStr;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::backoff::pause;
use crate::bus::{Bus, Read, Reader};
use crate::transport::{GAP_HEADER, ReadFrom, StreamSpec, StreamState};
use crate::{BusError, Subject};

/// Longest wait of one read.
const READ_WAIT: Duration = Duration::from_secs(1);
/// Messages of one read.
const READ_MAX_MESSAGES: usize = 1_000;
/// Time between two comparisons of the position with the stream.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A position of one log. Positions of different logs cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    /// [`StreamState::log`].
    pub log: SmolStr,
    /// Position of the last message that is known.
    pub sequence: u64,
}

impl StreamPosition {
    /// The present end of a stream.
    ///
    /// # Errors
    ///
    /// As [`Bus::stream_state`].
    pub async fn end_of(bus: &Bus, stream: &StreamSpec) -> Result<Self, BusError> {
        bus.stream_state(&stream.name).await.map(Self::end)
    }

    fn end(state: StreamState) -> Self {
        Self { log: state.log, sequence: state.last_sequence }
    }

    /// Whether the stream cannot be followed from here without missing something.
    fn is_lost(&self, state: &StreamState) -> bool {
        let is_forgotten = state.first_sequence > self.sequence + 1;
        state.log != self.log || state.last_sequence < self.sequence || is_forgotten
    }
}

/// One item of a [`Follower`].
#[derive(Debug)]
pub enum Followed<E> {
    /// The next messages, in order; at least one.
    Messages(Vec<Read<E>>),
    /// Messages may have been missed, or the following begins here.
    Gap,
}

/// Follows one stream.
pub struct Follower<E> {
    bus: Bus,
    stream: StreamSpec,
    position: Option<StreamPosition>,
    reader: Option<Reader<E>>,
    checked_at: Instant,
    failures: usize,
    subject: PhantomData<fn() -> E>,
}

/// Follows every `E` of a stream from behind `position`. Without a position the first item is a [`Followed::Gap`] at the
/// present end: data that is read after it misses nothing.
#[must_use]
pub fn follow<E: Subject>(bus: Bus, stream: &StreamSpec, position: Option<StreamPosition>) -> Follower<E> {
    let stream = stream.clone();
    let (reader, checked_at) = (None, Instant::now());
    Follower { bus, stream, position, reader, checked_at, failures: 0, subject: PhantomData }
}

impl<E: Subject> Follower<E> {
    /// Position of the last item; `None` before the first one if none was given.
    #[must_use]
    pub const fn position(&self) -> Option<&StreamPosition> {
        self.position.as_ref()
    }

    /// The next item. A bus that is away and a stream that does not exist are waited for. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`BusError::Closed`] once the bus is closed, and nothing else.
    pub async fn next(&mut self) -> Result<Followed<E>, BusError> {
        loop {
            match self.try_next().await {
                Ok(followed) => {
                    self.failures = 0;
                    if let Some(followed) = followed {
                        return Ok(followed);
                    }
                }
                Err(BusError::Closed) => return Err(BusError::Closed),
                Err(reason) => {
                    if self.failures == 0 {
                        warn!(%reason, stream = %self.stream.name, "stream cannot be followed, trying again");
                    } else {
                        debug!(%reason, stream = %self.stream.name, "stream cannot be followed yet");
                    }
                    self.reader = None;
                    self.failures += 1;
                    tokio::time::sleep(pause(self.failures)).await;
                }
            }
        }
    }

    /// One read; `None` if nothing came.
    async fn try_next(&mut self) -> Result<Option<Followed<E>>, BusError> {
        if (self.reader.is_none() || self.checked_at.elapsed() >= CHECK_INTERVAL) && self.meets_gap().await? {
            return Ok(Some(Followed::Gap));
        }
        let sequence = self.position.as_ref().map_or(0, |position| position.sequence);
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let from = ReadFrom::Sequence(sequence + 1);
                self.reader.insert(self.bus.reader::<E>(&self.stream.name, from).await?)
            }
        };
        let messages = reader.read(READ_MAX_MESSAGES, READ_WAIT).await?;
        let Some(last) = messages.last().map(|message| message.sequence) else { return Ok(None) };
        // Every position is a message of this tenant or of another one; a hole may also be what was forgotten.
        if has_hole(sequence, messages.iter().map(|message| message.sequence)) {
            // Without its reader while the stream is asked: if that fails or is dropped, these messages are read again.
            let reader = self.reader.take();
            if self.meets_gap().await? {
                return Ok(Some(Followed::Gap));
            }
            self.reader = reader;
        }
        self.set_sequence(last);
        if messages.iter().any(|read| read.message.headers.contains_key(GAP_HEADER)) {
            return Ok(Some(Followed::Gap));
        }
        Ok(Some(Followed::Messages(messages)))
    }

    fn set_sequence(&mut self, sequence: u64) {
        if let Some(position) = &mut self.position {
            position.sequence = sequence;
        }
    }

    /// Compares the position with the stream; after a gap it is the end of the stream.
    async fn meets_gap(&mut self) -> Result<bool, BusError> {
        let state = self.bus.stream_state(&self.stream.name).await?;
        self.checked_at = Instant::now();
        match &self.position {
            Some(position) if !position.is_lost(&state) => return Ok(false),
            Some(position) => {
                let (log, sequence) = (position.log.as_str(), position.sequence);
                warn!(stream = %self.stream.name, log, sequence, ?state, "stream does not hold what follows");
            }
            None => {}
        }
        self.reader = None;
        self.position = Some(StreamPosition::end(state));
        Ok(true)
    }
}

/// Whether positions are missing in a batch that was read behind `position`.
fn has_hole(position: u64, mut sequences: impl Iterator<Item = u64>) -> bool {
    let mut expected = position + 1;
    !sequences.all(|sequence| std::mem::replace(&mut expected, sequence + 1) == sequence)
}

#[cfg(test)]
mod tests;
