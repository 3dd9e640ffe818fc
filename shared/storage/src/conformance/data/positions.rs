//! Entries of a log count once, however often they are delivered.

use std::sync::Arc;

use ulex_domain::{Change, Command, EventId, ItemId, UserId, Version};

use super::{applied_until, at, feedback_of, item, overwrite, position, post, row};
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
    a_newer_epoch_is_new_however_low_its_position(store.as_ref()).await;
    a_position_is_kept_with_the_fingerprint_of_its_message(store.as_ref()).await;
    items_keep_the_version_of_the_command_that_wrote_them(store.as_ref()).await;
    the_version_of_an_item_never_goes_back(store.as_ref()).await;
    a_purge_forgets_how_far_a_log_was_applied(store.as_ref()).await;
}

fn entry(log: &str, sequence: u64, event: Command) -> Submission {
    Submission { position: Some(position(log, sequence)), ..event.into() }
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
    assert!(store.logs().await.expect("list the logs").iter().all(|at| at.log == "purged"));
}

async fn a_newer_epoch_is_new_however_low_its_position(store: &dyn DataStore) {
    let click_in = |epoch, sequence| Submission {
        position: Some(LogPosition { epoch, ..position("cut", sequence) }),
        ..click("cut", sequence)
    };
    assert_eq!(duplicates(store, vec![click_in(1, 10), click_in(1, 40)]).await, [false; 2]);
    // The log has lost its end: the next entries have positions that it had before.
    assert_eq!(
        duplicates(store, vec![click_in(2, 21), click_in(2, 21), click_in(2, 22)]).await,
        [false, true, false]
    );
    assert_eq!(duplicates(store, vec![click_in(1, 41), click_in(1, 100)]).await, [true; 2]);
    assert_eq!(clicked(store, "cut").await, 4.0);
    let at = store.log_position("cut").await.expect("read").expect("there is one");
    assert_eq!((at.epoch, at.sequence), (2, 22));
    assert_eq!(store.newest_epoch().await.expect("read"), 2);
    let beyond = LogPosition { epoch: u64::MAX, ..position("cut", 1) };
    let refused = store.apply(vec![Submission { position: Some(beyond), ..click("cut", 1) }]).await;
    assert!(!refused.expect_err("no store can keep it").is_transient());
}

async fn a_position_is_kept_with_the_fingerprint_of_its_message(store: &dyn DataStore) {
    assert_eq!(store.checkpoint("printed").await.expect("read"), None);
    let at = LogPosition {
        log: "printed".into(),
        epoch: 3,
        sequence: 77 << 16 | 5,
        appended_at_nanos: 1_700_000_000_123_456_789,
        crc: u32::MAX,
    };
    let submission = Submission { position: Some(at.clone()), ..click("printed", 0) };
    assert_eq!(duplicates(store, vec![submission]).await, [false]);
    assert_eq!(store.log_position("printed").await.expect("read"), Some(at.clone()));
    let checkpoint = store.checkpoint("printed").await.expect("read").expect("there is one");
    assert_eq!(checkpoint, at.checkpoint());
    assert_eq!((checkpoint.epoch, checkpoint.sequence, checkpoint.crc), (3, 77, u32::MAX));
    let logs = store.logs().await.expect("list the logs");
    assert!(logs.contains(&at) && logs.iter().any(|other| other.log == "cut"));
    assert!(logs.is_sorted_by(|one, other| one.log < other.log));
}

async fn version_of(store: &dyn DataStore, id: &str) -> Option<Version> {
    let states = store.item_states(&[ItemId::new(id)]).await.expect("read the state");
    states.first().map(|state| state.version)
}

fn put_item(id: &str) -> Command {
    Command::PutItems { items: vec![item(id)] }
}

async fn items_keep_the_version_of_the_command_that_wrote_them(store: &dyn DataStore) {
    let id = || ItemId::new("versioned");
    let category = Command::SetCategory { item_id: id(), category: "new".to_owned(), present: true };
    let delete = Command::DeleteItem { item_id: id() };
    let by_feedback = post(vec![row("r", "u", "versioned", 1.0, at(1))]);
    let steps = [
        (1, put_item("versioned")),
        (2, category),
        (3, delete),
        (4, by_feedback),
        (5, put_item("versioned")),
    ];
    let one_by_one = steps.into_iter().enumerate();
    for (step, (sequence, command)) in one_by_one {
        let outcomes = store.apply(vec![entry("versions", sequence, command)]).await.expect("apply");
        let expected = Version::new(1, sequence);
        let changed = outcomes[0].changes.iter().find_map(|change| match change {
            Change::Items { items } => items.first().map(|state| state.version),
            Change::ItemDeleted { version, .. } => Some(*version),
            Change::Users { .. } | Change::UserDeleted { .. } | Change::Feedback { .. } => None,
        });
        assert_eq!(changed, Some(expected), "step {step}");
        let stored = version_of(store, "versioned").await;
        assert_eq!(stored, (sequence != 3).then_some(expected), "step {step}");
    }
    let listed = store.items_by_arrival(0, 1_000).await.expect("list");
    let listed = listed.iter().find(|listed| listed.item.item_id == id()).expect("it is listed");
    assert_eq!(listed.version, Version::new(1, 5));
    let states = store.item_states(&[id(), id(), ItemId::new("no such item")]).await.expect("read");
    assert_eq!(states, [listed.state()]);
    // Several commands of one transaction.
    let hide = Command::PatchItem {
        item_id: id(),
        patch: ulex_domain::ItemPatch { is_hidden: Some(true), ..ulex_domain::ItemPatch::default() },
    };
    store
        .apply(vec![entry("versions", 6, put_item("versioned")), entry("versions", 7, hide)])
        .await
        .expect("apply");
    assert_eq!(version_of(store, "versioned").await, Some(Version::new(1, 7)));
}

async fn the_version_of_an_item_never_goes_back(store: &dyn DataStore) {
    let newer = Submission {
        position: Some(LogPosition { epoch: 7, ..position("newer log", 3) }),
        ..put_item("kept version").into()
    };
    store.apply(vec![newer]).await.expect("apply");
    let older = entry("older log", 9, put_item("kept version"));
    store.apply(vec![older, put_item("kept version").into()]).await.expect("apply");
    assert_eq!(version_of(store, "kept version").await, Some(Version::new(7, 3)));
    store.apply(vec![put_item("never in a log").into()]).await.expect("apply");
    assert_eq!(version_of(store, "never in a log").await, Some(Version::ZERO));
}
