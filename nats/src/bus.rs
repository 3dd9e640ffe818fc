//! Publishing, requesting, appending and pulling by type instead of by string.
//!
//! Bodies are JSON. Every message says which schema it follows; one that says something else than its reader expects
//! is refused with [`BusError::Schema`], one that says nothing is read as if it did (publishers from outside).
//! Headers travel with the message and are handed to the receiver; the trace context is put in, if there is one.
//!
//! Names of the topology are without tenant. A [`Bus`] belongs to one tenant and puts it in: into subjects, into the
//! names of its consumers (`ingest-<tenant>`), its buckets and its object buckets (`<tenant>-members`). Streams hold
//! all tenants.

mod buckets;
mod pulling;
mod subscription;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ulex_domain::{Clock, SystemClock, TenantId};

pub use buckets::{Bucket, Changed, Objects, Stored, Watch};
pub use pulling::{Delivery, Puller, Read, Reader};
pub use subscription::{Inbox, InboxAddresses, Received, Subscription};

use crate::subject::{ROOT, filter_of, subject_of};
use crate::transport::{
    Appended, Backlog, BucketSpec, CheckpointSource, ConsumerSpec, Headers, MESSAGE_ID_HEADER, Message,
    RECEIPT_HEADER, RawPuller, RawReader, ReadFrom, SCHEMA_HEADER, StreamSpec, StreamState, Transport,
};
use crate::{BusError, Payload, Request, Subject, trace_context};

/// What an appended message carries besides its body.
#[derive(Clone, Debug, Default)]
pub struct AppendOptions {
    /// Idempotency key within the stream's window.
    pub message_id: Option<String>,
    /// Where the publisher waits for the receipt: [`InboxAddresses::address`].
    pub receipt_to: Option<String>,
    /// Further headers.
    pub headers: Headers,
}

