//! How fast feedback goes into a PostgreSQL store and out of it, next to what the server's own `COPY` does with the
//! same rows and the same tables: the same columns, keys and indexes, already filled with other rows.
//!
//! `cargo run --release -p ulex-storage --features postgres --example postgres_bench -- URL [rows] [users] [items]`
//!
//! Uses the tables of the prefixes `bench_` and `raw_` and removes what they hold.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::SinkExt as _;
use serde_json::Value;
use smol_str::SmolStr;
use ulex_domain::{Command, Feedback, FeedbackMode, ItemId, Timestamp, UserId};
use ulex_storage::data::{self, DataStore, Submission};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const CALLERS: usize = 4;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let url = arguments.first().ok_or("the URL of a server is missing")?;
    let number = |place: usize, default: u64| {
        arguments.get(place).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (rows, users, items) = (number(1, 1_000_000), number(2, 100_000), number(3, 20_000));
    let store = data::open(url, "bench_").await?;
    let raw = data::open(url, "raw_").await?;
    for store in [&store, &raw] {
        store.purge().await?;
    }
    println!("{rows} rows, {users} users, {items} items");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let half = usize::try_from(rows / 2)?;
    // The tables are filled before anything is measured: it is not the first rows that matter.
    let before = random.rows(half, users, items);
    let rows = random.rows(half, users, items);
    apply(&store, &before, 10_000).await?;
    copy(url, &before).await?;
    let (chunks, last) = rows.split_at(rows.len() / 2);
    let copied = copy(url, chunks).await?;
    print_rate("COPY into the same table", copied);
    let applied = apply(&store, chunks, 1_000).await?;
    print_rate(&format!("apply, 1,000 rows x {CALLERS} callers"), applied);
    let large = apply(&store, last, 10_000).await?;
    print_rate(&format!("apply, 10,000 rows x {CALLERS} callers"), large);
    let again = apply(&store, chunks, 1_000).await?;
    print_rate("the same again: every row is known", again);
    println!("ratio to COPY: {:.2} and {:.2}", applied / copied, large / copied);
    singles(&store, &rows).await?;
    reads(&store, &rows).await?;
    scan(&store).await
}

/// A generator of our own keeps the benchmark free of dependencies.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Pairs in random order.
    fn rows(&mut self, count: usize, users: u64, items: u64) -> Vec<Feedback> {
        let row = |number: usize| Feedback {
            feedback_type: SmolStr::new_static("read"),
            user_id: UserId::new(format!("user_{}", self.below(users))),
            item_id: ItemId::new(format!("item_{}", self.below(items))),
            value: 1.0,
            timestamp: Timestamp::from_unix_seconds(
                1_700_000_000 + i64::try_from(number).unwrap_or_default(),
            ),
            updated: Timestamp::ZERO,
            labels: Value::Null,
            comment: String::new(),
        };
        (0..count).map(row).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn print_rate(what: &str, rate: f64) {
    println!("{what:<40} {rate:>12.0} rows/s");
}

/// The plainest program that could do it: `COPY` as text, ten thousand rows a transaction; of repeated keys the first.
async fn copy(url: &str, rows: &[Feedback]) -> Result<f64, Failure> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("CREATE TEMP TABLE seen (u text, i text)").await?;
    let mut known: std::collections::HashSet<(&str, &str)> = std::collections::HashSet::new();
    let sql = "SELECT user_id, item_id FROM raw_feedback";
    let stored = client.query(sql, &[]).await?;
    known.extend(stored.iter().map(|row| (row.get(0), row.get(1))));
    let mut pieces = Vec::new();
    for chunk in rows.chunks(10_000) {
        let mut text = String::new();
        for row in chunk.iter().filter(|row| known.insert((row.user_id.as_str(), row.item_id.as_str()))) {
            let time = row.timestamp.as_nanos();
            let line = format!("1\t{time}\t{time}\tread\t{}\t{}\t\\N\t\\N\n", row.user_id, row.item_id);
            text.push_str(&line);
        }
        pieces.push(Bytes::from(text));
    }
    let copy = "COPY raw_feedback (value, time, updated, feedback_type, user_id, item_id, labels, comment) FROM STDIN";
    let started = Instant::now();
    for piece in pieces {
        let mut sink = Box::pin(client.copy_in(copy).await?);
        sink.send(piece).await?;
        sink.as_mut().finish().await?;
    }
    Ok(per_second(rows.len(), started.elapsed()))
}

