//! The suite, sweeping, a server that goes away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ulex_domain::{Timestamp, UserId};
use ulex_storage::cache::{self, CacheStore, PostgresCache, UserEntry};
use ulex_storage::conformance;

use super::super::{Schema, server};
use super::{list, put, settings};
use crate::proxy::Proxy;

/// For one who waits longer than a request would: what is promised does not depend on how busy the machine is.
const PATIENT: &str = "&read_timeout=10s&write_timeout=20s";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn the_postgres_cache_conforms() {
    let schema = Schema::create().await;
    let store = cache::open(&schema.url(PATIENT), &settings("")).await.unwrap();
    conformance::cache::check(&store).await;
    let other = cache::open(&schema.url(PATIENT), &settings("")).await.unwrap();
    conformance::cache::check_shared(&store, &other).await;
    let forget = async || schema.run("DELETE FROM \"cached_lists\"").await;
    conformance::cache::check_forgetting(store.as_ref(), forget).await;
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn any_number_of_processes_may_open_it_at_once_beside_a_data_store() {
    let schema = Schema::create().await;
    let openings: Vec<_> = (0..10)
        .map(|process| {
            let url = schema.url("");
            tokio::spawn(async move {
                let _data = ulex_storage::data::open(&url, "te\"n'ant ").await.unwrap();
                let cache = cache::open(&format!("{url}{PATIENT}"), &settings("te\"n'ant ")).await.unwrap();
                assert!(put(cache.as_ref(), &UserId::new(process.to_string()), 1).await);
            })
        })
        .collect();
    for opening in openings {
        opening.await.unwrap();
    }
    schema.remove().await;
}

/// Lists for every tenth user.
async fn put_some(store: &dyn CacheStore, ids: &[UserId]) {
    for id in ids.iter().step_by(10) {
        put(store, id, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn changes_of_many_users_in_any_order_wait_for_each_other_but_not_for_ever() {
    let schema = Schema::create().await;
    let store = cache::open(&schema.url(PATIENT), &settings("")).await.unwrap();
    let ids: Vec<_> = (0..500).map(|user| UserId::new(format!("u{user}"))).collect();
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (store, mut ids) = (Arc::clone(&store), ids.clone());
            tokio::spawn(async move {
                ids.rotate_left(worker * 61);
                if worker % 2 == 1 {
                    ids.reverse();
                }
                for _round in 0..10 {
                    put_some(store.as_ref(), &ids).await;
                    store.invalidate_users(&ids).await.unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn expired_lists_are_not_there_and_are_deleted() {
    let schema = Schema::create().await;
    let store = PostgresCache::open(&schema.url(PATIENT), &settings("")).await.unwrap();
    let [gone, stays] = ["gone", "stays"].map(UserId::new);
    assert!(put(&store, &gone, 1).await && put(&store, &stays, 1).await);
    let mark = store.user(&gone).await.unwrap().mark;
    schema.run("UPDATE cached_lists SET expires = now() - interval '1 s' WHERE user_id = 'gone'").await;
    assert!(!store.put_user(&gone, list(2), mark).await.unwrap(), "its mark has expired with it");
    store.sweep().await.unwrap();
    assert_eq!(schema.number("SELECT count(*) FROM cached_lists").await, 1);
    schema.run("UPDATE cached_lists SET expires = now() - interval '1 s'").await;
    let view = store.user(&stays).await.unwrap();
    assert!(view.entry.is_none());
    assert!(store.put_user(&stays, list(2), view.mark).await.unwrap());
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn a_list_lives_no_longer_than_it_is_of_use() {
    let schema = Schema::create().await;
    let store = PostgresCache::open(&schema.url(PATIENT), &settings("")).await.unwrap();
    let id = UserId::new("u");
    let mark = store.user(&id).await.unwrap().mark;
    let soon = Timestamp::now().plus_nanos(20_000_000_000);
    assert!(store.put_user(&id, UserEntry { stale_at: Some(soon), ..list(1) }, mark).await.unwrap());
    let left = "SELECT extract(epoch FROM expires - now())::int8 FROM cached_lists";
    assert!((10..=20).contains(&schema.number(left).await));
    assert!(put(&store, &id, 1).await);
    assert!((500..=600).contains(&schema.number(left).await));
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn lists_beyond_the_budget_are_deleted_and_the_oldest_go_first() {
    let schema = Schema::create().await;
    let store =
        PostgresCache::open(&schema.url(&format!("&max_bytes=2MiB{PATIENT}")), &settings("")).await.unwrap();
    for user in 0..3_000 {
        assert!(put(&store, &UserId::new(format!("user-{user}")), 100).await);
    }
    store.sweep().await.unwrap();
    let bytes = "SELECT (sum(octet_length(entry)) + 130 * count(*))::int8 FROM cached_lists";
    let bytes = schema.number(bytes).await;
    assert!((1_700_000..=2_200_000).contains(&bytes), "{bytes} bytes are left");
    assert!(store.user(&UserId::new("user-0")).await.unwrap().entry.is_none());
    assert!(store.user(&UserId::new("user-2999")).await.unwrap().entry.is_some());
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn a_change_while_the_server_is_away_is_made_up_for() {
    let schema = Schema::create().await;
    let proxy = Proxy::start(&server()).await;
    let store = cache::open(&proxy.url(&schema.url("&read_timeout=2s&write_timeout=2s")), &settings(""))
        .await
        .unwrap();
    let other = cache::open(&schema.url(PATIENT), &settings("")).await.unwrap();
    let [changed, untouched] = ["changed", "untouched"].map(UserId::new);
    assert!(put(store.as_ref(), &changed, 1).await && put(store.as_ref(), &untouched, 1).await);
    proxy.open.send_replace(false);
    assert!(store.invalidate_users(std::slice::from_ref(&changed)).await.is_err());
    proxy.open.send_replace(true);
    let deadline = Instant::now() + Duration::from_secs(20);
    while other.user(&changed).await.unwrap().entry.is_some() {
        if let Ok(view) = store.user(&changed).await {
            assert!(view.entry.is_none(), "a list from before the change is shown");
        }
        assert!(Instant::now() < deadline, "the server was not told");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while store.user(&untouched).await.map_or(true, |view| view.entry.is_none()) {
        assert!(Instant::now() < deadline, "it does not answer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    schema.remove().await;
}
