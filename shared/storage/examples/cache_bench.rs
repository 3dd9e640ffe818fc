//! How fast a cache is, beside the bare commands of the same server over as many connections.
//!
//! ```sh
//! cargo run --release -p ulex-storage --features redis,postgres --example cache_bench -- redis://127.0.0.1:6379 [TASKS] [SECONDS]
//! ```
//!
//! Fills 10,000 users with lists of 100 items under a prefix of its own, then reads, puts and drops them at random for
//! SECONDS (5) each, by TASKS (64) that each wait for their answers. For a Redis: also plain `GET`s of one value as large as a
//! list, through the same client library.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fred::clients::Client;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use fred::types::{Builder, Expiration};
use ulex_domain::{ItemId, Timestamp, UserId};
use ulex_storage::cache::{self, CacheSettings, CacheStore, UserEntry};

const USERS: usize = 10_000;
/// As many as the cache has.
const CONNECTIONS: usize = 4;

fn list() -> UserEntry {
    UserEntry {
        model_set: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        digest: "0123456789abcdef".to_owned(),
        computed: Timestamp::now(),
        stale_at: None,
        items: (0..100_u16).map(|item| (ItemId::new(format!("{item:08}")), f32::from(item))).collect(),
        catalogue: 1,
    }
}

fn id(user: usize) -> UserId {
    UserId::new(format!("user-{user}"))
}

/// How it is run.
#[derive(Clone, Copy)]
struct Load {
    tasks: usize,
    time: Duration,
}

impl Load {
    /// Runs `call` with numbers of users again and again and prints how often it got done.
    async fn run<Done>(self, what: &str, call: impl Fn(usize) -> Done + Clone + Send + 'static) -> f64
    where
        Done: Future<Output = bool> + Send,
    {
        let (count, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let worst = Arc::new(AtomicU64::new(0));
        let next = Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let workers: Vec<_> = (0..self.tasks)
            .map(|_task| {
                let (count, failed, worst) = (Arc::clone(&count), Arc::clone(&failed), Arc::clone(&worst));
                let (next, call) = (Arc::clone(&next), call.clone());
                tokio::spawn(async move {
                    while begun.elapsed() < self.time {
                        // In a scattered order.
                        let user = next.fetch_add(1, Ordering::Relaxed).wrapping_mul(7_919) % USERS;
                        let asked = Instant::now();
                        let done = call(user).await;
                        let took = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
                        worst.fetch_max(took, Ordering::Relaxed);
                        count.fetch_add(1, Ordering::Relaxed);
                        failed.fetch_add(u64::from(!done), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for worker in workers {
            let _ended = worker.await;
        }
        let rate = count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
        let (failed, worst) = (failed.load(Ordering::Relaxed), worst.load(Ordering::Relaxed));
        let mean = self.tasks as f64 * 1e6 / rate;
        println!("{what:<28} {rate:>9.0}/s  mean {mean:>6.0} us  worst {worst:>7} us  failed {failed}");
        rate
    }
}

/// Connections that ask for one value as large as a list.
async fn bare(url: &str, key: &str) -> Result<Vec<Client>, Box<dyn Error>> {
    let url = url.split('?').next().unwrap_or(url);
    let mut clients = Vec::new();
    for _connection in 0..CONNECTIONS {
        let client = Builder::from_config(fred::types::config::Config::from_url(url)?).build()?;
        client.init().await?;
        clients.push(client);
    }
    let _set: () =
        clients[0].set(key, vec![b'x'; 1_400].as_slice(), Some(Expiration::EX(600)), None, false).await?;
    Ok(clients)
}

async fn against(url: &str, load: Load) -> Result<(), Box<dyn Error>> {
    let prefix = format!("bench-{}-", std::process::id());
    let settings =
        CacheSettings { max_bytes: 256 << 20, prefix: prefix.clone(), expire: Duration::from_secs(600) };
    let store = cache::open(url, &settings).await?;
    for user in 0..USERS {
        let mark = store.user(&id(user)).await?.mark;
        store.put_user(&id(user), list(), mark).await?;
    }
    let get = if url.starts_with("redis://") {
        let key = format!("{prefix}bare");
        let clients = Arc::new(bare(url, &key).await?);
        let turn = Arc::new(AtomicUsize::new(0));
        let rate = load
            .run("bare GET", move |_user| {
                let client = clients[turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS].clone();
                let key = key.clone();
                async move { client.get::<Option<Vec<u8>>, _>(key).await.is_ok_and(|value| value.is_some()) }
            })
            .await;
        Some(rate)
    } else {
        None
    };
    let reading = Arc::clone(&store);
    let reads = load
        .run("read of a kept list", move |user| {
            let store = Arc::clone(&reading);
            async move { store.user(&id(user)).await.is_ok_and(|view| view.entry.is_some()) }
        })
        .await;
    if let Some(get) = get {
        println!("{:<28} {:>9.2}", "of the bare GETs", reads / get);
    }
    let putting = Arc::clone(&store);
    load.run("read and put", move |user| {
        let store = Arc::clone(&putting);
        async move {
            let Ok(view) = store.user(&id(user)).await else { return false };
            // Another task may have changed the user meanwhile; that is no failure.
            store.put_user(&id(user), list(), view.mark).await.is_ok()
        }
    })
    .await;
    dropping(&store, load).await;
    store.clear().await?;
    Ok(())
}

async fn dropping(store: &Arc<dyn CacheStore>, load: Load) {
    for users in [1, 500] {
        let store = Arc::clone(store);
        let rate = load
            .run(&format!("drop of {users} at a time"), move |user| {
                let store = Arc::clone(&store);
                async move {
                    let ids: Vec<_> = (0..users).map(|more| id((user + more) % USERS)).collect();
                    store.invalidate_users(&ids).await.is_ok()
                }
            })
            .await;
        println!("{:<28} {:>9.0}/s", "  users", rate * users as f64);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: cache_bench URL [TASKS] [SECONDS]")?;
    let tasks = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let load = Load { tasks, time: Duration::from_secs(seconds) };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(against(&url, load))
}
