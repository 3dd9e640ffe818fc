//! Entries of a log count once, however often they are delivered.

use std::sync::Arc;

use ulex_domain::{Command, EventId, UserId};

use super::{at, feedback_of, overwrite, post, row};
use crate::data::{DataStore, LogPosition, Outcome, Submission};

pub(super) async fn check(store: &Arc<dyn DataStore>) {
    store.purge().await.expect("purge");
    a_batch_that_is_delivered_again_has_no_effect(store.as_ref()).await;
    of_a_batch_that_overlaps_only_the_rest_is_applied(store.as_ref()).await;
    entries_take_effect_in_the_order_of_the_log(store.as_ref()).await;
    logs_do_not_disturb_each_other(store.as_ref()).await;
    an_entry_counts_as_applied_even_if_its_event_was_known(store.as_ref()).await;
    an_old_position_does_not_enter_the_id_of_its_event(store.as_ref()).await;
    the_positions_of_a_refused_call_are_undone(store.as_ref()).await;
    concurrent_deliveries_of_one_batch_count_once(store).await;
    a_purge_forgets_how_far_a_log_was_applied(store.as_ref()).await;
}

fn entry(log: &str, sequence: u64, event: Command) -> Submission {
    Submission { event_id: None, position: Some(LogPosition { log: log.into(), sequence }), event }
}

/// An entry that adds one to a row of its own log.
fn click(log: &str, sequence: u64) -> Submission {
    entry(log, sequence, post(vec![row("r", log, "clicked", 1.0, at(1))]))
}

fn clicks(log: &str, sequences: impl IntoIterator<Item = u64>) -> Vec<Submission> {
    sequences.into_iter().map(|sequence| click(log, sequence)).collect()
}

async fn clicked(store: &dyn DataStore, log: &str) -> f64 {
    feedback_of(store, "r", log, "clicked").await.map_or(0.0, |row| row.value)
}

async fn duplicates(store: &dyn DataStore, submissions: Vec<Submission>) -> Vec<bool> {
    let outcomes = store.apply(submissions).await.expect("apply");
    let nothing_happened = Outcome { duplicate: true, ..Outcome::default() };
    assert!(outcomes.iter().all(|outcome| !outcome.duplicate || *outcome == nothing_happened));
    outcomes.iter().map(|outcome| outcome.duplicate).collect()
}

async fn applied_until(store: &dyn DataStore, log: &str) -> Option<u64> {
    store.applied_until(log).await.expect("read a position")
}

async fn a_batch_that_is_delivered_again_has_no_effect(store: &dyn DataStore) {
    assert_eq!(applied_until(store, "again").await, None);
    assert_eq!(duplicates(store, clicks("again", 1..=3)).await, [false; 3]);
    assert_eq!(applied_until(store, "again").await, Some(3));
    assert_eq!(duplicates(store, clicks("again", 1..=3)).await, [true; 3]);
    assert_eq!(clicked(store, "again").await, 3.0);
    assert_eq!(applied_until(store, "again").await, Some(3));
}

async fn of_a_batch_that_overlaps_only_the_rest_is_applied(store: &dyn DataStore) {
    // Positions may have gaps.
    assert_eq!(duplicates(store, clicks("overlap", [5, 9, 10])).await, [false; 3]);
    assert_eq!(duplicates(store, clicks("overlap", [9, 10, 11, 20])).await, [true, true, false, false]);
    assert_eq!(duplicates(store, clicks("overlap", [21, 21, 22])).await, [false, true, false]);
    assert_eq!(clicked(store, "overlap").await, 7.0);
    assert_eq!(applied_until(store, "overlap").await, Some(22));
}

async fn entries_take_effect_in_the_order_of_the_log(store: &dyn DataStore) {
    let puts = |values: std::ops::Range<u32>| {
        let put = |value: u32| {
            entry("order", u64::from(value), overwrite(vec![row("r", "o", "i", value.into(), at(1))]))
        };
        values.map(put).collect::<Vec<_>>()
    };
    duplicates(store, puts(1..5)).await;
    duplicates(store, puts(3..9)).await;
    duplicates(store, puts(1..7)).await;
    assert_eq!(feedback_of(store, "r", "o", "i").await.expect("it exists").value, 8.0);
}

