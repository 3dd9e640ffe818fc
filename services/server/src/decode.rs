//! Request bodies into domain values, in one pass, borrowing from the body where JSON allows it.
//!
//! The rules are those of Gorse's decoder: keys match whatever their case, unknown keys are skipped, `null` is a
//! field's zero value, the first JSON value counts and what follows is ignored. Every refusal names the row and
//! the field and what was expected; the first one ends decoding, so nothing of a refused body is kept.

mod labels;
mod meter;
mod published;
mod records;
mod values;

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use ulex_domain::limits::MAX_ID_BYTES;
use ulex_domain::{EventId, Feedback, Item, ItemPatch, User, UserPatch};

use crate::error::ApiError;

pub(crate) use meter::{Account, metered};
pub(crate) use published::{Asked, Published};

/// Feedback of one request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FeedbackRows {
    /// The rows.
    pub(crate) rows: Vec<Feedback>,
    /// One id for each row, or empty if the rows carry none.
    pub(crate) event_ids: Vec<EventId>,
}

/// An array of feedback to store.
pub(crate) fn feedback(body: &[u8]) -> Result<FeedbackRows, ApiError> {
    let decoded = array::<records::FeedbackRecord<true>>(body)?;
    let given = decoded.iter().filter(|(_row, id)| id.is_some()).count();
    if given != 0 && given != decoded.len() {
        let bare = decoded.iter().position(|(_row, id)| id.is_none()).unwrap_or(0);
        return Err(ApiError::BadRequest(format!("[{bare}].EventId: expected in every row or in none")));
    }
    let mut event_ids = Vec::with_capacity(given);
    let rows = decoded
        .into_iter()
        .map(|(row, id)| {
            event_ids.extend(id);
            row
        })
        .collect();
    Ok(FeedbackRows { rows, event_ids })
}

/// An array of feedback of a session; nobody needs to be named in it.
pub(crate) fn session(body: &[u8]) -> Result<Vec<Feedback>, ApiError> {
    let decoded = array::<records::FeedbackRecord<false>>(body)?;
    Ok(decoded.into_iter().map(|(row, _id)| row).collect())
}

/// One user.
pub(crate) fn user(body: &[u8]) -> Result<User, ApiError> {
    object::<records::UserRecord>(body)
}

/// An array of users.
pub(crate) fn users(body: &[u8]) -> Result<Vec<User>, ApiError> {
    array::<records::UserRecord>(body)
}

/// What to change of a user.
pub(crate) fn user_patch(body: &[u8]) -> Result<UserPatch, ApiError> {
    object::<records::UserPatchRecord>(body)
}

/// One item.
pub(crate) fn item(body: &[u8]) -> Result<Item, ApiError> {
    object::<records::ItemRecord>(body)
}

/// An array of items.
pub(crate) fn items(body: &[u8]) -> Result<Vec<Item>, ApiError> {
    array::<records::ItemRecord>(body)
}

/// What to change of an item.
pub(crate) fn item_patch(body: &[u8]) -> Result<ItemPatch, ApiError> {
    object::<records::ItemPatchRecord>(body)
}

/// Feedback as publishers write it: one object or an array.
pub(crate) fn published_feedback(body: &[u8]) -> Result<Vec<Published>, ApiError> {
    one_or_many::<published::PublishedFeedback>(body)
}

/// Users as publishers write them: one object or an array.
pub(crate) fn published_users(body: &[u8]) -> Result<Vec<Published>, ApiError> {
    one_or_many::<published::PublishedUser>(body)
}

/// Items as publishers write them: one object or an array.
pub(crate) fn published_items(body: &[u8]) -> Result<Vec<Published>, ApiError> {
    one_or_many::<published::PublishedItem>(body)
}

/// Whether an id or a type may be stored: not empty, not longer than [`MAX_ID_BYTES`], no control characters.
pub(crate) fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_ID_BYTES
        && !text.bytes().any(|byte| byte < 0x20 || byte == 0x7f)
        && (text.is_ascii() || !text.chars().any(char::is_control))
}

/// A finished record that cannot be: which field, and what was expected.
type Refusal = (&'static str, String);

/// A record while its fields come in.
trait Record: Default {
    /// What it becomes.
    type Output;
    /// What it is, for messages.
    const NAME: &'static str;
    /// Its fields as they are written.
    const FIELDS: &'static [&'static str];

    /// Reads the value of `FIELDS[field]`.
    fn read<'de, A: MapAccess<'de>>(&mut self, field: usize, map: &mut A) -> Result<(), A::Error>;

    /// Checks the whole.
    fn finish(self) -> Result<Self::Output, Refusal>;
}

