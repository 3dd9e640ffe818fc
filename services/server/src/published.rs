//! What a message of the stream `EVENTS` asks for.
//!
//! The body follows the schema that the header `ulex-schema` names; without one, what the subject says it is about.
//!
//! | schema | subject | body |
//! |---|---|---|
//! | `feedback/1` | `event.feedback.*` | Gorse's feedback, one object or an array |
//! | `users/1` | `event.user.*` | Gorse's users, one object or an array |
//! | `items/1` | `event.item.*` | Gorse's items, one object or an array |
//! | `event/1` | as its command is about | an [`EventEnvelope`], as the REST gateway writes it |
//!
//! A right to publish to the subjects of one kind is a right to change that kind and no other: a command on the subject of
//! another kind is refused, and an envelope creates no users or items that a publisher's record could not create.
//!
//! A record says in `Op` what is to be done; neighbours of an array that ask for the same make one event, so that an
//! array takes effect in its order. A message takes effect as a whole or not at all. Nothing here depends on the clock
//! or on what is stored: the same message asks for the same again whenever it is read.

use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Error as JsonError;
use ulex_domain::{Command, EventId, FeedbackMode, RowKey, Timestamp};
use ulex_nats::Payload;
use ulex_nats::events::EventEnvelope;
use ulex_nats::transport::{EVENT_ID_HEADER, MESSAGE_ID_HEADER, Message, SCHEMA_HEADER};

use crate::decode::{self, Asked, Published};
use crate::parts::part_id;

/// Most events of one message: its position in the log leaves room for so many.
pub const MOST_EVENTS: usize = 1 << PART_BITS;

const PART_BITS: u32 = 16;

/// The position that the store keeps for an event: a message may hold several, and each has its own.
#[must_use]
pub const fn position(sequence: u64, part: usize) -> u64 {
    (sequence << PART_BITS) | part as u64
}

/// The position in the stream of the message that holds the event.
#[must_use]
pub const fn sequence_at(position: u64) -> u64 {
    position >> PART_BITS
}

/// What publishers cannot say for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Feedback creates unknown users.
    pub insert_users: bool,
    /// Feedback creates unknown items.
    pub insert_items: bool,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Feedback,
    Users,
    Items,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Feedback, Self::Users, Self::Items];

    const fn schema(self) -> &'static str {
        match self {
            Self::Feedback => "feedback/1",
            Self::Users => "users/1",
            Self::Items => "items/1",
        }
    }

    const fn token(self) -> &'static str {
        match self {
            Self::Feedback => "feedback",
            Self::Users => "user",
            Self::Items => "item",
        }
    }

    /// By `ulex.v1.<tenant>.event.<kind>.<anything>`.
    fn of_subject(subject: &str) -> Result<Self, String> {
        let token = subject.split('.').nth(4).unwrap_or_default();
        Self::ALL.into_iter().find(|kind| kind.token() == token).ok_or_else(|| {
            format!(
                "subject: expected event.feedback.*, event.user.* or event.item.* \
                 (or a header {SCHEMA_HEADER}), got {subject:?}"
            )
        })
    }

    fn of_schema(schema: &str, subject: &str) -> Result<Self, String> {
        let Some(kind) = Self::ALL.into_iter().find(|kind| kind.schema() == schema) else {
            return Err(format!(
                "{SCHEMA_HEADER}: this version reads feedback/1, users/1, items/1 and {}, got {schema:?}",
                EventEnvelope::SCHEMA
            ));
        };
        match Self::of_subject(subject) {
            Ok(other) if other != kind => {
                Err(format!("{SCHEMA_HEADER}: expected {} on {subject}, got {schema:?}", other.schema()))
            }
            Ok(_) | Err(_) => Ok(kind),
        }
    }

    fn decode(self, body: &[u8]) -> Result<Vec<Published>, String> {
        let records = match self {
            Self::Feedback => decode::published_feedback(body),
            Self::Users => decode::published_users(body),
            Self::Items => decode::published_items(body),
        };
        records.map_err(|reason| reason.to_string())
    }
}

/// The events that a message appended at `appended_at` asks for, in order; none for an empty array.
///
/// # Errors
///
/// Which field, row or header cannot be used, and what was expected. Reading the message again will not help.
pub fn events_of(
    message: &Message,
    appended_at: SystemTime,
    admission: Admission,
) -> Result<Vec<EventEnvelope>, String> {
    let given_id = given_id(message)?;
    let kind = match message.headers.get(SCHEMA_HEADER) {
        None => Kind::of_subject(&message.subject)?,
        Some(schema) if schema == EventEnvelope::SCHEMA => return envelope(message, given_id, admission),
        Some(schema) => Kind::of_schema(schema, &message.subject)?,
    };
    let events = grouped(kind.decode(&message.payload)?, moment(appended_at), admission)?;
    if events.len() > MOST_EVENTS {
        return Err(format!("expected at most {MOST_EVENTS} events in one message, got {}", events.len()));
    }
    Ok(named(events, given_id.as_ref()))
}

