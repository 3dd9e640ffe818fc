//! Files that are old, new, damaged, foreign, full or read-only.

use std::path::Path;

use rusqlite::Connection;
use ulex_domain::{Command, Item, ItemId, UserId};
use ulex_storage::StorageError;
use ulex_storage::conformance::data::dump::dump;
use ulex_storage::data::{self, DataStore, Submission};

async fn open(path: &Path) -> Result<std::sync::Arc<dyn DataStore>, StorageError> {
    data::open(&format!("sqlite://{}", path.display()), "").await
}

fn whole_message(error: &StorageError) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    message
}

#[tokio::test]
async fn a_file_of_schema_1_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("old.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../fixtures/schema_1.sql")).unwrap();
    drop(old);
    let store = open(&path).await.unwrap();
    let found = dump(store.as_ref(), std::num::NonZeroUsize::MIN).await;
    assert_eq!(found.users.len(), 2);
    assert_eq!(found.feedback.len(), 2);
    assert_eq!(found.feedback[1].value, 2.5);
    assert_eq!(found.items[0].categories, Some(vec!["films".to_owned()]));
    store.set_search_columns(&["item.Comment".to_owned()]).await.unwrap();
    assert_eq!(store.search_items("quiet", 5).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new.db");
    drop(open(&path).await.unwrap());
    let file = Connection::open(&path).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let error = open(&path).await.err().expect("it must be refused");
    assert!(matches!(error, StorageError::Rejected { .. }));
    assert!(whole_message(&error).contains("later version (schema 99"), "{}", whole_message(&error));
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.db");
    std::fs::write(&path, "this is no database, and it is long enough to be taken for one".repeat(100))
        .unwrap();
    let error = open(&path).await.err().expect("it must be refused");
    assert!(matches!(error, StorageError::Rejected { .. }));
    assert!(whole_message(&error).contains("not a database"), "{}", whole_message(&error));
}

#[tokio::test]
async fn tables_of_another_program_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("foreign.db");
    let foreign = Connection::open(&path).unwrap();
    foreign
        .execute_batch("CREATE TABLE users (user_id TEXT PRIMARY KEY, labels JSON, comment TEXT)")
        .unwrap();
    let error = open(&path).await.err().expect("it must be refused");
    assert!(whole_message(&error).contains("\"users\""), "{}", whole_message(&error));
    let tables: i64 = foreign
        .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
    // Beside tables of other names there is room.
    let url = format!("sqlite://{}", path.display());
    data::open(&url, "ulex_").await.unwrap().ping().await.unwrap();
}

fn bulky(from: usize, items: usize) -> Vec<Submission> {
    let item =
        |number| Item { comment: "x".repeat(4_000), ..Item::bare(ItemId::new(format!("item {number}"))) };
    vec![Command::PutItems { items: (from..from + items).map(item).collect() }.into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_a_call_as_a_whole_and_the_store_works_again_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("full.db");
    let store = data::open(&format!("sqlite://{}?max_page_count=100", path.display()), "").await.unwrap();
    store.apply(bulky(0, 5)).await.unwrap();
    let error = store.apply(bulky(100, 1_000)).await.expect_err("there is no room");
    assert!(error.is_transient(), "{}", whole_message(&error));
    assert_eq!(store.counts().await.unwrap().items, 5, "nothing of the call stays");
    // A call that does not fit does not fail those that are committed with it.
    let (small, large, tiny) =
        tokio::join!(store.apply(bulky(200, 1)), store.apply(bulky(300, 1_000)), store.apply(bulky(400, 1)));
    assert!(small.is_ok() && large.is_err() && tiny.is_ok());
    assert_eq!(store.counts().await.unwrap().items, 7);
    for number in 0..5 {
        let deletion = Command::DeleteItem { item_id: ItemId::new(format!("item {number}")) };
        store.apply(vec![Submission::from(deletion)]).await.unwrap();
    }
    store.apply(bulky(500, 5)).await.unwrap();
    assert_eq!(store.counts().await.unwrap().items, 7);
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_place_that_cannot_be_written_to_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = open(&file.join("data.db")).await.err().expect("a file is no directory");
    assert!(error.is_transient(), "{}", whole_message(&error));
    let error = open(directory.path()).await.err().expect("a directory is no file");
    assert!(error.is_transient(), "{}", whole_message(&error));
}

#[cfg(unix)]
#[tokio::test]
async fn a_read_only_directory_is_unavailable() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let set_mode =
        |mode| std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o555);
    if std::fs::write(directory.path().join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write to read-only directories");
        return;
    }
    let error = open(&directory.path().join("data.db")).await.err().expect("nothing can be created here");
    set_mode(0o755);
    assert!(error.is_transient(), "{}", whole_message(&error));
}