fn post(rows: Vec<Feedback>) -> Vec<Submission> {
    let mode = FeedbackMode::Accumulate;
    let event = Command::PutFeedback { rows, mode, insert_users: true, insert_items: true };
    vec![event.into()]
}

async fn apply(store: &Arc<dyn DataStore>, rows: &[Feedback], batch: usize) -> Result<f64, Failure> {
    let mut calls: Vec<Vec<Vec<Submission>>> = (0..CALLERS).map(|_caller| Vec::new()).collect();
    for (number, batch) in rows.chunks(batch).enumerate() {
        calls[number % CALLERS].push(post(batch.to_vec()));
    }
    let started = Instant::now();
    let callers = calls.into_iter().map(|calls| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for call in calls {
                store.apply(call).await?;
            }
            Ok::<_, Failure>(())
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await??;
    }
    Ok(per_second(rows.len(), started.elapsed()))
}

async fn singles(store: &Arc<dyn DataStore>, rows: &[Feedback]) -> Result<(), Failure> {
    for (callers, calls) in [(1, 500), (16, 5_000), (64, 10_000)] {
        let share = calls / callers;
        let started = Instant::now();
        let tasks = (0..callers).map(|caller| {
            let (store, rows) = (Arc::clone(store), rows[caller * share..][..share].to_vec());
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(rows.len());
                for row in rows {
                    let asked = Instant::now();
                    store.apply(post(vec![row])).await?;
                    times.push(asked.elapsed());
                }
                Ok::<_, Failure>(times)
            })
        });
        let mut times = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            times.append(&mut task.await??);
        }
        let rate = per_second(times.len(), started.elapsed());
        times.sort_unstable();
        let (median, late) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("apply, 1 row x {callers:>2} callers {rate:>26.0} calls/s, p50 {median:?}, p99 {late:?}");
    }
    Ok(())
}

async fn reads(store: &Arc<dyn DataStore>, rows: &[Feedback]) -> Result<(), Failure> {
    let some = &rows[..2_000.min(rows.len())];
    let (started, mut found) = (Instant::now(), 0);
    for row in some {
        found += store.user_feedback(&row.user_id, None).await?.len();
    }
    println!("user_feedback {:>39?} each of {} rows", started.elapsed() / 2_000, found / some.len());
    let (started, mut found) = (Instant::now(), 0);
    for row in &some[..200.min(some.len())] {
        found += store.item_feedback(&row.item_id, None, None).await?.len();
    }
    println!("item_feedback {:>39?} each of {} rows", started.elapsed() / 200, found / 200);
    let (started, mut listed, mut from) = (Instant::now(), 0, None);
    for _page in 0..200 {
        let page = store.list_feedback(from.as_ref(), 101, None, None).await?;
        listed += page.len();
        from = page.last().map(Feedback::key);
    }
    println!("list_feedback {:>39?} each of {} rows", started.elapsed() / 200, listed / 200);
    Ok(())
}

async fn scan(store: &Arc<dyn DataStore>) -> Result<(), Failure> {
    for _turn in 0..2 {
        // Forgets the peak so far.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let before = memory("VmRSS:");
        let (started, mut count, mut sum) = (Instant::now(), 0, 0.0);
        store
            .scan_feedback(10_000, &mut |rows| {
                count += rows.len();
                sum += rows.iter().map(|row| row.value).sum::<f64>();
                true
            })
            .await?;
        let rate = per_second(count, started.elapsed());
        let more = memory("VmHWM:").saturating_sub(before);
        println!(
            "scan_feedback {rate:>39.0} rows/s, {count} rows, sum {sum}; {more} KiB more memory at its peak"
        );
    }
    Ok(())
}

/// A figure of this process from the kernel, KiB; 0 where there is none.
fn memory(of: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(of));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