fn given_id(message: &Message) -> Result<Option<EventId>, String> {
    let find = |name| message.headers.get(name).map(|text| (name, text));
    let Some((name, text)) = find(EVENT_ID_HEADER).or_else(|| find(MESSAGE_ID_HEADER)) else {
        return Ok(None);
    };
    EventId::new(text).map(Some).map_err(|reason| format!("{name}: {reason}"))
}

fn envelope(
    message: &Message,
    given_id: Option<EventId>,
    admission: Admission,
) -> Result<Vec<EventEnvelope>, String> {
    let read = serde_json::from_slice(&message.payload);
    let mut envelope: EventEnvelope = read.map_err(|reason: JsonError| reason.to_string())?;
    let (topic, _) = envelope.event.subject();
    if Kind::of_subject(&message.subject)?.token() != topic.as_str() {
        let expected = topic.as_str();
        return Err(format!(
            "subject: expected event.{expected}.* for this command, got {:?}",
            message.subject
        ));
    }
    if let Command::PutFeedback { insert_users, insert_items, .. } = &mut envelope.event {
        *insert_users &= admission.insert_users;
        *insert_items &= admission.insert_items;
    }
    Ok(vec![EventEnvelope { event_id: envelope.event_id.or(given_id), ..envelope }])
}

fn moment(time: SystemTime) -> Timestamp {
    let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// Neighbours that ask for the same become one event, and so do all records with the same id.
fn grouped(
    records: Vec<Published>,
    appended_at: Timestamp,
    admission: Admission,
) -> Result<Vec<EventEnvelope>, String> {
    let mut events: Vec<EventEnvelope> = Vec::new();
    let mut by_id: HashMap<EventId, usize> = HashMap::new();
    // The keys of the last event that has no id. Of duplicates in one event only the first counts, but two records
    // of an array are two requests: the second begins another event.
    let mut keys: HashSet<RowKey> = HashSet::new();
    for (row, (asked, event_id)) in records.into_iter().enumerate() {
        let event = event(asked, appended_at, admission);
        let place = match &event_id {
            Some(id) => by_id.get(id).copied(),
            None if event.first_row_key().is_some_and(|key| keys.insert(key)) => events.len().checked_sub(1),
            None => None,
        };
        let joined = match place.and_then(|place| events.get_mut(place)) {
            Some(last) if last.event_id == event_id => last.event.merge(event),
            Some(_) | None => Some(event),
        };
        let Some(event) = joined else { continue };
        match &event_id {
            Some(id) if by_id.contains_key(id) => {
                let text =
                    "expected one id for one event; an earlier record with this id asks for something else";
                return Err(format!("[{row}].EventId: {text}"));
            }
            Some(id) => {
                by_id.insert(id.clone(), events.len());
            }
            None => keys = event.first_row_key().into_iter().collect(),
        }
        events.push(EventEnvelope { event_id, event });
    }
    Ok(events)
}

/// Gives the events that have none an id made from the message's.
fn named(mut events: Vec<EventEnvelope>, given_id: Option<&EventId>) -> Vec<EventEnvelope> {
    if let Some(id) = given_id {
        let nameless = events.iter_mut().filter(|envelope| envelope.event_id.is_none());
        nameless.enumerate().for_each(|(part, envelope)| envelope.event_id = Some(part_id(id, part)));
    }
    events
}

fn event(asked: Asked, appended_at: Timestamp, admission: Admission) -> Command {
    let Admission { insert_users, insert_items } = admission;
    let feedback = |mut row: ulex_domain::Feedback, mode| {
        if row.timestamp.is_zero() {
            row.timestamp = appended_at;
            row.updated = appended_at;
        }
        Command::PutFeedback { rows: vec![row], mode, insert_users, insert_items }
    };
    match asked {
        Asked::Add(row) => feedback(row, FeedbackMode::Accumulate),
        Asked::Replace(row) => feedback(row, FeedbackMode::Overwrite),
        Asked::RemoveFeedback(user_id, item_id, feedback_type) => {
            Command::DeleteFeedback { user_id, item_id, feedback_type }
        }
        Asked::User(user) => Command::PutUsers { users: vec![user] },
        Asked::PatchUser(user_id, patch) => Command::PatchUser { user_id, patch },
        Asked::RemoveUser(user_id) => Command::DeleteUser { user_id },
        Asked::Item(item) => Command::PutItems { items: vec![item] },
        Asked::PatchItem(item_id, patch) => Command::PatchItem { item_id, patch },
        Asked::RemoveItem(item_id) => Command::DeleteItem { item_id },
    }
}

#[cfg(test)]
mod tests;
