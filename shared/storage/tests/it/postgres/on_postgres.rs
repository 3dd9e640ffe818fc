//! The suite, many processes, servers that go away and come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use ulex_domain::{Command, EventId, Feedback, FeedbackMode, Item, ItemId, Timestamp, User, UserId};
use ulex_storage::conformance;
use ulex_storage::data::{self, DataStore, LogPosition, Submission};
use ulex_storage::{StorageError, data::FeedbackRow};

use super::{Schema, server};
use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn the_postgres_store_conforms() {
    let schema = Schema::create().await;
    let store = data::open(&schema.url(""), "").await.unwrap();
    conformance::data::check(&store).await;
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn the_postgres_store_conforms_on_one_thread_and_with_a_prefix() {
    let schema = Schema::create().await;
    let other = data::open(&schema.url(""), "").await.unwrap();
    conformance::data::fill_before_reopening(other.as_ref()).await;
    let store = data::open(&schema.url(""), "tenant \"1\' ").await.unwrap();
    conformance::data::check(&store).await;
    conformance::data::check_reopened(other.as_ref()).await;
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn the_postgres_store_keeps_everything_when_it_is_opened_again() {
    let schema = Schema::create().await;
    let store = data::open(&schema.url(""), "p_").await.unwrap();
    conformance::data::fill_before_reopening(store.as_ref()).await;
    drop(store);
    conformance::data::check_reopened(data::open(&schema.url(""), "p_").await.unwrap().as_ref()).await;
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn ten_processes_may_start_at_once() {
    let schema = Schema::create().await;
    let openings = (0..10).map(|_process| {
        let url = schema.url("");
        tokio::spawn(async move { data::open(&url, "").await.unwrap() })
    });
    for opening in openings.collect::<Vec<_>>() {
        opening.await.unwrap().ping().await.unwrap();
    }
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn a_process_does_not_go_by_what_another_one_has_removed() {
    let schema = Schema::create().await;
    let one = data::open(&schema.url(""), "").await.unwrap();
    let other = data::open(&schema.url(""), "").await.unwrap();
    for turn in 1..4 {
        // Each remembers users and items that the other then removes.
        conformance::data::fill_before_reopening(one.as_ref()).await;
        let positions = one.log_position("reopened").await.unwrap();
        assert_eq!(positions.map(|at| at.sequence), Some(7), "turn {turn}");
        conformance::data::check_reopened(other.as_ref()).await;
        one.apply(vec![event(post(vec![row("seen", "seen")]))]).await.unwrap();
        let user_id = UserId::new("seen");
        other.apply(vec![event(Command::DeleteUser { user_id: user_id.clone() })]).await.unwrap();
        one.apply(vec![event(post(vec![row("seen", "seen")]))]).await.unwrap();
        assert!(other.user(&user_id).await.unwrap().is_some(), "created again");
    }
    schema.remove().await;
}

fn whole_message(error: &StorageError) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}

async fn refused(url: &str) -> String {
    let error = data::open(url, "").await.err().expect("it must be refused");
    assert!(!error.is_transient(), "{}", whole_message(&error));
    whole_message(&error)
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn tables_of_a_later_version_or_of_another_program_are_refused() {
    let schema = Schema::create().await;
    drop(data::open(&schema.url(""), "").await.unwrap());
    let set = format!("UPDATE {}.meta SET value = '99' WHERE key = 'schema'", schema.name);
    schema.client.batch_execute(&set).await.unwrap();
    assert!(refused(&schema.url("")).await.contains("later version (schema 99"));
    schema.remove().await;
    let schema = Schema::create().await;
    let create = format!("CREATE TABLE {}.users (user_id text, labels json)", schema.name);
    schema.client.batch_execute(&create).await.unwrap();
    assert!(refused(&schema.url("")).await.contains("\"users\""));
    data::open(&schema.url(""), "ulex_").await.unwrap().ping().await.unwrap();
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn what_is_missing_on_the_server_is_named() {
    let (server, _options) = server()
        .split_once('?')
        .map_or((server(), String::new()), |(url, options)| (url.to_owned(), options.to_owned()));
    let (place, _database) = server.rsplit_once('/').unwrap();
    assert!(refused(&format!("{place}/no_such_database?sslmode=disable")).await.contains("no_such_database"));
    assert!(refused(&format!("{server}?sslmode=disable&search_path=no_such")).await.contains("search_path"));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn a_text_that_the_server_cannot_keep_is_refused_with_its_name() {
    let schema = Schema::create().await;
    let store = data::open(&schema.url(""), "").await.unwrap();
    let user = |id: &str| User {
        user_id: UserId::new(id),
        labels: serde_json::json!({"nul\0": "\0"}),
        comment: String::new(),
    };
    let users = vec![user("good"), user("bad\0")];
    let error = store.apply(vec![event(Command::PutUsers { users })]).await.unwrap_err();
    assert!(!error.is_transient() && whole_message(&error).contains("bad"), "{}", whole_message(&error));
    store.apply(vec![event(Command::PutUsers { users: vec![user("good")] })]).await.unwrap();
    assert_eq!(store.user(&UserId::new("good")).await.unwrap(), Some(user("good")), "labels may hold it");
    assert_eq!(store.user(&UserId::new("bad\0")).await.unwrap(), None);
    assert_eq!(store.list_users(Some(&UserId::new("go\0d")), 9).await.unwrap().len(), 1);
    schema.remove().await;
}

fn event(event: Command) -> Submission {
    event.into()
}

fn row(user: &str, item: &str) -> Feedback {
    Feedback {
        feedback_type: "read".into(),
        user_id: UserId::new(user),
        item_id: ItemId::new(item),
        value: 1.0,
        timestamp: Timestamp::ZERO,
        updated: Timestamp::ZERO,
        labels: serde_json::Value::Null,
        comment: String::new(),
    }
}

fn post(rows: Vec<Feedback>) -> Command {
    let mode = FeedbackMode::Accumulate;
    Command::PutFeedback { rows, mode, insert_users: true, insert_items: true }
}

/// The same rows in every process, in another order each time, with deletions between them.
async fn write_batches(store: Arc<dyn DataStore>, process: usize) {
    for batch in 0..10 {
        let key = |number: usize| row(&format!("u{}", number % 40), &format!("i{number}"));
        let mut rows: Vec<_> = (0..300).map(key).collect();
        rows.rotate_left((process * 50 + batch * 7) % 300);
        if process.is_multiple_of(2) {
            rows.reverse();
        }
        store.apply(vec![event(post(rows))]).await.unwrap();
        let item_id = ItemId::new(format!("gone {process}"));
        store.apply(vec![event(Command::DeleteItem { item_id })]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn batches_of_several_processes_neither_fail_nor_get_lost() {
    let schema = Schema::create().await;
    let mut writers = Vec::new();
    for process in 0..6 {
        let store = data::open(&schema.url(""), "").await.unwrap();
        writers.push(tokio::spawn(write_batches(store, process)));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let store = data::open(&schema.url(""), "").await.unwrap();
    let mut sum = 0.0;
    let mut add = |rows: &[FeedbackRow<'_>]| {
        sum += rows.iter().map(|row| row.value).sum::<f64>();
        true
    };
    store.scan_feedback(1_000, &mut add).await.unwrap();
    assert_eq!(sum, 6.0 * 10.0 * 300.0);
    schema.remove().await;
}

/// Groups so large that another connection looks up half of each, while that connection dies again and again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn rows_add_up_whichever_connection_looks_them_up() {
    const ROWS: usize = 3_000;
    const TIMES: usize = 12;
    let schema = Schema::create().await;
    let of_user = |user: usize| -> Vec<_> {
        (user..ROWS).step_by(50).map(|number| row(&format!("u{user}"), &format!("i{number}"))).collect()
    };
    let all: Vec<_> = (0..50).flat_map(of_user).collect();
    // The first user is removed and comes back in the same transaction, which nobody outside of it can see.
    let submissions = vec![
        event(post(all.clone())),
        event(Command::DeleteUser { user_id: UserId::new("u0") }),
        event(post(all.clone())),
    ];
    let mut writers = Vec::new();
    for process in 0..2 {
        let url = schema.url(&format!("&application_name={}_{process}", schema.name));
        let (store, submissions) = (data::open(&url, "").await.unwrap(), submissions.clone());
        writers.push(tokio::spawn(async move {
            for _time in 0..TIMES {
                store.apply(submissions.clone()).await.unwrap();
            }
        }));
    }
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE application_name LIKE '{}%' AND state = 'idle' AND query LIKE 'SELECT k.place%'",
        schema.name
    );
    let mut ended = 0;
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        ended += schema.number(&end).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(ended > 0, "there were connections to look up rows: {ended}");
    // The same where the removal comes first.
    let store = data::open(&schema.url(""), "").await.unwrap();
    let removal = event(Command::DeleteUser { user_id: UserId::new("u1") });
    store.apply(vec![removal, event(post(all))]).await.unwrap();
    for (who, value, rows) in [("= 'u0'", 2, 60), ("= 'u1'", 1, 60), ("NOT IN ('u0', 'u1')", 49, 48 * 60)] {
        let sql = format!("SELECT count(*) FROM feedback WHERE user_id {who} AND value = {value}");
        assert_eq!(schema.number(&sql).await, rows, "{who}");
    }
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn an_index_of_the_items_that_another_process_began_is_finished() {
    let schema = Schema::create().await;
    let store = data::open(&schema.url(""), "").await.unwrap();
    let item =
        |number: usize| Item { comment: "word".to_owned(), ..Item::bare(ItemId::new(number.to_string())) };
    let items = (0..1_200).map(item).collect();
    store.apply(vec![event(Command::PutItems { items })]).await.unwrap();
    let begun = format!(
        "INSERT INTO {}.meta VALUES ('search_columns', 'item.Comment'), ('search_next', '1')",
        schema.name
    );
    schema.client.batch_execute(&begun).await.unwrap();
    store.set_search_columns(&["item.Comment".to_owned()]).await.unwrap();
    assert_eq!(store.search_items("word", 2_000).await.unwrap().len(), 1_200);
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn a_call_that_the_server_refuses_does_not_fail_those_that_are_committed_with_it() {
    let schema = Schema::create().await;
    let store = data::open(&schema.url(""), "").await.unwrap();
    // Something that only the server knows.
    schema.run("ALTER TABLE feedback ADD CHECK (user_id <> 'bad')").await;
    let call = |user: &str| store.apply(vec![event(post(vec![row(user, "i")]))]);
    let (one, bad, other) = tokio::join!(call("one"), call("bad"), call("other"));
    assert!(one.is_ok() && other.is_ok());
    assert!(!bad.unwrap_err().is_transient());
    assert_eq!(store.counts().await.unwrap().users, 2);
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn what_a_restored_backup_has_not_is_not_taken_for_known() {
    const TABLES: [&str; 7] = ["meta", "users", "items", "types", "feedback", "ledger", "positions"];
    let schema = Schema::create().await;
    let store = data::open(&schema.url(""), "").await.unwrap();
    store.apply(vec![event(post(vec![row("old", "old")]))]).await.unwrap();
    for table in TABLES {
        schema.run(&format!("CREATE TABLE backup_{table} AS TABLE {table}")).await;
    }
    let new = Feedback { feedback_type: "new".into(), ..row("new", "new") };
    store.apply(vec![event(post(vec![new.clone()]))]).await.unwrap();
    for table in TABLES {
        let restore = format!(
            "TRUNCATE {table}; INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM backup_{table}"
        );
        schema.run(&restore).await;
    }
    store.apply(vec![event(post(vec![new]))]).await.unwrap();
    let user_id = UserId::new("new");
    assert!(store.user(&user_id).await.unwrap().is_some());
    assert!(store.item(&ItemId::new("new")).await.unwrap().is_some());
    assert_eq!(store.user_feedback(&user_id, None).await.unwrap().len(), 1, "its type is known");
    store.apply(vec![event(Command::DeleteUser { user_id })]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().feedback, 1);
    schema.remove().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn event_ids_are_forgotten_faster_than_new_ones_come() {
    let schema = Schema::create().await;
    let store = data::open(&schema.url(""), "").await.unwrap();
    let old = "INSERT INTO ledger (event_id, time) SELECT 'old' || n, n FROM generate_series(1, 80000) AS n";
    schema.run(old).await;
    for batch in 0..12 {
        let put = |number: usize| Submission {
            event_id: EventId::new(&format!("new{batch}-{number}")).ok(),
            ..event(post(Vec::new()))
        };
        store.apply((0..1_000).map(put).collect()).await.unwrap();
    }
    let forgotten = async {
        while schema.number("SELECT count(*) FROM ledger WHERE event_id LIKE 'old%'").await > 10_000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), forgotten).await.expect("old ids are removed");
    assert_eq!(schema.number("SELECT count(*) FROM ledger WHERE event_id LIKE 'new%'").await, 12_000);
    schema.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn a_server_that_goes_away_is_unavailable_at_once_and_found_again() {
    let schema = Schema::create().await;
    let proxy = Proxy::start(&server()).await;
    let store = data::open(&proxy.url(&schema.url("")), "").await.unwrap();
    store.apply(vec![event(post(vec![row("u", "i")]))]).await.unwrap();
    for _turn in 0..2 {
        proxy.open.send_replace(false);
        let started = Instant::now();
        let errors = [
            store.apply(vec![event(post(vec![row("u", "away")]))]).await.unwrap_err(),
            store.user(&UserId::new("u")).await.unwrap_err(),
            store.ping().await.unwrap_err(),
            store.counts().await.unwrap_err(),
            store.scan_feedback(10, &mut |_rows| true).await.unwrap_err(),
        ];
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        errors.iter().for_each(|error| assert!(error.is_transient(), "{}", whole_message(error)));
        proxy.open.send_replace(true);
        // No pause: what is asked for after the server is back is answered.
        store.ping().await.unwrap();
        store.apply(vec![event(post(vec![row("u", "i")]))]).await.unwrap();
    }
    let rows = store.user_feedback(&UserId::new("u"), None).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].value, 3.0);
    drop(store);
    schema.remove().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_within_the_time_to_connect() {
    // Bound and not listening would be refused; listening and silent is the harder case.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("postgres://u:p@127.0.0.1:{port}/x?sslmode=disable&connect_timeout=1");
    let started = Instant::now();
    let error = data::open(&url, "").await.err().expect("nobody answers");
    assert!(error.is_transient(), "{}", whole_message(&error));
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(silent);
    let error = data::open(&url, "").await.err().expect("nobody is there");
    assert!(error.is_transient(), "{}", whole_message(&error));
}

/// Writes entries of a log, each batch until it is answered; returns how often there was no answer.
async fn write_entries(store: Arc<dyn DataStore>, entries: u64) -> u64 {
    let entry = |sequence| Submission {
        position: Some(LogPosition { log: "log".into(), epoch: 1, sequence, ..LogPosition::default() }),
        ..event(post(vec![row("u", "counted")]))
    };
    let (mut next, mut lost) = (1, 0);
    while next <= entries {
        match store.apply((next..next + 10).map(entry).collect()).await {
            Ok(_outcomes) => next += 10,
            Err(error) => {
                assert!(error.is_transient(), "{}", whole_message(&error));
                lost += 1;
            }
        }
    }
    lost
}

/// Counts that are cut off in the middle again and again add up all the same.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_URL"]
async fn entries_of_a_log_count_once_however_often_connections_are_lost() {
    const ENTRIES: u64 = 300;
    let schema = Schema::create().await;
    let proxy = Proxy::start(&server()).await;
    let store: Arc<dyn DataStore> = data::open(&proxy.url(&schema.url("")), "").await.unwrap();
    let writing = tokio::spawn(write_entries(Arc::clone(&store), ENTRIES));
    let mut cuts = 0_u64;
    while !writing.is_finished() {
        // At another moment each time, and long enough for some work now and then.
        tokio::time::sleep(Duration::from_millis(1 + cuts * 37 % 150)).await;
        proxy.open.send_replace(false);
        tokio::task::yield_now().await;
        proxy.open.send_replace(true);
        cuts += 1;
        assert!(cuts < 1_000, "it must get on between the cuts");
    }
    let lost = writing.await.unwrap();
    let rows = store.user_feedback(&UserId::new("u"), None).await;
    let rows = if rows.is_err() { store.user_feedback(&UserId::new("u"), None).await } else { rows };
    assert_eq!(rows.unwrap()[0].value, 300.0, "after {cuts} cuts");
    assert_eq!(store.log_position("log").await.unwrap().map(|at| at.sequence), Some(ENTRIES));
    assert!(cuts > 3, "it was over before it was disturbed: {cuts} cuts, {lost} of them noticed");
    schema.remove().await;
}
