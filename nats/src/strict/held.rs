//! State of a tenure: the cursor as its holder knows it, work under way, the reader.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::cursor::{Cursor, HeadAttempt};
use super::hand::{READ_MAX, Shared};
use super::{LogServer, RENEW_INTERVAL};
use crate::BusError;
use crate::transport::{RawReader, ReadFrom, StreamMessage};

/// When a write was begun, and what came of it.
pub(super) type Written = (Instant, Result<u64, BusError>);

pub(super) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

pub(super) fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    ticks
}

/// Waits for work that was begun, if there is some.
pub(super) async fn finished<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    match work {
        Some(future) => {
            let outcome = future.await;
            *work = None;
            outcome
        }
        None => std::future::pending().await,
    }
}

/// The cursor as its holder knows it.
pub(super) struct Held {
    pub(super) cursor: Cursor,
    pub(super) revision: u64,
    pub(super) written_at: Instant,
    pub(super) writing: Option<BoxFuture<'static, Written>>,
    /// When to write because everything is settled.
    pub(super) flush_at: Option<Instant>,
    pub(super) checking: Option<BoxFuture<'static, Result<bool, BusError>>>,
    /// Connections made when the log was looked at last.
    pub(super) connections: u64,
    /// Whether a message has been handed out.
    pub(super) has_begun: bool,
    /// The first message of this tenure.
    pub(super) head: Option<HeadAttempt>,
}

impl Held {
    pub(super) fn new(cursor: Cursor, revision: u64, connections: u64) -> Self {
        Self {
            cursor,
            revision,
            written_at: Instant::now(),
            writing: None,
            flush_at: None,
            checking: None,
            connections,
            has_begun: false,
            head: None,
        }
    }
}

/// What a holder does next.
pub(super) enum Step {
    Leave,
    Write,
    Written(Written),
    Check,
    Checked(Result<bool, BusError>),
    Settled,
    Read(Result<Vec<StreamMessage>, BusError>),
}

/// The reader of a tenure.
pub(super) struct LogReading {
    pub(super) reader: Option<Box<dyn RawReader>>,
    /// Where it begins.
    pub(super) from: ReadFrom,
}

impl LogReading {
    /// Waits for messages behind those at hand, if there is room for them.
    pub(super) async fn ahead(
        &mut self,
        server: &dyn LogServer,
        shared: &Shared,
    ) -> Result<Vec<StreamMessage>, BusError> {
        if !shared.has_room() {
            return std::future::pending().await;
        }
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let reader = server.read(&shared.spec.stream, &shared.spec.filter, self.from).await?;
                self.reader.insert(reader)
            }
        };
        reader.read(READ_MAX, RENEW_INTERVAL).await
    }
}
