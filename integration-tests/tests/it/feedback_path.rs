//! What was acknowledged is stored, once, whatever happens to the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use ulex_integration_tests::datasets::feedback;
use ulex_integration_tests::{Client, Ulex, eventually, wait_until};

const CONNECTIONS: usize = 8;

/// Acknowledged rows after which the process is killed.
const KILL_AFTER: usize = 400;

/// Writes rows of its own until the connection breaks. Returns what was acknowledged, and what was sent last.
fn write(
    mut client: Client,
    user: &str,
    round: usize,
    acknowledged: &AtomicUsize,
    stop: &AtomicBool,
) -> (Vec<String>, String) {
    let (mut done, mut last) = (Vec::new(), String::new());
    while !stop.load(Ordering::Relaxed) {
        last = format!("r{round}-{}", done.len());
        let row = json!([feedback("watch", user, &last)]);
        match client.send_json("POST", "/api/feedback", &row) {
            Ok(answer) if answer.status == 200 => done.push(last.clone()),
            Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
            Err(_) => break,
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    (done, last)
}

/// What is stored of a user: item → value.
fn stored(client: &mut Client, user: &str) -> BTreeMap<String, f64> {
    let rows = client.get(&format!("/api/user/{user}/feedback/watch"));
    let pair = |row: &Value| (row["ItemId"].as_str().unwrap().to_owned(), row["Value"].as_f64().unwrap());
    let pairs: Vec<(String, f64)> = rows.as_array().unwrap().iter().map(pair).collect();
    let n = pairs.len();
    let map: BTreeMap<String, f64> = pairs.into_iter().collect();
    assert_eq!(map.len(), n, "a row is listed twice");
    map
}

#[test]
fn a_kill_during_writes_loses_no_acknowledged_row_and_doubles_none() {
    let mut ulex = Ulex::start();
    let users: Vec<String> = (0..CONNECTIONS).map(|n| format!("writer-{n}")).collect();
    let mut expected: Vec<Vec<String>> = vec![Vec::new(); CONNECTIONS];
    for round in 0..3 {
        let (acknowledged, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let outcomes: Vec<(Vec<String>, String)> = std::thread::scope(|scope| {
            let writers: Vec<_> = users
                .iter()
                .map(|user| (ulex.client(), user))
                .map(|(client, user)| scope.spawn(|| write(client, user, round, &acknowledged, &stop)))
                .collect();
            wait_until("enough rows are acknowledged", Duration::from_secs(60), || {
                acknowledged.load(Ordering::Relaxed) >= KILL_AFTER
            });
            ulex.kill();
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        ulex.restart();
        let mut client = ulex.client();
        for (n, (done, last)) in outcomes.into_iter().enumerate() {
            expected[n].extend(done);
            let rows = stored(&mut client, &users[n]);
            for item in &expected[n] {
                assert_eq!(rows.get(item), Some(&1.0), "{}: {item} in round {round}", users[n]);
            }
            // The row that was on its way may be there, once, or not.
            let unexpected: Vec<_> = rows.keys().filter(|item| !expected[n].contains(item)).collect();
            assert!(unexpected.iter().all(|item| **item == last), "{unexpected:?}");
            assert!(rows.values().all(|&value| value == 1.0), "a row was applied twice: {rows:?}");
            if !unexpected.is_empty() {
                expected[n].push(last);
            }
        }
    }
}

#[test]
fn a_post_with_an_idempotency_key_may_be_repeated() {
    let ulex = Ulex::start();
    let mut client = ulex.client();
    let body = json!([feedback("watch", "u", "i")]).to_string();
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "order-4711")];
    for _ in 0..3 {
        let answer = client.send("POST", "/api/feedback", &headers, Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(stored(&mut client, "u").get("i"), Some(&1.0));
    client.post("/api/feedback", &json!([feedback("watch", "u", "i")]));
    assert_eq!(stored(&mut client, "u").get("i"), Some(&2.0), "without a key values add up");
}

#[test]
fn an_orderly_stop_ends_well_and_keeps_everything() {
    let mut ulex = Ulex::start();
    ulex.client().post("/api/feedback", &json!([feedback("watch", "u", "i")]));
    assert!(ulex.stop().success());
    ulex.restart();
    let mut client = ulex.client();
    eventually(&1, || stored(&mut client, "u").len());
}
