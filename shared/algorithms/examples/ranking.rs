//! Scores our recommenders and the ranker on the fixed splits in `ULEX_DATA_DIR`, one JSON line each.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "a program may look at the clock and at files")]

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::time::Instant;

use flate2::bufread::MultiGzDecoder;
use rayon::prelude::*;
use serde_json::json;
use ulex_algorithms::click_through::calibration::{area_under_curve, mean_log_loss};
use ulex_algorithms::click_through::{FeatureRows, FmParams, Layout, Samples, fit, parse_libfm};
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::progress::Unattended;
use ulex_algorithms::similarity::{
    Accumulator, KnnParams, discount_popular, recall_from_neighbors, recall_from_similar_users,
};
use ulex_algorithms::top_k::Scored;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let task = std::env::args().nth(1).unwrap_or_default();
    let rest: Vec<String> = std::env::args().skip(2).collect();
    let setting = rest.last().filter(|text| text.starts_with('{')).map_or("{}", String::as_str);
    match task.as_str() {
        "fm" => factorization_machine(&serde_json::from_str(setting)?),
        "popular" | "item-knn" | "user-knn" => neighborhood(&task, rest.first().ok_or("which split?")?, setting),
        other => Err(format!("unknown task {other:?}").into()),
    }
}

fn data_dir() -> PathBuf {
    std::env::var_os("ULEX_DATA_DIR").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from)
}

fn read_text(path: &str) -> Outcome<String> {
    let file = BufReader::new(File::open(data_dir().join(path))?);
    let mut text = String::new();
    MultiGzDecoder::new(file).read_to_string(&mut text)?;
    Ok(text)
}

fn factorization_machine(params: &FmParams) -> Outcome {
    let load = |part: &str| -> Outcome<(FeatureRows, Vec<bool>)> {
        Ok(parse_libfm(&read_text(&format!("splits/frappe/{part}.libfm.gz"))?)?)
    };
    let (train, valid, test) = (load("train")?, load("valid")?, load("test")?);
    let samples = |(rows, labels): &(FeatureRows, Vec<bool>)| -> Samples<'static> {
        let rows: &'static FeatureRows = Box::leak(Box::new(rows.clone()));
        Samples::from_table(rows, labels.clone())
    };
    let (train, valid, test) = (samples(&train), samples(&valid), samples(&test));
    let mut layout = Layout::default();
    let meta: serde_json::Value = serde_json::from_reader(File::open(data_dir().join("splits/frappe/meta.json"))?)?;
    let sizes = meta["field_sizes"].as_array().ok_or("no field sizes")?;
    for (name, size) in meta["fields"].as_array().ok_or("no fields")?.iter().zip(sizes) {
        layout.push(name.as_str().unwrap_or_default(), size.as_u64().unwrap_or_default() as u32);
    }
    let start = Instant::now();
    let fitted = fit(&layout, &train, &valid, params, &Unattended)?;
    let seconds = start.elapsed().as_secs_f64();
    for report in &fitted.epochs {
        eprintln!("{}", json!(report));
    }
    let logits = fitted.model.predict(&test);
    println!(
        "{}",
        json!({"task": "fm", "params": params, "epoch": fitted.best_epoch, "fit_seconds": seconds,
            "auc": area_under_curve(&logits, test.labels()), "logloss": mean_log_loss(&logits, test.labels())})
    );
    Ok(())
}

/// A split in memory.
struct Split {
    train: Interactions,
    test: Vec<Vec<u32>>,
}

fn load_split(name: &str) -> Outcome<Split> {
    let pairs = |part: &str| -> Outcome<Vec<(u32, u32, f32)>> {
        let path = format!("splits/{name}/{part}.txt");
        let text = read_text(&format!("{path}.gz")).or_else(|_| std::fs::read_to_string(data_dir().join(path)))?;
        let pair = |line: &str| -> Outcome<(u32, u32, f32)> {
            let (user, item) = line.split_once('\t').ok_or("no tab")?;
            Ok((user.parse()?, item.parse()?, 1.0))
        };
        text.lines().map(pair).collect()
    };
    let (train, test) = (pairs("train")?, pairs("test")?);
    let all = || train.iter().chain(&test);
    let n_users = all().map(|row| row.0).max().map_or(0, |user| user as usize + 1);
    let n_items = all().map(|row| row.1).max().map_or(0, |item| item as usize + 1);
    let mut relevant = vec![Vec::new(); n_users];
    test.iter().for_each(|&(user, item, _)| relevant[user as usize].push(item));
    Ok(Split { train: Interactions::from_triples(n_users, n_items, train), test: relevant })
}