/// Where decoding is.
#[derive(Default)]
struct Position {
    row: Cell<Option<usize>>,
    field: Cell<&'static str>,
}

impl Position {
    fn describe(&self, body: &[u8], reason: &serde_json::Error) -> ApiError {
        if body.iter().all(u8::is_ascii_whitespace) {
            return ApiError::BadRequest("EOF: the body is empty, expected JSON".to_owned());
        }
        let place = match (self.row.get(), self.field.get()) {
            (Some(row), "") => format!("[{row}]: "),
            (Some(row), field) => format!("[{row}].{field}: "),
            (None, "") => String::new(),
            (None, field) => format!("{field}: "),
        };
        ApiError::BadRequest(format!("{place}{reason}"))
    }
}

fn object<R: Record>(body: &[u8]) -> Result<R::Output, ApiError> {
    let position = Position::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let one = One { position: &position, record: PhantomData::<R> };
    one.deserialize(&mut json).map_err(|reason| position.describe(body, &reason))
}

fn array<R: Record>(body: &[u8]) -> Result<Vec<R::Output>, ApiError> {
    let position = Position::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let many = Many { position: &position, record: PhantomData::<R> };
    many.deserialize(&mut json).map_err(|reason| position.describe(body, &reason))
}

/// One object or an array of them, and nothing behind: whoever publishes is not there to hear that half was ignored.
fn one_or_many<R: Record>(body: &[u8]) -> Result<Vec<R::Output>, ApiError> {
    let position = Position::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let either = OneOrMany { position: &position, record: PhantomData::<R> };
    let records = either.deserialize(&mut json).map_err(|reason| position.describe(body, &reason))?;
    json.end().map_err(|_reason| {
        let text = "expected nothing behind the first JSON value; several records go into one array";
        ApiError::BadRequest(text.to_owned())
    })?;
    Ok(records)
}

/// Reads one record or an array of them.
struct OneOrMany<'p, R> {
    position: &'p Position,
    record: PhantomData<R>,
}

impl<'de, R: Record> DeserializeSeed<'de> for OneOrMany<'_, R> {
    type Value = Vec<R::Output>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, R: Record> Visitor<'de> for OneOrMany<'_, R> {
    type Value = Vec<R::Output>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, or an array of such objects", R::NAME)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        One { position: self.position, record: PhantomData::<R> }.visit_map(map).map(|record| vec![record])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Many { position: self.position, record: PhantomData::<R> }.visit_seq(seq)
    }
}

/// Reads one record.
struct One<'p, R> {
    position: &'p Position,
    record: PhantomData<R>,
}

impl<'de, R: Record> DeserializeSeed<'de> for One<'_, R> {
    type Value = R::Output;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<R: Record> One<'_, R> {
    fn finish<E: serde::de::Error>(&self, record: R) -> Result<R::Output, E> {
        record.finish().map_err(|(field, expected)| {
            self.position.field.set(field);
            E::custom(format_args!("expected {expected}"))
        })
    }
}

impl<'de, R: Record> Visitor<'de> for One<'_, R> {
    type Value = R::Output;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(R::NAME)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        self.finish(R::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut record = R::default();
        while let Some(field) = map.next_key_seed(Key(R::FIELDS))? {
            match field {
                Some(field) => {
                    self.position.field.set(R::FIELDS[field]);
                    record.read(field, &mut map)?;
                    self.position.field.set("");
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.finish(record)
    }
}

/// Reads an array of records.
struct Many<'p, R> {
    position: &'p Position,
    record: PhantomData<R>,
}

impl<'de, R: Record> DeserializeSeed<'de> for Many<'_, R> {
    type Value = Vec<R::Output>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, R: Record> Visitor<'de> for Many<'_, R> {
    type Value = Vec<R::Output>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an array, each element {}", R::NAME)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        loop {
            self.position.row.set(Some(rows.len()));
            let one = One { position: self.position, record: PhantomData::<R> };
            match seq.next_element_seed(one)? {
                Some(row) => {
                    meter::count(ROW_COPIES * size_of::<R::Output>())?;
                    rows.push(row);
                }
                None => break,
            }
        }
        Ok(rows)
    }
}

/// A growing list keeps room for as many rows as it has.
const ROW_COPIES: usize = 2;

/// Reads a key: which of the fields it names, if any.
struct Key(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let exact = self.0.iter().position(|field| *field == key);
        Ok(exact.or_else(|| self.0.iter().position(|field| field.eq_ignore_ascii_case(key))))
    }
}

#[cfg(test)]
mod tests;
