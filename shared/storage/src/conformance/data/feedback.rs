//! Feedback: how rows merge, what they create, how they go.

use serde_json::{Value, json};
use smol_str::SmolStr;
use ulex_domain::ItemState;
use ulex_domain::{Change, Command, Feedback, FeedbackMode, Item, ItemId, Timestamp, UserId};

use super::{apply, at, feedback_of, overwrite, post, row, user};
use crate::data::{DataStore, Outcome};

pub(super) async fn check(store: &dyn DataStore) {
    store.purge().await.expect("purge");
    posting_adds_up(store).await;
    posting_replaces_labels_and_comment_even_by_nothing(store).await;
    putting_replaces(store).await;
    the_first_of_equal_keys_in_one_event_counts(store).await;
    feedback_without_a_time_keeps_none(store).await;
    sums_stay_finite(store).await;
    unknown_users_and_items_are_created_when_asked(store).await;
    rows_of_unknown_users_and_items_are_dropped_otherwise(store).await;
    what_is_created_does_not_replace_what_exists(store).await;
    deleting_feedback_counts_its_rows(store).await;
    events_of_one_call_see_each_other(store).await;
}

fn pair(user: &str, item: &str) -> (UserId, ItemId) {
    (UserId::new(user), ItemId::new(item))
}

async fn posting_adds_up(store: &dyn DataStore) {
    apply(store, post(vec![row("read", "u", "i", 1.5, at(10))])).await;
    assert_eq!(feedback_of(store, "read", "u", "i").await, Some(row("read", "u", "i", 1.5, at(10))));
    for (timestamp, first, last) in [(at(5), at(5), at(10)), (at(7), at(5), at(10)), (at(20), at(5), at(20))]
    {
        let before = feedback_of(store, "read", "u", "i").await.expect("it exists");
        let outcome = apply(store, post(vec![row("read", "u", "i", 2.0, timestamp)])).await;
        assert_eq!(outcome.changes, [Change::Feedback { pairs: vec![pair("u", "i")] }]);
        let expected = Feedback { value: before.value + 2.0, timestamp: first, updated: last, ..before };
        assert_eq!(feedback_of(store, "read", "u", "i").await, Some(expected));
    }
}

async fn posting_replaces_labels_and_comment_even_by_nothing(store: &dyn DataStore) {
    let full = Feedback {
        labels: json!({"on": "phone"}),
        comment: "nice".to_owned(),
        ..row("r", "u", "j", 1.0, at(1))
    };
    apply(store, post(vec![full.clone()])).await;
    assert_eq!(feedback_of(store, "r", "u", "j").await, Some(full));
    apply(store, post(vec![row("r", "u", "j", 0.0, at(1))])).await;
    assert_eq!(feedback_of(store, "r", "u", "j").await, Some(row("r", "u", "j", 1.0, at(1))));
}

async fn putting_replaces(store: &dyn DataStore) {
    apply(store, post(vec![row("r", "u", "k", 1.0, at(1)), row("r", "u", "l", 1.0, at(1))])).await;
    apply(store, post(vec![row("r", "u", "k", 1.0, at(9))])).await;
    let new = Feedback { labels: json!([1]), comment: "new".to_owned(), ..row("r", "u", "k", 7.0, at(4)) };
    let outcome = apply(store, overwrite(vec![new.clone()])).await;
    assert_eq!(outcome.changes, [Change::Feedback { pairs: vec![pair("u", "k")] }]);
    assert_eq!(feedback_of(store, "r", "u", "k").await, Some(new));
    assert_eq!(feedback_of(store, "r", "u", "l").await, Some(row("r", "u", "l", 1.0, at(1))));
}

async fn the_first_of_equal_keys_in_one_event_counts(store: &dyn DataStore) {
    let rows = vec![
        row("r", "u", "same", 1.0, at(3)),
        row("s", "u", "same", 5.0, at(3)),
        row("r", "u", "same", 2.0, at(1)),
        row("r", "u", "same", 4.0, at(9)),
    ];
    apply(store, post(rows.clone())).await;
    assert_eq!(feedback_of(store, "r", "u", "same").await, Some(row("r", "u", "same", 1.0, at(3))));
    apply(store, post(rows)).await;
    assert_eq!(feedback_of(store, "r", "u", "same").await, Some(row("r", "u", "same", 2.0, at(3))));
    assert_eq!(feedback_of(store, "s", "u", "same").await, Some(row("s", "u", "same", 10.0, at(3))));
}

async fn feedback_without_a_time_keeps_none(store: &dyn DataStore) {
    apply(store, post(vec![row("r", "u", "zero", 1.0, Timestamp::ZERO)])).await;
    apply(store, post(vec![row("r", "u", "zero", 1.0, at(5))])).await;
    let stored = feedback_of(store, "r", "u", "zero").await.expect("it exists");
    assert_eq!((stored.timestamp, stored.updated), (Timestamp::ZERO, at(5)));
    let visible = store.user_feedback(&UserId::new("u"), Some(at(-1_000))).await.expect("read");
    assert!(visible.iter().any(|row| row.item_id.as_str() == "zero"), "visible at any time");
}

