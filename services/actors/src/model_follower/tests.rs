use super::*;
use std::sync::mpsc;
use std::time::Instant;

use ulex_domain::{TenantId, Timestamp};
use ulex_nats::InProcess;
use ulex_nats::leases::FencingToken;
use ulex_nats::models::{Candidate, advance};

type Changes = tokio::sync::mpsc::UnboundedReceiver<ModelChanged<String>>;

fn bus() -> Bus {
    Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default())
}

fn text(bytes: Bytes) -> Result<String, String> {
    match String::from_utf8(Vec::from(bytes)) {
        Ok(text) if text == "panic" => panic!("asked to"),
        Ok(text) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

fn follow(
    bus: &Bus,
    decode: impl Fn(Bytes) -> Result<String, String> + Send + Sync + 'static,
) -> (Addr<ModelFollower<String>>, Changes) {
    let (sender, changes) = tokio::sync::mpsc::unbounded_channel();
    let listener = Outlet::new(move |change| drop(sender.send(change)));
    (ModelFollower::new(bus.clone(), Arc::new(decode), listener).start(), changes)
}

async fn publish(bus: &Bus, name: &str, bytes: &'static [u8]) {
    let info = bus.objects(MODELS).await.unwrap().put(name, Bytes::from_static(bytes)).await.unwrap();
    point(bus, name, info.digest).await;
}

async fn point(bus: &Bus, name: &str, digest: String) {
    let candidate = Candidate { model_set: name.to_owned(), object: name.to_owned(), digest };
    let registry = bus.bucket(&REGISTRY).await.unwrap();
    advance(&registry, candidate, FencingToken(1), Timestamp::ZERO).await.unwrap();
}

/// The name of the next ModelSet and what it holds.
async fn next(changes: &mut Changes) -> (String, String) {
    let change = tokio::time::timeout(Duration::from_secs(60), changes.recv()).await;
    let ModelChanged { model, pointer } = change.unwrap().unwrap();
    (pointer.model_set, model.as_ref().clone())
}

/// Waits until the follower tells `expected` under `key`. The deadline is in real time: some tests pause tokio's.
async fn observe(follower: &Addr<ModelFollower<String>>, key: &str, expected: impl Into<serde_json::Value>) {
    let (expected, deadline) = (expected.into(), Instant::now() + Duration::from_secs(60));
    loop {
        let state = follower.send(Observe).await.unwrap();
        if state[key] == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{key} never became {expected}: {state}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn named(name: &str, content: &str) -> (String, String) {
    (name.to_owned(), content.to_owned())
}

#[actix::test]
async fn follows_every_move_of_the_pointer_and_begins_with_where_it_stands() {
    let bus = bus();
    publish(&bus, "m1", b"one").await;
    let (follower, mut changes) = follow(&bus, text);
    assert_eq!(next(&mut changes).await, named("m1", "one"));
    publish(&bus, "m2", b"two").await;
    assert_eq!(next(&mut changes).await, named("m2", "two"));
    let digest = bus.objects(MODELS).await.unwrap().list().await.unwrap()[0].digest.clone();
    point(&bus, "m1", digest).await;
    assert_eq!(next(&mut changes).await, named("m1", "one"), "a rollback is a move like any other");
    let state = follower.send(Observe).await.unwrap();
    assert_eq!(
        (&state["model_set"], &state["swaps"], &state["failures"]),
        (&json!("m1"), &json!(3), &json!(0))
    );
}

#[actix::test]
async fn a_bad_model_set_is_counted_and_the_old_one_stays() {
    let bus = bus();
    let (follower, mut changes) = follow(&bus, text);
    publish(&bus, "good", b"one").await;
    assert_eq!(next(&mut changes).await, named("good", "one"));
    for (failures, spoil) in [(1, "absent"), (2, "swapped"), (3, "undecodable"), (4, "panicking")] {
        match spoil {
            "absent" => point(&bus, spoil, String::new()).await,
            "swapped" => {
                bus.objects(MODELS).await.unwrap().put(spoil, "x".into()).await.unwrap();
                point(&bus, spoil, "of something else".to_owned()).await;
            }
            "undecodable" => publish(&bus, spoil, b"\xff").await,
            _ => publish(&bus, spoil, b"panic").await,
        }
        observe(&follower, "failures", failures).await;
        assert_eq!(follower.send(Observe).await.unwrap()["model_set"], "good", "{spoil}");
    }
    publish(&bus, "better", b"two").await;
    assert_eq!(next(&mut changes).await, named("better", "two"));
}

#[actix::test]
async fn a_model_set_that_was_late_is_taken_after_a_pause_unless_a_newer_one_came() {
    tokio::time::pause();
    let bus = bus();
    let (follower, mut changes) = follow(&bus, text);
    let info = bus.objects(MODELS).await.unwrap().put("late", "one".into()).await.unwrap();
    bus.objects(MODELS).await.unwrap().delete("late").await.unwrap();
    point(&bus, "late", info.digest.clone()).await;
    observe(&follower, "failures", 1).await;
    bus.objects(MODELS).await.unwrap().put("late", "one".into()).await.unwrap();
    assert_eq!(next(&mut changes).await, named("late", "one"));

    point(&bus, "absent", info.digest).await;
    observe(&follower, "failures", 2).await;
    publish(&bus, "newer", b"two").await;
    assert_eq!(next(&mut changes).await, named("newer", "two"));
    publish(&bus, "absent", b"three").await;
    assert_eq!(next(&mut changes).await, named("absent", "three"));
    tokio::time::sleep(PAUSE * 30).await;
    assert!(changes.try_recv().is_err(), "what was to be tried again is older than what is in use");
}

#[actix::test]
async fn answers_while_it_decodes_and_skips_what_nobody_needs_any_more() {
    let bus = bus();
    let (go, waiting) = mpsc::channel::<()>();
    let waiting = std::sync::Mutex::new(waiting);
    let (follower, mut changes) = follow(&bus, move |bytes| {
        let _ = waiting.lock().unwrap().recv();
        text(bytes)
    });
    publish(&bus, "m1", b"one").await;
    observe(&follower, "loading", "m1").await;
    let asked = Instant::now();
    publish(&bus, "m2", b"two").await;
    publish(&bus, "m3", b"three").await;
    follower.send(Pointed(registry_pointer(&bus).await)).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(30), "it does not wait for the decoder");
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(next(&mut changes).await, named("m1", "one"));
    assert_eq!(next(&mut changes).await, named("m3", "three"));
}

async fn registry_pointer(bus: &Bus) -> LivePointer {
    let registry: Bucket<LivePointer> = bus.bucket(&REGISTRY).await.unwrap();
    registry.get(LIVE_KEY).await.unwrap().unwrap().value
}
