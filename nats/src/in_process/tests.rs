use super::*;
use crate::bus_conformance;

/// Without a folder; time moves by itself when everybody waits, so nothing here takes long.
mod in_memory {
    use super::*;

    async fn open() -> Arc<dyn Transport> {
        Arc::new(InProcess::open(None).unwrap())
    }

    bus_conformance!([tokio::test(start_paused = true)], open);
}

/// With a folder, on several threads, in real time.
mod on_disk {
    use super::*;
    use std::sync::OnceLock;

    async fn open() -> Arc<dyn Transport> {
        static SHARED: OnceLock<(tempfile::TempDir, Arc<InProcess>)> = OnceLock::new();
        let (_folder, bus) = SHARED.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let bus = InProcess::open(Some(folder.path().to_owned())).unwrap();
            (folder, Arc::new(bus))
        });
        Arc::clone(bus) as Arc<dyn Transport>
    }

    bus_conformance!([tokio::test(flavor = "multi_thread", worker_threads = 2)], open);
}

/// What only this bus promises.
mod own {
    use super::*;
    use crate::transport::{MESSAGE_ID_HEADER, Order, Retention};

    fn stream(retention: Retention) -> StreamSpec {
        StreamSpec {
            name: "S".into(),
            subjects: vec!["s.*".into()].into(),
            retention,
            dedup: Duration::from_secs(10),
            max_age: Some(Duration::from_secs(60)),
            max_bytes: 1 << 40,
        }
    }

    fn consumer() -> ConsumerSpec {
        ConsumerSpec {
            name: "c".into(),
            stream: "S".into(),
            filter: "s.*".into(),
            order: Order::Any,
            max_ack_pending: 100,
            ack_wait: Duration::from_secs(30),
        }
    }

    fn message(key: &str, body: &str) -> Message {
        let payload = body.to_owned().into();
        Message { subject: format!("s.{key}"), payload, ..Message::default() }
    }

    fn bucket(durable: bool) -> BucketSpec {
        BucketSpec { name: "b".into(), history: 3, ttl: None, durable }
    }

    #[tokio::test]
    async fn durable_buckets_and_objects_survive_a_restart_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || InProcess::open(Some(folder.path().to_owned())).unwrap();
        let bus = open();
        let durable = bus.bucket(&bucket(true)).await.unwrap();
        let passing = bus.bucket(&BucketSpec { name: "p".into(), ..bucket(false) }).await.unwrap();
        for number in 0..5 {
            durable.put("a", number.to_string().into()).await.unwrap();
        }
        durable.put("gone", "x".into()).await.unwrap();
        durable.delete("gone").await.unwrap();
        let revision = durable.put("b", "2".into()).await.unwrap();
        passing.put("a", "1".into()).await.unwrap();
        bus.objects("o").await.unwrap().put("a/b", "content".into()).await.unwrap();
        drop((durable, passing, bus));

