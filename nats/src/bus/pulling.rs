//! Streams as they are drained or read, decoded.

use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use super::{Of, decode};
use crate::transport::{Message, RECEIPT_HEADER, RawDelivery, RawPuller, RawReader};
use crate::{BusError, Payload};

/// Drains a durable consumer.
pub struct Puller<P> {
    raw: Box<dyn RawPuller>,
    payload: Of<P>,
}

impl<P: Payload> Puller<P> {
    pub(super) fn new(raw: Box<dyn RawPuller>) -> Self {
        Self { raw, payload: PhantomData }
    }

    /// Waits for at least one message, at most `wait`, and returns up to `max` that are there. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    ///
    /// [`BusError::Closed`] once the bus is closed, [`BusError::Transport`] if it cannot be reached.
    pub async fn pull(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery<P>>, BusError> {
        let raw = self.raw.pull(max, wait).await?;
        Ok(raw.into_iter().map(Delivery::read).collect())
    }
}

/// A message that must be settled: [`Delivery::ack`], [`Delivery::nak`] or [`Delivery::term`]. Dropping it without a
/// word brings it back after the consumer's `ack_wait`.
pub struct Delivery<P> {
    raw: Box<dyn RawDelivery>,
    body: Result<P, BusError>,
}

impl<P: Payload> Delivery<P> {
    fn read(raw: Box<dyn RawDelivery>) -> Self {
        let body = decode(raw.message());
        Self { raw, body }
    }

    /// What it says, or why it cannot be read.
    ///
    /// # Errors
    ///
    /// [`BusError::Malformed`] or [`BusError::Schema`]; delivering it again will not help.
    pub const fn body(&self) -> Result<&P, &BusError> {
        self.body.as_ref()
    }

    /// The body by value, and what settles it.
    pub fn into_parts(self) -> (Result<P, BusError>, Box<dyn RawDelivery>) {
        (self.body, self.raw)
    }

    /// The message in bytes, with its headers.
    #[must_use]
    pub fn message(&self) -> &Message {
        self.raw.message()
    }

    /// Where the publisher waits for a receipt, if it does.
    #[must_use]
    pub fn receipt_to(&self) -> Option<&str> {
        self.raw.message().headers.get(RECEIPT_HEADER).map(String::as_str)
    }

    /// Position in the stream.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.raw.sequence()
    }

    /// How often it has been delivered, from 1.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.raw.attempt()
    }

    /// When it was appended.
    #[must_use]
    pub fn appended_at(&self) -> SystemTime {
        self.raw.appended_at()
    }

    /// Done; never delivered again.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if the bus cannot be reached: expect the message again.
    pub async fn ack(&self) -> Result<(), BusError> {
        self.raw.ack().await
    }

    /// Deliver again, after `delay`.
    ///
    /// # Errors
    ///
    /// As [`Delivery::ack`].
    pub async fn nak(&self, delay: Duration) -> Result<(), BusError> {
        self.raw.nak(delay).await
    }

    /// Still working: starts `ack_wait` anew.
    ///
    /// # Errors
    ///
    /// As [`Delivery::ack`].
    pub async fn in_progress(&self) -> Result<(), BusError> {
        self.raw.in_progress().await
    }

    /// Never deliver again, although it failed.
    ///
    /// # Errors
    ///
    /// As [`Delivery::ack`].
    pub async fn term(&self) -> Result<(), BusError> {
        self.raw.term().await
    }
}

/// Reads a stream in order, without acknowledging anything.
pub struct Reader<P> {
    raw: Box<dyn RawReader>,
    payload: Of<P>,
}

/// A message as a stream keeps it.
#[derive(Debug)]
pub struct Read<P> {
    /// Position.
    pub sequence: u64,
    /// When it was appended.
    pub appended_at: SystemTime,
    /// What it says, or why it cannot be read.
    pub body: Result<P, BusError>,
    /// The message in bytes, with its headers.
    pub message: Message,
}

impl<P: Payload> Reader<P> {
    pub(super) fn new(raw: Box<dyn RawReader>) -> Self {
        Self { raw, payload: PhantomData }
    }

    /// Waits for at least one message, at most `wait`, and returns up to `max`.
    ///
    /// # Errors
    ///
    /// As [`Puller::pull`].
    pub async fn read(&mut self, max: usize, wait: Duration) -> Result<Vec<Read<P>>, BusError> {
        let raw = self.raw.read(max, wait).await?;
        let read = raw.into_iter().map(|kept| Read {
            sequence: kept.sequence,
            appended_at: kept.appended_at,
            body: decode(&kept.message),
            message: kept.message,
        });
        Ok(read.collect())
    }
}
