//! The embedded cache.

use std::sync::Arc;

use ulex_storage::StorageError;
use ulex_storage::cache::{self, CacheStore, MemoryCache};
use ulex_storage::conformance;

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_cache_conforms() {
    let store: Arc<dyn CacheStore> = Arc::new(MemoryCache::new(64 << 20));
    conformance::cache::check(&store).await;
    conformance::cache::check_shared(&store, &store).await;
    conformance::cache::check_forgetting(store.as_ref(), async || store.clear().await.unwrap()).await;
}

#[tokio::test]
async fn the_memory_cache_forgets_rather_than_grows() {
    for megabytes in [1, 8] {
        let store = MemoryCache::new(megabytes << 20);
        let found = conformance::cache::fill(&store, 20_000).await;
        assert!(store.bytes() <= megabytes << 20);
        assert!(found > 100 * megabytes && found == store.entries(), "{found} entries in {megabytes} MiB");
    }
}

#[tokio::test]
async fn an_entry_larger_than_the_cache_is_not_stored() {
    let store = MemoryCache::new(1_000);
    assert_eq!(conformance::cache::fill(&store, 10).await, 0);
    assert_eq!(store.bytes(), 0);
}

fn settings(prefix: &str) -> cache::CacheSettings {
    cache::CacheSettings {
        max_bytes: 1 << 20,
        prefix: prefix.to_owned(),
        expire: std::time::Duration::from_secs(600),
    }
}

#[tokio::test]
async fn a_cache_is_opened_by_its_url() {
    assert!(cache::open("memory://", &settings("")).await.is_ok());
    assert!(cache::open("sqlite:///var/lib/cache.db", &settings("")).await.is_ok());
    let error =
        cache::open("mongodb://localhost", &settings("")).await.err().expect("there is no such cache");
    assert!(matches!(&error, StorageError::UnknownScheme { scheme, .. } if scheme == "mongodb"));
    assert!(error.to_string().contains("memory://"), "{error}");
}