/// Mean NDCG and recall over users with test items, ranking everything not in training.
fn evaluate(split: &Split, k: usize, recommend: impl Fn(&mut Accumulator, u32) -> Vec<Scored> + Sync) -> (f64, f64) {
    let users: Vec<u32> = (0..split.test.len() as u32).filter(|&user| !split.test[user as usize].is_empty()).collect();
    let score = |sums: &mut Accumulator, user: &u32| {
        let relevant = &split.test[*user as usize];
        let discount = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
        let list = recommend(sums, *user);
        let hits = list.iter().take(k).enumerate().filter(|(_, scored)| relevant.contains(&scored.index));
        let ranks: Vec<usize> = hits.map(|(rank, _)| rank).collect();
        let ideal: f64 = (0..relevant.len().min(k)).map(discount).sum();
        (ranks.iter().copied().map(discount).sum::<f64>() / ideal, ranks.len() as f64 / relevant.len() as f64)
    };
    let scores: Vec<(f64, f64)> =
        users.par_iter().map_init(|| Accumulator::new(split.train.n_cols()), score).collect();
    let mean = |part: fn(&(f64, f64)) -> f64| scores.iter().map(part).sum::<f64>() / users.len() as f64;
    (mean(|score| score.0), mean(|score| score.1))
}

fn neighborhood(task: &str, name: &str, setting: &str) -> Outcome {
    let knn: KnnParams = match setting {
        "{}" => preset(task, name),
        text => serde_json::from_str(text)?,
    };
    let split = load_split(name)?;
    let top = if name == "gowalla" { 20 } else { 10 };
    let by_item = split.train.transposed();
    let start = Instant::now();
    let accept = |user: u32| { let train = &split.train; move |item| !train.contains(user as usize, item) };
    let (ndcg, recall) = match task {
        "popular" => evaluate(&split, top, |sums, user| {
            for item in 0..by_item.n_rows() as u32 {
                sums.add(item, by_item.row(item as usize).0.len() as f32);
            }
            sums.drain_top(top, accept(user))
        }),
        "item-knn" => {
            let neighbors = knn.neighbors(&by_item);
            eprintln!("{} neighbours in {:?}", neighbors.len(), start.elapsed());
            evaluate(&split, top, |sums, user| {
                let (items, weights) = split.train.row(user as usize);
                let history: Vec<(u32, f32)> = items.iter().copied().zip(weights.iter().copied()).collect();
                recall_from_neighbors(&history, &neighbors, sums, top, accept(user))
            })
        }
        _user_knn => {
            let neighbors = knn.neighbors(&split.train);
            eprintln!("{} neighbours in {:?}", neighbors.len(), start.elapsed());
            let scaled = discount_popular(&split.train, knn.popularity);
            evaluate(&split, top, |sums, user| {
                let (users, scores) = neighbors.row(user);
                let similar: Vec<(u32, f32)> = users.iter().copied().zip(scores.iter().copied()).collect();
                recall_from_similar_users(&similar, &scaled, sums, top, accept(user))
            })
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", json!({"task": task, "split": name, "params": knn, "seconds": seconds,
        format!("ndcg@{top}"): ndcg, format!("recall@{top}"): recall}));
    Ok(())
}

/// What was found best on splits of this kind.
fn preset(task: &str, split: &str) -> KnnParams {
    match (task, split) {
        ("user-knn", "gowalla") => KnnParams::USERS_RARELY_SHARED,
        ("user-knn", _) => KnnParams::USERS,
        (_, "gowalla") => KnnParams::ITEMS_RARELY_SHARED,
        _ => KnnParams::ITEMS_OFTEN_SHARED,
    }
}
