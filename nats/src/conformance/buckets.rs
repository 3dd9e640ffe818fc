//! Key-value buckets.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Place, soon};
use crate::BusError;
use crate::transport::{BucketSpec, KeyEvent, RawBucket, RawWatch, Transport};

fn spec(place: &Place) -> BucketSpec {
    BucketSpec { name: place.name("bucket"), history: 1, ttl: None, durable: true }
}

async fn open(bus: Arc<dyn Transport>) -> Box<dyn RawBucket> {
    let place = Place::new(bus);
    place.bus.bucket(&spec(&place)).await.unwrap()
}

async fn value(bucket: &dyn RawBucket, key: &str) -> Option<String> {
    let entry = bucket.get(key).await.unwrap()?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

fn conflicts<T>(outcome: Result<T, BusError>) {
    let error = outcome.err();
    assert!(matches!(error, Some(BusError::Conflict { .. })), "{error:?}");
}

async fn next(watch: &mut Box<dyn RawWatch>) -> (String, Option<String>) {
    match soon(watch.next()).await.unwrap() {
        KeyEvent::Put(entry) => (entry.key, Some(String::from_utf8(entry.value.to_vec()).unwrap())),
        KeyEvent::Gone { key } => (key, None),
    }
}

fn put(key: &str, value: &str) -> (String, Option<String>) {
    (key.to_owned(), Some(value.to_owned()))
}

/// Under growing revisions.
pub async fn a_value_is_what_was_written_last(bus: Arc<dyn Transport>) {
    let bucket = open(bus).await;
    assert_eq!(bucket.get("a").await.unwrap(), None);
    let first = bucket.put("a", "1".into()).await.unwrap();
    let other = bucket.put("b", "x".into()).await.unwrap();
    let second = bucket.put("a", "2".into()).await.unwrap();
    assert!(first < other && other < second);
    let entry = bucket.get("a").await.unwrap().unwrap();
    assert_eq!((entry.key.as_str(), entry.value.as_ref(), entry.revision), ("a", &b"2"[..], second));
    let mut keys: Vec<String> = bucket.entries().await.unwrap().into_iter().map(|entry| entry.key).collect();
    keys.sort();
    assert_eq!(keys, vec!["a", "b"]);
}

/// Everybody else is told.
pub async fn only_one_creates_a_key(bus: Arc<dyn Transport>) {
    let bucket = open(bus).await;
    bucket.create("a", "mine".into()).await.unwrap();
    conflicts(bucket.create("a", "yours".into()).await);
    assert_eq!(value(bucket.as_ref(), "a").await.as_deref(), Some("mine"));
}

/// And gives a new one.
pub async fn an_update_needs_the_last_revision(bus: Arc<dyn Transport>) {
    let bucket = open(bus).await;
    conflicts(bucket.update("a", "x".into(), 1).await);
    let first = bucket.put("a", "1".into()).await.unwrap();
    bucket.put("b", "x".into()).await.unwrap();
    let second = bucket.update("a", "2".into(), first).await.unwrap();
    assert!(second > first);
    conflicts(bucket.update("a", "3".into(), first).await);
    assert_eq!(value(bucket.as_ref(), "a").await.as_deref(), Some("2"));
}

/// Under a higher revision; removing what is not there is nothing.
pub async fn a_removed_key_can_be_created_again(bus: Arc<dyn Transport>) {
    let bucket = open(bus).await;
    bucket.delete("a").await.unwrap();
    let first = bucket.create("a", "1".into()).await.unwrap();
    bucket.delete("a").await.unwrap();
    assert_eq!(bucket.get("a").await.unwrap(), None);
    assert_eq!(bucket.entries().await.unwrap(), vec![]);
    conflicts(bucket.update("a", "x".into(), first).await);
    assert!(bucket.create("a", "2".into()).await.unwrap() > first);
}

/// So that nobody removes what somebody else has written.
pub async fn a_removal_can_need_the_last_revision(bus: Arc<dyn Transport>) {
    let bucket = open(bus).await;
    let first = bucket.put("a", "1".into()).await.unwrap();
    let second = bucket.put("a", "2".into()).await.unwrap();
    conflicts(bucket.delete_at("a", first).await);
    bucket.delete_at("a", second).await.unwrap();
    assert_eq!(bucket.get("a").await.unwrap(), None);
}

/// And goes on with what changes.
pub async fn a_watch_begins_with_what_there_is(bus: Arc<dyn Transport>) {
    let bucket = open(bus).await;
    bucket.put("a", "1".into()).await.unwrap();
    bucket.put("gone", "x".into()).await.unwrap();
    bucket.put("b", "2".into()).await.unwrap();
    bucket.delete("gone").await.unwrap();
    let mut watch = bucket.watch().await.unwrap();
    assert_eq!(next(&mut watch).await, put("a", "1"));
    assert_eq!(next(&mut watch).await, put("b", "2"));
    bucket.put("a", "3".into()).await.unwrap();
    assert_eq!(next(&mut watch).await, put("a", "3"));
    bucket.delete("b").await.unwrap();
    assert_eq!(next(&mut watch).await, ("b".to_owned(), None));
    bucket.create("b", "4".into()).await.unwrap();
    assert_eq!(next(&mut watch).await, put("b", "4"));
}

/// However fast they come.
pub async fn a_watch_never_misses_the_last_value(bus: Arc<dyn Transport>) {
    let bucket = open(bus).await;
    let mut watch = bucket.watch().await.unwrap();
    for number in 0..60 {
        bucket.put("a", number.to_string().into()).await.unwrap();
    }
    bucket.put("end", "x".into()).await.unwrap();
    let (mut last, mut event) = (None, next(&mut watch).await);
    while event.0 != "end" {
        last = event.1;
        event = next(&mut watch).await;
    }
    assert_eq!(last.as_deref(), Some("59"));
}

/// And whoever watches hears of it.
pub async fn values_vanish_after_their_time(bus: Arc<dyn Transport>) {
    const TTL: Duration = Duration::from_secs(1);
    let place = Place::new(bus);
    let bucket =
        place.bus.bucket(&BucketSpec { ttl: Some(TTL), durable: false, ..spec(&place) }).await.unwrap();
    let mut watch = bucket.watch().await.unwrap();
    let written_at = Instant::now();
    let revision = bucket.create("a", "1".into()).await.unwrap();
    assert_eq!(next(&mut watch).await, put("a", "1"));
    assert_eq!(next(&mut watch).await, ("a".to_owned(), None));
    assert!(written_at.elapsed() >= TTL);
    assert_eq!(bucket.get("a").await.unwrap(), None);
    conflicts(bucket.update("a", "2".into(), revision).await);
    assert!(bucket.create("a", "3".into()).await.unwrap() > revision);
}

/// For another whole time.
pub async fn a_written_value_lives_on(bus: Arc<dyn Transport>) {
    const TTL: Duration = Duration::from_secs(2);
    let place = Place::new(bus);
    let bucket =
        place.bus.bucket(&BucketSpec { ttl: Some(TTL), durable: false, ..spec(&place) }).await.unwrap();
    let mut revision = bucket.create("a", "0".into()).await.unwrap();
    for number in 1..7 {
        tokio::time::sleep(TTL / 4).await;
        revision = bucket.update("a", number.to_string().into(), revision).await.unwrap();
    }
    assert_eq!(value(bucket.as_ref(), "a").await.as_deref(), Some("6"));
}

/// The present value is the last of it.
pub async fn history_is_kept_as_long_as_defined(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let bucket = place.bus.bucket(&BucketSpec { history: 3, ..spec(&place) }).await.unwrap();
    for number in 1..=5 {
        bucket.put("a", number.to_string().into()).await.unwrap();
    }
    let history = bucket.history("a").await.unwrap();
    let values: Vec<&[u8]> = history.iter().map(|entry| entry.value.as_ref()).collect();
    assert_eq!(values, vec![b"3", b"4", b"5"]);
    assert!(history.is_sorted_by_key(|entry| entry.revision));
    assert_eq!(bucket.history("b").await.unwrap(), vec![]);
}

/// On every bus alike.
pub async fn what_cannot_be_a_key_is_refused(bus: Arc<dyn Transport>) {
    let bucket = open(bus).await;
    let long = "x".repeat(256);
    for key in ["", "a b", "a*", "a.>", ".a", "a.", "a..b", "ü", long.as_str()] {
        let outcome = bucket.put(key, "1".into()).await;
        assert!(matches!(outcome, Err(BusError::Token(_))), "{key:?}: {outcome:?}");
    }
    for key in ["a", "a.b-c_d=e/f", "A1"] {
        bucket.put(key, "1".into()).await.unwrap();
    }
}

/// With another time to live, without losing what it holds.
pub async fn a_bucket_can_be_defined_again(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let with = |ttl| BucketSpec { ttl: Some(Duration::from_secs(ttl)), ..spec(&place) };
    place.bus.bucket(&with(60)).await.unwrap().put("a", "1".into()).await.unwrap();
    place.bus.bucket(&with(60)).await.unwrap();
    let bucket = place.bus.bucket(&with(120)).await.unwrap();
    assert_eq!(value(bucket.as_ref(), "a").await.as_deref(), Some("1"));
}
