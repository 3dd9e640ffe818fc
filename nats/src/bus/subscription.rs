//! Core messages as they arrive, decoded.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Of, decode, message};
use crate::subject::last_token;
use crate::transport::{Headers, Message, RawSubscription, Transport};
use crate::{BusError, Payload, Request, Subject, TokenError};

/// A message that arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Received<P> {
    /// What it says.
    pub body: P,
    /// Where it was sent.
    pub subject: String,
    /// Where an answer is expected.
    pub reply: Option<String>,
    /// Headers.
    pub headers: Headers,
}

impl<P: Payload> Received<P> {
    fn read(message: Message) -> Result<Self, BusError> {
        let body = decode(&message)?;
        let Message { subject, reply, headers, payload: _ } = message;
        Ok(Self { body, subject, reply, headers })
    }
}

/// A stream of decoded messages. Dropping it unsubscribes.
pub struct Subscription<E> {
    raw: Box<dyn RawSubscription>,
    transport: Arc<dyn Transport>,
    event: Of<E>,
}

impl<E: Subject> Subscription<E> {
    pub(super) fn new(raw: Box<dyn RawSubscription>, transport: Arc<dyn Transport>) -> Self {
        Self { raw, transport, event: PhantomData }
    }

    /// The next message, or `None` once the bus is closed. An unreadable message is an error, and the next call
    /// gives the one after it.
    pub async fn next(&mut self) -> Option<Result<Received<E>, BusError>> {
        Some(Received::read(self.raw.next().await?))
    }
}

impl<R: Request> Subscription<R> {
    /// Answers the next request with what `handle` returns; `None` once the bus is closed.
    ///
    /// # Errors
    ///
    /// [`BusError::Malformed`] or [`BusError::Schema`] for a request that cannot be read; it stays unanswered.
    pub async fn answer(&mut self, handle: impl AsyncFnOnce(R) -> R::Reply) -> Option<Result<(), BusError>> {
        let request = match self.next().await? {
            Ok(request) => request,
            Err(error) => return Some(Err(error)),
        };
        let reply = handle(request.body).await;
        let Some(inbox) = request.reply else { return Some(Ok(())) };
        let message = match message(inbox, &reply, Headers::new()) {
            Ok(message) => message,
            Err(error) => return Some(Err(error)),
        };
        Some(self.transport.publish(message).await)
    }
}

/// A subject of its own, where receipts and answers arrive. It has as many addresses as there are numbers, so one
/// inbox serves everything a process waits for: register who waits under a number, then send with its address.
pub struct Inbox<P> {
    base: String,
    raw: Box<dyn RawSubscription>,
    payload: Of<P>,
}

impl<P: Payload> Inbox<P> {
    pub(super) fn new(base: String, raw: Box<dyn RawSubscription>) -> Self {
        Self { base, raw, payload: PhantomData }
    }

    /// Makes addresses, also after the inbox has moved to the task that reads it.
    #[must_use]
    pub fn addresses(&self) -> InboxAddresses {
        InboxAddresses { base: self.base.as_str().into() }
    }

    /// The next message with the number of its address, or `None` once the bus is closed.
    pub async fn next(&mut self) -> Option<Result<(u64, P), BusError>> {
        let message = self.raw.next().await?;
        let number = last_token(&message.subject).parse();
        let Ok(number) = number else {
            return Some(Err(BusError::Token(TokenError(message.subject))));
        };
        Some(decode(&message).map(|body| (number, body)))
    }
}

/// The addresses of an [`Inbox`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InboxAddresses {
    base: Arc<str>,
}

impl InboxAddresses {
    /// The address of this number.
    #[must_use]
    pub fn address(&self, number: u64) -> String {
        format!("{}.{number}", self.base)
    }
}
