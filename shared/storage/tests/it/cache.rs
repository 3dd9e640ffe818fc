//! The embedded cache.

use std::sync::Arc;

use ulex_storage::StorageError;
use ulex_storage::cache::{self, CacheStore, MemoryCache};
use ulex_storage::conformance;

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_cache_conforms() {
    let store: Arc<dyn CacheStore> = Arc::new(MemoryCache::new(64 << 20));
    conformance::cache::check(&store).await;
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

#[test]
fn a_cache_is_opened_by_its_url() {
    assert!(cache::open("memory://", 1 << 20).is_ok());
    assert!(cache::open("sqlite:///var/lib/cache.db", 1 << 20).is_ok());
    let error = cache::open("redis://localhost", 1 << 20).err().expect("there is no redis");
    assert!(matches!(&error, StorageError::UnknownScheme { scheme, .. } if scheme == "redis"));
    assert!(error.to_string().contains("memory://"), "{error}");
}