/// One tenant's view of the bus. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    transport: Arc<dyn Transport>,
    tenant: TenantId,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bus").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl Bus {
    /// The view of `tenant` on `transport`.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, tenant: TenantId) -> Self {
        Self { transport, tenant, clock: Arc::new(SystemClock) }
    }

    /// The same view in a process whose wall clock is another one than that of the operating system.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Wall clock of this process.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// Whose view this is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The same bus in bytes.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Sends `event` to whoever listens now.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] or [`BusError::Closed`] if the bus cannot take it.
    pub async fn publish<E: Subject>(&self, event: &E) -> Result<(), BusError> {
        self.publish_with(event, Headers::new()).await
    }

    /// [`Bus::publish`] with headers.
    ///
    /// # Errors
    ///
    /// As [`Bus::publish`].
    pub async fn publish_with<E: Subject>(&self, event: &E, headers: Headers) -> Result<(), BusError> {
        self.transport.publish(message(subject_of(self.tenant.as_str(), event), event, headers)?).await
    }

    /// Sends `payload` to one inbox: an answer or a receipt. The address comes from a publisher, who must not borrow the
    /// rights of this process, so it has to be an inbox.
    ///
    /// # Errors
    ///
    /// As [`Bus::publish`]; [`BusError::Refused`] if the address is none of an inbox.
    pub async fn send_to<P: Payload>(&self, inbox: &str, payload: &P) -> Result<(), BusError> {
        if !is_inbox(inbox, &self.transport.inbox()) {
            let reason = "receipts and answers go to inboxes only".to_owned();
            return Err(BusError::Refused { name: inbox.to_owned(), reason });
        }
        self.transport.publish(message(inbox.to_owned(), payload, Headers::new())?).await
    }

    /// Sends `request` and waits for one answer, at most [`Request::TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`BusError::NoResponders`] at once if nobody serves the subject, [`BusError::Timeout`] if nobody answered in
    /// time, [`BusError::Malformed`] or [`BusError::Schema`] if the answer is not a reply of this version.
    pub async fn request<R: Request>(&self, request: &R) -> Result<R::Reply, BusError> {
        let message = message(subject_of(self.tenant.as_str(), request), request, Headers::new())?;
        let answer = self.transport.request(message, R::TIMEOUT).await?;
        decode(&answer)
    }

    /// Listens to every `E`. With a `queue`, each message goes to one listener of that queue only.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] or [`BusError::Closed`] if the bus cannot be reached.
    pub async fn subscribe<E: Subject>(&self, queue: Option<&str>) -> Result<Subscription<E>, BusError> {
        let raw = self.transport.subscribe(&filter_of::<E>(self.tenant.as_str()), queue).await?;
        Ok(Subscription::new(raw, Arc::clone(&self.transport)))
    }

    /// Opens an inbox for receipts or answers. One serves many messages.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`].
    pub async fn inbox<P: Payload>(&self) -> Result<Inbox<P>, BusError> {
        let base = self.transport.inbox();
        let raw = self.transport.subscribe(&format!("{base}.*"), None).await?;
        Ok(Inbox::new(base, raw))
    }

    /// Appends `event` to its stream and waits until the stream has it.
    ///
    /// # Errors
    ///
    /// [`BusError::Full`] if the stream has no room, [`BusError::NoStream`] if no stream captures the subject,
    /// [`BusError::Timeout`] or [`BusError::Transport`] if the outcome is unknown: append it again with the same id.
    pub async fn append<E: Subject>(&self, event: &E, options: AppendOptions) -> Result<Appended, BusError> {
        let mut headers = options.headers;
        if let Some(id) = options.message_id {
            headers.insert(MESSAGE_ID_HEADER.to_owned(), id);
        }
        if let Some(inbox) = options.receipt_to {
            headers.insert(RECEIPT_HEADER.to_owned(), inbox);
        }
        self.transport.append(message(subject_of(self.tenant.as_str(), event), event, headers)?).await
    }

    /// Creates the stream, or brings it to this definition. Streams are shared by all tenants.
    ///
    /// # Errors
    ///
    /// [`BusError::Refused`] if the definition cannot be fulfilled.
    pub async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), BusError> {
        self.transport.ensure_stream(spec).await
    }

    /// What a stream holds, of all tenants.
    ///
    /// # Errors
    ///
    /// [`BusError::NoStream`] if there is none of that name.
    pub async fn stream_state(&self, stream: &str) -> Result<StreamState, BusError> {
        self.transport.stream_state(stream).await
    }

    /// Creates this tenant's durable consumer, or brings it to this definition.
    ///
    /// # Errors
    ///
    /// [`BusError::NoStream`], or [`BusError::Refused`] if the definition cannot be fulfilled.
    pub async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), BusError> {
        self.transport.ensure_consumer(&self.own_consumer(spec)).await
    }

    /// Binds to this tenant's durable consumer. `P` is what the payloads are; the subjects are those of the
    /// specification.
    ///
    /// # Errors
    ///
    /// As [`Bus::ensure_consumer`].
    pub async fn puller<P: Payload>(&self, spec: &ConsumerSpec) -> Result<Puller<P>, BusError> {
        let raw = self.transport.puller(&self.own_consumer(spec), None).await?;
        Ok(Puller::new(raw))
    }

    /// [`Bus::puller`] of messages in bytes, for a stream that holds several schemas. With `checkpoints`, whoever takes
    /// the consumer compares the log with the data store and goes on behind the store's place.
    ///
    /// # Errors
    ///
    /// As [`Bus::ensure_consumer`].
    pub async fn raw_puller(
        &self,
        spec: &ConsumerSpec,
        checkpoints: Option<Arc<dyn CheckpointSource>>,
    ) -> Result<Box<dyn RawPuller>, BusError> {
        self.transport.puller(&self.own_consumer(spec), checkpoints).await
    }

    /// What this tenant's consumer has before it.
    ///
    /// # Errors
    ///
    /// [`BusError::NoStream`] if its stream does not exist.
    pub async fn backlog(&self, spec: &ConsumerSpec) -> Result<Backlog, BusError> {
        self.transport.backlog(&self.own_consumer(spec)).await
    }

    /// Reads every `E` of this tenant in a stream, and then what is appended, without acknowledging.
    ///
    /// # Errors
    ///
    /// [`BusError::NoStream`] if there is none of that name.
    pub async fn reader<E: Subject>(&self, stream: &str, from: ReadFrom) -> Result<Reader<E>, BusError> {
        let raw = self.transport.reader(stream, &filter_of::<E>(self.tenant.as_str()), from).await?;
        Ok(Reader::new(raw))
    }

    /// [`Bus::reader`] of messages in bytes, for a stream that holds several schemas.
    ///
    /// # Errors
    ///
    /// As [`Bus::reader`].
    pub async fn raw_reader<E: Subject>(
        &self,
        stream: &str,
        from: ReadFrom,
    ) -> Result<Box<dyn RawReader>, BusError> {
        self.transport.reader(stream, &filter_of::<E>(self.tenant.as_str()), from).await
    }

    /// Opens this tenant's bucket, creating it or bringing it to this definition.
    ///
    /// # Errors
    ///
    /// [`BusError::Refused`] if the definition cannot be fulfilled, [`BusError::Transport`] if it cannot be opened.
    pub async fn bucket<T>(&self, spec: &BucketSpec) -> Result<Bucket<T>, BusError>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let own = BucketSpec { name: self.own_name(&spec.name).into(), ..spec.clone() };
        let raw = self.transport.bucket(&own).await?;
        Ok(Bucket::new(raw.into()))
    }

    /// Opens this tenant's object bucket, creating it if need be.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if it cannot be opened.
    pub async fn objects(&self, name: &str) -> Result<Objects, BusError> {
        let raw = self.transport.objects(&self.own_name(name)).await?;
        Ok(Objects::new(raw.into()))
    }

    /// Settles what is on its way and ends every subscription, of all tenants.
    pub async fn close(&self) {
        self.transport.close().await;
    }

    fn own_name(&self, name: &str) -> String {
        format!("{}-{name}", self.tenant)
    }

    fn own_consumer(&self, spec: &ConsumerSpec) -> ConsumerSpec {
        let own = |filter: &str| match filter.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix(".*.")) {
            Some(pattern) => format!("{ROOT}.{}.{pattern}", self.tenant),
            None => filter.to_owned(),
        };
        ConsumerSpec {
            name: format!("{}-{}", spec.name, self.tenant).into(),
            filter: own(&spec.filter).into(),
            ..spec.clone()
        }
    }
}

