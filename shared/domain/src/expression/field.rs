//! The fields of items, users and feedback rows under the names they have on the wire.

use std::borrow::Cow;

use super::FeedbackFields;
use super::value::{Value, ValueType};
use crate::{Item, User};

/// A field of at least one of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordField {
    FeedbackType,
    UserId,
    ItemId,
    Value,
    Timestamp,
    Updated,
    IsHidden,
    Categories,
    Labels,
    Comment,
}

pub(super) const ITEM_FIELDS: &[RecordField] = &[
    RecordField::ItemId,
    RecordField::IsHidden,
    RecordField::Categories,
    RecordField::Timestamp,
    RecordField::Labels,
    RecordField::Comment,
];

pub(super) const USER_FIELDS: &[RecordField] =
    &[RecordField::UserId, RecordField::Labels, RecordField::Comment];

pub(super) const ROW_FIELDS: &[RecordField] = &[
    RecordField::FeedbackType,
    RecordField::UserId,
    RecordField::ItemId,
    RecordField::Value,
    RecordField::Timestamp,
    RecordField::Updated,
    RecordField::Labels,
    RecordField::Comment,
];

impl RecordField {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FeedbackType => "FeedbackType",
            Self::UserId => "UserId",
            Self::ItemId => "ItemId",
            Self::Value => "Value",
            Self::Timestamp => "Timestamp",
            Self::Updated => "Updated",
            Self::IsHidden => "IsHidden",
            Self::Categories => "Categories",
            Self::Labels => "Labels",
            Self::Comment => "Comment",
        }
    }

    /// The field called `name` among `fields`.
    pub(super) fn find(fields: &[Self], name: &str) -> Option<Self> {
        fields.iter().copied().find(|field| field.name() == name)
    }

    pub(super) fn type_of(self) -> ValueType {
        match self {
            Self::FeedbackType | Self::UserId | Self::ItemId | Self::Comment => ValueType::Text,
            Self::Value => ValueType::Number,
            Self::Timestamp | Self::Updated => ValueType::Time,
            Self::IsHidden => ValueType::Bool,
            Self::Categories => ValueType::list(ValueType::Text),
            Self::Labels => ValueType::Any,
        }
    }

    /// The field of an item, nil if items have none such.
    pub(super) fn of_item(self, item: &Item) -> Value<'_> {
        match self {
            Self::ItemId => Value::Text(Cow::Borrowed(item.item_id.as_str())),
            Self::IsHidden => Value::Bool(item.is_hidden),
            Self::Categories => Value::Texts(item.categories.as_deref().unwrap_or_default()),
            Self::Timestamp => Value::Time(item.timestamp),
            Self::Labels => Value::from_json(&item.labels),
            Self::Comment => Value::Text(Cow::Borrowed(&item.comment)),
            Self::FeedbackType | Self::UserId | Self::Value | Self::Updated => Value::Nil,
        }
    }

    /// The field of a user, nil if users have none such.
    pub(super) fn of_user(self, user: &User) -> Value<'_> {
        match self {
            Self::UserId => Value::Text(Cow::Borrowed(user.user_id.as_str())),
            Self::Labels => Value::from_json(&user.labels),
            Self::Comment => Value::Text(Cow::Borrowed(&user.comment)),
            Self::FeedbackType
            | Self::ItemId
            | Self::Value
            | Self::Timestamp
            | Self::Updated
            | Self::IsHidden
            | Self::Categories => Value::Nil,
        }
    }

    /// The field of a feedback row, nil if rows have none such.
    pub(super) fn of_row<'a>(self, row: &FeedbackFields<'a>) -> Value<'a> {
        match self {
            Self::FeedbackType => Value::Text(Cow::Borrowed(row.feedback_type)),
            Self::UserId => Value::Text(Cow::Borrowed(row.user_id)),
            Self::ItemId => Value::Text(Cow::Borrowed(row.item_id)),
            Self::Value => Value::Number(row.value),
            Self::Timestamp => Value::Time(row.timestamp),
            Self::Updated => Value::Time(row.updated),
            Self::Labels => Value::from_json(row.labels),
            Self::Comment => Value::Text(Cow::Borrowed(row.comment)),
            Self::IsHidden | Self::Categories => Value::Nil,
        }
    }

    /// A field of a row that is a text, without the value around it.
    pub(super) fn text_of_row<'a>(self, row: &FeedbackFields<'a>) -> &'a str {
        match self {
            Self::FeedbackType => row.feedback_type,
            Self::UserId => row.user_id,
            Self::ItemId => row.item_id,
            Self::Comment => row.comment,
            Self::Value
            | Self::Timestamp
            | Self::Updated
            | Self::IsHidden
            | Self::Categories
            | Self::Labels => "",
        }
    }
}