#[tokio::test]
async fn a_build_of_the_search_index_that_was_interrupted_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("interrupted.db");
    let store = open(&path).await.unwrap();
    let items = (0..30)
        .map(|number| Item { comment: "word".to_owned(), ..Item::bare(ItemId::new(number.to_string())) });
    store.apply(vec![Submission::from(Command::PutItems { items: items.collect() })]).await.unwrap();
    drop(store);
    // As a process leaves it that dies right after the new definition was committed.
    let file = Connection::open(&path).unwrap();
    file.execute_batch("INSERT INTO meta VALUES ('search_columns', 'item.Comment'), ('search_next', '1')")
        .unwrap();
    drop(file);
    let store = open(&path).await.unwrap();
    // The writer builds before it waits for work, and works in order.
    store.ping().await.unwrap();
    store.set_search_columns(&["item.Comment".to_owned()]).await.unwrap();
    assert_eq!(store.search_items("word", 100).await.unwrap().len(), 30);
}

#[tokio::test]
async fn a_heavy_user_and_a_popular_item_are_read_completely() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/data.db?recent_rows=1000", directory.path().display());
    let store = data::open(&url, "").await.unwrap();
    let row = |number| ulex_domain::Feedback {
        feedback_type: "read".into(),
        user_id: UserId::new("heavy"),
        item_id: ItemId::new(format!("item {number:05}")),
        value: 1.0,
        timestamp: ulex_domain::Timestamp::ZERO,
        updated: ulex_domain::Timestamp::ZERO,
        labels: serde_json::Value::Null,
        comment: String::new(),
    };
    let event = Command::PutFeedback {
        rows: (0..3_000).map(row).collect(),
        mode: ulex_domain::FeedbackMode::Accumulate,
        insert_users: true,
        insert_items: true,
    };
    store.apply(vec![Submission::from(event)]).await.unwrap();
    let rows = store.user_feedback(&UserId::new("heavy"), None).await.unwrap();
    assert_eq!(rows.len(), 3_000);
    assert!(rows.windows(2).all(|pair| pair[0].item_id < pair[1].item_id));
    let crowd = (0..3_000).map(|number| ulex_domain::Feedback {
        user_id: UserId::new(format!("user {number:05}")),
        item_id: ItemId::new("popular"),
        ..row(0)
    });
    let event = Command::PutFeedback {
        rows: crowd.collect(),
        mode: ulex_domain::FeedbackMode::Accumulate,
        insert_users: true,
        insert_items: true,
    };
    store.apply(vec![Submission::from(event)]).await.unwrap();
    let rows = store.item_feedback(&ItemId::new("popular"), None, None).await.unwrap();
    assert_eq!(rows.len(), 3_000);
    assert!(rows.windows(2).all(|pair| pair[0].user_id < pair[1].user_id));
    // Some of them are stored twice for a while, of which the later counts.
    let again = (100..300).map(|number| ulex_domain::Feedback {
        user_id: UserId::new(format!("user {number:05}")),
        item_id: ItemId::new("popular"),
        ..row(0)
    });
    let event = Command::PutFeedback {
        rows: again.collect(),
        mode: ulex_domain::FeedbackMode::Accumulate,
        insert_users: false,
        insert_items: false,
    };
    store.apply(vec![Submission::from(event)]).await.unwrap();
    for limit in [1, 255, 256, 257, 512, 1_500, 2_999, 3_000, 3_001] {
        let rows = store.item_feedback(&ItemId::new("popular"), None, Some(limit)).await.unwrap();
        assert_eq!(rows.len(), limit.min(3_000));
        for row in &rows {
            let number: u32 = row.user_id.as_str()["user ".len()..].parse().unwrap();
            let value = if (100..300).contains(&number) { 2.0 } else { 1.0 };
            assert_eq!(row.value, value, "{limit} rows, {}", row.user_id);
        }
        assert!(rows.windows(2).all(|pair| pair[0].user_id < pair[1].user_id));
    }
}
