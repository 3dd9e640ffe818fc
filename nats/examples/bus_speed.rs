//! How fast the bus of one process is: `cargo run --release -p ulex-nats --example bus_speed`.
//!
//! One thread, so the figures are per core. Messages are of 300 bytes.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints")]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ulex_nats::InProcess;
use ulex_nats::transport::{ConsumerSpec, Message, Order, Retention, StreamSpec, Transport};

const COUNT: u32 = 1_000_000;
const BATCH: usize = 512;

fn stream(retention: Retention) -> StreamSpec {
    StreamSpec {
        name: Cow::Borrowed("SPEED"),
        subjects: Cow::Borrowed(&[Cow::Borrowed("ulex.v1.*.event.*.*")]),
        retention,
        dedup: Duration::from_secs(120),
        max_age: None,
        max_bytes: 64 << 20,
    }
}

fn consumer(order: Order) -> ConsumerSpec {
    ConsumerSpec {
        name: Cow::Borrowed("drain"),
        stream: Cow::Borrowed("SPEED"),
        filter: Cow::Borrowed("ulex.v1.*.event.*.*"),
        order,
        max_ack_pending: 8192,
        ack_wait: Duration::from_secs(30),
    }
}

async fn throughput(retention: Retention, order: Order) -> f64 {
    let bus: Arc<dyn Transport> = Arc::new(InProcess::open(None).unwrap());
    bus.ensure_stream(&stream(retention)).await.unwrap();
    let mut puller = bus.puller(&consumer(order), None).await.unwrap();
    let payload = Bytes::from(vec![b'x'; 300]);
    let began = Instant::now();
    let mut done = 0;
    for number in 0..COUNT {
        let subject = format!("ulex.v1.default.event.user.u{}", number % 10_000);
        bus.append(Message { subject, payload: payload.clone(), ..Message::default() }).await.unwrap();
        if (number as usize + 1).is_multiple_of(BATCH) {
            done += settle(puller.pull(BATCH, Duration::ZERO).await.unwrap()).await;
        }
    }
    while done < COUNT {
        done += settle(puller.pull(BATCH, Duration::ZERO).await.unwrap()).await;
    }
    f64::from(COUNT) / began.elapsed().as_secs_f64()
}

async fn settle(pulled: Vec<Box<dyn ulex_nats::transport::RawDelivery>>) -> u32 {
    for delivery in &pulled {
        delivery.ack().await.unwrap();
    }
    u32::try_from(pulled.len()).unwrap()
}

/// Median and 99th percentile of the time from an append to the puller that waited for it, on another thread.
async fn latency() -> (Duration, Duration) {
    let bus: Arc<dyn Transport> = Arc::new(InProcess::open(None).unwrap());
    bus.ensure_stream(&stream(Retention::Limits)).await.unwrap();
    let mut puller = bus.puller(&consumer(Order::Strict), None).await.unwrap();
    let (back, mut heard) = tokio::sync::mpsc::channel(1);
    let waiter = tokio::spawn(async move {
        loop {
            for delivery in puller.pull(1, Duration::from_secs(5)).await? {
                delivery.ack().await?;
                let _ = back.send(Instant::now()).await;
            }
        }
        #[expect(unreachable_code, reason = "gives the block its error type")]
        Ok::<(), ulex_nats::BusError>(())
    });
    let mut times = Vec::new();
    for number in 0..20_000 {
        tokio::task::yield_now().await;
        let began = Instant::now();
        let subject = format!("ulex.v1.default.event.user.u{number}");
        bus.append(Message { subject, ..Message::default() }).await.unwrap();
        times.push(heard.recv().await.unwrap().duration_since(began));
    }
    waiter.abort();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn main() {
    let one = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for (retention, order) in [(Retention::Limits, Order::Strict), (Retention::Recent, Order::Any)] {
        let rate = one.block_on(throughput(retention, order));
        println!(
            "{retention:?}, {order:?}: {rate:.0} messages/s appended, pulled and acknowledged on one core"
        );
    }
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let (median, high) = two.block_on(latency());
    println!("from append to a waiting puller: median {median:?}, p99 {high:?}");
}
