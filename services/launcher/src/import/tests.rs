use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use tempfile::TempDir;
use ulex_domain::{Command, EventId, Feedback, FeedbackMode};
use ulex_storage::data::Submission;

use super::*;

const ULEX_DATA_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

/// Keeps what it is given, as a store with a ledger would; refuses after a number of batches.
#[derive(Default)]
struct Recorder {
    seen: Mutex<HashMap<EventId, Command>>,
    refuse_after: Option<usize>,
}

impl Recorder {
    fn feedback(&self) -> Vec<Feedback> {
        let mut rows = Vec::new();
        for event in self.seen.lock().unwrap().values() {
            if let Command::PutFeedback { rows: more, .. } = event {
                rows.extend(more.clone());
            }
        }
        rows.sort_by_key(Feedback::key);
        rows
    }
}

#[async_trait]
impl ImportTarget for Recorder {
    async fn submit(&self, submissions: &[Submission]) -> Result<bool, TargetError> {
        let mut seen = self.seen.lock().unwrap();
        if self.refuse_after.is_some_and(|limit| seen.len() >= limit) {
            return Err(TargetError::Unsupported);
        }
        let mut repeated = true;
        for submission in submissions {
            let id = submission.event_id.clone().expect("every batch has an id");
            repeated &= seen.insert(id, submission.event.clone()).is_some();
        }
        Ok(repeated)
    }
}

/// A folder with files, and options to import it into a state directory beside it.
fn data_set(format: ImportFormat, files: &[(&str, String)]) -> (TempDir, Options) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for (name, text) in files {
        fs::write(data.join(name), text).unwrap();
    }
    let options = Options {
        format,
        path: if let [(name, _)] = files { data.join(name) } else { data },
        defaults: FeedbackDefaults::new("rating"),
        mode: FeedbackMode::Overwrite,
        insert_users: true,
        insert_items: true,
        columns: ColumnNames::default(),
        resume: false,
        state_dir: folder.path().join("state"),
        rejects: None,
        batch_rows: 10,
        in_flight: 3,
    };
    (folder, options)
}

async fn import(options: &Options, target: &Arc<Recorder>) -> Result<Summary, ImportError> {
    run(options, target.clone(), &Progress::quiet()).await
}

fn clicks(n: usize) -> String {
    let rows: Vec<String> = (0..n).map(|row| format!("u{},i{row},1\n", row % 7)).collect();
    format!("user,item,value\n{}", rows.concat())
}

#[tokio::test]
async fn every_row_arrives_once_in_batches() {
    let (_folder, options) = data_set(ImportFormat::Csv, &[("clicks.csv", clicks(95))]);
    let target = Arc::new(Recorder::default());
    let summary = import(&options, &target).await.unwrap();
    assert_eq!((summary.feedback, summary.rejected, summary.rows()), (95, 0, 95));
    assert_eq!(target.feedback().len(), 95);
    assert_eq!(target.seen.lock().unwrap().len(), 10);
    assert!(!options.state_dir.join("import-state.json").exists(), "nothing is left to resume");
}

#[tokio::test]
async fn an_interrupted_import_goes_on_where_it_stopped() {
    let (_folder, mut options) = data_set(ImportFormat::Csv, &[("clicks.csv", clicks(95))]);
    let target = Arc::new(Recorder { refuse_after: Some(4), ..Recorder::default() });
    let error = import(&options, &target).await.unwrap_err();
    assert!(error.to_string().contains("--resume"), "{error}");

    // The position may lag behind what was stored, as after a crash: then a batch comes again under the same id.
    let healthy =
        Arc::new(Recorder { seen: Mutex::new(target.seen.lock().unwrap().clone()), refuse_after: None });
    options.resume = true;
    let summary = import(&options, &healthy).await.unwrap();
    assert_eq!(summary.skipped + summary.feedback, 95);
    assert!(summary.skipped >= 10, "{summary:?}");
    assert_eq!(healthy.seen.lock().unwrap().len(), 10);
    assert_eq!(healthy.feedback().len(), 95);
    let error = import(&options, &healthy).await.unwrap_err();
    assert!(error.to_string().contains("no interrupted import"), "{error}");
}

#[tokio::test]
async fn other_files_cannot_be_resumed() {
    let (_folder, mut options) = data_set(ImportFormat::Csv, &[("clicks.csv", clicks(30))]);
    let target = Arc::new(Recorder { refuse_after: Some(1), ..Recorder::default() });
    import(&options, &target).await.unwrap_err();
    fs::write(&options.path, clicks(31)).unwrap();
    options.resume = true;
    let error = import(&options, &target).await.unwrap_err();
    assert!(error.to_string().contains("other files"), "{error}");
}

