//! The data stores against the suite.

use std::sync::Arc;

use ulex_storage::StorageError;
use ulex_storage::conformance;
use ulex_storage::data::{self, DataStore, MemoryStore};

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_store_conforms() {
    let store: Arc<dyn DataStore> = Arc::new(MemoryStore::new());
    conformance::data::check(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_store_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/new/directory/data.db", directory.path().display());
    let store = data::open(&url, "").await.unwrap();
    conformance::data::check(&store).await;
}

#[tokio::test]
async fn the_sqlite_store_conforms_on_one_thread_and_with_a_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/data.db", directory.path().display());
    let other = data::open(&url, "").await.unwrap();
    conformance::data::fill_before_reopening(other.as_ref()).await;
    let store = data::open(&url, "tenant \"1\" ").await.unwrap();
    conformance::data::check(&store).await;
    conformance::data::check_reopened(other.as_ref()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_store_conforms_however_few_rows_are_recent() {
    for recent_rows in [0, 1, 7, 100] {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/data.db?recent_rows={recent_rows}", directory.path().display());
        let store = data::open(&url, "").await.unwrap();
        conformance::data::check(&store).await;
    }
}

#[tokio::test]
async fn the_sqlite_store_keeps_everything_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/data.db", directory.path().display());
    let store = data::open(&url, "p_").await.unwrap();
    conformance::data::fill_before_reopening(store.as_ref()).await;
    drop(store);
    conformance::data::check_reopened(data::open(&url, "p_").await.unwrap().as_ref()).await;
}

#[tokio::test]
async fn two_processes_may_share_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/data.db", directory.path().display());
    let (one, other) = (data::open(&url, "").await.unwrap(), data::open(&url, "").await.unwrap());
    // Each remembers numbers of users that the other then removes and makes anew.
    for _turn in 0..3 {
        conformance::data::fill_before_reopening(one.as_ref()).await;
        conformance::data::check_reopened(other.as_ref()).await;
    }
}

#[tokio::test]
async fn an_unknown_scheme_is_answered_with_what_there_is() {
    for url in ["mysql://x", "mongodb://x", "clickhouse://x", "nonsense"] {
        let error = data::open(url, "").await.err().expect("there is no such backend");
        assert!(matches!(error, StorageError::UnknownScheme { .. }));
        assert!(error.to_string().contains("sqlite://"), "{error}");
    }
    data::open("memory://", "").await.unwrap().ping().await.unwrap();
}
