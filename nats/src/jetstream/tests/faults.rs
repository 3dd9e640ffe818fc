//! Servers that are killed, held still and started again under what a process does all day.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep, timeout};

use super::private_server::PrivateServer;
use super::*;
use crate::conformance::{PATIENCE, Place, soon, text, with_id};
use crate::transport::{BucketSpec, KeyEvent, RawBucket, RawPuller, RawWatch, Retention};

/// How long a bus may take to work again after its server is back.
const RECOVERY: Duration = Duration::from_secs(30);
/// How long a call may take whatever happens.
const CALL: Duration = Duration::from_secs(8);
/// How long a server stays away.
const OUTAGE: Duration = Duration::from_millis(500);

/// Appends until the stream has it; how often that failed.
async fn append_for_certain(bus: &dyn Transport, message: &Message) -> usize {
    let began = Instant::now();
    let mut failures = 0;
    loop {
        let asked = Instant::now();
        match bus.append(message.clone()).await {
            Ok(_) => return failures,
            Err(reason) => assert!(reason.is_transient() || began.elapsed() < RECOVERY, "{reason:?}"),
        }
        assert!(asked.elapsed() < CALL, "an append took {:?}", asked.elapsed());
        assert!(began.elapsed() < RECOVERY, "nothing can be appended any more");
        failures += 1;
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a counter has reached a value.
async fn reached(counter: &AtomicUsize, value: usize) {
    let until = Instant::now() + RECOVERY * 2;
    while counter.load(Ordering::Relaxed) < value {
        assert!(Instant::now() < until, "{} of {value}", counter.load(Ordering::Relaxed));
        sleep(Duration::from_millis(5)).await;
    }
}

/// Every body of a stream, in its order.
async fn everything(place: &Place) -> Vec<String> {
    let (stream, filter) = (place.name("STREAM"), place.subject("event.*.*"));
    // A cluster that has just lost a server may be electing still.
    let until = Instant::now() + RECOVERY;
    let (count, mut reader) = loop {
        let state = place.bus.stream_state(&stream).await;
        let opened = place.bus.reader(&stream, &filter, ReadFrom::First).await;
        match (state, opened) {
            (Ok(state), Ok(reader)) => break (usize::try_from(state.messages).unwrap(), reader),
            (state, opened) => assert!(Instant::now() < until, "{state:?} {:?}", opened.err()),
        }
    };
    let mut found = Vec::new();
    while found.len() < count {
        let more = reader.read(1000, PATIENCE).await.unwrap();
        assert!(!more.is_empty(), "{} of {count}", found.len());
        found.extend(more.iter().map(|one| text(&one.message)));
    }
    found
}

/// Four writers, each of which appends its numbers until all are acknowledged; `disturb` is called with the number of
/// acknowledged ones. Every number is in the stream once in the end; how many calls failed.
async fn writers_lose_nothing(
    bus: Arc<dyn Transport>,
    each: usize,
    disturb: impl AsyncFnOnce(&AtomicUsize),
) -> usize {
    let place = Arc::new(Place::new(bus));
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (place, acknowledged) = (Arc::clone(&place), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let mut failures = 0;
                for number in 0..each {
                    let body = format!("{writer}-{number}");
                    let message = with_id(place.event("user", &body, &body), &body);
                    failures += append_for_certain(place.bus.as_ref(), &message).await;
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        })
        .collect();
    disturb(&acknowledged).await;
    let mut failures = 0;
    for writer in writers {
        failures += writer.await.unwrap();
    }
    let found = everything(&place).await;
    assert_eq!(found.len(), 4 * each, "each once");
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 4 * each);
    failures
}

/// Pulls, in batches, until `last` is settled. Nothing may come before everything below it was settled.
async fn drain_in_order(mut puller: Box<dyn RawPuller>, last: u64, settled: Arc<AtomicUsize>) {
    let (mut done, began) = (0, Instant::now());
    while done < last {
        assert!(began.elapsed() < RECOVERY * 2, "{done} of {last}");
        for delivery in puller.pull(50, Duration::from_millis(200)).await.unwrap_or_default() {
            assert!(delivery.sequence() <= done + 1, "{} came after {done}", delivery.sequence());
            done = done.max(delivery.sequence());
            delivery.ack().await.unwrap();
        }
        settled.store(usize::try_from(done).unwrap(), Ordering::Relaxed);
    }
}

async fn numbered(place: &Place, numbers: std::ops::Range<u32>) {
    for number in numbers {
        place.append(&[(&format!("k{number}"), &number.to_string())]).await;
    }
}

fn bucket_spec(place: &Place, durable: bool) -> BucketSpec {
    BucketSpec { name: place.name("bucket"), history: 1, ttl: Some(Duration::from_secs(600)), durable }
}

/// Puts until it is done.
async fn put_for_certain(bucket: &dyn RawBucket, key: &str, value: &str) -> u64 {
    let until = Instant::now() + RECOVERY;
    loop {
        match bucket.put(key, value.to_owned().into()).await {
            Ok(revision) => return revision,
            Err(reason) => assert!(Instant::now() < until, "{reason:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// The next news of a watch: key, and value if there is one.
async fn news(watch: &mut Box<dyn RawWatch>) -> (String, Option<String>) {
    match timeout(RECOVERY, watch.next()).await.expect("news in time").unwrap() {
        KeyEvent::Put(entry) => (entry.key, Some(String::from_utf8(entry.value.to_vec()).unwrap())),
        KeyEvent::Gone { key } => (key, None),
    }
}

fn put(key: &str, value: &str) -> (String, Option<String>) {
    (key.to_owned(), Some(value.to_owned()))
}

mod on_nats {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn what_was_acknowledged_is_there_once_after_the_server_was_killed() {
        let mut server = PrivateServer::start();
        let bus: Arc<dyn Transport> = Arc::new(server.connect().await);
        let failures = writers_lose_nothing(bus, 300, async |acknowledged| {
            for part in [200, 700] {
                reached(acknowledged, part).await;
                server.kill();
                sleep(OUTAGE).await;
                server.restart();
            }
        })
        .await;
        assert!(failures > 0, "the fault was not noticed");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn a_puller_goes_on_in_order_when_the_server_is_back() {
        let mut server = PrivateServer::start();
        let place = Place::new(Arc::new(server.connect().await));
        let puller = place.drained(Retention::Limits, &place.consumer_spec(Order::Strict)).await;
        numbered(&place, 0..1000).await;
        let settled = Arc::new(AtomicUsize::new(0));
        let draining = tokio::spawn(drain_in_order(puller, 1500, Arc::clone(&settled)));
        reached(&settled, 200).await;
        server.kill();
        sleep(OUTAGE).await;
        server.restart();
        for number in 1000..1500 {
            append_for_certain(place.bus.as_ref(), &place.event("user", &format!("k{number}"), "x")).await;
        }
        draining.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn every_job_is_done_although_the_server_was_killed() {
        let mut server = PrivateServer::start();
        let place = Place::new(Arc::new(server.connect().await));
        let spec = ConsumerSpec { ack_wait: Duration::from_secs(1), ..place.consumer_spec(Order::Any) };
        let mut puller = place.drained(Retention::WorkQueue, &spec).await;
        numbered(&place, 0..400).await;
        let (mut done, mut killed, began) = (BTreeSet::new(), false, Instant::now());
        while done.len() < 400 {
            assert!(began.elapsed() < RECOVERY, "{} jobs are done", done.len());
            for delivery in puller.pull(20, Duration::from_millis(500)).await.unwrap_or_default() {
                done.insert(text(delivery.message()));
                let _ = soon(delivery.ack()).await;
            }
            if done.len() > 100 && !killed {
                killed = true;
                server.kill();
                server.restart();
            }
        }
        while place.bus.stream_state(&place.name("STREAM")).await.unwrap().messages > 0 {
            assert!(began.elapsed() < RECOVERY, "some jobs come back for ever");
            for delivery in puller.pull(20, Duration::from_millis(200)).await.unwrap_or_default() {
                let _ = delivery.ack().await;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn a_reader_goes_on_where_it_was_even_if_it_had_read_nothing_yet() {
        let mut server = PrivateServer::start();
        let place = Place::new(Arc::new(server.connect().await));
        place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
        numbered(&place, 0..100).await;
        let (stream, filter) = (place.name("STREAM"), place.subject("event.*.*"));
        let mut readers = Vec::new();
        for from in [ReadFrom::New, ReadFrom::Time(SystemTime::now()), ReadFrom::Sequence(100)] {
            readers.push(place.bus.reader(&stream, &filter, from).await.unwrap());
        }
        let read = readers[2].read(9, PATIENCE).await.unwrap();
        assert_eq!(read.iter().map(|one| one.sequence).collect::<Vec<_>>(), vec![100]);
        server.kill();
        sleep(OUTAGE).await;
        server.restart();
        append_for_certain(place.bus.as_ref(), &place.event("user", "k", "news")).await;
        for reader in &mut readers {
            let (mut found, until) = (Vec::new(), Instant::now() + RECOVERY);
            while found.is_empty() && Instant::now() < until {
                found = reader.read(9, PATIENCE).await.unwrap_or_default();
            }
            assert_eq!(found.iter().map(|one| one.sequence).collect::<Vec<_>>(), vec![101]);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn a_watch_hears_of_what_happened_while_it_was_cut_off() {
        let mut server = PrivateServer::start();
        let place = Place::new(Arc::new(server.connect().await));
        let spec = bucket_spec(&place, true);
        let bucket = place.bus.bucket(&spec).await.unwrap();
        for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
            bucket.put(key, value.into()).await.unwrap();
        }
        let mut watch = bucket.watch().await.unwrap();
        for expected in [put("a", "1"), put("b", "2"), put("c", "3")] {
            assert_eq!(news(&mut watch).await, expected);
        }
        server.kill();
        let port = server.restart_elsewhere();
        let other = server.connect().await.bucket(&spec).await.unwrap();
        other.delete("a").await.unwrap();
        put_for_certain(other.as_ref(), "b", "4").await;
        server.kill();
        server.restart_on(port);
        let mut heard = BTreeSet::new();
        while heard.len() < 2 {
            heard.insert(news(&mut watch).await);
        }
        assert_eq!(heard, BTreeSet::from([("a".to_owned(), None), put("b", "4")]));
        put_for_certain(bucket.as_ref(), "d", "5").await;
        assert_eq!(news(&mut watch).await, put("d", "5"), "c has not changed");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn heartbeats_and_leases_work_again_when_the_server_is_back_under_higher_revisions() {
        let mut server = PrivateServer::start();
        let place = Place::new(Arc::new(server.connect().await));
        let bucket = place.bus.bucket(&bucket_spec(&place, false)).await.unwrap();
        let mut watch = bucket.watch().await.unwrap();
        let mut last = 0;
        for number in 0..20 {
            last = bucket.put("a", number.to_string().into()).await.unwrap();
        }
        while news(&mut watch).await != put("a", "19") {}
        server.kill();
        sleep(OUTAGE).await;
        server.restart();
        let next = put_for_certain(bucket.as_ref(), "a", "after").await;
        assert!(next > last, "a token of before the restart must be older: {next} <= {last}");
        while news(&mut watch).await != put("a", "after") {}
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn who_listens_hears_again_when_the_server_is_back() {
        let mut server = PrivateServer::start();
        let place = Place::new(Arc::new(server.connect().await));
        let mut listener = place.bus.subscribe(&place.subject("event.>"), None).await.unwrap();
        server.kill();
        sleep(OUTAGE).await;
        server.restart();
        let heard = async {
            let mut heard = None;
            while heard.is_none() {
                let _ = place.bus.publish(place.event("user", "a", "again")).await;
                heard = timeout(Duration::from_millis(100), listener.next()).await.ok().flatten();
            }
            heard
        };
        let heard = timeout(RECOVERY, heard).await.unwrap().unwrap();
        assert_eq!(text(&heard), "again");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    async fn no_call_hangs_on_a_server_that_stands_still() {
        let server = PrivateServer::start();
        let place = Place::new(Arc::new(server.connect().await));
        let mut puller = place.drained(Retention::WorkQueue, &place.consumer_spec(Order::Any)).await;
        numbered(&place, 0..1).await;
        let delivery = puller.pull(1, PATIENCE).await.unwrap().remove(0);
        let bucket = place.bus.bucket(&bucket_spec(&place, true)).await.unwrap();
        let objects = place.bus.objects(&place.name("objects")).await.unwrap();
        server.pause();
        let ended = timeout(CALL, async {
            tokio::join!(
                async { assert!(place.bus.append(place.event("user", "a", "1")).await.is_err()) },
                async { assert!(place.bus.stream_state(&place.name("STREAM")).await.is_err()) },
                async { assert!(bucket.get("a").await.is_err()) },
                async { assert!(bucket.put("a", "1".into()).await.is_err()) },
                async { assert!(bucket.entries().await.is_err()) },
                async { assert!(bucket.watch().await.is_err()) },
                async { assert!(objects.put("a", "1".into()).await.is_err()) },
                async { assert!(objects.get("a").await.is_err()) },
                async { assert!(place.bus.subscribe("a", None).await.is_err()) },
                // Thousands of words that nobody takes must not hold up the caller.
                async {
                    for _ in 0..100_000 {
                        if delivery.in_progress().await.is_err() {
                            break;
                        }
                    }
                }
            )
        })
        .await;
        server.resume();
        assert!(ended.is_ok(), "a call hangs");
        append_for_certain(place.bus.as_ref(), &place.event("user", "a", "1")).await;
    }

    #[test]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    fn another_puller_takes_over_within_seconds_from_a_process_that_died() {
        let server = PrivateServer::start();
        let runtime =
            || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (dies, lives) = (runtime(), runtime());
        let place = Place::new(Arc::new(lives.block_on(server.connect())));
        let spec = place.consumer_spec(Order::Strict);
        lives.block_on(place.bus.ensure_stream(&place.stream_spec(Retention::Limits))).unwrap();
        lives.block_on(numbered(&place, 0..10));
        let held = dies.block_on(async {
            let mut puller = server.connect().await.puller(&spec, None).await.unwrap();
            let held = puller.pull(3, PATIENCE).await.unwrap();
            held[0].ack().await.unwrap();
            std::mem::forget(puller);
            held
        });
        dies.shutdown_background();
        let died = Instant::now();
        let mut successor = lives.block_on(place.bus.puller(&spec, None)).unwrap();
        let pulled = lives.block_on(async { soon(successor.pull(100, PATIENCE)).await.unwrap() });
        assert!(died.elapsed() < Duration::from_secs(6), "{:?}", died.elapsed());
        assert!(pulled[0].sequence() <= 2, "what was not settled comes first");
        // A word of the dead does no harm.
        lives.block_on(held[1].ack()).unwrap();
        for delivery in pulled {
            lives.block_on(delivery.ack()).unwrap();
        }
    }
}

mod on_nats_cluster {
    use super::*;

    async fn connect(servers: &[PrivateServer; 3]) -> Arc<dyn Transport> {
        let settings = ConnectionSettings {
            urls: servers.iter().map(PrivateServer::url).collect(),
            replicas: 3,
            ..servers[0].settings()
        };
        let bus = JetStream::connect(&settings, RECOVERY).await.unwrap();
        // They elect a leader first.
        let until = Instant::now() + RECOVERY;
        let probe = Place::new(Arc::new(bus));
        while let Err(reason) = probe.bus.ensure_stream(&probe.stream_spec(Retention::Limits)).await {
            assert!(Instant::now() < until, "{reason:?}");
            sleep(Duration::from_millis(100)).await;
        }
        Arc::clone(&probe.bus)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs a NATS cluster: ULEX_TEST_NATS_SERVER"]
    async fn what_was_acknowledged_is_there_once_although_each_server_was_killed() {
        let mut servers = PrivateServer::start_three();
        let bus = connect(&servers).await;
        writers_lose_nothing(bus, 500, async |acknowledged| {
            for (number, part) in [200, 800, 1400].into_iter().enumerate() {
                reached(acknowledged, part).await;
                servers[number].kill();
                reached(acknowledged, part + 200).await;
                servers[number].restart();
                sleep(OUTAGE).await;
            }
        })
        .await;
    }

    async fn append_more(place: &Place, appended: &mut usize, count: usize) {
        for _ in 0..count {
            let message = with_id(place.event("user", "k", "x"), &appended.to_string());
            append_for_certain(place.bus.as_ref(), &message).await;
            *appended += 1;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs a NATS cluster: ULEX_TEST_NATS_SERVER"]
    async fn pullers_and_watches_go_on_although_each_server_was_killed() {
        let mut servers = PrivateServer::start_three();
        let bus = connect(&servers).await;
        let place = Place::new(bus);
        let puller = place.drained(Retention::Limits, &place.consumer_spec(Order::Strict)).await;
        let bucket = place.bus.bucket(&bucket_spec(&place, false)).await.unwrap();
        let mut watch = bucket.watch().await.unwrap();
        let settled = Arc::new(AtomicUsize::new(0));
        let draining = tokio::spawn(drain_in_order(puller, 300, Arc::clone(&settled)));
        let mut appended = 0;
        for server in &mut servers {
            append_more(&place, &mut appended, 30).await;
            server.kill();
            append_more(&place, &mut appended, 70).await;
            let value = appended.to_string();
            put_for_certain(bucket.as_ref(), "a", &value).await;
            while news(&mut watch).await != put("a", &value) {}
            reached(&settled, appended).await;
            server.restart();
            sleep(OUTAGE).await;
        }
        draining.await.unwrap();
    }
}
