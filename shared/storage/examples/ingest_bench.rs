//! How fast feedback goes into a SQLite store and out of it, next to the plainest program that could do the same:
//! one prepared upsert in transactions of 4,000 rows, into a table keyed by the three texts with an index by item.
//!
//! `cargo run --release -p ulex-storage --example ingest_bench -- [rows] [users] [items] [directory]`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use smol_str::SmolStr;
use ulex_domain::{Command, Feedback, FeedbackMode, ItemId, Timestamp, UserId};
use ulex_storage::cache::{CacheStore as _, MemoryCache, UserEntry};
use ulex_storage::data::{DataStore, SqliteSettings, SqliteStore, Submission};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const BATCH: usize = 1_000;
const CALLERS: usize = 4;
const SINGLES: usize = 20_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: u64| {
        arguments.get(place).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (rows, users, items) = (number(0, 400_000), number(1, 10_000), number(2, 5_000));
    let directory = match arguments.get(3) {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    println!("{rows} rows, {users} users, {items} items, in {}", directory.path().display());
    let rows = random_rows(usize::try_from(rows)?, users, items);
    let raw = raw_upsert(directory.path(), &rows)?;
    print_rate("raw upsert, 4,000 rows a transaction", raw);
    let path = directory.path().join("data.db");
    let settings = SqliteSettings { path, ..SqliteSettings::default() };
    let store = Arc::new(SqliteStore::open(settings).await?);
    let batches = batches(&store, rows.clone()).await?;
    print_rate(&format!("apply, {BATCH} rows x {CALLERS} callers"), batches);
    println!("ratio {:.2} by the clock, {:.2} by processor time", batches.0 / raw.0, batches.1 / raw.1);
    singles(&store, &rows).await?;
    reads(&store, &rows).await?;
    scan(&store).await?;
    cached_lists(&rows).await
}

/// Pairs in random order; a generator of our own keeps the benchmark free of dependencies.
fn random_rows(count: usize, users: u64, items: u64) -> Vec<Feedback> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let row = |number: usize| Feedback {
        feedback_type: SmolStr::new_static("read"),
        user_id: UserId::new(format!("user_{}", random(users))),
        item_id: ItemId::new(format!("item_{}", random(items))),
        value: 1.0,
        timestamp: Timestamp::from_unix_seconds(1_700_000_000 + i64::try_from(number).unwrap_or_default()),
        updated: Timestamp::ZERO,
        labels: Value::Null,
        comment: String::new(),
    };
    (0..count).map(row).collect()
}

fn raw_upsert(directory: &Path, rows: &[Feedback]) -> Result<Rates, Failure> {
    let connection = Connection::open(directory.join("raw.db"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
         CREATE TABLE feedback (feedback_type TEXT, user_id TEXT, item_id TEXT, value REAL, time INTEGER,
             updated INTEGER, labels TEXT, comment TEXT, PRIMARY KEY (feedback_type, user_id, item_id)) WITHOUT ROWID;
         CREATE INDEX by_item ON feedback (item_id);",
    )?;
    let mut upsert = connection.prepare(
        "INSERT INTO feedback VALUES (?1, ?2, ?3, ?4, ?5, ?5, NULL, '')
         ON CONFLICT DO UPDATE SET value = value + excluded.value, time = min(time, excluded.time),
             updated = max(updated, excluded.updated), labels = excluded.labels, comment = excluded.comment",
    )?;
    let (started, processor) = (Instant::now(), processor_time());
    for chunk in rows.chunks(4_000) {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for row in chunk {
            upsert.execute((
                row.feedback_type.as_str(),
                row.user_id.as_str(),
                row.item_id.as_str(),
                row.value,
                row.timestamp.as_nanos(),
            ))?;
        }
        connection.execute_batch("COMMIT")?;
    }
    Ok((per_second(rows.len(), started.elapsed()), per_second(rows.len(), processor_time() - processor)))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn post(rows: Vec<Feedback>) -> Vec<Submission> {
    let event =
        Command::PutFeedback { rows, mode: FeedbackMode::Accumulate, insert_users: true, insert_items: true };
    vec![Submission::from(event)]
}

/// Rows a second by the clock, and by the time processors worked for this process: the latter says what a busy
/// machine hides.
type Rates = (f64, f64);

fn print_rate(what: &str, (clock, processor): Rates) {
    println!("{what:<39} {clock:>12.0} rows/s, {processor:>12.0} rows/s of processor time");
}

/// Processor time of this process so far, from the kernel; zero where it does not say.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

async fn batches(store: &Arc<SqliteStore>, rows: Vec<Feedback>) -> Result<Rates, Failure> {
    let count = rows.len();
    let mut calls: Vec<Vec<Vec<Submission>>> = (0..CALLERS).map(|_caller| Vec::new()).collect();
    for (number, batch) in rows.chunks(BATCH).enumerate() {
        calls[number % CALLERS].push(post(batch.to_vec()));
    }
    drop(rows);
    let (started, processor) = (Instant::now(), processor_time());
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
    Ok((per_second(count, started.elapsed()), per_second(count, processor_time() - processor)))
}

async fn singles(store: &Arc<SqliteStore>, rows: &[Feedback]) -> Result<(), Failure> {
    for callers in [1, 16, 64] {
        let share = SINGLES / callers / if callers == 1 { 10 } else { 1 };
        let started = Instant::now();
        let tasks = (0..callers).map(|caller| {
            let (store, rows) = (Arc::clone(store), rows[caller * share..][..share].to_vec());
            tokio::spawn(apply_one_by_one(store, rows))
        });
        let mut times = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            times.append(&mut task.await??);
        }
        let rate = per_second(times.len(), started.elapsed());
        times.sort_unstable();
        let (median, late) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!(
            "apply, 1 row x {callers:>2} callers               {rate:>12.0} calls/s, p50 {median:?}, p99 {late:?}, max {:?}",
            times[times.len() - 1]
        );
    }
    Ok(())
}

/// How long each call took.
async fn apply_one_by_one(store: Arc<SqliteStore>, rows: Vec<Feedback>) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::with_capacity(rows.len());
    for row in rows {
        let asked = Instant::now();
        store.apply(post(vec![row])).await?;
        times.push(asked.elapsed());
    }
    Ok(times)
}

