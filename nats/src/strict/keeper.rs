//! The task that takes a cursor, keeps it and reads ahead. Ends when its puller is dropped or the bus is closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{debug, error, info, warn};
use ulex_domain::LogEpoch;

use super::cursor::{Cursor, HeadAttempt};
use super::hand::{Shared, Start};
use super::held::{Held, LogReading, Step, Written, at, every, finished};
use super::{
    FLUSH_INTERVAL, LOG_CHECK_INTERVAL, LogServer, RENEW_INTERVAL, STANDBY_INTERVAL, TAKE_OVER_AFTER,
    cursor_key,
};
use crate::BusError;
use crate::backoff::pause;
use crate::handshake::{Encounter, Fingerprint, LogState, Meeting, Resume, handshake};
use crate::transport::{CheckpointSource, ReadFrom, StreamMessage};

/// Part of [`TAKE_OVER_AFTER`] for which a holder that cannot write believes to hold the cursor.
const HOLDING_PART: f64 = 0.8;

/// See the module.
pub(super) struct Keeper {
    server: Arc<dyn LogServer>,
    checkpoints: Option<Arc<dyn CheckpointSource>>,
    shared: Arc<Shared>,
    holder: String,
    key: String,
    closed: watch::Receiver<bool>,
    /// Whether the log has lost messages since the cursor was taken.
    saw_cut: bool,
}

/// A cursor that was taken, and how to go on.
struct Taken {
    cursor: Cursor,
    revision: u64,
    from: ReadFrom,
}

impl Keeper {
    pub(super) fn new(
        server: Arc<dyn LogServer>,
        checkpoints: Option<Arc<dyn CheckpointSource>>,
        shared: Arc<Shared>,
    ) -> Self {
        let holder = format!("{}-{}", server.node(), uuid::Uuid::new_v4().simple());
        let (key, closed) = (cursor_key(&shared.spec), server.closed());
        Self { server, checkpoints, shared, holder, key, closed, saw_cut: false }
    }

