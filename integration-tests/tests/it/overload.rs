//! More is asked than can be answered: answers get simpler and say so, some are refused, and it ends with the load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ulex_integration_tests::datasets::{TWO_TASTES_CONFIG, two_tastes};
use ulex_integration_tests::{Client, Ulex, wait_until};

const CALLERS: usize = 64;

/// Status of an answer, and what it says it lacks.
fn kind(client: &mut Client, user: &str) -> String {
    let answer = client.send("GET", &format!("/api/recommend/{user}?n=10"), &[], None).unwrap();
    let lacks = answer.header("x-ulex-degraded").unwrap_or_default();
    if answer.status == 429 {
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    format!("{} {lacks}", answer.status).trim_end().to_owned()
}

#[test]
fn a_crowd_gets_less_until_it_is_gone() {
    let settings = format!("{TWO_TASTES_CONFIG}\n[serving]\ncached_lists = false\n");
    let mut ulex = Ulex::configured(&settings);
    ulex.stop();
    ulex.set_environment("ULEX_SERVING_DEGRADE", "true");
    ulex.restart();
    let mut client = ulex.client();
    two_tastes().load(&mut client);
    wait_until("there are models", Duration::from_secs(60), || client.has_models());
    assert_eq!(kind(&mut client, "tea-user-0"), "200");

    let seen: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_caller| {
            let (mut client, seen, is_over) = (ulex.client(), Arc::clone(&seen), Arc::clone(&is_over));
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let kind = kind(&mut client, "tea-user-0");
                    *seen.lock().unwrap().entry(kind).or_default() += 1;
                }
            })
        })
        .collect();
    let begun = Instant::now();
    let lacks_something = |seen: &BTreeMap<String, usize>| seen.keys().any(|kind| kind != "200");
    while !lacks_something(&seen.lock().unwrap()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", seen.lock().unwrap());
        thread::sleep(Duration::from_millis(20));
    }
    // Writes, and whether it is well, are not refused.
    client.post("/api/user", &serde_json::json!({"UserId": "writer"}));
    assert_eq!(client.status("/api/health/live"), Some(200));
    is_over.store(true, Ordering::Relaxed);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    let seen = seen.lock().unwrap().clone();
    let known = ["200", "200 unranked", "200 leaderboard", "429"];
    assert!(seen.keys().all(|kind| known.contains(&kind.as_str())), "{seen:?}");

    wait_until("answers are the best again", Duration::from_secs(120), || {
        kind(&mut client, "tea-user-0") == "200"
    });
}
