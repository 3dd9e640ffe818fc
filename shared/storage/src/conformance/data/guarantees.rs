//! What holds whatever else happens: once and only once, all or nothing, nobody's write lost.

use std::sync::Arc;

use serde_json::json;
use ulex_domain::limits::MAX_ID_BYTES;
use ulex_domain::{Command, EventId, Feedback, UserId};

use super::{applied_until, apply, at, feedback_of, item, named, overwrite, position, post, row, user};
use crate::ErrorKind;
use crate::data::{Counts, DataStore, Submission};

pub(super) async fn check(store: &Arc<dyn DataStore>) {
    store.purge().await.expect("purge");
    an_event_is_applied_once(store.as_ref()).await;
    an_event_without_effect_is_in_the_ledger_too(store.as_ref()).await;
    a_log_is_applied_once(store.as_ref()).await;
    a_value_that_is_no_number_is_refused_as_a_whole(store.as_ref()).await;
    ids_are_kept_up_to_one_length_and_refused_above_it(store.as_ref()).await;
    nothing_to_do_is_no_error(store.as_ref()).await;
    concurrent_additions_add_up(store).await;
    concurrent_calls_take_effect_in_order(store).await;
    a_purge_removes_everything(store.as_ref()).await;
    store.ping().await.expect("ping");
}

async fn an_event_is_applied_once(store: &dyn DataStore) {
    let event = || post(vec![row("r", "once", "i", 1.0, at(1))]);
    let twice = vec![named("e-1", event()), named("e-1", event()), named("e-2", event())];
    let outcomes = store.apply(twice).await.expect("apply");
    assert_eq!(outcomes.iter().map(|outcome| outcome.duplicate).collect::<Vec<_>>(), [false, true, false]);
    assert!(outcomes[1].changes.is_empty());
    let again = store.apply(vec![named("e-2", event())]).await.expect("apply");
    assert!(again[0].duplicate);
    assert_eq!(feedback_of(store, "r", "once", "i").await.expect("it exists").value, 2.0);
    // Without an id every submission counts.
    apply(store, event()).await;
    assert_eq!(feedback_of(store, "r", "once", "i").await.expect("it exists").value, 3.0);
}

async fn an_event_without_effect_is_in_the_ledger_too(store: &dyn DataStore) {
    let event = || Command::DeleteUser { user_id: UserId::new("late") };
    store.apply(vec![named("e-delete", event())]).await.expect("apply");
    apply(store, Command::PutUsers { users: vec![user("late", json!(1), "")] }).await;
    let again = store.apply(vec![named("e-delete", event())]).await.expect("apply");
    assert!(again[0].duplicate);
    assert!(store.user(&UserId::new("late")).await.expect("read").is_some());
}

/// An event with the value 1 at a place of a log.
fn logged(log: &str, sequence: u64) -> Submission {
    let position = Some(position(log, sequence));
    Submission { position, ..post(vec![row("log", "u", "i", 1.0, at(1))]).into() }
}

async fn a_log_is_applied_once(store: &dyn DataStore) {
    assert_eq!(applied_until(store, "one").await, None);
    let apply = async |places: &[(&str, u64)]| {
        let call = places.iter().map(|(log, sequence)| logged(log, *sequence)).collect();
        let outcomes = store.apply(call).await.expect("apply");
        outcomes.into_iter().map(|outcome| outcome.duplicate).collect::<Vec<_>>()
    };
    let value = async || feedback_of(store, "log", "u", "i").await.expect("it exists").value;
    assert_eq!(apply(&[("one", 1), ("one", 2), ("one", 5)]).await, [false; 3]);
    assert_eq!(applied_until(store, "one").await, Some(5));
    // Delivered again, and overlapping with what is new.
    assert_eq!(apply(&[("one", 1), ("one", 5)]).await, [true; 2]);
    assert_eq!(apply(&[("one", 5), ("one", 6), ("one", 6)]).await, [true, false, true]);
    assert_eq!(value().await, 4.0);
    assert_eq!(apply(&[("two", 1), ("one", 7), ("two", 2)]).await, [false; 3]);
    assert_eq!(applied_until(store, "two").await, Some(2));
    assert_eq!(value().await, 7.0);
    // An id that is known moves the log on; a call that is refused does not.
    let known = Submission { event_id: EventId::new("e-log").ok(), ..logged("one", 8) };
    store.apply(vec![known.clone()]).await.expect("apply");
    let again = Submission { position: Some(position("one", 9)), ..known };
    assert!(store.apply(vec![again]).await.expect("apply")[0].duplicate);
    let bad = Submission {
        position: Some(position("one", 10)),
        ..post(vec![row("log", "u", "i", f64::NAN, at(1))]).into()
    };
    store.apply(vec![bad]).await.expect_err("it must be refused");
    assert_eq!(applied_until(store, "one").await, Some(9));
}

async fn a_value_that_is_no_number_is_refused_as_a_whole(store: &dyn DataStore) {
    let before = store.counts().await.expect("count");
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let call = vec![
            named("e-good", post(vec![row("r", "good", "good", 1.0, at(1))])),
            named(
                "e-bad",
                post(vec![row("r", "ok", "ok", 1.0, at(1)), row("r", "bad", "bad", value, at(1))]),
            ),
        ];
        let refused = store.apply(call).await.expect_err("it must be refused");
        assert!(!refused.is_transient(), "repeating does not help");
    }
    assert_eq!(store.counts().await.expect("count"), before, "nothing of the call was applied");
    let good = store.apply(vec![named("e-good", post(vec![row("r", "good", "good", 1.0, at(1))]))]).await;
    assert!(!good.expect("apply")[0].duplicate, "the ledger of a refused call is undone");
}

