//! Users and items: replacement, patches, categories, deletion.

use serde_json::{Value, json};
use ulex_domain::{Change, Command, Item, ItemId, ItemPatch, Timestamp, UserId, UserPatch};
use ulex_domain::{ItemState, Version};

use super::{apply, at, feedback_of, item, post, row, user};
use crate::data::{Counts, DataStore, Outcome};

pub(super) async fn check(store: &dyn DataStore) {
    store.purge().await.expect("purge");
    putting_a_user_replaces_all_of_it(store).await;
    putting_an_item_replaces_all_of_it(store).await;
    null_and_empty_categories_are_told_apart(store).await;
    of_duplicates_in_one_event_the_first_counts(store).await;
    patches_change_only_what_they_name(store).await;
    patching_something_unknown_changes_nothing(store).await;
    categories_are_added_once_and_removed(store).await;
    deleting_takes_the_feedback_along(store).await;
    deleting_something_unknown_changes_nothing(store).await;
    ids_may_be_any_text(store).await;
}

async fn putting_a_user_replaces_all_of_it(store: &dyn DataStore) {
    let first = user("u1", json!({"a": [1, "x", null], "b": {"c": 0.5}}), "hello");
    let outcome = apply(store, Command::PutUsers { users: vec![first.clone()] }).await;
    assert_eq!(outcome.changes, [Change::Users { user_ids: vec![first.user_id.clone()] }]);
    assert_eq!(store.user(&first.user_id).await.expect("read"), Some(first.clone()));
    let second = user("u1", Value::Null, "");
    apply(store, Command::PutUsers { users: vec![second.clone()] }).await;
    assert_eq!(store.user(&first.user_id).await.expect("read"), Some(second));
    assert_eq!(store.user(&UserId::new("nobody")).await.expect("read"), None);
}

async fn putting_an_item_replaces_all_of_it(store: &dyn DataStore) {
    let first = Item { is_hidden: true, ..item("i1") };
    let outcome = apply(store, Command::PutItems { items: vec![first.clone()] }).await;
    assert_eq!(outcome.changes, [Change::Items { items: vec![ItemState::from(&first)] }]);
    assert_eq!(store.item(&first.item_id).await.expect("read"), Some(first.clone()), "hidden is returned");
    let second = Item::bare(first.item_id.clone());
    apply(store, Command::PutItems { items: vec![second.clone()] }).await;
    assert_eq!(store.item(&first.item_id).await.expect("read"), Some(second));
    assert_eq!(store.item(&ItemId::new("nothing")).await.expect("read"), None);
}

async fn null_and_empty_categories_are_told_apart(store: &dyn DataStore) {
    for categories in [None, Some(Vec::new()), Some(vec![String::new()])] {
        let item = Item { categories, ..item("categories") };
        apply(store, Command::PutItems { items: vec![item.clone()] }).await;
        assert_eq!(store.item(&item.item_id).await.expect("read"), Some(item));
    }
}

async fn of_duplicates_in_one_event_the_first_counts(store: &dyn DataStore) {
    let users = vec![user("twice", json!("first"), "1"), user("twice", json!("second"), "2")];
    let outcome = apply(store, Command::PutUsers { users: users.clone() }).await;
    assert_eq!(outcome.changes, [Change::Users { user_ids: vec![UserId::new("twice")] }]);
    assert_eq!(store.user(&UserId::new("twice")).await.expect("read").as_ref(), Some(&users[0]));
    let items = vec![item("twice"), Item::bare(ItemId::new("twice"))];
    let outcome = apply(store, Command::PutItems { items: items.clone() }).await;
    assert_eq!(outcome.changes, [Change::Items { items: vec![ItemState::from(&items[0])] }]);
    assert_eq!(store.item(&ItemId::new("twice")).await.expect("read").as_ref(), Some(&items[0]));
}

async fn patches_change_only_what_they_name(store: &dyn DataStore) {
    let before = user("patched", json!({"a": 1}), "old");
    let user_id = before.user_id.clone();
    apply(store, Command::PutUsers { users: vec![before.clone()] }).await;
    apply(store, Command::PatchUser { user_id: user_id.clone(), patch: UserPatch::default() }).await;
    assert_eq!(store.user(&user_id).await.expect("read"), Some(before));
    let patch = UserPatch { labels: Some(json!({"b": 2})), comment: None };
    let outcome = apply(store, Command::PatchUser { user_id: user_id.clone(), patch }).await;
    assert_eq!(outcome.changes, [Change::Users { user_ids: vec![user_id.clone()] }]);
    assert_eq!(store.user(&user_id).await.expect("read"), Some(user("patched", json!({"b": 2}), "old")));

    let before = item("patched");
    let item_id = before.item_id.clone();
    apply(store, Command::PutItems { items: vec![before.clone()] }).await;
    let patch = ItemPatch { is_hidden: Some(true), categories: Some(Vec::new()), ..ItemPatch::default() };
    let outcome = apply(store, Command::PatchItem { item_id: item_id.clone(), patch }).await;
    let after = Item { is_hidden: true, categories: Some(Vec::new()), ..before };
    assert_eq!(outcome.changes, [Change::Items { items: vec![ItemState::from(&after)] }]);
    assert_eq!(store.item(&item_id).await.expect("read").as_ref(), Some(&after));
    let patch = ItemPatch {
        timestamp: Some(Timestamp::ZERO),
        labels: Some(Value::Null),
        comment: Some(String::new()),
        ..ItemPatch::default()
    };
    apply(store, Command::PatchItem { item_id: item_id.clone(), patch }).await;
    let after = Item { timestamp: Timestamp::ZERO, labels: Value::Null, comment: String::new(), ..after };
    assert_eq!(store.item(&item_id).await.expect("read"), Some(after));
}

