//! The same over a real server. All tests share it, so each has a tenant of its own.

use ulex_nats::bus::AppendOptions;
use ulex_nats::transport::Transport;
use ulex_nats::{ConnectionSettings, JetStream};

use super::*;

struct Cluster {
    bus: Bus,
    transport: Arc<dyn Transport>,
    store: Arc<dyn DataStore>,
}

impl Cluster {
    async fn connect() -> Self {
        let url = std::env::var("ULEX_TEST_NATS_URL").expect("ULEX_TEST_NATS_URL names a server");
        let connection =
            ConnectionSettings { urls: vec![url], name: "test".to_owned(), ..Default::default() };
        let transport = JetStream::connect(&connection, Duration::from_secs(10)).await.unwrap();
        let transport: Arc<dyn Transport> = Arc::new(transport);
        let tenant = TenantId::new(&uuid::Uuid::new_v4().simple().to_string()).unwrap();
        let bus = Bus::new(Arc::clone(&transport), tenant);
        ensure_topology(&bus, Duration::from_secs(10)).await.unwrap();
        Self { bus, transport, store: Arc::new(MemoryStore::new()) }
    }

    fn worker(&self) -> IngestDriver {
        let plan = Plan::new(&Settings::default());
        let cache = Arc::new(MemoryCache::new(1 << 20));
        let recommender = Recommender::new(Arc::clone(&self.store), cache, plan, Duration::ZERO);
        let admission = Admission { insert_users: true, insert_items: true };
        let parts = IngestParts {
            bus: self.bus.clone(),
            node: "node".to_owned(),
            recommender,
            batch_rows: 50,
            admission,
        };
        IngestDriver::new(parts, Rc::default(), watch::Sender::new(false).subscribe())
    }

    async fn click(&self, number: u32) {
        let message = Message {
            subject: format!("ulex.v1.{}.event.feedback.test", self.bus.tenant()),
            payload: r#"{"FeedbackType":"click","UserId":"u","ItemId":"i","Value":1}"#.into(),
            headers: [("traceparent".to_owned(), format!("00-{number:032x}-{number:016x}-01"))].into(),
            reply: None,
        };
        self.transport.append(message).await.unwrap();
    }

    async fn value(&self) -> f64 {
        let rows = self.store.pair_feedback(&UserId::new("u"), &ItemId::new("i")).await.unwrap();
        rows.iter().map(|row| row.value).sum()
    }

    async fn reached(&self, value: f64) {
        while self.value().await < value {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn clean_up(self) {
        for (stream, rest) in [(&EVENTS, "event.*.*"), (&CHANGES, "change.*.*"), (&DEAD, "dead.*")] {
            let filter = format!("ulex.v1.{}.{rest}", self.bus.tenant());
            self.transport.purge(&stream.name, &filter).await.unwrap();
        }
        self.bus.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs NATS: ULEX_TEST_NATS_URL"]
async fn ingesters_that_end_anywhere_apply_each_message_once() {
    let cluster = Cluster::connect().await;
    let messages = 2_000;
    let publish = async {
        for number in 0..messages {
            cluster.click(number).await;
        }
    };
    let ingest = async {
        for crash in 1..=8 {
            tokio::select! {
                () = cluster.worker().run() => panic!("the ingester ended"),
                () = cluster.reached(f64::from(crash * 200 - 37)) => {}
            }
        }
        tokio::select! {
            () = cluster.worker().run() => panic!("the ingester ended"),
            () = cluster.reached(f64::from(messages)) => {}
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("stuck at {}", cluster.value().await),
        }
        // Time for what would be applied twice.
        let last = Command::PutUsers { users: vec![user("last")] };
        let last = ulex_nats::events::EventEnvelope { event_id: None, event: last };
        cluster.bus.append(&last, AppendOptions::default()).await.unwrap();
        let seen = async {
            while cluster.store.user(&UserId::new("last")).await.unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            () = cluster.worker().run() => panic!("the ingester ended"),
            () = seen => {}
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("stuck"),
        }
    };
    tokio::join!(publish, ingest);
    assert_eq!(cluster.value().await, f64::from(messages));
    cluster.clean_up().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs NATS: ULEX_TEST_NATS_URL"]
async fn a_write_of_the_gateway_in_parts_and_poison_beside_it_are_settled() {
    let cluster = Cluster::connect().await;
    let gateway = Gateway::open(cluster.bus.clone(), 100, None).await.unwrap();
    let poison = Message {
        subject: format!("ulex.v1.{}.event.item.test", cluster.bus.tenant()),
        payload: "[".into(),
        ..Message::default()
    };
    cluster.transport.append(poison).await.unwrap();
    let comment = "x".repeat(1000);
    let people = (0..4_000).map(|number| User { comment: comment.clone(), ..user(format!("u{number}")) });
    let write = Command::PutUsers { users: people.collect() };
    tokio::select! {
        () = cluster.worker().run() => panic!("the ingester ended"),
        result = gateway.submit(write, Some(EventId::new("large").unwrap()), None) => assert!(!result.unwrap().receipt.duplicate),
    }
    assert_eq!(cluster.store.counts().await.unwrap().users, 4_000);
    let mut dead: Reader<DeadLetter> = cluster.bus.reader(&DEAD.name, ReadFrom::First).await.unwrap();
    let letters = dead.read(10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].body.as_ref().unwrap().reason.contains("EOF"));
    cluster.clean_up().await;
}
