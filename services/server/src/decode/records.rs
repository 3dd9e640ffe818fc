//! The records that bodies hold.

use serde::de::MapAccess;
use serde_json::Value;
use smol_str::SmolStr;
use ulex_domain::limits::MAX_ID_BYTES;
use ulex_domain::{EventId, Feedback, Item, ItemId, ItemPatch, Timestamp, User, UserId, UserPatch};

use super::labels::Labels;
use super::values::{AnyTime, LongText, Number, StrictTime, Text, Texts, Truth};
use super::{Record, Refusal, is_id};

pub(super) fn check_id(field: &'static str, text: &str) -> Result<(), Refusal> {
    if is_id(text) {
        return Ok(());
    }
    if text.len() > MAX_ID_BYTES {
        return Err((field, format!("a string of at most {MAX_ID_BYTES} bytes, got one of {}", text.len())));
    }
    Err((field, format!("a non-empty string without control characters, got {text:?}")))
}

/// A row of feedback; a session's row needs no user.
#[derive(Default)]
pub(super) struct FeedbackRecord<const NEEDS_USER: bool> {
    feedback_type: SmolStr,
    user_id: SmolStr,
    item_id: SmolStr,
    value: f64,
    timestamp: Timestamp,
    labels: Value,
    comment: String,
    event_id: SmolStr,
}

impl<const NEEDS_USER: bool> Record for FeedbackRecord<NEEDS_USER> {
    type Output = (Feedback, Option<EventId>);
    const NAME: &'static str = "an object with FeedbackType, UserId and ItemId";
    const FIELDS: &'static [&'static str] =
        &["FeedbackType", "UserId", "ItemId", "Value", "Timestamp", "Labels", "Comment", "EventId"];

    fn read<'de, A: MapAccess<'de>>(&mut self, field: usize, map: &mut A) -> Result<(), A::Error> {
        match field {
            0 => self.feedback_type = map.next_value::<Text>()?.0,
            1 => self.user_id = map.next_value::<Text>()?.0,
            2 => self.item_id = map.next_value::<Text>()?.0,
            3 => self.value = map.next_value::<Number>()?.0.unwrap_or_default(),
            4 => self.timestamp = map.next_value::<AnyTime>()?.0.unwrap_or_default(),
            5 => self.labels = map.next_value::<Labels>()?.0.unwrap_or_default(),
            6 => self.comment = map.next_value::<LongText>()?.0.unwrap_or_default(),
            _event_id => self.event_id = map.next_value::<Text>()?.0,
        }
        Ok(())
    }

    fn finish(self) -> Result<Self::Output, Refusal> {
        check_id("FeedbackType", &self.feedback_type)?;
        if NEEDS_USER {
            check_id("UserId", &self.user_id)?;
        }
        check_id("ItemId", &self.item_id)?;
        let event_id = if self.event_id.is_empty() {
            None
        } else {
            Some(EventId::new(&self.event_id).map_err(|reason| ("EventId", reason.to_string()))?)
        };
        let row = Feedback {
            feedback_type: self.feedback_type,
            user_id: UserId::new(self.user_id),
            item_id: ItemId::new(self.item_id),
            value: self.value,
            timestamp: self.timestamp,
            updated: self.timestamp,
            labels: self.labels,
            comment: self.comment,
        };
        Ok((row, event_id))
    }
}

impl FeedbackRecord<true> {
    /// What a removal needs: type (perhaps empty), user, item, and the event's id.
    pub(super) fn finish_keys(self) -> Result<(SmolStr, UserId, ItemId, Option<EventId>), Refusal> {
        let named = if self.feedback_type.is_empty() {
            SmolStr::new_static("any")
        } else {
            self.feedback_type.clone()
        };
        let feedback_type = self.feedback_type.clone();
        let (row, id) = Self { feedback_type: named, ..self }.finish()?;
        Ok((feedback_type, row.user_id, row.item_id, id))
    }
}

/// A user.
#[derive(Default)]
pub(super) struct UserRecord {
    user_id: SmolStr,
    labels: Value,
    comment: String,
}

