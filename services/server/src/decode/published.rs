//! The records of publishers: those of request bodies, each with what is to be done (`Op`) and perhaps an id.

use serde::de::{Error, MapAccess};
use smol_str::SmolStr;
use ulex_domain::{EventId, Feedback, Item, ItemId, ItemPatch, Timestamp, User, UserId, UserPatch};

use super::labels::Labels;
use super::records::{FeedbackRecord, check_id};
use super::values::{AnyTime, LongText, Text, Texts, Truth};
use super::{Record, Refusal};

/// What one record of a message asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    /// Feedback whose value adds to what is there.
    Add(Feedback),
    /// Feedback that replaces what is there.
    Replace(Feedback),
    /// Removal of the feedback of a pair, of one type or of all.
    RemoveFeedback(UserId, ItemId, Option<SmolStr>),
    /// A user, new or replaced.
    User(User),
    /// Some fields of a user.
    PatchUser(UserId, UserPatch),
    /// Removal of a user.
    RemoveUser(UserId),
    /// An item, new or replaced.
    Item(Item),
    /// Some fields of an item.
    PatchItem(ItemId, ItemPatch),
    /// Removal of an item.
    RemoveItem(ItemId),
}

/// A record and the id it brings.
pub(crate) type Published = (Asked, Option<EventId>);

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Operation {
    /// What the kind does if nothing is said.
    #[default]
    Usual,
    Post,
    Put,
    Patch,
    Delete,
}

impl Operation {
    fn read<'de, A: MapAccess<'de>>(map: &mut A, expected: &str) -> Result<Self, A::Error> {
        let Text(text) = map.next_value()?;
        match text.to_ascii_lowercase().as_str() {
            "" => Ok(Self::Usual),
            "post" => Ok(Self::Post),
            "put" => Ok(Self::Put),
            "patch" => Ok(Self::Patch),
            "delete" => Ok(Self::Delete),
            other => Err(A::Error::custom(format_args!("expected {expected}, got {other:?}"))),
        }
    }
}

fn unfit<T>(expected: &str) -> Result<T, Refusal> {
    Err(("Op", expected.to_owned()))
}

fn id_of(text: &str) -> Result<Option<EventId>, Refusal> {
    match text {
        "" => Ok(None),
        text => EventId::new(text).map(Some).map_err(|reason| ("EventId", reason.to_string())),
    }
}

const FEEDBACK_OPERATIONS: &str = "\"post\" (add to the value, the default), \"put\" (replace) or \"delete\"";
const ENTITY_OPERATIONS: &str =
    "\"put\" (insert or replace, the default), \"patch\" (change the fields given) or \"delete\"";

/// A row of feedback.
#[derive(Default)]
pub(super) struct PublishedFeedback {
    row: FeedbackRecord<true>,
    operation: Operation,
}

impl Record for PublishedFeedback {
    type Output = Published;
    const NAME: &'static str = "an object with FeedbackType, UserId and ItemId";
    const FIELDS: &'static [&'static str] =
        &["FeedbackType", "UserId", "ItemId", "Value", "Timestamp", "Labels", "Comment", "EventId", "Op"];

    fn read<'de, A: MapAccess<'de>>(&mut self, field: usize, map: &mut A) -> Result<(), A::Error> {
        if field < FeedbackRecord::<true>::FIELDS.len() {
            return self.row.read(field, map);
        }
        self.operation = Operation::read(map, FEEDBACK_OPERATIONS)?;
        Ok(())
    }

    fn finish(self) -> Result<Published, Refusal> {
        match self.operation {
            Operation::Usual | Operation::Post => self.row.finish().map(|(row, id)| (Asked::Add(row), id)),
            Operation::Put => self.row.finish().map(|(row, id)| (Asked::Replace(row), id)),
            Operation::Delete => {
                let (feedback_type, user_id, item_id, id) = self.row.finish_keys()?;
                let feedback_type = Some(feedback_type).filter(|name| !name.is_empty());
                Ok((Asked::RemoveFeedback(user_id, item_id, feedback_type), id))
            }
            Operation::Patch => unfit(FEEDBACK_OPERATIONS),
        }
    }
}