async fn sums_stay_finite(store: &dyn DataStore) {
    for sign in [1.0, -1.0] {
        for _twice in 0..2 {
            apply(store, post(vec![row("r", "u", "huge", sign * f64::MAX, at(1))])).await;
        }
        let value = feedback_of(store, "r", "u", "huge").await.expect("it exists").value;
        assert!(value.is_finite(), "{value}");
    }
}

async fn unknown_users_and_items_are_created_when_asked(store: &dyn DataStore) {
    let rows = vec![row("r", "new user", "new item", 1.0, at(1)), row("r", "u", "new item", 1.0, at(1))];
    let outcome = apply(store, post(rows.clone())).await;
    let bare = Item::bare(ItemId::new("new item"));
    let expected = [
        Change::Users { user_ids: vec![UserId::new("new user")] },
        Change::Items { items: vec![ItemState::from(&bare)] },
        Change::Feedback { pairs: vec![pair("new user", "new item"), pair("u", "new item")] },
    ];
    assert_eq!(outcome.changes, expected);
    let created = store.user(&UserId::new("new user")).await.expect("read");
    assert_eq!(created, Some(user("new user", Value::Null, "")));
    assert_eq!(store.item(&bare.item_id).await.expect("read"), Some(bare));
    let again = apply(store, post(rows)).await;
    assert_eq!(again.changes, expected[2..], "only what is really new is announced");
}

async fn rows_of_unknown_users_and_items_are_dropped_otherwise(store: &dyn DataStore) {
    let rows = vec![
        row("drop", "stranger", "new item", 1.0, at(1)),
        row("drop", "new user", "strange item", 1.0, at(1)),
        row("drop", "new user", "new item", 1.0, at(1)),
    ];
    let mode = FeedbackMode::Accumulate;
    let before = store.counts().await.expect("count");
    let event = Command::PutFeedback { rows, mode, insert_users: false, insert_items: false };
    let outcome = apply(store, event).await;
    assert_eq!(outcome.changes, [Change::Feedback { pairs: vec![pair("new user", "new item")] }]);
    let after = store.counts().await.expect("count");
    assert_eq!((after.users, after.items, after.feedback), (before.users, before.items, before.feedback + 1));
    assert_eq!(feedback_of(store, "drop", "stranger", "new item").await, None);
    // A user is created even if its row is dropped for the item's sake.
    let rows = vec![row("drop", "stranger", "strange item", 1.0, at(1))];
    let event = Command::PutFeedback { rows, mode, insert_users: true, insert_items: false };
    let outcome = apply(store, event).await;
    assert_eq!(outcome.changes, [Change::Users { user_ids: vec![UserId::new("stranger")] }]);
    assert_eq!(store.item(&ItemId::new("strange item")).await.expect("read"), None);
}

async fn what_is_created_does_not_replace_what_exists(store: &dyn DataStore) {
    let described = user("described", json!({"a": 1}), "kept");
    apply(store, Command::PutUsers { users: vec![described.clone()] }).await;
    apply(store, post(vec![row("r", "described", "new item", 1.0, at(1))])).await;
    assert_eq!(store.user(&described.user_id).await.expect("read"), Some(described));
}

async fn deleting_feedback_counts_its_rows(store: &dyn DataStore) {
    let rows = ["a", "b", "c"].map(|name| row(name, "v", "w", 1.0, at(1)));
    apply(store, post(rows.to_vec())).await;
    apply(store, post(vec![row("a", "v", "x", 1.0, at(1))])).await;
    let delete = |feedback_type: Option<&str>| Command::DeleteFeedback {
        user_id: UserId::new("v"),
        item_id: ItemId::new("w"),
        feedback_type: feedback_type.map(SmolStr::new),
    };
    let changes = vec![Change::Feedback { pairs: vec![pair("v", "w")] }];
    let gone = |rows_deleted| Outcome { rows_deleted, changes: changes.clone(), ..Outcome::default() };
    assert_eq!(apply(store, delete(Some("nothing like it"))).await, Outcome::default());
    assert_eq!(apply(store, delete(Some("b"))).await, gone(1));
    assert_eq!(apply(store, delete(Some("b"))).await, Outcome::default());
    assert_eq!(apply(store, delete(None)).await, gone(2));
    assert_eq!(apply(store, delete(None)).await, Outcome::default());
    assert!(feedback_of(store, "a", "v", "x").await.is_some(), "other pairs stay");
}

async fn events_of_one_call_see_each_other(store: &dyn DataStore) {
    let events = vec![
        post(vec![row("r", "chain", "link", 1.0, at(1))]),
        Command::DeleteUser { user_id: UserId::new("chain") },
        post(vec![row("r", "chain", "link", 2.0, at(2))]),
        overwrite(vec![row("r", "chain", "link", 5.0, at(9))]),
        post(vec![row("r", "chain", "link", 1.0, at(3))]),
    ];
    let submissions = events.into_iter().map(crate::data::Submission::from);
    let outcomes = store.apply(submissions.collect()).await.expect("apply");
    assert_eq!(outcomes.len(), 5);
    let expected = Feedback { updated: at(9), ..row("r", "chain", "link", 6.0, at(3)) };
    assert_eq!(feedback_of(store, "r", "chain", "link").await, Some(expected));
}