impl Record for UserRecord {
    type Output = User;
    const NAME: &'static str = "an object with UserId";
    const FIELDS: &'static [&'static str] = &["UserId", "Labels", "Comment"];

    fn read<'de, A: MapAccess<'de>>(&mut self, field: usize, map: &mut A) -> Result<(), A::Error> {
        match field {
            0 => self.user_id = map.next_value::<Text>()?.0,
            1 => self.labels = map.next_value::<Labels>()?.0.unwrap_or_default(),
            _comment => self.comment = map.next_value::<LongText>()?.0.unwrap_or_default(),
        }
        Ok(())
    }

    fn finish(self) -> Result<User, Refusal> {
        check_id("UserId", &self.user_id)?;
        Ok(User { user_id: UserId::new(self.user_id), labels: self.labels, comment: self.comment })
    }
}

/// A change of a user.
#[derive(Default)]
pub(super) struct UserPatchRecord(UserPatch);

impl Record for UserPatchRecord {
    type Output = UserPatch;
    const NAME: &'static str = "an object with the fields to change";
    const FIELDS: &'static [&'static str] = &["Labels", "Comment"];

    fn read<'de, A: MapAccess<'de>>(&mut self, field: usize, map: &mut A) -> Result<(), A::Error> {
        match field {
            0 => self.0.labels = map.next_value::<Labels>()?.0,
            _comment => self.0.comment = map.next_value::<LongText>()?.0,
        }
        Ok(())
    }

    fn finish(self) -> Result<UserPatch, Refusal> {
        Ok(self.0)
    }
}

/// An item.
#[derive(Default)]
pub(super) struct ItemRecord {
    item_id: SmolStr,
    is_hidden: bool,
    categories: Option<Vec<String>>,
    timestamp: Timestamp,
    labels: Value,
    comment: String,
}

impl Record for ItemRecord {
    type Output = Item;
    const NAME: &'static str = "an object with ItemId";
    const FIELDS: &'static [&'static str] =
        &["ItemId", "IsHidden", "Categories", "Timestamp", "Labels", "Comment"];

    fn read<'de, A: MapAccess<'de>>(&mut self, field: usize, map: &mut A) -> Result<(), A::Error> {
        match field {
            0 => self.item_id = map.next_value::<Text>()?.0,
            1 => self.is_hidden = map.next_value::<Truth>()?.0.unwrap_or_default(),
            2 => self.categories = map.next_value::<Texts>()?.0,
            3 => self.timestamp = map.next_value::<AnyTime>()?.0.unwrap_or_default(),
            4 => self.labels = map.next_value::<Labels>()?.0.unwrap_or_default(),
            _comment => self.comment = map.next_value::<LongText>()?.0.unwrap_or_default(),
        }
        Ok(())
    }

    fn finish(self) -> Result<Item, Refusal> {
        check_id("ItemId", &self.item_id)?;
        Ok(Item {
            item_id: ItemId::new(self.item_id),
            is_hidden: self.is_hidden,
            categories: self.categories,
            timestamp: self.timestamp,
            labels: self.labels,
            comment: self.comment,
        })
    }
}

/// A change of an item.
#[derive(Default)]
pub(super) struct ItemPatchRecord(ItemPatch);

impl Record for ItemPatchRecord {
    type Output = ItemPatch;
    const NAME: &'static str = "an object with the fields to change";
    const FIELDS: &'static [&'static str] = &["IsHidden", "Categories", "Timestamp", "Labels", "Comment"];

    fn read<'de, A: MapAccess<'de>>(&mut self, field: usize, map: &mut A) -> Result<(), A::Error> {
        match field {
            0 => self.0.is_hidden = map.next_value::<Truth>()?.0,
            1 => self.0.categories = map.next_value::<Texts>()?.0,
            2 => self.0.timestamp = map.next_value::<StrictTime>()?.0,
            3 => self.0.labels = map.next_value::<Labels>()?.0,
            _comment => self.0.comment = map.next_value::<LongText>()?.0,
        }
        Ok(())
    }

    fn finish(self) -> Result<ItemPatch, Refusal> {
        Ok(self.0)
    }
}