async fn logs_do_not_disturb_each_other(store: &dyn DataStore) {
    let both = [click("one log", 100), click("other log", 1), click("one log", 101), click("other log", 2)];
    assert_eq!(duplicates(store, both.to_vec()).await, [false; 4]);
    let both = [click("one log", 101), click("other log", 3), click("one log", 102), click("other log", 2)];
    assert_eq!(duplicates(store, both.to_vec()).await, [true, false, false, true]);
    assert_eq!((clicked(store, "one log").await, clicked(store, "other log").await), (3.0, 3.0));
    assert_eq!(applied_until(store, "one log").await, Some(102));
    assert_eq!(applied_until(store, "other log").await, Some(3));
}

async fn an_entry_counts_as_applied_even_if_its_event_was_known(store: &dyn DataStore) {
    let named = |sequence| Submission {
        event_id: Some(EventId::new("known to the ledger").expect("it is valid")),
        ..click("known", sequence)
    };
    assert_eq!(duplicates(store, vec![named(1), named(2)]).await, [false, true]);
    assert_eq!(applied_until(store, "known").await, Some(2));
    assert_eq!(clicked(store, "known").await, 1.0);
    // Something without any effect is settled as well.
    let deletion = Command::DeleteUser { user_id: UserId::new("nobody was here") };
    assert_eq!(duplicates(store, vec![entry("known", 7, deletion)]).await, [false]);
    assert_eq!(applied_until(store, "known").await, Some(7));
}

async fn an_old_position_does_not_enter_the_id_of_its_event(store: &dyn DataStore) {
    let named = |sequence| Submission {
        event_id: Some(EventId::new("only with an old position").expect("it is valid")),
        ..click("old", sequence)
    };
    assert_eq!(duplicates(store, clicks("old", [5])).await, [false]);
    assert_eq!(duplicates(store, vec![named(4), named(6)]).await, [true, false]);
    assert_eq!(clicked(store, "old").await, 2.0);
}

async fn the_positions_of_a_refused_call_are_undone(store: &dyn DataStore) {
    let bad = entry("refused", 2, post(vec![row("r", "u", "i", f64::NAN, at(1))]));
    store.apply(vec![click("refused", 1), bad]).await.expect_err("it must be refused");
    assert_eq!(applied_until(store, "refused").await, None);
    let refused = store.apply(vec![click("refused", u64::MAX)]).await;
    assert!(!refused.expect_err("no store can keep it").is_transient());
    assert_eq!(duplicates(store, vec![click("refused", 1), click("refused", 1 << 62)]).await, [false; 2]);
    assert_eq!(applied_until(store, "refused").await, Some(1 << 62));
}

/// As when an ingester was believed dead and another one took over.
async fn concurrent_deliveries_of_one_batch_count_once(store: &Arc<dyn DataStore>) {
    let deliveries = (0..8).map(|_ingester| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for batch in 0..20 {
                store.apply(clicks("twice", batch * 10 + 1..=batch * 10 + 10)).await.expect("apply");
            }
        })
    });
    for delivery in deliveries.collect::<Vec<_>>() {
        delivery.await.expect("no panic");
    }
    assert_eq!(clicked(store.as_ref(), "twice").await, 200.0);
    assert_eq!(applied_until(store.as_ref(), "twice").await, Some(200));
}

async fn a_purge_forgets_how_far_a_log_was_applied(store: &dyn DataStore) {
    duplicates(store, clicks("purged", 1..=3)).await;
    store.purge().await.expect("purge");
    assert_eq!(applied_until(store, "purged").await, None);
    assert_eq!(duplicates(store, clicks("purged", 2..=4)).await, [false; 3]);
    assert_eq!(clicked(store, "purged").await, 3.0);
}