    pub(super) async fn run(mut self) {
        let mut failures = 0;
        while !self.is_leaving() {
            match self.acquire().await {
                Ok(Some(taken)) => {
                    failures = 0;
                    self.saw_cut = false;
                    debug!(consumer = self.key, "cursor taken: this process drains");
                    self.hold(taken).await;
                    self.shared.end();
                }
                Ok(None) => {}
                Err(BusError::Closed) => self.rest(STANDBY_INTERVAL).await,
                Err(reason) => {
                    if failures == 3 {
                        warn!(%reason, consumer = self.key, "cursor cannot be taken: this process does not drain");
                    }
                    if let Err(reason) = self.server.furnish().await {
                        debug!(%reason, "the bus cannot be furnished");
                    }
                    self.rest(pause(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    fn is_leaving(&self) -> bool {
        self.shared.leaving.load(Ordering::Acquire) || *self.closed.borrow()
    }

    /// Waits until there is a reason to leave.
    async fn leaving(shared: &Shared, closed: &mut watch::Receiver<bool>) {
        let closed = async {
            let _ = closed.wait_for(|closed| *closed).await;
        };
        tokio::select! {
            () = shared.leave.notified() => {}
            () = closed => {}
        }
    }

    async fn rest(&mut self, long: Duration) {
        if timeout(long, Self::leaving(&self.shared, &mut self.closed)).await.is_ok() {
            // The word to leave is said once; `is_leaving` keeps it.
            self.shared.leave.notify_one();
        }
    }

    /// Takes the cursor if it is free, or if its holder is silent for too long; `None` if the puller leaves.
    async fn acquire(&mut self) -> Result<Option<Taken>, BusError> {
        let mut seen: Option<(u64, Instant)> = None;
        while !self.is_leaving() {
            let (found, revision) = self.read_cursor().await?;
            let now = Instant::now();
            let since = seen.filter(|(known, _)| *known == revision).map_or(now, |(_, since)| since);
            seen = Some((revision, since));
            let silent = now.duration_since(since) >= TAKE_OVER_AFTER;
            let other = found.as_ref().and_then(|cursor| cursor.holder.as_ref());
            let other = other.filter(|holder| **holder != self.holder);
            if let Some(holder) = other.filter(|_| silent) {
                warn!(consumer = self.key, holder, "cursor of a silent process is taken over");
            }
            if other.is_none() || silent {
                match self.take(found, revision).await {
                    Ok(taken) => return Ok(Some(taken)),
                    Err(BusError::Conflict { .. }) => {}
                    Err(reason) => return Err(reason),
                }
            }
            self.rest(STANDBY_INTERVAL).await;
        }
        Ok(None)
    }

    /// The cursor and its revision; one that cannot be read counts as none, to be written over.
    async fn read_cursor(&self) -> Result<(Option<Cursor>, u64), BusError> {
        let Some(entry) = self.server.cursor(&self.key).await? else { return Ok((None, 0)) };
        match serde_json::from_slice(&entry.value) {
            Ok(cursor) => Ok((Some(cursor), entry.revision)),
            Err(reason) => {
                warn!(%reason, consumer = self.key, "cursor is unreadable: it is rebuilt from the data store's position");
                Ok((None, entry.revision))
            }
        }
    }

    /// Compares log and store, and takes the cursor with what follows from it.
    async fn take(&self, found: Option<Cursor>, revision: u64) -> Result<Taken, BusError> {
        let stream = &self.shared.spec.stream;
        let mut state = self.server.log_state(stream).await?;
        if !state.is_named
            && let Some(cursor) = found.as_ref().filter(|cursor| cursor.created_as == state.created_as)
        {
            // An older version that defined the stream again has removed the name of this very stream.
            state.log = cursor.log.clone();
        }
        let known = match &self.checkpoints {
            Some(source) => Some(source.checkpoint(&state.log).await?),
            None => None,
        };
        let checkpoint = known.as_ref().and_then(|known| known.checkpoint).map_or(0, |one| one.sequence);
        let at_checkpoint = self.fingerprint_at(checkpoint, &state).await?;
        let place = found.as_ref().map(Cursor::place);
        let resume = handshake(Meeting {
            state: &state,
            cursor: place.as_ref(),
            known: known.as_ref(),
            found: at_checkpoint,
            was_seen_cut: self.saw_cut,
            now: SystemTime::now(),
        });
        let done = match resume.from {
            ReadFrom::Sequence(first) => first.saturating_sub(1),
            ReadFrom::First | ReadFrom::New | ReadFrom::Time(_) => 0,
        };
        if !state.is_named || state.epoch < resume.epoch {
            self.server.name_log(stream, &state.log, resume.epoch).await?;
        }
        let cursor = Cursor {
            log: state.log.clone(),
            done,
            holder: Some(self.holder.clone()),
            epoch: resume.epoch,
            created_as: state.created_as.clone(),
            begun: resume.begun,
            attempt: found.as_ref().and_then(|cursor| cursor.attempt),
            restart: None,
        };
        let asked_at = Instant::now();
        let revision = self.put(&cursor, revision).await?;
        let settled = place.map_or(0, |place| place.done);
        self.say(&resume, &state, settled);
        let last_sequence = state.last_sequence;
        let log = LogEpoch { log: state.log, epoch: resume.epoch };
        let last_read = at_checkpoint.filter(|_| done == checkpoint);
        let until = asked_at + TAKE_OVER_AFTER.mul_f64(HOLDING_PART);
        // Whoever held the cursor before may still be in the middle of a transaction with any of these.
        let was_taken = found.as_ref().is_some_and(Cursor::was_taken);
        let seen_until = if was_taken { last_sequence } else { 0 };
        let ambiguous_until = resume.ambiguous_until;
        let goes_back = settled > done;
        // A cursor that was lost would have said whether the store went back.
        if resume.does_not_follow() || goes_back || (!was_taken && checkpoint > 0) {
            self.shared.has_begun_anew.store(true, Ordering::Release);
        }
        self.shared.begin(Start { log, done, until, last_read, ambiguous_until, seen_until });
        Ok(Taken { cursor, revision, from: resume.from })
    }

    /// Fingerprint of the message at a position, if the log has one.
    async fn fingerprint_at(&self, sequence: u64, state: &LogState) -> Result<Option<Fingerprint>, BusError> {
        if sequence == 0 || sequence > state.last_sequence {
            return Ok(None);
        }
        let found = self.server.message_at(&self.shared.spec.stream, sequence).await?;
        Ok(found.as_ref().map(Fingerprint::of))
    }

    /// Tells a person what was met.
    fn say(&self, resume: &Resume, state: &LogState, cursor: u64) {
        let (consumer, log, epoch) = (&self.key, &state.log, resume.epoch);
        if resume.gap > 0 {
            self.say_gap(resume.gap);
        }
        match resume.encounter {
            Encounter::Cut => error!(
                consumer, %log, epoch, last = state.last_sequence, begin = ?resume.begun,
                "log was cut: it has lost messages that were applied; a new epoch begins, see `ulex events reconcile`"
            ),
            Encounter::Replaced => error!(
                consumer, %log, epoch, last = state.last_sequence,
                "log was replaced: another one stands in its place; a new epoch begins, see `ulex events reconcile`"
            ),
            Encounter::StoreWentBack => {
                info!(consumer, %log, epoch, cursor, from = ?resume.from, "data store is behind the cursor: the log brings it forward");
            }
            Encounter::First | Encounter::Same | Encounter::Continued => {}
        }
        if resume.is_new_epoch() {
            metrics::counter!("ulex_log_epochs_total").increment(1);
        }
    }

    fn say_gap(&self, messages: u64) {
        error!(consumer = self.key, messages, "log has a gap: it forgot messages before they were applied");
        metrics::counter!("ulex_log_gap_messages_total").increment(messages);
    }

    async fn put(&self, cursor: &Cursor, revision: u64) -> Result<u64, BusError> {
        put_cursor(Arc::clone(&self.server), self.key.clone(), cursor.clone(), revision).await
    }

    /// Keeps the cursor until it is lost, the log is another one, or the puller leaves. Reading goes on while the cursor
    /// is being written and the log is looked at.
    async fn hold(&mut self, taken: Taken) {
        let Taken { cursor, revision, from } = taken;
        let mut held = Held::new(cursor, revision, self.server.connections());
        let mut reading = LogReading { reader: None, from };
        let (mut renew, mut check) = (every(RENEW_INTERVAL), every(LOG_CHECK_INTERVAL));
        loop {
            let shared = Arc::clone(&self.shared);
            let server = Arc::clone(&self.server);
            let mut settled = std::pin::pin!(shared.settled.notified());
            settled.as_mut().enable();
            let (is_writing, is_checking) = (held.writing.is_some(), held.checking.is_some());
            let flush_at = held.flush_at;
            if !is_checking && server.connections() != held.connections {
                self.check(&mut held);
                continue;
            }
            let step = tokio::select! {
                biased;
                () = Self::leaving(&shared, &mut self.closed) => Step::Leave,
                written = finished(&mut held.writing), if is_writing => Step::Written(written),
                checked = finished(&mut held.checking), if is_checking => Step::Checked(checked),
                _ = renew.tick(), if !is_writing => Step::Write,
                _ = check.tick(), if !is_checking => Step::Check,
                () = at(flush_at), if !is_writing && flush_at.is_some() => Step::Write,
                () = &mut settled, if flush_at.is_none() => Step::Settled,
                read = reading.ahead(server.as_ref(), &shared) => Step::Read(read),
            };
            if !self.take_step(step, &mut held).await {
                return;
            }
        }
    }

    /// Whether the tenure goes on.
    async fn take_step(&mut self, step: Step, held: &mut Held) -> bool {
        match step {
            Step::Read(Ok(messages)) => return self.received(messages, held).await,
            Step::Read(Err(BusError::NoStream { .. })) => {
                warn!(consumer = self.key, "log is gone: its stream does not exist");
                return false;
            }
            Step::Read(Err(reason)) => {
                debug!(%reason, consumer = self.key, "cannot read");
                self.rest(STANDBY_INTERVAL).await;
            }
            Step::Settled => held.flush_at = Some(held.written_at + FLUSH_INTERVAL),
            Step::Write => {
                held.flush_at = None;
                self.write(held, Some(self.holder.clone()));
            }
            Step::Written(written) => return self.take_note(held, written).await,
            Step::Check => self.check(held),
            Step::Checked(Ok(is_same)) => {
                self.saw_cut = !is_same;
                if !is_same {
                    warn!(
                        consumer = self.key,
                        "log is not what it was: it is compared with the data store again"
                    );
                }
                return is_same;
            }
            Step::Checked(Err(reason)) => {
                debug!(%reason, consumer = self.key, "the log cannot be looked at");
                // It is looked at until it was seen.
                self.rest(STANDBY_INTERVAL).await;
                held.connections = u64::MAX;
            }
            Step::Leave => {
                self.leave(held).await;
                return false;
            }
        }
        true
    }

    async fn leave(&mut self, held: &mut Held) {
        if held.writing.is_some() {
            let written = finished(&mut held.writing).await;
            self.take_note(held, written).await;
        }
        self.write(held, None);
        let (_, outcome) = finished(&mut held.writing).await;
        if let Err(reason) = outcome {
            debug!(%reason, consumer = self.key, "the cursor could not be given back");
        }
    }

    /// Takes messages into hand; before the first of a tenure the cursor says which it is.
    async fn received(&mut self, messages: Vec<StreamMessage>, held: &mut Held) -> bool {
        let Some(first) = messages.first().map(|message| message.sequence) else { return true };
        // What another server sent belongs to another log until it is known to be the same.
        if held.checking.is_none() && self.server.connections() != held.connections {
            self.check(held);
        }
        if held.checking.is_some() && !matches!(finished(&mut held.checking).await, Ok(true)) {
            warn!(
                consumer = self.key,
                "log may not be what it was: it is compared with the data store again"
            );
            self.saw_cut = true;
            return false;
        }
        self.look_for_gap(first).await;
        if !held.has_begun {
            let before = held.cursor.attempt.filter(|attempt| attempt.sequence == first);
            let holders = before.map_or(0, |attempt| attempt.holders) + 1;
            held.head = Some(HeadAttempt { sequence: first, holders });
            if !self.write_head(held).await {
                return false;
            }
            held.has_begun = true;
            self.shared.expect_head(first, holders - 1);
        }
        self.shared.take(messages);
        true
    }

    /// Writes that work on the first message begins; `false` if the tenure ends before that is on the bus.
    async fn write_head(&mut self, held: &mut Held) -> bool {
        while !self.is_leaving() {
            if held.writing.is_none() {
                self.write(held, Some(self.holder.clone()));
            }
            let written = finished(&mut held.writing).await;
            let is_written = written.1.is_ok() && held.cursor.attempt == held.head;
            if !self.take_note(held, written).await {
                return false;
            }
            if is_written {
                return true;
            }
            self.rest(FLUSH_INTERVAL).await;
        }
        self.leave(held).await;
        false
    }

    /// A jump of positions is a gap if the log begins behind what was read; otherwise messages were removed one by one.
    async fn look_for_gap(&self, first: u64) {
        let Some(read) = self.shared.read_until() else { return };
        if first <= read + 1 {
            return;
        }
        if let Ok(state) = self.server.log_state(&self.shared.spec.stream).await
            && state.first_sequence > read + 1
        {
            self.say_gap(state.first_sequence - read - 1);
        }
    }

    /// Begins to look whether the log is what it was.
    fn check(&self, held: &mut Held) {
        let (server, stream) = (Arc::clone(&self.server), self.shared.spec.stream.clone());
        held.connections = server.connections();
        let (log, (read, last_read)) = (held.cursor.log.clone(), self.shared.last_read());
        held.checking = Some(Box::pin(async move {
            let state = match server.log_state(&stream).await {
                Ok(state) => state,
                Err(BusError::NoStream { .. }) => return Ok(false),
                Err(reason) => return Err(reason),
            };
            let is_named_so = state.log == log || !state.is_named;
            if !is_named_so || state.last_sequence < read {
                return Ok(false);
            }
            let Some(expected) = last_read else { return Ok(true) };
            let found = server.message_at(&stream, read).await?;
            Ok(found.is_none_or(|found| Fingerprint::of(&found) == expected))
        }));
    }

    /// Begins to write how far the consumer has come.
    fn write(&self, held: &mut Held, holder: Option<String>) {
        let progress = self.shared.progress();
        held.cursor.done = held.cursor.done.max(progress.done);
        held.cursor.attempt = match (held.has_begun, progress.in_flight) {
            (false, _) => held.head.or(held.cursor.attempt),
            (true, None) => None,
            (true, Some(sequence)) => held
                .head
                .filter(|head| head.sequence == sequence)
                .or(Some(HeadAttempt { sequence, holders: 1 })),
        };
        held.cursor.holder = holder;
        held.cursor.restart = progress.restart;
        let (server, key) = (Arc::clone(&self.server), self.key.clone());
        let (cursor, revision) = (held.cursor.clone(), held.revision);
        held.writing = Some(Box::pin(async move {
            let asked_at = Instant::now();
            (asked_at, put_cursor(server, key, cursor, revision).await)
        }));
    }

    /// What came of a write; `false` if another process moves the cursor now.
    async fn take_note(&mut self, held: &mut Held, (asked_at, outcome): Written) -> bool {
        match outcome {
            Ok(revision) => {
                held.revision = revision;
                held.written_at = asked_at;
                self.shared.extend(asked_at + TAKE_OVER_AFTER.mul_f64(HOLDING_PART));
            }
            // An answer that was lost leaves a later revision, of this very holder.
            Err(BusError::Conflict { .. }) => match self.read_cursor().await {
                Ok((Some(found), revision)) if found.holder.as_ref() == Some(&self.holder) => {
                    held.revision = revision;
                }
                Ok(_) => {
                    info!(
                        consumer = self.key,
                        "cursor is lost: another process drains, or it was written over"
                    );
                    return false;
                }
                Err(reason) => debug!(%reason, consumer = self.key, "the cursor cannot be read"),
            },
            Err(reason) => debug!(%reason, consumer = self.key, "the cursor cannot be written"),
        }
        true
    }
}

async fn put_cursor(
    server: Arc<dyn LogServer>,
    key: String,
    cursor: Cursor,
    revision: u64,
) -> Result<u64, BusError> {
    let value = serde_json::to_vec(&cursor);
    let value = value.map_err(|source| BusError::Malformed { subject: key.clone(), source })?;
    server.put_cursor(&key, value.into(), revision).await
}
