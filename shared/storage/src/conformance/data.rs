//! The promises of [`DataStore`].

use std::sync::Arc;

use serde_json::{Value, json};
use smol_str::SmolStr;
use ulex_domain::{
    Command, EventId, Feedback, FeedbackKey, FeedbackMode, Item, ItemId, Timestamp, User, UserId,
};

use crate::data::{DataStore, LogPosition, Outcome, Submission};

pub mod dump;
mod entities;
mod feedback;
mod guarantees;
mod positions;
mod reads;

/// Checks every promise that does not need the store to be opened again. Removes what the store holds.
///
/// # Panics
///
/// Panics at the first broken promise.
pub async fn check(store: &Arc<dyn DataStore>) {
    entities::check(store.as_ref()).await;
    feedback::check(store.as_ref()).await;
    reads::check(store.as_ref()).await;
    guarantees::check(store).await;
    positions::check(store).await;
    store.purge().await.expect("purge");
}

/// Writes into a store; [`check_reopened`] must find it again.
///
/// # Panics
///
/// Panics at the first broken promise.
pub async fn fill_before_reopening(store: &dyn DataStore) {
    guarantees::fill(store).await;
}

/// Checks that a store that was opened again holds what [`fill_before_reopening`] wrote, and its ledger.
///
/// # Panics
///
/// Panics at the first broken promise.
pub async fn check_reopened(store: &dyn DataStore) {
    guarantees::check_filled(store).await;
}

/// A moment given in seconds.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000 + seconds)
}

fn user(id: &str, labels: Value, comment: &str) -> User {
    User { user_id: UserId::new(id), labels, comment: comment.to_owned() }
}

fn item(id: &str) -> Item {
    Item {
        item_id: ItemId::new(id),
        is_hidden: false,
        categories: Some(vec!["films".to_owned(), "old".to_owned()]),
        timestamp: at(0),
        labels: json!({"tags": ["a", "b"], "year": 1979}),
        comment: format!("about {id}"),
    }
}

fn row(feedback_type: &str, user: &str, item: &str, value: f64, timestamp: Timestamp) -> Feedback {
    Feedback {
        feedback_type: SmolStr::new(feedback_type),
        user_id: UserId::new(user),
        item_id: ItemId::new(item),
        value,
        timestamp,
        updated: timestamp,
        labels: Value::Null,
        comment: String::new(),
    }
}

fn key(feedback_type: &str, user: &str, item: &str) -> FeedbackKey {
    row(feedback_type, user, item, 0.0, at(0)).key()
}

/// A position in the first epoch of a log.
fn position(log: &str, sequence: u64) -> LogPosition {
    LogPosition { log: log.into(), epoch: 1, sequence, ..LogPosition::default() }
}

async fn applied_until(store: &dyn DataStore, log: &str) -> Option<u64> {
    store.log_position(log).await.expect("read a position").map(|at| at.sequence)
}

/// POST: adds up, creates what is unknown.
fn post(rows: Vec<Feedback>) -> Command {
    Command::PutFeedback { rows, mode: FeedbackMode::Accumulate, insert_users: true, insert_items: true }
}

/// PUT: replaces, creates what is unknown.
fn overwrite(rows: Vec<Feedback>) -> Command {
    Command::PutFeedback { rows, mode: FeedbackMode::Overwrite, insert_users: true, insert_items: true }
}

fn named(id: &str, event: Command) -> Submission {
    Submission { event_id: Some(EventId::new(id).expect("the suite's ids are valid")), ..event.into() }
}

async fn apply(store: &dyn DataStore, event: Command) -> Outcome {
    let outcomes = store.apply(vec![Submission::from(event)]).await.expect("apply");
    assert_eq!(outcomes.len(), 1, "one outcome for each submission");
    outcomes.into_iter().next().expect("there is one")
}

async fn feedback_of(store: &dyn DataStore, feedback_type: &str, user: &str, item: &str) -> Option<Feedback> {
    let rows = store.pair_feedback(&UserId::new(user), &ItemId::new(item)).await.expect("read a pair");
    rows.into_iter().find(|row| row.feedback_type == feedback_type)
}

fn user_ids(users: &[User]) -> Vec<&str> {
    users.iter().map(|user| user.user_id.as_str()).collect()
}

fn item_ids(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.item_id.as_str()).collect()
}
