//! `ulex events replay`: the log applied to a data store, as an ingester would.
//!
//! Every event goes with its position in the log, so a store has no use for what it has seen: the command may be
//! interrupted and run again, also beside a running ingester. What cannot be applied is counted and said; it was said
//! when it came. An empty store ends up with the same rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smol_str::SmolStr;
use ulex_nats::Bus;
use ulex_nats::events::EventEnvelope;
use ulex_nats::topology::EVENTS;
use ulex_nats::transport::{RawReader, StreamMessage};
use ulex_server::published::{Admission, events_of, position};
use ulex_settings::Settings;
use ulex_storage::StorageError;
use ulex_storage::data::{DataStore, LogPosition, Outcome, Submission};

use super::{EventsError, READ, READ_WAIT, moment, read_from};
use crate::command_line::{LogFrom, ReplayArguments};
use crate::exit::print;
use crate::import::progress::Progress;

/// How often a batch is tried, with growing pauses.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A log that gives nothing for so long, while its server answers, has ended.
const ENDED_AFTER: Duration = Duration::from_secs(3);
/// Reasons that are printed one by one.
const SAID: u64 = 20;

/// What came of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) messages: u64,
    pub(super) applied: u64,
    pub(super) duplicates: u64,
    pub(super) dead: u64,
    /// Position of the last message.
    pub(super) reached: u64,
}

/// Where a replay ends.
#[derive(Clone, Copy, Debug)]
struct End {
    sequence: u64,
    time: Option<ulex_domain::Timestamp>,
}

pub(super) async fn run(
    bus: &Bus,
    settings: &Settings,
    (arguments, admission): (&ReplayArguments, Admission),
) -> Result<(), EventsError> {
    let from = match arguments.from {
        LogFrom::New => return Err(EventsError::Place("from")),
        place @ (LogFrom::Start | LogFrom::Sequence(_) | LogFrom::Time(_)) => read_from(place),
    };
    let state = bus.stream_state(&EVENTS.name).await?;
    let end = match arguments.to {
        None => End { sequence: state.last_sequence, time: None },
        Some(LogFrom::Sequence(sequence)) => End { sequence: sequence.min(state.last_sequence), time: None },
        Some(LogFrom::Time(time)) => End { sequence: state.last_sequence, time: Some(time) },
        Some(LogFrom::New | LogFrom::Start) => return Err(EventsError::Place("to")),
    };
    let url = arguments.into.clone().unwrap_or_else(|| settings.data_store_url(&arguments.place.data_dir));
    let store = ulex_storage::data::open(&url, &settings.database.data_table_prefix).await?;
    let reader = bus.raw_reader::<EventEnvelope>(&EVENTS.name, from).await?;
    let progress = Progress::on_terminal();
    progress.total(end.sequence);
    let replay = Replay {
        bus: bus.clone(),
        store,
        log: SmolStr::new(state.log),
        admission,
        batch_rows: settings.ingest.batch_rows,
        progress,
    };
    let begun = Instant::now();
    let tally = replay.run(reader, end).await?;
    let Tally { messages, applied, duplicates, dead, reached } = tally;
    let seconds = begun.elapsed().as_secs_f64();
    print(&format!(
        "{messages} messages up to position {reached} in {seconds:.1} s: {applied} events applied, {duplicates} \
         had been applied before, {dead} messages cannot be applied\n"
    ));
    Ok(())
}

/// One replay.
pub(super) struct Replay {
    pub(super) bus: Bus,
    pub(super) store: Arc<dyn DataStore>,
    pub(super) log: SmolStr,
    pub(super) admission: Admission,
    pub(super) batch_rows: usize,
    pub(super) progress: Progress,
}

