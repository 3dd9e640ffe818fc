//! PostgreSQL against the suite. Every test has a schema of its own.

use std::num::NonZeroUsize;
use std::sync::Arc;

use proptest::prelude::*;
use ulex_storage::conformance;
use ulex_storage::data::{self, DataStore};

use crate::agreement;

/// A schema that nobody else uses, gone when this is dropped.
pub struct Schema {
    url: String,
    name: String,
}

impl Schema {
    pub async fn create() -> Self {
        let url = std::env::var("ULEX_TEST_POSTGRES_URL").expect("ULEX_TEST_POSTGRES_URL is not set");
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let name = format!("test_{}_{nanos}", std::process::id());
        let schema = Self { url, name };
        schema.execute(&format!("CREATE SCHEMA {}", schema.name)).await;
        schema
    }

    async fn execute(&self, sql: &str) {
        let (client, connection) =
            tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.expect("connect");
        let driven = tokio::spawn(connection);
        client.batch_execute(sql).await.expect(sql);
        drop(client);
        let _ended = driven.await;
    }

    pub async fn remove(self) {
        self.execute(&format!("DROP SCHEMA {} CASCADE", self.name)).await;
    }

    pub fn url(&self) -> String {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{separator}options=-csearch_path%3D{}", self.url, self.name)
    }

    pub async fn open(&self, prefix: &str) -> Arc<dyn DataStore> {
        data::open(&self.url(), prefix).await.expect("open")
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn the_store_conforms() {
    let schema = Schema::create().await;
    conformance::data::check(&schema.open("").await).await;
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn the_store_conforms_on_one_thread_and_with_a_prefix() {
    let schema = Schema::create().await;
    let other = schema.open("").await;
    conformance::data::fill_before_reopening(other.as_ref()).await;
    conformance::data::check(&schema.open("tenant \"1\" ").await).await;
    conformance::data::check_reopened(other.as_ref()).await;
    drop(other);
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn everything_is_there_when_it_is_opened_again() {
    let schema = Schema::create().await;
    let store = schema.open("p_").await;
    conformance::data::fill_before_reopening(store.as_ref()).await;
    drop(store);
    conformance::data::check_reopened(schema.open("p_").await.as_ref()).await;
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn ten_processes_may_start_at_once() {
    let schema = Schema::create().await;
    let url = schema.url();
    let starting: Vec<_> = (0..10)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { data::open(&url, "").await.map(drop) })
        })
        .collect();
    for one in starting {
        one.await.unwrap().unwrap();
    }
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn tables_of_a_later_version_or_of_others_are_refused() {
    let schema = Schema::create().await;
    let name = schema.name.clone();
    schema.execute(&format!("CREATE TABLE {name}.feedback (x int)")).await;
    let error = data::open(&schema.url(), "").await.err().expect("it must be refused");
    assert!(!error.is_transient());
    drop(schema.open("p_").await);
    schema.execute(&format!("UPDATE {name}.p_ulex_meta SET value = '99' WHERE key = 'schema'")).await;
    let error = data::open(&schema.url(), "p_").await.err().expect("it must be refused");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("schema 99"), "{cause}");
    schema.remove().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    #[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
    fn it_agrees_with_memory_on_every_outcome_and_every_row(
        calls in agreement::calls(),
        page in 1_usize..9,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let schema = Schema::create().await;
            agreement::compare(schema.open("").await.as_ref(), calls, NonZeroUsize::new(page).unwrap()).await;
            schema.remove().await;
        });
    }
}