async fn reads(store: &SqliteStore, rows: &[Feedback]) -> Result<(), Failure> {
    let some = &rows[..2_000.min(rows.len())];
    let started = Instant::now();
    for row in some {
        store.user(&row.user_id).await?;
    }
    println!("user                                    {:>12?} each", started.elapsed() / 2_000);
    let started = Instant::now();
    for row in some {
        store.pair_feedback(&row.user_id, &row.item_id).await?;
    }
    println!("pair_feedback                           {:>12?} each", started.elapsed() / 2_000);
    let started = Instant::now();
    let mut found = 0;
    for row in some {
        found += store.user_feedback(&row.user_id, None).await?.len();
    }
    println!(
        "user_feedback                           {:>12?} each of {} rows",
        started.elapsed() / 2_000,
        found / some.len()
    );
    let started = Instant::now();
    let mut from = None;
    let mut listed = 0;
    for _page in 0..200 {
        let page = store.list_feedback(from.as_ref(), 101, None, None).await?;
        listed += page.len();
        from = page.last().map(Feedback::key);
    }
    println!(
        "list_feedback                           {:>12?} each of {} rows",
        started.elapsed() / 200,
        listed / 200
    );
    Ok(())
}

async fn scan(store: &SqliteStore) -> Result<(), Failure> {
    for _turn in 0..2 {
        let started = Instant::now();
        let (mut count, mut sum) = (0, 0.0);
        store
            .scan_feedback(10_000, &mut |rows| {
                count += rows.len();
                sum += rows.iter().map(|row| row.value).sum::<f64>();
                true
            })
            .await?;
        println!(
            "scan_feedback                           {:>12.0} rows/s, {count} rows, sum {sum}",
            per_second(count, started.elapsed())
        );
    }
    Ok(())
}

async fn cached_lists(rows: &[Feedback]) -> Result<(), Failure> {
    let cache = MemoryCache::new(512 << 20);
    let items: Vec<_> = rows.iter().take(100).map(|row| (row.item_id.clone(), 1.0)).collect();
    let some = &rows[..10_000.min(rows.len())];
    for row in some {
        let mark = cache.user(&row.user_id).await?.mark;
        let entry = UserEntry {
            model_set: "m".to_owned(),
            digest: "d".to_owned(),
            computed: Timestamp::ZERO,
            stale_at: None,
            items: items.clone(),
            catalogue: 0,
        };
        cache.put_user(&row.user_id, entry, mark).await?;
    }
    let (started, mut found) = (Instant::now(), 0);
    for _turn in 0..100 {
        for row in some {
            found += usize::from(cache.user(&row.user_id).await?.entry.is_some());
        }
    }
    println!(
        "cache, user                             {:>12?} each, {found} found",
        started.elapsed() / 1_000_000
    );
    let started = Instant::now();
    for _turn in 0..100 {
        for row in some {
            found += usize::from(cache.user_now(&row.user_id).is_some_and(|view| view.entry.is_some()));
        }
    }
    println!(
        "cache, user_now                         {:>12?} each, {found} found",
        started.elapsed() / 1_000_000
    );
    Ok(())
}
