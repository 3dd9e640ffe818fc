use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::split::{Split as _, cut};
use crate::{CommandTopic, TextField, Timestamp};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{1,3}", any::<String>()]
}

fn labels() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), text().prop_map(|text| serde_json::json!({ "a": [text, 1.5] }))]
}

fn user() -> impl Strategy<Value = User> {
    (text(), labels(), text()).prop_map(|(id, labels, comment)| User {
        user_id: UserId::new(id),
        labels,
        comment,
    })
}

fn item() -> impl Strategy<Value = Item> {
    let categories = prop::option::of(prop::collection::vec(text(), 0..4));
    (text(), labels(), text(), categories).prop_map(|(id, labels, comment, categories)| Item {
        labels,
        comment,
        categories,
        timestamp: Timestamp::from_nanos(i64::MAX),
        ..Item::bare(ItemId::new(id))
    })
}

fn row() -> impl Strategy<Value = Feedback> {
    let texts = (text(), text(), text(), text());
    (texts, labels(), any::<f64>()).prop_map(|((kind, user, item, comment), labels, value)| Feedback {
        feedback_type: kind.into(),
        user_id: UserId::new(user),
        item_id: ItemId::new(item),
        value,
        timestamp: Timestamp::from_nanos(i64::MAX),
        updated: Timestamp::from_nanos(i64::MIN),
        labels,
        comment,
    })
}

fn put_feedback(rows: Vec<Feedback>, mode: FeedbackMode) -> Command {
    Command::PutFeedback { rows, mode, insert_users: true, insert_items: false }
}

/// Commands of every kind.
fn command() -> impl Strategy<Value = Command> {
    let user_patch = |user: User| UserPatch { labels: Some(user.labels), comment: Some(user.comment) };
    let item_patch = |item: Item| ItemPatch {
        labels: Some(item.labels),
        comment: Some(item.comment),
        categories: item.categories,
        ..ItemPatch::default()
    };
    prop_oneof![
        prop::collection::vec(user(), 0..8).prop_map(|users| Command::PutUsers { users }),
        prop::collection::vec(item(), 0..8).prop_map(|items| Command::PutItems { items }),
        prop::collection::vec(row(), 0..8).prop_map(|rows| put_feedback(rows, FeedbackMode::Accumulate)),
        user().prop_map(move |user| Command::PatchUser {
            user_id: user.user_id.clone(),
            patch: user_patch(user)
        }),
        item().prop_map(move |item| Command::PatchItem {
            item_id: item.item_id.clone(),
            patch: item_patch(item)
        }),
        text().prop_map(|id| Command::DeleteUser { user_id: UserId::new(id) }),
        text().prop_map(|id| Command::DeleteItem { item_id: ItemId::new(id) }),
        (text(), text(), any::<bool>()).prop_map(|(id, category, present)| Command::SetCategory {
            item_id: ItemId::new(id),
            category,
            present
        }),
        (text(), text(), prop::option::of(text())).prop_map(|(user, item, kind)| Command::DeleteFeedback {
            user_id: UserId::new(user),
            item_id: ItemId::new(item),
            feedback_type: kind.map(SmolStr::from),
        }),
    ]
}

proptest! {
    #[test]
    fn a_kind_is_named_as_its_command_is_written(command in command()) {
        let written = serde_json::to_value(&command).unwrap();
        let name = written.as_object().unwrap().keys().next().unwrap();
        prop_assert_eq!(command.kind().as_str(), name);
        prop_assert_eq!(CommandKind::ALL[command.kind() as usize], command.kind());
    }

    #[test]
    fn the_bound_is_never_below_the_size(command in command()) {
        prop_assert!(serde_json::to_vec(&command).unwrap().len() <= command.encoded_size_bound());
    }

    #[test]
    fn pieces_fit_and_merge_back_into_the_whole(command in command(), most in 1_usize..5) {
        let mut pieces = cut(command.clone(), &|piece: &Command| piece.row_count() <= most).into_iter();
        let mut whole = pieces.next().unwrap();
        prop_assert!(whole.row_count() <= most);
        for piece in pieces {
            prop_assert!(piece.row_count() <= most);
            prop_assert_eq!(whole.merge(piece), None);
        }
        prop_assert_eq!(serde_json::to_value(whole).unwrap(), serde_json::to_value(command).unwrap());
    }

    #[test]
    fn a_command_names_as_many_keys_as_it_has_rows(command in command()) {
        prop_assert_eq!(command.keys().len(), command.row_count());
    }

    #[test]
    fn of_rows_with_one_key_the_first_stays(rows in prop::collection::vec(row(), 0..20)) {
        let mut expected: Vec<Feedback> = Vec::new();
        for row in &rows {
            if expected.iter().all(|earlier| earlier.key() != row.key()) {
                expected.push(row.clone());
            }
        }
        let command = put_feedback(rows, FeedbackMode::Overwrite);
        let Command::PutFeedback { rows, .. } = command.without_repetitions() else { unreachable!() };
        prop_assert_eq!(rows.len(), expected.len());
        for (row, expected) in rows.iter().zip(&expected) {
            prop_assert_eq!((row.key(), row.value.to_bits()), (expected.key(), expected.value.to_bits()));
        }
    }
}

#[test]
fn commands_of_different_kinds_or_modes_are_not_merged() {
    let mut users = Command::PutUsers { users: Vec::new() };
    let items = Command::PutItems { items: Vec::new() };
    assert_eq!(users.merge(items.clone()), Some(items));
    let mut add = put_feedback(Vec::new(), FeedbackMode::Accumulate);
    let replace = put_feedback(Vec::new(), FeedbackMode::Overwrite);
    assert_eq!(add.merge(replace.clone()), Some(replace));
}

#[test]
fn a_command_that_is_no_list_is_one_piece() {
    let command = Command::DeleteUser { user_id: UserId::new("u") };
    assert_eq!(command.clone().split(), Err(command.clone()));
    assert_eq!(command.subject(), (CommandTopic::User, Some("u")));
    assert_eq!(command.to_string(), "delete user \"u\"");
}

#[test]
fn texts_are_found_with_their_field_and_owner() {
    let comment = Some("a\0".to_owned());
    let command =
        Command::PatchUser { user_id: UserId::new("u"), patch: UserPatch { comment, labels: None } };
    let found = command.find_text(|text| text.text.contains('\0')).unwrap();
    assert_eq!((found.field, found.owner), (TextField::Comment, "u"));
    assert_eq!(found.to_string(), "the comment of \"u\"");
    assert_eq!(command.find_text(|text| text.text.is_empty()), None);
}