impl Replay {
    async fn run(&self, mut reader: Box<dyn RawReader>, end: End) -> Result<Tally, EventsError> {
        let mut tally = Tally::default();
        let mut quiet = Duration::ZERO;
        while tally.reached < end.sequence {
            let mut read = reader.read(READ, READ_WAIT).await?;
            if read.is_empty() {
                // The last messages may have been removed; a server that is away is no end.
                self.bus.stream_state(&EVENTS.name).await?;
                quiet += READ_WAIT;
                if quiet >= ENDED_AFTER {
                    break;
                }
                continue;
            }
            quiet = Duration::ZERO;
            let before = read.len();
            read.retain(|kept| {
                let late = end.time.is_some_and(|time| moment(kept.appended_at) > time);
                kept.sequence <= end.sequence && !late
            });
            let last = read.len() < before;
            self.apply_all(&read, &mut tally).await?;
            self.progress.advance(tally.reached, tally.applied);
            if last {
                break;
            }
        }
        self.progress.finish();
        Ok(tally)
    }

    /// In transactions of about `batch_rows` events.
    pub(super) async fn apply_all(
        &self,
        read: &[StreamMessage],
        tally: &mut Tally,
    ) -> Result<(), EventsError> {
        let mut batch = Vec::new();
        let mut begins = tally.messages;
        for kept in read {
            tally.messages += 1;
            match self.submissions(kept) {
                Ok(submissions) => batch.push((kept.sequence, submissions)),
                Err(reason) => self.give_up(kept.sequence, &reason, tally),
            }
            if tally.messages - begins >= self.batch_rows as u64 {
                self.apply(std::mem::take(&mut batch), tally).await?;
                begins = tally.messages;
            }
        }
        self.apply(batch, tally).await?;
        tally.reached = read.last().map_or(tally.reached, |kept| kept.sequence);
        Ok(())
    }

    fn submissions(&self, kept: &StreamMessage) -> Result<Vec<Submission>, String> {
        let events = events_of(&kept.message, kept.appended_at, self.admission)?;
        let submission = |(part, envelope): (usize, EventEnvelope)| Submission {
            event_id: envelope.event_id,
            event: envelope.event,
            position: Some(LogPosition {
                log: self.log.clone(),
                epoch: 1,
                sequence: position(kept.sequence, part),
                ..LogPosition::default()
            }),
            follows: None,
        };
        Ok(events.into_iter().enumerate().map(submission).collect())
    }

    fn give_up(&self, sequence: u64, reason: &str, tally: &mut Tally) {
        tally.dead += 1;
        if tally.dead <= SAID {
            self.progress.print(&format!("{sequence:>10}  cannot be applied: {reason}"));
        }
    }

    /// Together; if the store refuses, one message after the other, because an ingester did the same.
    async fn apply(&self, batch: Vec<(u64, Vec<Submission>)>, tally: &mut Tally) -> Result<(), EventsError> {
        let Some((first, _)) = batch.first() else { return Ok(()) };
        let reached = first.saturating_sub(1);
        let together: Vec<Submission> = batch.iter().flat_map(|(_, one)| one.iter().cloned()).collect();
        match self.patiently(together).await {
            Ok(outcomes) => count(&outcomes, tally),
            Err(source) if source.is_transient() => return Err(EventsError::Stopped { reached, source }),
            Err(_) => {
                for (sequence, submissions) in batch {
                    match self.patiently(submissions).await {
                        Ok(outcomes) => count(&outcomes, tally),
                        Err(source) if source.is_transient() => {
                            return Err(EventsError::Stopped { reached: sequence - 1, source });
                        }
                        Err(reason) => {
                            self.give_up(sequence, &crate::exit::WithCause(&reason).to_string(), tally);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn patiently(&self, submissions: Vec<Submission>) -> Result<Vec<Outcome>, StorageError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS {
            match self.store.apply(submissions.clone()).await {
                Err(reason) if reason.is_transient() => tokio::time::sleep(pause).await,
                settled => return settled,
            }
            pause *= 2;
        }
        self.store.apply(submissions).await
    }
}

fn count(outcomes: &[Outcome], tally: &mut Tally) {
    let duplicates = outcomes.iter().filter(|outcome| outcome.duplicate).count() as u64;
    tally.duplicates += duplicates;
    tally.applied += outcomes.len() as u64 - duplicates;
}

#[cfg(test)]
mod tests;