/// A user.
#[derive(Default)]
pub(super) struct PublishedUser {
    user_id: SmolStr,
    fields: UserPatch,
    event_id: SmolStr,
    operation: Operation,
}

impl Record for PublishedUser {
    type Output = Published;
    const NAME: &'static str = "an object with UserId";
    const FIELDS: &'static [&'static str] = &["UserId", "Labels", "Comment", "EventId", "Op"];

    fn read<'de, A: MapAccess<'de>>(&mut self, field: usize, map: &mut A) -> Result<(), A::Error> {
        match field {
            0 => self.user_id = map.next_value::<Text>()?.0,
            1 => self.fields.labels = map.next_value::<Labels>()?.0,
            2 => self.fields.comment = map.next_value::<LongText>()?.0,
            3 => self.event_id = map.next_value::<Text>()?.0,
            _operation => self.operation = Operation::read(map, ENTITY_OPERATIONS)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Published, Refusal> {
        check_id("UserId", &self.user_id)?;
        let (user_id, id, fields) = (UserId::new(self.user_id), id_of(&self.event_id)?, self.fields);
        let asked = match self.operation {
            Operation::Usual | Operation::Put => Asked::User(User {
                user_id,
                labels: fields.labels.unwrap_or_default(),
                comment: fields.comment.unwrap_or_default(),
            }),
            Operation::Patch => Asked::PatchUser(user_id, fields),
            Operation::Delete => Asked::RemoveUser(user_id),
            Operation::Post => return unfit(ENTITY_OPERATIONS),
        };
        Ok((asked, id))
    }
}

/// An item.
#[derive(Default)]
pub(super) struct PublishedItem {
    item_id: SmolStr,
    fields: ItemPatch,
    event_id: SmolStr,
    operation: Operation,
}

impl Record for PublishedItem {
    type Output = Published;
    const NAME: &'static str = "an object with ItemId";
    const FIELDS: &'static [&'static str] =
        &["ItemId", "IsHidden", "Categories", "Timestamp", "Labels", "Comment", "EventId", "Op"];

    fn read<'de, A: MapAccess<'de>>(&mut self, field: usize, map: &mut A) -> Result<(), A::Error> {
        match field {
            0 => self.item_id = map.next_value::<Text>()?.0,
            1 => self.fields.is_hidden = map.next_value::<Truth>()?.0,
            2 => self.fields.categories = map.next_value::<Texts>()?.0,
            3 => self.fields.timestamp = map.next_value::<AnyTime>()?.0,
            4 => self.fields.labels = map.next_value::<Labels>()?.0,
            5 => self.fields.comment = map.next_value::<LongText>()?.0,
            6 => self.event_id = map.next_value::<Text>()?.0,
            _operation => self.operation = Operation::read(map, ENTITY_OPERATIONS)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Published, Refusal> {
        check_id("ItemId", &self.item_id)?;
        let (item_id, id, fields) = (ItemId::new(self.item_id), id_of(&self.event_id)?, self.fields);
        let asked = match self.operation {
            Operation::Usual | Operation::Put => Asked::Item(Item {
                item_id,
                is_hidden: fields.is_hidden.unwrap_or_default(),
                categories: fields.categories,
                timestamp: fields.timestamp.unwrap_or(Timestamp::ZERO),
                labels: fields.labels.unwrap_or_default(),
                comment: fields.comment.unwrap_or_default(),
            }),
            Operation::Patch => Asked::PatchItem(item_id, fields),
            Operation::Delete => Asked::RemoveItem(item_id),
            Operation::Post => return unfit(ENTITY_OPERATIONS),
        };
        Ok((asked, id))
    }
}
