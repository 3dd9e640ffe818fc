//! How fast the bus of a cluster is: `cargo run --release -p ulex-nats --example jetstream_speed -- nats://HOST:PORT[,...]
//! [COPIES [MIB]]`, on a server that nobody else uses.
//!
//! Messages are of 300 bytes; the object, a ModelSet as far as the bus knows, of MIB (64) mebibytes. The server, whose settings decide most of it, runs on the same machine or elsewhere.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ulex_nats::transport::{ConsumerSpec, Message, Order, RawPuller, Retention, StreamSpec, Transport};
use ulex_nats::{ConnectionSettings, JetStream};

const COUNT: u32 = 100_000;
const BATCH: usize = 1_000;
const WAIT: Duration = Duration::from_secs(10);

struct Bench {
    settings: ConnectionSettings,
    bus: Arc<dyn Transport>,
    /// Keeps runs on one server apart.
    own: String,
}

impl Bench {
    async fn open(settings: ConnectionSettings) -> Self {
        let bus: Arc<dyn Transport> = Arc::new(JetStream::connect(&settings, WAIT).await.unwrap());
        let bench = Self { settings, bus, own: uuid::Uuid::new_v4().simple().to_string() };
        let stream = StreamSpec {
            name: bench.stream().into(),
            subjects: vec![bench.subject("*").into()].into(),
            retention: Retention::Limits,
            dedup: Duration::from_secs(120),
            max_age: None,
            max_bytes: 1 << 30,
        };
        bench.bus.ensure_stream(&stream).await.unwrap();
        bench
    }

    fn stream(&self) -> String {
        format!("SPEED-{}", self.own)
    }

    fn subject(&self, key: &str) -> String {
        format!("ulex.v0.{}.speed.{key}", self.own)
    }

    fn consumer(&self, name: &'static str, order: Order) -> ConsumerSpec {
        ConsumerSpec {
            name: name.into(),
            stream: self.stream().into(),
            filter: self.subject("*").into(),
            order,
            max_ack_pending: 8192,
            ack_wait: Duration::from_secs(30),
        }
    }

    /// Messages a second, appended by so many callers, each of which waits for its acknowledgement.
    async fn append(&self, callers: u32, count: u32) -> f64 {
        let (next, began) = (Arc::new(AtomicU32::new(0)), Instant::now());
        let callers: Vec<_> = (0..callers)
            .map(|_| {
                let (bus, next, subject) = (Arc::clone(&self.bus), Arc::clone(&next), self.subject(""));
                tokio::spawn(append_each(bus, subject, (next, count)))
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        f64::from(count) / began.elapsed().as_secs_f64()
    }

    /// Messages a second, pulled and acknowledged.
    async fn drain(&self, order: Order, count: u32) -> f64 {
        let name = if order == Order::Strict { "strict" } else { "any" };
        let mut puller = self.bus.puller(&self.consumer(name, order), None).await.unwrap();
        let (mut done, began) = (0, Instant::now());
        while done < count {
            done += settle(puller.as_mut()).await;
        }
        f64::from(done) / began.elapsed().as_secs_f64()
    }

    /// Megabytes a second into an object bucket and, checked, out of it again.
    async fn object(&self, mib: usize) -> (f64, f64) {
        let bytes: Vec<u8> = (0..mib << 20).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
        let (bytes, objects) = (Bytes::from(bytes), self.bus.objects("speed").await.unwrap());
        let rate = |began: Instant| bytes.len() as f64 / 1e6 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        objects.put("object", bytes.clone()).await.unwrap();
        let (put, began) = (rate(began), Instant::now());
        let read = objects.get("object").await.unwrap().unwrap();
        let got = rate(began);
        assert!(read == bytes, "other bytes");
        objects.delete("object").await.unwrap();
        (put, got)
    }

    /// From the end of a process that drains, which cannot say so, to the first message of its successor.
    fn take_over(&self, here: &tokio::runtime::Runtime) -> Duration {
        let there =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let spec = self.consumer("taken-over", Order::Strict);
        there.block_on(async {
            let bus = JetStream::connect(&self.settings, WAIT).await.unwrap();
            let mut puller = bus.puller(&spec, None).await.unwrap();
            assert!(!puller.pull(1, WAIT).await.unwrap().is_empty());
            std::mem::forget((puller, bus));
        });
        let mut successor = here.block_on(self.bus.puller(&spec, None)).unwrap();
        there.shutdown_background();
        let died = Instant::now();
        assert!(!here.block_on(successor.pull(1, WAIT)).unwrap().is_empty());
        died.elapsed()
    }
}

async fn settle(puller: &mut dyn RawPuller) -> u32 {
    let pulled = puller.pull(BATCH, WAIT).await.unwrap();
    assert!(!pulled.is_empty(), "nothing comes");
    for delivery in &pulled {
        delivery.ack().await.unwrap();
    }
    u32::try_from(pulled.len()).unwrap()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let urls = arguments.next().expect("where the server is: nats://HOST:PORT");
    let settings = ConnectionSettings {
        urls: urls.split(',').map(str::to_owned).collect(),
        name: "speed".to_owned(),
        replicas: arguments.next().map_or(1, |copies| copies.parse().unwrap()),
        ..ConnectionSettings::default()
    };
    let mib = arguments.next().map_or(64, |mib| mib.parse().unwrap());
    let here = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bench = here.block_on(Bench::open(settings));
    for (callers, count) in [(1, 5_000), (16, 20_000), (512, COUNT)] {
        let rate = here.block_on(bench.append(callers, count));
        println!("{callers} callers: {rate:.0} messages/s appended and acknowledged");
    }
    for order in [Order::Strict, Order::Any] {
        let rate = here.block_on(bench.drain(order, COUNT));
        println!("{order:?}: {rate:.0} messages/s pulled and acknowledged");
    }
    let (put, got) = here.block_on(bench.object(mib));
    println!("an object of {mib} MiB: {put:.0} MB/s into the bucket, {got:.0} MB/s out of it");
    let mut times: Vec<Duration> = (0..3).map(|_| bench.take_over(&here)).collect();
    times.sort_unstable();
    println!("take-over from a process that died: {times:?}");
}

/// Appends until `count` have been appended by all callers together.
async fn append_each(bus: Arc<dyn Transport>, subject: String, (next, count): (Arc<AtomicU32>, u32)) {
    let payload = Bytes::from(vec![b'x'; 300]);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return;
        }
        let subject = format!("{subject}u{}", number % 10_000);
        bus.append(Message { subject, payload: payload.clone(), ..Message::default() }).await.unwrap();
    }
}