#[tokio::test]
async fn of_equal_keys_in_a_batch_the_last_counts_or_their_sum() {
    let text = "user,item,value,timestamp\nu,i,1,200\nu,i,2,100\n".to_owned();
    let (_folder, mut options) = data_set(ImportFormat::Csv, &[("clicks.csv", text)]);
    let target = Arc::new(Recorder::default());
    import(&options, &target).await.unwrap();
    assert_eq!(target.feedback()[0].value, 2.0);

    options.mode = FeedbackMode::Accumulate;
    let target = Arc::new(Recorder::default());
    import(&options, &target).await.unwrap();
    let row = &target.feedback()[0];
    assert_eq!((row.value, row.timestamp.as_unix_seconds(), row.updated.as_unix_seconds()), (3.0, 100, 200));
}

#[tokio::test]
async fn rejected_lines_are_counted_and_kept_with_file_line_and_reason() {
    let text = format!("{}{}", clicks(15), "u,,1\n".repeat(25));
    let (folder, mut options) = data_set(ImportFormat::Csv, &[("clicks.csv", text)]);
    options.rejects = Some(folder.path().join("rejects.txt"));
    let target = Arc::new(Recorder::default());
    let summary = import(&options, &target).await.unwrap();
    assert_eq!((summary.feedback, summary.rejected), (15, 25));
    let kept = fs::read_to_string(folder.path().join("rejects.txt")).unwrap();
    let first = kept.lines().next().unwrap();
    assert!(first.ends_with("clicks.csv:17: the item id is empty"), "{first}");
    assert_eq!(kept.lines().count(), 25);
}

#[tokio::test]
async fn a_folder_gives_users_then_items_then_feedback() {
    let files = [
        ("x.inter", "user_id:token\titem_id:token\n1\t2\n".to_owned()),
        ("x.item", "item_id:token\n2\n".to_owned()),
        ("x.user", "user_id:token\n1\n".to_owned()),
        ("x.link", "item_id:token\tentity_id:token\n2\tm.0\n".to_owned()),
    ];
    let (_folder, options) = data_set(ImportFormat::RecBole, &files);
    let target = Arc::new(Recorder::default());
    let summary = import(&options, &target).await.unwrap();
    assert_eq!((summary.users, summary.items, summary.feedback), (1, 1, 1));
    let order: Vec<char> = {
        let seen = target.seen.lock().unwrap();
        let mut ids: Vec<&str> = seen.keys().map(EventId::as_str).collect();
        ids.sort_by_key(|id| id.rsplit(':').next().map(str::to_owned));
        ids.iter().filter_map(|id| id.chars().next_back()).collect()
    };
    assert_eq!(order, ['u', 'i', 'f']);
}

#[tokio::test]
async fn missing_files_and_unusable_headers_are_named() {
    let (folder, mut options) = data_set(ImportFormat::Csv, &[("clicks.csv", "a,b\n".to_owned())]);
    let target = Arc::new(Recorder::default());
    let error = import(&options, &target).await.unwrap_err().to_string();
    assert!(error.contains("clicks.csv:1:") && error.contains("--user-column"), "{error}");
    options.format = ImportFormat::MovieLens;
    options.path = folder.path().to_path_buf();
    let error = import(&options, &target).await.unwrap_err().to_string();
    assert!(error.contains("expected ratings.csv"), "{error}");
    options.path = folder.path().join("nowhere");
    assert!(matches!(import(&options, &target).await, Err(ImportError::Missing { .. })));
}

#[tokio::test]
#[ignore = "needs ULEX_DATA_DIR"]
async fn the_public_data_sets_are_read_completely() {
    let data = PathBuf::from(std::env::var("ULEX_DATA_DIR").unwrap_or_else(|_| ULEX_DATA_DIR.to_owned()));
    let expected = [
        (ImportFormat::RecBole, "ml-100k", (943, 1682, 100_000)),
        (ImportFormat::MovieLens, "ml-latest-small", (0, 9125, 100_004)),
        (ImportFormat::MovieTweetings, "movietweetings-100k", (0, 0, 100_000)),
    ];
    for (format, name, (users, items, feedback)) in expected {
        let (_folder, mut options) = data_set(format, &[]);
        options.path = data.join(name);
        options.batch_rows = 8192;
        let target = Arc::new(Recorder::default());
        let summary = import(&options, &target).await.unwrap();
        assert_eq!((summary.users, summary.feedback, summary.rejected), (users, feedback, 0), "{name}");
        assert!(summary.items >= items, "{name}: {summary}");
        assert_eq!(target.feedback().len() as u64, feedback, "{name}");
    }
}
