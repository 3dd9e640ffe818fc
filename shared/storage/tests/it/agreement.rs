//! Random events must leave every backend in the same state as the reference.

use std::num::NonZeroUsize;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use smol_str::SmolStr;
use ulex_domain::{
    Command, EventId, Feedback, FeedbackMode, Item, ItemId, ItemPatch, Timestamp, User, UserId, UserPatch,
};
use ulex_storage::conformance::data::dump::dump;
use ulex_storage::data::{self, DataStore, LogPosition, MemoryStore, Submission};

fn id() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "B", "a/b", "", "é", "a longer id than fits inline", "10", "9"])
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(Timestamp::ZERO), (-5_i64..5).prop_map(Timestamp::from_nanos)]
}

fn labels() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![json!(null), json!({"a": ["x", 1]}), json!("text"), json!([])])
}

fn comment() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "words", "é\"'"]).prop_map(str::to_owned)
}

fn user() -> impl Strategy<Value = User> {
    (id(), labels(), comment()).prop_map(|(id, labels, comment)| User {
        user_id: UserId::new(id),
        labels,
        comment,
    })
}

fn item() -> impl Strategy<Value = Item> {
    let categories =
        prop::option::of(vec(prop::sample::select(vec!["x", "y"]).prop_map(str::to_owned), 0..3));
    (id(), any::<bool>(), categories, time(), labels(), comment()).prop_map(
        |(id, is_hidden, categories, timestamp, labels, comment)| Item {
            item_id: ItemId::new(id),
            is_hidden,
            categories,
            timestamp,
            labels,
            comment,
        },
    )
}

fn row() -> impl Strategy<Value = Feedback> {
    let value = prop::sample::select(vec![0.0, 1.0, -2.5, f64::MAX]);
    (prop::sample::select(vec!["read", "star", ""]), id(), id(), value, time(), labels(), comment()).prop_map(
        |(name, user, item, value, timestamp, labels, comment)| Feedback {
            feedback_type: SmolStr::new(name),
            user_id: UserId::new(user),
            item_id: ItemId::new(item),
            value,
            timestamp,
            updated: timestamp,
            labels,
            comment,
        },
    )
}

fn event() -> impl Strategy<Value = Command> {
    let mode = prop::sample::select(vec![FeedbackMode::Accumulate, FeedbackMode::Overwrite]);
    let item_patch = item().prop_map(|item| ItemPatch {
        is_hidden: item.is_hidden.then_some(true),
        categories: item.categories,
        timestamp: (!item.timestamp.is_zero()).then_some(item.timestamp),
        labels: (!item.labels.is_null()).then_some(item.labels),
        comment: (!item.comment.is_empty()).then_some(item.comment),
    });
    prop_oneof![
        2 => vec(user(), 0..4).prop_map(|users| Command::PutUsers { users }),
        1 => user().prop_map(|user| Command::PatchUser {
            user_id: user.user_id,
            patch: UserPatch { labels: Some(user.labels), comment: None },
        }),
        1 => id().prop_map(|id| Command::DeleteUser { user_id: UserId::new(id) }),
        2 => vec(item(), 0..4).prop_map(|items| Command::PutItems { items }),
        1 => (id(), item_patch).prop_map(|(id, patch)| Command::PatchItem { item_id: ItemId::new(id), patch }),
        1 => (id(), id(), any::<bool>()).prop_map(|(id, category, present)| Command::SetCategory {
            item_id: ItemId::new(id),
            category: category.to_owned(),
            present,
        }),
        1 => id().prop_map(|id| Command::DeleteItem { item_id: ItemId::new(id) }),
        6 => (vec(row(), 0..12), mode, any::<bool>(), any::<bool>()).prop_map(
            |(rows, mode, insert_users, insert_items)| Command::PutFeedback { rows, mode, insert_users, insert_items }
        ),
        1 => (id(), id(), prop::option::of(prop::sample::select(vec!["read", "star", "no"]))).prop_map(
            |(user, item, name)| Command::DeleteFeedback {
                user_id: UserId::new(user),
                item_id: ItemId::new(item),
                feedback_type: name.map(SmolStr::new),
            }
        ),
    ]
}

fn submission() -> impl Strategy<Value = Submission> {
    (prop::option::of(0_u8..30), event(), prop::option::of((0_u8..2, 1_u64..3, 1_u64..20))).prop_map(
        |(id, event, position)| Submission {
            follows: None,
            event_id: id.map(|id| EventId::new(&format!("event {id}")).unwrap()),
            event,
            position: position.map(|(log, epoch, sequence)| LogPosition {
                log: SmolStr::new(format!("log {log}")),
                epoch,
                sequence,
                appended_at_nanos: i64::try_from(sequence).unwrap() * 7,
                crc: u32::MAX,
            }),
        },
    )
}

/// A few calls of a few events each.
fn calls() -> impl Strategy<Value = Vec<Vec<Submission>>> {
    vec(vec(submission(), 1..6), 1..12)
}

async fn compare_sqlite(calls: Vec<Vec<Submission>>, page: NonZeroUsize, recent_rows: usize) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/data.db?recent_rows={recent_rows}", directory.path().display());
    compare(data::open(&url, "").await.unwrap().as_ref(), calls, page).await;
}

/// Applies the calls to an empty store and to the reference, and compares all that can be seen.
async fn compare(store: &dyn DataStore, calls: Vec<Vec<Submission>>, page: NonZeroUsize) {
    let memory = MemoryStore::new();
    for call in calls {
        let outcomes = store.apply(call.clone()).await.unwrap();
        assert_eq!(outcomes, memory.apply(call).await.unwrap());
    }
    let expected = dump(&memory, page).await;
    assert_eq!(dump(store, page).await, expected);
    for user in &expected.users {
        let until = Some(Timestamp::from_nanos(0));
        let rows = store.user_feedback(&user.user_id, until).await.unwrap();
        assert_eq!(rows, memory.user_feedback(&user.user_id, until).await.unwrap());
    }
    for item in &expected.items {
        let rows = store.item_feedback(&item.item_id, None, None).await.unwrap();
        assert_eq!(rows, memory.item_feedback(&item.item_id, None, None).await.unwrap());
    }
    for log in ["log 0", "log 1"] {
        assert_eq!(store.log_position(log).await.unwrap(), memory.log_position(log).await.unwrap());
        assert_eq!(store.logs().await.unwrap(), memory.logs().await.unwrap());
    }
    assert_eq!(store.counts().await.unwrap(), memory.counts().await.unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_and_memory_agree_on_every_outcome_and_every_row(
        calls in calls(),
        page in 1_usize..9,
        recent_rows in 0_usize..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare_sqlite(calls, NonZeroUsize::new(page).unwrap(), recent_rows));
    }
}

#[cfg(feature = "postgres")]
mod on_postgres {
    use super::*;
    use crate::postgres::Schema;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 100, ..ProptestConfig::default() })]

        #[test]
        #[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
        fn postgres_and_memory_agree_on_every_outcome_and_every_row(calls in calls(), page in 1_usize..9) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let schema = Schema::create().await;
                let store = data::open(&schema.url(""), "").await.unwrap();
                compare(store.as_ref(), calls, NonZeroUsize::new(page).unwrap()).await;
                drop(store);
                schema.remove().await;
            });
        }
    }
}