async fn ids_are_kept_up_to_one_length_and_refused_above_it(store: &dyn DataStore) {
    // Not to be compressed, so that the key of the row is as long as a key can be.
    let mut state = 1_u32;
    let mut letters = |count: usize| -> String {
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b' ' + u8::try_from((state >> 16) % 95).expect("it is below 95"))
        };
        (0..count).map(|_place| letter()).collect()
    };
    let longest = [letters(MAX_ID_BYTES), letters(MAX_ID_BYTES), letters(MAX_ID_BYTES)];
    let [name, user, item] = &longest;
    let kept = row(name, user, item, 1.0, at(1));
    apply(store, post(vec![kept.clone()])).await;
    assert_eq!(feedback_of(store, name, user, item).await, Some(kept));
    for place in 0..3 {
        let mut texts = longest.clone();
        texts[place].push('!');
        let [name, user, item] = &texts;
        let refused = store.apply(vec![post(vec![row(name, user, item, 1.0, at(1))]).into()]).await;
        assert_eq!(refused.expect_err("it must be refused").kind(), ErrorKind::Rejected);
    }
}

async fn nothing_to_do_is_no_error(store: &dyn DataStore) {
    assert!(store.apply(Vec::new()).await.expect("apply").is_empty());
    for event in
        [post(Vec::new()), Command::PutUsers { users: Vec::new() }, Command::PutItems { items: Vec::new() }]
    {
        assert!(apply(store, event).await.changes.is_empty());
    }
}

async fn concurrent_additions_add_up(store: &Arc<dyn DataStore>) {
    let tasks = (0..16).map(|task| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for call in 0..200 {
                // Each is sent twice, as after a lost answer.
                let turn = call / 2;
                let event = post(vec![row("add", "all", "one", 1.0, at(turn))]);
                store.apply(vec![named(&format!("{task}-{turn}"), event)]).await.expect("apply");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
    let sum = feedback_of(store.as_ref(), "add", "all", "one").await.expect("it exists");
    assert_eq!(sum, Feedback { updated: at(99), ..row("add", "all", "one", 1_600.0, at(0)) });
}

/// Overwrites do not commute, so the last one called must be what stays.
async fn concurrent_calls_take_effect_in_order(store: &Arc<dyn DataStore>) {
    let mut calls = Vec::new();
    for turn in 0..200 {
        let event = overwrite(vec![row("last", "all", "one", f64::from(turn), at(1))]);
        // Polled once, in order, so called in order; answered later.
        let mut call = Box::pin({
            let store = Arc::clone(store);
            async move { store.apply(vec![Submission::from(event)]).await }
        });
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context))).await;
        match polled {
            std::task::Poll::Ready(outcome) => drop(outcome.expect("apply")),
            std::task::Poll::Pending => calls.push(call),
        }
    }
    for call in calls {
        call.await.expect("apply");
    }
    assert_eq!(feedback_of(store.as_ref(), "last", "all", "one").await.expect("it exists").value, 199.0);
}

async fn a_purge_removes_everything(store: &dyn DataStore) {
    apply(store, Command::PutItems { items: vec![item("searchable")] }).await;
    store.set_search_columns(&["item.ItemId".to_owned()]).await.expect("define");
    store.purge().await.expect("purge");
    assert_eq!(store.counts().await.expect("count"), Counts::default());
    assert_eq!(applied_until(store, "one").await, None, "positions are forgotten");
    assert!(store.search_items("searchable", 5).await.expect("search").is_empty());
    let again = store.apply(vec![named("e-1", post(vec![row("r", "u", "i", 1.0, at(1))]))]).await;
    assert!(!again.expect("apply")[0].duplicate, "the ledger is empty");
    assert_eq!(feedback_of(store, "r", "u", "i").await, Some(row("r", "u", "i", 1.0, at(1))));
    apply(store, Command::PutItems { items: vec![item("afterwards")] }).await;
    assert_eq!(store.search_items("afterwards", 5).await.expect("search").len(), 1, "still searchable");
}

pub(super) async fn fill(store: &dyn DataStore) {
    store.purge().await.expect("purge");
    store.set_search_columns(&["item.Comment".to_owned()]).await.expect("define");
    let call = vec![
        named("e-reopened", post(vec![row("r", "u", "i", 1.0, at(1)), row("s", "u", "j", 2.0, at(2))])),
        named("e-item", Command::PutItems { items: vec![item("described")] }),
        Submission { position: Some(position("reopened", 7)), ..post(Vec::new()).into() },
    ];
    store.apply(call).await.expect("apply");
}

pub(super) async fn check_filled(store: &dyn DataStore) {
    assert_eq!(store.counts().await.expect("count"), Counts { users: 1, items: 3, feedback: 2 });
    let again = named("e-reopened", post(vec![row("r", "u", "i", 1.0, at(1))]));
    assert!(store.apply(vec![again]).await.expect("apply")[0].duplicate, "the ledger is kept");
    assert_eq!(applied_until(store, "reopened").await, Some(7), "positions are kept");
    apply(store, post(vec![row("r", "u", "i", 1.0, at(5)), row("r", "new", "i", 1.0, at(5))])).await;
    let summed = Feedback { updated: at(5), ..row("r", "u", "i", 2.0, at(1)) };
    assert_eq!(feedback_of(store, "r", "u", "i").await, Some(summed));
    assert_eq!(store.search_items("described", 5).await.expect("search").len(), 1, "the index is kept");
    assert_eq!(store.counts().await.expect("count"), Counts { users: 2, items: 3, feedback: 3 });
}
