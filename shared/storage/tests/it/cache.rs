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

/// Servers against the suite. Every test has a prefix of its own.
#[cfg(feature = "redis")]
mod servers {
    use super::*;

    async fn check(variable: &str) {
        let url = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"));
        let prefix = format!("test-{}-[x]*:", uuid::Uuid::new_v4());
        let store = cache::open(&url, &settings(&prefix)).await.unwrap();
        conformance::cache::check(&store).await;
        let other = cache::open(&url, &settings(&format!("{prefix}other:"))).await.unwrap();
        assert_eq!(conformance::cache::fill(other.as_ref(), 300).await, 300);
        store.clear().await.unwrap();
        other.clear().await.unwrap();
    }

    mod on_redis {
        #[tokio::test(flavor = "multi_thread")]
        #[ignore = "needs Redis: ULEX_TEST_REDIS_URL"]
        async fn it_conforms() {
            super::check("ULEX_TEST_REDIS_URL").await;
        }
    }

    mod on_valkey {
        #[tokio::test(flavor = "multi_thread")]
        #[ignore = "needs Valkey: ULEX_TEST_VALKEY_URL"]
        async fn it_conforms() {
            super::check("ULEX_TEST_VALKEY_URL").await;
        }
    }

    mod on_redis_cluster {
        #[tokio::test(flavor = "multi_thread")]
        #[ignore = "needs a Redis cluster: ULEX_TEST_REDIS_CLUSTER_URL"]
        async fn it_conforms() {
            super::check("ULEX_TEST_REDIS_CLUSTER_URL").await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_is_away_fails_calls_at_once() {
        let store = cache::open("redis://127.0.0.1:9", &settings("away:")).await.unwrap();
        let begun = std::time::Instant::now();
        let user = ulex_domain::UserId::new("u");
        for _ in 0..100 {
            let error = store.user(&user).await.expect_err("nobody is there");
            assert!(error.is_transient(), "{error}");
            assert!(store.invalidate_users(std::slice::from_ref(&user)).await.is_err());
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}