/// Whether an address is below `_INBOX` or below the prefix of this deployment's own inboxes.
pub(crate) fn is_inbox(address: &str, own_inbox: &str) -> bool {
    let prefix = own_inbox.rsplit_once('.').map_or("_INBOX", |(prefix, _)| prefix);
    let is_below = |prefix: &str| address.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
    let is_literal = |token: &str| {
        !token.is_empty() && !token.contains(|c: char| matches!(c, '*' | '>') || c.is_whitespace())
    };
    (is_below("_INBOX") || is_below(prefix)) && address.split('.').all(is_literal)
}

fn message<P: Payload>(subject: String, payload: &P, mut headers: Headers) -> Result<Message, BusError> {
    let payload = encode(&subject, payload)?;
    headers.insert(SCHEMA_HEADER.to_owned(), P::SCHEMA.to_owned());
    trace_context::inject(&mut headers);
    Ok(Message { subject, reply: None, headers, payload })
}

fn encode<T: Serialize>(subject: &str, value: &T) -> Result<Bytes, BusError> {
    let encoded = serde_json::to_vec(value);
    encoded.map(Bytes::from).map_err(|source| BusError::Malformed { subject: subject.to_owned(), source })
}

/// Reads a message that arrived in bytes.
///
/// # Errors
///
/// [`BusError::Malformed`] or [`BusError::Schema`]: it says something this version does not understand.
pub fn decode<P: Payload>(message: &Message) -> Result<P, BusError> {
    match message.headers.get(SCHEMA_HEADER) {
        Some(found) if found != P::SCHEMA => Err(BusError::Schema {
            subject: message.subject.clone(),
            expected: P::SCHEMA,
            found: found.clone(),
        }),
        Some(_) | None => decode_bytes(&message.subject, &message.payload),
    }
}

fn decode_bytes<T: DeserializeOwned>(subject: &str, payload: &[u8]) -> Result<T, BusError> {
    let decoded = serde_json::from_slice(payload);
    decoded.map_err(|source| BusError::Malformed { subject: subject.to_owned(), source })
}

/// Holds a type it does not own.
type Of<T> = PhantomData<fn() -> T>;

#[cfg(test)]
mod tests;
