//! The cache in a PostgreSQL database.

use std::time::Duration;

use ulex_domain::{ItemId, Timestamp, UserId};
use ulex_storage::cache::{self, CacheSettings, CacheStore, PostgresCache, UserEntry};

mod on_postgres;

pub fn settings(prefix: &str) -> CacheSettings {
    CacheSettings { max_bytes: 1 << 20, prefix: prefix.to_owned(), expire: Duration::from_secs(600) }
}

/// A list of so many items.
pub fn list(items: usize) -> UserEntry {
    UserEntry {
        model_set: "m".to_owned(),
        digest: "d".to_owned(),
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

#[tokio::test]
async fn what_is_wrong_with_a_url_is_said_when_it_is_opened() {
    for url in ["postgres://h/d?max_bytes=much", "postgres://h/d?sslmode=perhaps"] {
        assert!(!cache::open(url, &settings("")).await.err().unwrap().is_transient(), "{url}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_fails_calls_soon() {
    let store = PostgresCache::open("postgres://127.0.0.1:9/x", &settings("")).await.unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..1_000 {
        let error = store.user(&UserId::new("u")).await.expect_err("nobody is there");
        assert!(error.is_transient(), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
