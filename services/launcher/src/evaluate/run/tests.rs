use std::fs;
use std::path::Path;

use super::*;
use crate::command_line::{Action, CommandLine};
use crate::evaluate::report::Measure;
use clap::Parser;

/// Even users like even items, odd users odd ones; each misses one, which is the test.
fn tastes() -> tempfile::TempDir {
    let (mut train, mut test) = (String::new(), String::new());
    for user in 0..60 {
        for step in 0..10 {
            let item = 2 * ((user * 7 + step * 3) % 10) + user % 2;
            let part = if step == 9 { &mut test } else { &mut train };
            part.push_str(&format!("{user}\t{item}\n"));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.txt"), train).unwrap();
    fs::write(folder.path().join("test.txt"), test).unwrap();
    folder
}

fn asked(folder: &Path, rest: &[&str]) -> Result<Report, EvaluateError> {
    let split = folder.display().to_string();
    let words = ["ulex", "evaluate", "--split", &split].into_iter().chain(rest.iter().copied());
    let Action::Evaluate(arguments) = CommandLine::try_parse_from(words).unwrap().action else {
        panic!("another command")
    };
    evaluate(&arguments)
}

fn number(report: &Report, key: &str) -> f64 {
    match report.get(key) {
        Some(Measure::Number(number)) => *number,
        other => panic!("{key}: {other:?} in {}", report.json()),
    }
}

#[test]
fn every_model_of_taste_finds_the_missing_item_and_the_popular_list_does_not() {
    let folder = tastes();
    for model in ["als", "bpr", "ease", "item-knn", "user-knn", "fm", "pipeline"] {
        let report = asked(folder.path(), &["--model", model, "--at", "1,10"]).unwrap();
        // The right taste has one item left, the other one ten.
        assert!(number(&report, "hr@1") > 0.8, "{}", report.json());
        assert_eq!(report.get("test_users"), Some(&60_usize.into()));
        for key in
            ["ndcg@10", "precision@10", "map@10", "mrr@10", "coverage@10", "fit_seconds", "peak_rss_mb"]
        {
            assert!(number(&report, key) >= 0.0, "{key}");
        }
    }
    let report = asked(folder.path(), &["--model", "popular", "--at", "1"]).unwrap();
    assert!(number(&report, "hr@1") < 0.5, "{}", report.json());
}

#[test]
fn the_pipeline_learns_the_same_whatever_the_test_holds() {
    let folder = tastes();
    let metrics = || {
        let Split::Ranking(split) = splits::read(folder.path()).unwrap() else { panic!("clicks") };
        let divided = Divided::from_files(split);
        let settings = CycleSettings::new(Settings::default());
        let mut set = train(&divided.table(), &settings, divided.now).unwrap().set;
        set.manifest.metrics.retain(|name, _| !name.ends_with("seconds"));
        set.to_bytes().unwrap()
    };
    let first = metrics();
    let shifted: String = (0..60).map(|user| format!("{user}\t{}\n", (user * 3 + 1) % 20)).collect();
    fs::write(folder.path().join("test.txt"), shifted).unwrap();
    assert!(first == metrics(), "the models depend on the test");
}

#[test]
fn the_pipeline_says_what_each_of_its_sources_is_worth() {
    let report = asked(tastes().path(), &["--model", "pipeline", "--at", "5"]).unwrap();
    for source in
        ["collaborative", "item-to-item/similar", "user-to-user/similar", "non-personalized/popular"]
    {
        assert!(number(&report, &format!("{source}.ndcg@5")) >= 0.0);
    }
    assert_eq!(report.get("short_lists"), Some(&0_usize.into()));
}

#[test]
fn given_negatives_are_ranked_by_models_and_refused_by_the_pipeline() {
    let folder = tastes();
    let case = |user: u32| format!("{user}\t{}\t{}\n", 2 * ((user * 7 + 27) % 10) + user % 2, (user + 1) % 2);
    fs::write(folder.path().join("negatives.txt"), (0..60).map(case).collect::<String>()).unwrap();
    let report = asked(folder.path(), &["--model", "als", "--at", "1"]).unwrap();
    assert!(number(&report, "hr@1") > 0.9, "{}", report.json());
    let refused = asked(folder.path(), &["--model", "pipeline"]).unwrap_err();
    assert!(refused.is_usage() && refused.to_string().contains("chooses its candidates itself"), "{refused}");
}

#[test]
fn labelled_examples_are_for_the_machine_only() {
    let folder = tempfile::tempdir().unwrap();
    let line = |row: u32| {
        format!("{} {}:1 {}:1\n", if row % 4 == row / 4 % 4 { 1 } else { -1 }, row % 4, 4 + row / 4 % 4)
    };
    for (part, rows) in [("train", 3200), ("valid", 160), ("test", 160)] {
        fs::write(folder.path().join(format!("{part}.libfm")), (0..rows).map(line).collect::<String>())
            .unwrap();
    }
    fs::write(folder.path().join("meta.json"), r#"{"field_sizes": [4, 4]}"#).unwrap();
    let set = ["--set", "learning_rate=0.05", "--set", "batch=64", "--set", "dropout=0", "--set", "decay=0"];
    let report = asked(folder.path(), &[&["--model", "fm"][..], &set[..]].concat()).unwrap();
    assert!(number(&report, "auc") > 0.99 && number(&report, "logloss") < 0.2, "{}", report.json());
    let refused = asked(folder.path(), &["--model", "als"]).unwrap_err();
    assert!(refused.is_usage() && refused.to_string().contains("--model fm"), "{refused}");
}

#[test]
fn nonsense_is_refused_by_name() {
    let missing = asked(Path::new("no/such/split"), &["--model", "als"]).unwrap_err();
    assert!(
        !missing.is_usage() && missing.to_string().starts_with("no/such/split: no such folder"),
        "{missing}"
    );
    let folder = tastes();
    for (model, known) in
        [("als", "objective.regularization"), ("item-knn", "overlap.shrinkage"), ("fm", "dropout")]
    {
        let refused = asked(folder.path(), &["--model", model, "--set", "nonsense=1"]).unwrap_err();
        assert!(refused.is_usage() && refused.to_string().contains(known), "{refused}");
    }
    let refused = asked(folder.path(), &["--model", "pipeline", "--set", "nonsense=1"]).unwrap_err();
    assert!(refused.is_usage() && refused.to_string().contains("nonsense"), "{refused}");
    let nowhere = asked(Path::new("random"), &["--model", "als", "--data-dir", "no/such/data"]).unwrap_err();
    assert!(nowhere.to_string().contains("no/such/data holds no data"), "{nowhere}");
}

#[test]
fn imported_data_are_divided_in_the_data_directory() {
    use serde_json::Value;
    use ulex_domain::{Command, Feedback, FeedbackMode, ItemId, UserId};
    use ulex_storage::data::Submission;

    let data_dir = tempfile::tempdir().unwrap();
    let row = |user: u32, step: u32| {
        let moment = Timestamp::from_unix_seconds(1_000 + i64::from(step));
        Feedback {
            feedback_type: "rating".into(),
            user_id: UserId::new(user.to_string()),
            item_id: ItemId::new((2 * ((user * 7 + step * 3) % 10) + user % 2).to_string()),
            // The last step is no like, so the one before it is the last that counts.
            value: if step == 9 { 1.0 } else { 5.0 },
            timestamp: moment,
            updated: moment,
            labels: Value::Null,
            comment: String::new(),
        }
    };
    let rows = (0..60).flat_map(|user| (0..10).map(move |step| row(user, step))).collect();
    let event =
        Command::PutFeedback { rows, mode: FeedbackMode::Overwrite, insert_users: true, insert_items: true };
    exit::block_on(async {
        let store = open_data(&Settings::default(), data_dir.path()).await.unwrap();
        store.apply(vec![Submission::from(event)]).await.unwrap();
    });
    let config = data_dir.path().join("ulex.toml");
    fs::write(&config, "[recommend.data_source]\npositive_feedback_types = [\"rating>=4\"]\n").unwrap();
    let (config, data) = (config.display().to_string(), data_dir.path().display().to_string());
    for (split, test) in [("leave-last-out", 60_usize), ("random", 120), ("temporal", 60)] {
        let rest = ["--model", "pipeline", "--at", "1", "-c", &config, "--data-dir", &data];
        let report = asked(Path::new(split), &rest).unwrap();
        assert_eq!(report.get("test"), Some(&test.into()), "{}", report.json());
        // With a division by time nobody has met the disliked item yet, which then is as good a guess.
        assert!(number(&report, "hr@1") > 0.5, "{}", report.json());
    }
}

#[test]
#[ignore = "needs ULEX_DATA_DIR"]
fn models_are_as_good_on_the_published_splits_as_we_say() {
    const ULEX_DATA_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var("ULEX_DATA_DIR").unwrap_or_else(|_| ULEX_DATA_DIR.to_owned());
    let promised = [
        ("ml100k-80-20", "als", "ndcg@10", 0.42),
        ("ml100k-80-20", "item-knn", "ndcg@10", 0.40),
        ("ml100k-80-20", "pipeline", "ndcg@10", 0.43),
        ("gowalla", "item-knn", "recall@20", 0.155),
        ("frappe", "fm", "auc", 0.965),
    ];
    for (split, model, key, at_least) in promised {
        let folder = Path::new(&data).join("splits").join(split);
        let report = asked(&folder, &["--model", model, "--at", "10,20"]).unwrap();
        assert!(number(&report, key) >= at_least, "{}", report.json());
    }
}
