//! The promises on Redis, and servers that forget, fall back, fail over, go away and hang.

use std::time::{Duration, Instant};

use fred::interfaces::KeysInterface as _;
use ulex_domain::UserId;
use ulex_storage::cache::CacheStore;
use ulex_storage::conformance;

use super::process::{Process, free_port};
use super::{
    Raw, found, open, patient, prefix, promises, put, put_by_and_by, server, until, until_it_answers,
    until_refused,
};
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_URL"]
async fn it_conforms() {
    promises::it_conforms(&server("ULEX_TEST_REDIS_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_URL"]
async fn prefixes_are_apart() {
    promises::prefixes_are_apart(&server("ULEX_TEST_REDIS_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_URL"]
async fn every_key_expires_no_later_than_its_list() {
    promises::every_key_expires_no_later_than_its_list(&server("ULEX_TEST_REDIS_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_URL"]
async fn what_is_no_list_of_ours_is_not_there() {
    promises::what_is_no_list_of_ours_is_not_there(&server("ULEX_TEST_REDIS_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_URL"]
async fn thousands_of_users_are_dropped_in_one_call() {
    promises::thousands_of_users_are_dropped_in_one_call(&server("ULEX_TEST_REDIS_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn a_kept_list_is_read_with_one_command() {
    let redis = Process::start(&[]).await;
    let store = open(&patient(&redis.url()), "p:").await;
    let id = UserId::new("u");
    assert!(put(store.as_ref(), &id, 100).await);
    let raw = redis.raw().await;
    // Counted by the server, without what is said when connecting, and now and then to learn who is there.
    raw.command(&["CONFIG", "RESETSTAT"]).await;
    for _read in 0..1_000 {
        assert_eq!(found(store.as_ref(), &id).await, Some(100));
    }
    let stats = raw.command(&["INFO", "commandstats"]).await.into_string().unwrap();
    let counted: Vec<(&str, u64)> = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
        .map(|(name, rest)| (name, rest.split(',').next().unwrap().parse().unwrap()))
        .filter(|(name, _calls)| !["info", "client|id", "ping", "config|resetstat"].contains(name))
        .collect();
    assert_eq!(counted, [("get", 1_000)]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn a_flush_makes_no_mark_look_unchanged() {
    let redis = Process::start(&[]).await;
    let store = open(&patient(&redis.url()), "p:").await;
    let raw = redis.raw().await;
    let flush = async || {
        raw.command(&["FLUSHALL"]).await;
    };
    conformance::cache::check_forgetting(store.as_ref(), flush).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn scripts_that_the_server_has_forgotten_are_sent_again() {
    let redis = Process::start(&[]).await;
    let store = open(&patient(&redis.url()), "p:").await;
    let raw = redis.raw().await;
    for items in 1..4 {
        raw.command(&["SCRIPT", "FLUSH"]).await;
        let id = UserId::new(items.to_string());
        assert!(put(store.as_ref(), &id, items).await);
        assert_eq!(found(store.as_ref(), &id).await, Some(items));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn a_server_that_comes_back_with_an_old_snapshot_shows_nothing_of_it() {
    let mut redis = Process::start(&[]).await;
    let store = open(&redis.url(), "p:").await;
    let [changed, other] = ["changed", "other"].map(UserId::new);
    assert!(put(store.as_ref(), &changed, 1).await && put(store.as_ref(), &other, 1).await);
    let mark = store.user(&changed).await.unwrap().mark;
    let raw = redis.raw().await;
    raw.command(&["SAVE"]).await;
    let snapshot = raw.key_of("p:", &changed).await;
    drop(raw);
    store.invalidate_users(std::slice::from_ref(&changed)).await.unwrap();
    redis.kill();
    redis.start_again(&[]).await;
    let raw = redis.raw().await;
    let size: i64 = fred::interfaces::KeysInterface::strlen(raw.client(), snapshot.as_str()).await.unwrap();
    assert!(size > 16, "the snapshot has the list from before the change");
    // From the very first answer on.
    until("an answer", async || match store.user(&changed).await {
        Ok(view) => {
            assert!(view.entry.is_none() && view.mark != mark, "a list from before the change is shown");
            true
        }
        Err(_away) => false,
    })
    .await;
    until_refused(store.as_ref(), &changed, mark).await;
    assert_eq!(found(store.as_ref(), &other).await, None, "nobody knows whether it is still good");
    put_by_and_by(store.as_ref(), &other, 2).await;
}

/// Two servers, the second a copy of the first up to now; then it is told to be a primary.
async fn a_copy_in_office(first: &Process, store: &dyn CacheStore, id: &UserId) -> Process {
    assert!(put(store, id, 1).await);
    let second = Process::start(&["--replicaof", "127.0.0.1", &first.port().to_string()]).await;
    let raw = second.raw().await;
    until("the copy is complete", async || {
        raw.info("replication", "master_link_status").await == "up" && !raw.keys("p:").await.is_empty()
    })
    .await;
    raw.command(&["REPLICAOF", "NO", "ONE"]).await;
    second
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn a_copy_that_takes_over_without_the_newest_writes_shows_nothing_from_before() {
    let first = Process::start(&[]).await;
    let proxy = Proxy::start(&first.url()).await;
    let store = open(&proxy.url(&first.url()), "p:").await;
    let id = UserId::new("u");
    let second = a_copy_in_office(&first, store.as_ref(), &id).await;
    let mark = store.user(&id).await.unwrap().mark;
    store.invalidate_users(std::slice::from_ref(&id)).await.unwrap();
    assert!(!second.raw().await.keys("p:").await.is_empty(), "the removal was lost");
    proxy.lead_to(&second.url());
    until("an answer", async || match store.user(&id).await {
        Ok(view) => {
            assert!(view.entry.is_none() && view.mark != mark, "a list from before the change is shown");
            true
        }
        Err(_away) => false,
    })
    .await;
    until_refused(store.as_ref(), &id, mark).await;
    put_by_and_by(store.as_ref(), &id, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn a_removal_that_a_deposed_server_took_is_repeated_on_its_successor() {
    let first = Process::start(&[]).await;
    let proxy = Proxy::start(&first.url()).await;
    let store = open(&proxy.url(&first.url()), "p:").await;
    let id = UserId::new("u");
    let second = a_copy_in_office(&first, store.as_ref(), &id).await;
    // Another process has met the successor, and keeps a list there, made from data before the change.
    let other = open(&second.url(), "p:").await;
    assert!(put(other.as_ref(), &id, 5).await);
    // This one has not: its removal is answered by the deposed server.
    store.invalidate_users(std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(found(other.as_ref(), &id).await, Some(5));
    proxy.lead_to(&second.url());
    until_it_answers(store.as_ref()).await;
    assert_eq!(found(other.as_ref(), &id).await, None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn a_change_while_the_connection_is_cut_is_made_up_for() {
    let redis = Process::start(&[]).await;
    let proxy = Proxy::start(&redis.url()).await;
    let store = open(&proxy.url(&redis.url()), "p:").await;
    let other = open(&redis.url(), "p:").await;
    let [changed, untouched] = ["changed", "untouched"].map(UserId::new);
    assert!(put(store.as_ref(), &changed, 1).await && put(store.as_ref(), &untouched, 1).await);
    proxy.open.send_replace(false);
    until("it is noticed", async || store.invalidate_users(std::slice::from_ref(&changed)).await.is_err())
        .await;
    assert!(store.user(&changed).await.is_err_and(|error| error.is_transient()));
    proxy.open.send_replace(true);
    until("an answer", async || match store.user(&changed).await {
        Ok(view) => {
            assert!(view.entry.is_none(), "a list from before the change is shown");
            true
        }
        Err(_away) => false,
    })
    .await;
    until("the server is told", async || found(other.as_ref(), &changed).await.is_none()).await;
    until_it_answers(store.as_ref()).await;
    assert_eq!(found(other.as_ref(), &untouched).await, Some(1), "it is the same server in the same reign");
    put_by_and_by(store.as_ref(), &changed, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn a_server_that_hangs_costs_a_deadline_and_then_nothing() {
    let redis = Process::start(&[]).await;
    let store = open(&format!("{}?read_timeout=100ms&write_timeout=200ms", redis.url()), "p:").await;
    let id = UserId::new("u");
    assert!(put(store.as_ref(), &id, 1).await);
    redis.signal("STOP");
    let begun = Instant::now();
    assert!(store.user(&id).await.is_err_and(|error| error.is_transient()));
    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(store.invalidate_users(std::slice::from_ref(&id)).await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    // By and by the connections are given up; then nothing waits any more.
    until("it is given up", async || {
        let begun = Instant::now();
        assert!(store.user(&id).await.is_err());
        begun.elapsed() < Duration::from_millis(10)
    })
    .await;
    redis.signal("CONT");
    until_it_answers(store.as_ref()).await;
    assert_eq!(found(store.as_ref(), &id).await, None, "what could not be dropped is not believed");
    put_by_and_by(store.as_ref(), &id, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn a_cache_opened_before_its_server_works_when_the_server_is_there() {
    let mut redis = Process::start(&[]).await;
    redis.kill();
    let store = open(&redis.url(), "p:").await;
    assert!(store.ping().await.is_err());
    redis.start_again(&[]).await;
    until_it_answers(store.as_ref()).await;
    put_by_and_by(store.as_ref(), &UserId::new("u"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn lists_stay_within_the_budget_and_the_oldest_make_room() {
    const BUDGET: u64 = 8 << 20;
    let redis = Process::start(&[]).await;
    let store = open(&patient(&format!("{}?max_bytes=8MiB", redis.url())), "p:").await;
    let raw = redis.raw().await;
    assert!(put(store.as_ref(), &UserId::new("warm"), 100).await);
    let before: u64 = raw.info("memory", "used_memory").await.parse().unwrap();
    let ids: Vec<_> = (0..20_000).map(|user| UserId::new(format!("user-{user}"))).collect();
    for chunk in ids.chunks(100) {
        let puts = chunk.iter().map(|id| put(store.as_ref(), id, 100));
        assert!(futures_util::future::join_all(puts).await.into_iter().all(|stored| stored));
    }
    let used = raw.info("memory", "used_memory").await.parse::<u64>().unwrap() - before;
    let held = raw.keys("p:").await.len() - 256;
    assert!(used <= BUDGET * 11 / 10, "{used} bytes for {held} lists");
    assert!(used >= BUDGET * 6 / 10, "{used} bytes for {held} lists");
    let newest = async |from: usize| {
        let mut there = 0;
        for id in &ids[from..from + 1_000] {
            there += usize::from(found(store.as_ref(), id).await.is_some());
        }
        there
    };
    assert_eq!(newest(0).await, 0);
    assert!(newest(19_000).await > 990);
    // Reads of absent users leave marks, which are not counted; and a removal makes room.
    store.invalidate_users(&ids).await.unwrap();
    assert!(raw.keys("p:").await.len() <= 1, "{:?}", raw.keys("p:").await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn a_server_that_evicts_by_itself_does_no_harm() {
    let redis = Process::start(&["--maxmemory", "6mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let store = open(&patient(&redis.url()), "p:").await;
    let ids: Vec<_> = (0..10_000).map(|user| UserId::new(format!("user-{user}"))).collect();
    for id in &ids {
        assert!(put(store.as_ref(), id, 100).await);
    }
    let raw = redis.raw().await;
    assert!(raw.info("stats", "evicted_keys").await.parse::<u64>().unwrap() > 1_000);
    store.invalidate_users(&ids).await.unwrap();
    for id in ids.iter().step_by(97) {
        assert_eq!(found(store.as_ref(), id).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn behind_sentinels_the_successor_of_a_killed_server_is_found() {
    let mut first = Process::start(&[]).await;
    let second = Process::start(&["--replicaof", "127.0.0.1", &first.port().to_string()]).await;
    let sentinel = Process::start_sentinel(&first).await;
    let watching = sentinel.raw().await;
    until("the sentinel knows the copy", async || {
        let copies = watching.command(&["SENTINEL", "REPLICAS", "lists"]).await;
        copies.into_array().len() == 1
    })
    .await;
    let url = format!("redis+sentinel://127.0.0.1:{}?sentinelServiceName=lists", sentinel.port());
    let store = open(&url, "p:").await;
    let id = UserId::new("u");
    assert!(put(store.as_ref(), &id, 1).await);
    let raw = second.raw().await;
    until("the copy has the list", async || !raw.keys("p:").await.is_empty()).await;
    let mark = store.user(&id).await.unwrap().mark;
    first.kill();
    until("the successor answers", async || match store.user(&id).await {
        Ok(view) => {
            assert!(view.entry.is_none() && view.mark != mark);
            true
        }
        Err(_away) => false,
    })
    .await;
    until_refused(store.as_ref(), &id, mark).await;
    put_by_and_by(store.as_ref(), &id, 2).await;
    // A server that is promoted cuts its connections.
    let raw = second.raw().await;
    let kept: Option<Vec<u8>> = raw.client().get(raw.key_of("p:", &id).await).await.unwrap();
    assert!(kept.is_some_and(|value| value.len() > 16), "it is kept on the successor");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
async fn over_tls_both_sides_show_who_they_are() {
    let certificates = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/servers/certificates.sh");
    assert!(std::process::Command::new(script).arg(certificates.path()).status().unwrap().success());
    let file = |name: &str| certificates.path().join(name).display().to_string();
    let port = free_port();
    let (authority, certificate, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let secure = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &authority];
    let _server = Process::start(&[&["--tls-port", &port.to_string()][..], &secure].concat()).await;
    let url = |options: String| format!("rediss://127.0.0.1:{port}?{options}");
    let ours = format!("tls_cert={}&tls_key={}", file("client.pem"), file("client.key"));
    let id = UserId::new("u");
    for believed in [format!("tls_ca={authority}"), "skip_verify=true".to_owned()] {
        let store = open(&url(format!("{ours}&{believed}")), &prefix()).await;
        assert!(put(store.as_ref(), &id, 3).await);
        assert_eq!(found(store.as_ref(), &id).await, Some(3));
    }
    let unknown_server = format!("{ours}&tls_ca={}", file("stranger.pem"));
    let unknown_client = format!("tls_ca={authority}");
    for options in [unknown_server, ours, unknown_client] {
        let store = open(&url(options), &prefix()).await;
        assert!(store.user(&id).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis: ULEX_TEST_REDIS_URL"]
async fn a_password_that_is_wrong_is_no_panic_and_no_hang() {
    let url = server("ULEX_TEST_REDIS_URL").replace("redis://", "redis://nobody:wrong@");
    let store = open(&url, "p:").await;
    let begun = Instant::now();
    assert!(store.user(&UserId::new("u")).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(1));
    let _other = Raw::connect(&server("ULEX_TEST_REDIS_URL")).await;
}
