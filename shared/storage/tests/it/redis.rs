//! The cache on Redis, Valkey and a Redis cluster, and what its tests need.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fred::clients::Client;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use fred::types::{Builder, Value};
use futures_util::StreamExt as _;
use ulex_domain::{ItemId, Timestamp, UserId};
use ulex_storage::cache::{self, CacheSettings, CacheStore, Mark, UserEntry};

mod on_redis;
mod on_redis_cluster;
mod on_valkey;
mod process;
mod promises;

/// The server that a variable names.
pub fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"))
}

/// A prefix that nobody else uses, with letters that mean something in patterns.
pub fn prefix() -> String {
    format!("test-{}-[x]*:", uuid::Uuid::new_v4())
}

/// The URL, for one who waits longer than a request would: what is promised does not depend on how busy the machine is.
pub fn patient(url: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}read_timeout=10s&write_timeout=20s")
}

/// Opens a cache as a process does.
pub async fn open(url: &str, prefix: &str) -> Arc<dyn CacheStore> {
    let settings =
        CacheSettings { max_bytes: 1 << 20, prefix: prefix.to_owned(), expire: Duration::from_secs(600) };
    cache::open(url, &settings).await.unwrap()
}

/// A list of so many items.
pub fn list(items: usize) -> UserEntry {
    UserEntry {
        model_set: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        digest: "0123456789abcdef".to_owned(),
        computed: Timestamp::now(),
        stale_at: None,
        items: (0..items).map(|item| (ItemId::new(format!("{item:08}")), 0.5)).collect(),
        catalogue: 1,
    }
}

/// Puts a list for a user as a request does.
pub async fn put(store: &dyn CacheStore, id: &UserId, items: usize) -> bool {
    let mark = store.user(id).await.unwrap().mark;
    store.put_user(id, list(items), mark).await.unwrap()
}

/// Puts a list as soon as that is possible: after a server has come back or another one has taken over, each connection
/// is made anew in its own time, and what is under way on it fails.
pub async fn put_by_and_by(store: &dyn CacheStore, id: &UserId, items: usize) {
    until("a list is kept", async || {
        let Ok(view) = store.user(id).await else { return false };
        store.put_user(id, list(items), view.mark).await.unwrap_or(false)
    })
    .await;
}

/// How many items the list of a user has; `None` if there is none. Asks again if a connection was made anew meanwhile.
pub async fn found(store: &dyn CacheStore, id: &UserId) -> Option<usize> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match store.user(id).await {
            Ok(view) => return view.entry.map(|entry| entry.items.len()),
            Err(error) => assert!(error.is_transient() && Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the cache refuses a list that was made under a mark.
pub async fn until_refused(store: &dyn CacheStore, id: &UserId, mark: Mark) {
    until("a list is refused", async || match store.put_user(id, list(1), mark).await {
        Ok(kept) => {
            assert!(!kept, "a list from before the change is kept");
            true
        }
        Err(_away) => false,
    })
    .await;
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the cache can be read.
pub async fn until_it_answers(store: &dyn CacheStore) {
    until("the cache answers", async || store.user(&UserId::new("anybody")).await.is_ok()).await;
}

/// Looks at a server without the cache.
pub struct Raw(Client);

impl Raw {
    pub async fn connect(url: &str) -> Self {
        let url = url.replace("+cluster", "-cluster").replace("addr=", "node=");
        let config = fred::types::config::Config::from_url(&url).unwrap();
        let client = Builder::from_config(config).build().unwrap();
        client.init().await.unwrap();
        Self(client)
    }

    /// The keys that begin like this.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = if self.0.is_clustered() {
            self.0.scan_cluster_buffered("*", Some(1_000), None).boxed()
        } else {
            self.0.scan_buffered("*", Some(1_000), None).boxed()
        };
        let keys: Vec<_> = keys.map(|key| key.unwrap().into_string().unwrap()).collect().await;
        keys.into_iter().filter(|key| key.starts_with(prefix)).collect()
    }

    /// The key of a user.
    pub async fn key_of(&self, prefix: &str, id: &UserId) -> String {
        let keys = self.keys(prefix).await;
        let key = keys.iter().find(|key| key.ends_with(&format!("}}u{}", id.as_str())));
        key.unwrap_or_else(|| panic!("no key of {id} among {keys:?}")).clone()
    }

    /// Deletes the keys that begin like this, one at a time, as an eviction does.
    pub async fn evict(&self, prefix: &str) {
        for key in self.keys(prefix).await {
            let _deleted: i64 = self.0.del(key).await.unwrap();
        }
    }

    /// Any command of a single server.
    pub async fn command(&self, words: &[&str]) -> Value {
        self.try_command(words).await.unwrap()
    }

    pub async fn try_command(&self, words: &[&str]) -> Result<Value, fred::error::Error> {
        let command = fred::types::CustomCommand::new(words[0].to_owned(), None, false);
        self.0.custom(command, words[1..].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).await
    }

    /// A line of what the server says about itself.
    pub async fn info(&self, section: &str, name: &str) -> String {
        let text = self.command(&["INFO", section]).await.into_string().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
    }

    pub fn client(&self) -> &Client {
        &self.0
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_url_is_said_when_it_is_opened() {
    for (url, word) in [("redis://a?pool_size=0", "pool_size"), ("redis+sentinel://a", "entinel")] {
        let settings = CacheSettings { max_bytes: 1, prefix: String::new(), expire: Duration::from_secs(1) };
        let error = cache::open(url, &settings).await.err().unwrap();
        assert!(!error.is_transient());
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert!(reason.contains(word), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_fails_calls_at_once() {
    let store = open("redis://127.0.0.1:9", "away:").await;
    let begun = Instant::now();
    let user = UserId::new("u");
    for _ in 0..100 {
        let error = store.user(&user).await.expect_err("nobody is there");
        assert!(error.is_transient(), "{error}");
        assert!(store.invalidate_users(std::slice::from_ref(&user)).await.is_err());
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
