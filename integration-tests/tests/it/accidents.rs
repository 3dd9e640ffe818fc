//! Calls and questions that the tests of accidents have in common.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ulex_integration_tests::{Client, Cluster, NatsClient, wait_until};

pub const MINUTE: Duration = Duration::from_secs(60);

/// An item of 2026; a later number is newer.
pub fn item(id: &str, day: u32) -> Value {
    json!({"ItemId": id, "Timestamp": format!("2026-01-{day:02}T00:00:00Z")})
}

pub fn row(kind: &str, user: &str, item: &str) -> Value {
    json!({"FeedbackType": kind, "UserId": user, "ItemId": item, "Value": 1})
}

/// The status of the answer; `None` if there is none.
pub fn status(client: &mut Client, method: &str, path: &str, body: &Value) -> Option<u16> {
    client.send_json(method, path, body).ok().map(|answer| answer.status)
}

/// Repeats a write that may be repeated until it is acknowledged.
pub fn until_acknowledged(client: &mut Client, method: &str, path: &str, body: &Value) {
    wait_until(&format!("{method} {path} is acknowledged"), MINUTE, || {
        status(client, method, path, body) == Some(200)
    });
}

/// Creates items through a server and waits until each is acknowledged.
pub fn create_items(client: &mut Client, prefix: &str, count: usize) {
    for number in 0..count {
        until_acknowledged(client, "POST", "/api/item", &item(&format!("{prefix}{number}"), 1));
    }
}

/// The newest items that a server shows.
pub fn latest(client: &mut Client) -> Vec<String> {
    client.scored("/api/latest?n=10")
}

/// A number from the database.
pub fn number(cluster: &Cluster, query: &str) -> u64 {
    let answer = cluster.postgres.query(query).unwrap();
    answer.parse().unwrap_or_else(|error| panic!("{query}: {answer}: {error}"))
}

/// How many items with ids that begin so are in the database.
pub fn items_in_store(cluster: &Cluster, prefix: &str) -> u64 {
    number(cluster, &format!("select count(*) from items where item_id like '{prefix}%'"))
}

/// Rows of feedback, and the sum of their values: equal if each event with value 1 counted once.
pub fn rows_and_sum(cluster: &Cluster) -> (u64, u64) {
    let rows = number(cluster, "select count(*) from feedback");
    (rows, number(cluster, "select coalesce(sum(value), 0) from feedback"))
}

/// As [`rows_and_sum`], of a table that may not be there at the moment.
pub fn has_rows(cluster: &Cluster, count: usize) -> bool {
    let rows = cluster.postgres.query("select count(*) from feedback");
    rows.is_ok_and(|rows| rows.parse() == Ok(count))
}

/// How many events are kept as senseless.
pub fn dead_letters(nats: &NatsClient) -> u64 {
    nats.messages("DEAD")
}

/// Publishes events of value 1, each of a user of its own, until it is told to stop; how many were acknowledged.
pub fn publish_until(nats: &NatsClient, stop: &AtomicBool, published: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let number = published.load(Ordering::Relaxed);
        nats.publish_feedback(&row("read", &format!("u{number}"), "a"));
        published.store(number + 1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks again and again for a while: the answer is yes all the time.
pub fn stays_so(what: &str, duration: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        assert!(holds(), "not so any more: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