        let bus = open();
        let durable = bus.bucket(&bucket(true)).await.unwrap();
        let keys: Vec<String> = durable.entries().await.unwrap().into_iter().map(|one| one.key).collect();
        assert_eq!(keys, vec!["a", "b"]);
        assert_eq!(durable.history("a").await.unwrap().len(), 3);
        assert_eq!(durable.get("b").await.unwrap().unwrap().revision, revision);
        assert!(durable.update("b", "3".into(), revision).await.unwrap() > revision);
        let passing = bus.bucket(&BucketSpec { name: "p".into(), ..bucket(false) }).await.unwrap();
        assert_eq!(passing.entries().await.unwrap(), vec![]);
        let objects = bus.objects("o").await.unwrap();
        assert_eq!(objects.get("a/b").await.unwrap().unwrap().as_ref(), b"content");
        assert_eq!(objects.list().await.unwrap()[0].name, "a/b");
    }

    #[tokio::test]
    async fn a_journal_is_shortened_and_still_holds_everything() {
        let folder = tempfile::tempdir().unwrap();
        let bus = InProcess::open(Some(folder.path().to_owned())).unwrap();
        let opened = bus.bucket(&bucket(true)).await.unwrap();
        for number in 0..300 {
            opened.put("a", number.to_string().into()).await.unwrap();
        }
        let length = std::fs::metadata(folder.path().join("buckets/b.journal")).unwrap().len();
        assert!(length < 100 * 40, "{length}");
        drop((opened, bus));
        let bus = InProcess::open(Some(folder.path().to_owned())).unwrap();
        let history = bus.bucket(&bucket(true)).await.unwrap().history("a").await.unwrap();
        assert_eq!(history.last().unwrap().value.as_ref(), b"299");
        assert_eq!(history.len(), 3);
    }

    #[tokio::test]
    async fn revisions_of_a_passing_bucket_are_higher_after_every_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut last = 0;
        for _ in 0..3 {
            let bus = InProcess::open(Some(folder.path().to_owned())).unwrap();
            let revision =
                bus.bucket(&bucket(false)).await.unwrap().create("lease", "x".into()).await.unwrap();
            assert!(revision > last);
            last = revision;
        }
    }

    #[tokio::test]
    async fn a_folder_belongs_to_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = InProcess::open(Some(folder.path().to_owned())).unwrap();
        let second = InProcess::open(Some(folder.path().to_owned())).err().unwrap();
        assert!(matches!(second, BusError::Refused { .. }), "{second:?}");
        drop(first);
        InProcess::open(Some(folder.path().to_owned())).unwrap();
    }

    #[tokio::test]
    async fn an_object_that_was_damaged_on_disk_is_an_error_and_not_a_model() {
        let folder = tempfile::tempdir().unwrap();
        let bus = InProcess::open(Some(folder.path().to_owned())).unwrap();
        let objects = bus.objects("o").await.unwrap();
        objects.put("a", "content".into()).await.unwrap();
        let path = folder.path().join("objects/o/a.object");
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[42] ^= 1;
        for damaged in [&flipped[..], &whole[..whole.len() - 1], &whole[..20], b""] {
            std::fs::write(&path, damaged).unwrap();
            let outcome = objects.get("a").await;
            assert!(matches!(outcome, Err(BusError::Corrupt { .. })), "{outcome:?}");
        }
        objects.put("a", "content".into()).await.unwrap();
        assert!(objects.get("a").await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_listener_misses_the_oldest_messages_and_costs_nothing_else() {
        let bus = InProcess::open(None).unwrap();
        let mut slow = bus.subscribe("s.*", None).await.unwrap();
        for number in 0..core::BUFFERED + 10 {
            bus.publish(message("x", &number.to_string())).await.unwrap();
        }
        assert_eq!(slow.next().await.unwrap().payload, "10");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_id_is_forgotten_after_its_window_and_messages_after_their_age() {
        let bus = InProcess::open(None).unwrap();
        bus.ensure_stream(&stream(Retention::Limits)).await.unwrap();
        let mut with_id = message("a", "1");
        with_id.headers.insert(MESSAGE_ID_HEADER.to_owned(), "id".to_owned());
        assert!(!bus.append(with_id.clone()).await.unwrap().duplicate);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(bus.append(with_id.clone()).await.unwrap().duplicate);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!bus.append(with_id).await.unwrap().duplicate);
        assert_eq!(bus.stream_state("S").await.unwrap().messages, 2);
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(bus.stream_state("S").await.unwrap().messages, 1);
        let mut puller = bus.puller(&consumer(), None).await.unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(puller.pull(9, Duration::ZERO).await.unwrap().is_empty());
        assert_eq!(bus.backlog(&consumer()).await.unwrap(), Backlog::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_takes_no_more_memory_than_the_bus_allows() {
        let options = InProcessOptions { stream_bytes: 1000, ..InProcessOptions::default() };
        let bus = InProcess::open_with(options).unwrap();
        bus.ensure_stream(&stream(Retention::Limits)).await.unwrap();
        let large = message("a", &"x".repeat(600));
        bus.append(large.clone()).await.unwrap();
        let outcome = bus.append(large).await;
        assert!(matches!(outcome, Err(BusError::Full { .. })), "no consumer has seen the first: {outcome:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_with_another_order_delivers_again_what_was_not_settled() {
        let bus = InProcess::open(None).unwrap();
        bus.ensure_stream(&stream(Retention::Limits)).await.unwrap();
        let mut puller = bus.puller(&consumer(), None).await.unwrap();
        for key in ["a", "b", "c"] {
            bus.append(message(key, key)).await.unwrap();
        }
        let pulled = puller.pull(2, Duration::ZERO).await.unwrap();
        pulled[0].ack().await.unwrap();
        let strict = ConsumerSpec { order: Order::Strict, ..consumer() };
        let mut puller = bus.puller(&strict, None).await.unwrap();
        pulled[1].ack().await.unwrap();
        let left = puller.pull(9, Duration::ZERO).await.unwrap();
        let bodies: Vec<_> = left.iter().map(|one| one.message().payload.clone()).collect();
        assert_eq!(bodies, vec!["b", "c"]);
        for delivery in left {
            delivery.ack().await.unwrap();
        }
        assert_eq!(bus.backlog(&strict).await.unwrap(), Backlog::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_bus_ends_whoever_waits_on_it() {
        let bus = Arc::new(InProcess::open(None).unwrap());
        bus.ensure_stream(&stream(Retention::Limits)).await.unwrap();
        let mut puller = bus.puller(&consumer(), None).await.unwrap();
        let mut reader = bus.reader("S", "s.*", ReadFrom::First).await.unwrap();
        let mut listener = bus.subscribe("x", None).await.unwrap();
        let bucket = bus.bucket(&bucket(false)).await.unwrap();
        let mut watch = bucket.watch().await.unwrap();
        bus.publish(Message { subject: "x".to_owned(), ..Message::default() }).await.unwrap();
        let long = Duration::from_secs(3600);
        let (pulled, read, (), changed) = tokio::join!(
            puller.pull(1, long),
            reader.read(1, long),
            async {
                tokio::task::yield_now().await;
                bus.close().await;
            },
            watch.next(),
        );
        assert!(matches!(pulled.err(), Some(BusError::Closed)));
        assert!(matches!(read.err(), Some(BusError::Closed)));
        assert_eq!(changed, None);
        assert!(listener.next().await.is_some(), "what had arrived is still there");
        assert_eq!(listener.next().await, None);
        assert!(matches!(bus.append(message("a", "1")).await, Err(BusError::Closed)));
        assert!(matches!(bus.subscribe("x", None).await.err(), Some(BusError::Closed)));
        assert!(matches!(bucket.put("a", "1".into()).await, Err(BusError::Closed)));
    }

    #[tokio::test(start_paused = true)]
    async fn removals_are_not_remembered_once_every_watch_has_seen_them() {
        let bus = InProcess::open(None).unwrap();
        let bucket = bus.bucket(&bucket(false)).await.unwrap();
        let mut watch = bucket.watch().await.unwrap();
        for number in 0..100 {
            bucket.put(&number.to_string(), "x".into()).await.unwrap();
            bucket.delete(&number.to_string()).await.unwrap();
        }
        for _ in 0..100 {
            watch.next().await.unwrap();
        }
        bucket.put("a", "x".into()).await.unwrap();
        bucket.delete("a").await.unwrap();
        let buckets = bus.buckets.lock();
        assert_eq!(buckets["b"].remembered(), 1);
    }
}