async fn patching_something_unknown_changes_nothing(store: &dyn DataStore) {
    let before = store.counts().await.expect("count");
    let patch = UserPatch { comment: Some("x".to_owned()), ..UserPatch::default() };
    let user_id = UserId::new("unknown");
    assert_eq!(apply(store, Command::PatchUser { user_id, patch }).await, Outcome::default());
    let patch = ItemPatch { is_hidden: Some(true), ..ItemPatch::default() };
    let item_id = ItemId::new("unknown");
    assert_eq!(
        apply(store, Command::PatchItem { item_id: item_id.clone(), patch }).await,
        Outcome::default()
    );
    let set = Command::SetCategory { item_id, category: "c".to_owned(), present: true };
    assert_eq!(apply(store, set).await, Outcome::default());
    assert_eq!(store.counts().await.expect("count"), before);
}

async fn categories_are_added_once_and_removed(store: &dyn DataStore) {
    let item_id = ItemId::new("set");
    apply(store, Command::PutItems { items: vec![Item::bare(item_id.clone())] }).await;
    let steps = [
        ("a", false, None),
        ("b", true, Some(vec!["b"])),
        ("a", true, Some(vec!["b", "a"])),
        ("b", true, Some(vec!["b", "a"])),
        ("b", false, Some(vec!["a"])),
        ("a", false, Some(vec![])),
    ];
    for (category, present, expected) in steps {
        let set = Command::SetCategory { item_id: item_id.clone(), category: category.to_owned(), present };
        let outcome = apply(store, set).await;
        let stored = store.item(&item_id).await.expect("read").expect("it exists");
        let expected: Option<Vec<String>> = expected.map(|all| all.into_iter().map(str::to_owned).collect());
        assert_eq!(stored.categories, expected, "after {category} {present}");
        // Also when nothing was to do: whoever asked must learn that the item exists.
        assert_eq!(outcome.changes, [Change::Items { items: vec![ItemState::from(&stored)] }]);
    }
}

async fn deleting_takes_the_feedback_along(store: &dyn DataStore) {
    let rows = ["d1", "d2"].into_iter().flat_map(|user| {
        ["e1", "e2"].into_iter().flat_map(move |item| {
            ["read", "star"].into_iter().map(move |name| row(name, user, item, 1.0, at(0)))
        })
    });
    apply(store, post(rows.collect())).await;
    let before = store.counts().await.expect("count");
    let user_id = UserId::new("d1");
    let outcome = apply(store, Command::DeleteUser { user_id: user_id.clone() }).await;
    let deleted = Change::UserDeleted { user_id: user_id.clone() };
    assert_eq!(outcome, Outcome { changes: vec![deleted], ..Outcome::default() });
    assert_eq!(store.user(&user_id).await.expect("read"), None);
    assert!(store.user_feedback(&user_id, None).await.expect("read").is_empty());
    let item_id = ItemId::new("e2");
    let outcome = apply(store, Command::DeleteItem { item_id: item_id.clone() }).await;
    let deleted = Change::ItemDeleted { item_id: item_id.clone(), version: Version::ZERO };
    assert_eq!(outcome, Outcome { changes: vec![deleted], ..Outcome::default() });
    assert_eq!(store.item(&item_id).await.expect("read"), None);
    assert!(store.item_feedback(&item_id, None, None).await.expect("read").is_empty());
    assert!(feedback_of(store, "star", "d2", "e1").await.is_some(), "other feedback stays");
    let after = store.counts().await.expect("count");
    let expected = Counts { users: before.users - 1, items: before.items - 1, feedback: before.feedback - 6 };
    assert_eq!(after, expected);
    // What was deleted comes back as new, without what it had before.
    apply(store, post(vec![row("read", "d1", "e2", 5.0, at(1))])).await;
    assert_eq!(store.user_feedback(&user_id, None).await.expect("read").len(), 1);
}

async fn deleting_something_unknown_changes_nothing(store: &dyn DataStore) {
    let deletion = Command::DeleteUser { user_id: UserId::new("unknown") };
    assert_eq!(apply(store, deletion).await, Outcome::default());
    let deletion = Command::DeleteItem { item_id: ItemId::new("unknown") };
    assert_eq!(apply(store, deletion).await, Outcome::default());
    let deletion = Command::DeleteFeedback {
        user_id: UserId::new("unknown"),
        item_id: ItemId::new("unknown"),
        feedback_type: None,
    };
    assert_eq!(apply(store, deletion).await, Outcome::default());
}

async fn ids_may_be_any_text(store: &dyn DataStore) {
    let long = "x".repeat(ulex_domain::limits::MAX_ID_BYTES);
    let strange =
        ["a/b", "'; DROP TABLE users --", "\"", "ünï", "a b", "%", "🦀", "\\", "A", "a", "\t", long.as_str()];
    for id in strange {
        let (user, item) = (user(id, json!({id: id}), id), Item { comment: id.to_owned(), ..item(id) });
        apply(store, Command::PutUsers { users: vec![user.clone()] }).await;
        apply(store, Command::PutItems { items: vec![item.clone()] }).await;
        apply(store, post(vec![row(id, id, id, 2.0, at(3))])).await;
        assert_eq!(store.user(&user.user_id).await.expect("read"), Some(user), "{id}");
        assert_eq!(store.item(&item.item_id).await.expect("read"), Some(item), "{id}");
    }
    for id in strange {
        let rows = store.user_feedback(&UserId::new(id), None).await.expect("read");
        assert_eq!(rows, [row(id, id, id, 2.0, at(3))], "{id}");
        let rows = store.item_feedback(&ItemId::new(id), None, None).await.expect("read");
        assert_eq!(rows, [row(id, id, id, 2.0, at(3))], "{id}");
    }
}
