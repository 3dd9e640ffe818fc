//! Scores our recommenders and the ranker on the fixed splits in `ULEX_DATA_DIR`, one JSON line each.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "a program may look at the clock and at files")]

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::time::Instant;

use flate2::bufread::MultiGzDecoder;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde_json::json;
use ulex_algorithms::click_through::calibration::{
    area_under_curve, expected_calibration_error, mean_log_loss,
};
use ulex_algorithms::click_through::{
    Calibration, Facts, FeatureRows, FeatureSpace, FeatureSpaceBuilder, FmParams, Layout, Ranker, Samples,
    Side, Value, fit, parse_libfm,
};
use ulex_algorithms::dictionary::Dictionary;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::leaderboard::Leaderboard;
use ulex_algorithms::list::{Blend, BlendData, BlendParams, Standardisation, reciprocal_rank_fusion};
use ulex_algorithms::progress::Unattended;
use ulex_algorithms::similarity::{
    Accumulator, KnnParams, Neighbors, OverlapParams, discount_popular, recall_from_neighbors,
    recall_from_similar_users,
};
use ulex_algorithms::snapshot::{Snapshot, SnapshotWriter};
use ulex_algorithms::top_k::{Scored, TopK};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let task = std::env::args().nth(1).unwrap_or_default();
    let rest: Vec<String> = std::env::args().skip(2).collect();
    let setting = rest.last().filter(|text| text.starts_with('{')).map_or("{}", String::as_str);
    match task.as_str() {
        "fm" => factorization_machine(&serde_json::from_str(setting)?),
        "popular" | "item-knn" | "user-knn" => {
            neighborhood(&task, rest.first().ok_or("which split?")?, setting)
        }
        "ranker" => ranker(&serde_json::from_str(setting)?),
        "speed" => speed(),
        "blend" => blended(rest.first().ok_or("which split?")?),
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
    let meta: serde_json::Value =
        serde_json::from_reader(File::open(data_dir().join("splits/frappe/meta.json"))?)?;
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
    let calibration = Calibration::platt(&fitted.model.predict(&valid), valid.labels());
    let logits = fitted.model.predict(&test);
    let probabilities: Vec<f32> = logits.iter().map(|&logit| calibration.probability(logit)).collect();
    let error = expected_calibration_error(&probabilities, test.labels(), 15);
    println!(
        "{}",
        json!({"task": "fm", "params": params, "epoch": fitted.best_epoch, "fit_seconds": seconds, "ece_calibrated": error,
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
        let text =
            read_text(&format!("{path}.gz")).or_else(|_| std::fs::read_to_string(data_dir().join(path)))?;
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
fn evaluate(
    split: &Split,
    k: usize,
    recommend: impl Fn(&mut Accumulator, u32) -> Vec<Scored> + Sync,
) -> (f64, f64) {
    let users: Vec<u32> =
        (0..split.test.len() as u32).filter(|&user| !split.test[user as usize].is_empty()).collect();
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
    let accept = |user: u32| {
        let train = &split.train;
        move |item| !train.contains(user as usize, item)
    };
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
    println!(
        "{}",
        json!({"task": task, "split": name, "params": knn, "seconds": seconds,
        format!("ndcg@{top}"): ndcg, format!("recall@{top}"): recall})
    );
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

/// The best of several runs, in microseconds.
fn fastest(runs: usize, mut run: impl FnMut()) -> f64 {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..runs).map(|_| time(&mut run)).fold(f64::INFINITY, f64::min)
}

/// How long the pieces of one answer take, and opening a gigabyte.
fn speed() -> Outcome {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let n_items = 20_000;
    let rows: Vec<Vec<Scored>> = (0..n_items)
        .map(|_| {
            (0..100)
                .map(|rank| Scored { index: random.random_range(0..n_items), score: 1.0 / (rank + 1) as f32 })
                .collect()
        })
        .collect();
    let neighbors = Neighbors::from_rows(&rows);
    let mut sums = Accumulator::new(n_items as usize);
    let history: Vec<(u32, f32)> = (0..100).map(|i| (i * 7, 1.0)).collect();
    let recall =
        fastest(300, || _ = black_box(recall_from_neighbors(&history, &neighbors, &mut sums, 100, |_| true)));
    let scores: Vec<f32> = (0..3000).map(|i| if i % 7 == 0 { f32::NAN } else { random.random() }).collect();
    let blend =
        Blend { weights: vec![0.2, 0.2, 0.2, 0.2, 0.1, 0.1], standardisation: Standardisation::ZScore };
    let mut out = Vec::new();
    let blending = fastest(300, || blend.apply(black_box(&scores), 500, &mut out));
    let lists: Vec<Vec<u32>> =
        (0..6).map(|_| (0..100).map(|_| random.random_range(0..n_items)).collect()).collect();
    let lists: Vec<(&[u32], f32)> = lists.iter().map(|list| (list.as_slice(), 1.0)).collect();
    let fusing = fastest(300, || _ = black_box(reciprocal_rank_fusion(&lists)));
    let big: Vec<f32> = vec![0.5; 1 << 28];
    let mut writer = SnapshotWriter::new("speed");
    writer.add_f32("big", &[big.len()], &big)?;
    let start = Instant::now();
    let bytes = writer.finish(&json!({}))?;
    let writing = start.elapsed().as_secs_f64();
    let opening = fastest(3, || {
        _ = black_box(Snapshot::open(bytes.as_slice()).map(|snapshot| snapshot.f32("big").map(|x| x.len())))
    });
    println!(
        "{}",
        json!({"task": "speed", "recall_100x100_us": recall, "blend_500x6_us": blending, "fuse_6x100_us": fusing,
        "snapshot_1gib_write_s": writing, "snapshot_1gib_open_s": opening / 1e6})
    );
    Ok(())
}

/// Ratings in order of time, and the feature rows of their users and items.
struct Rated {
    space: FeatureSpace,
    users: FeatureRows,
    items: FeatureRows,
    /// User, item, rated 4 or 5, seconds.
    events: Vec<(u32, u32, bool, u64)>,
}

/// MovieLens 100K; what counts towards activity are the first `share` tenths of the ratings.
fn load_rated(share: usize) -> Outcome<Rated> {
    let (user_rows, item_rows) = (table("ml-100k/ml-100k.user")?, table("ml-100k/ml-100k.item")?);
    let (mut user_ids, mut item_ids) = (Dictionary::default(), Dictionary::default());
    user_rows.iter().for_each(|row| _ = user_ids.intern(&row[0]));
    item_rows.iter().for_each(|row| _ = item_ids.intern(&row[0]));
    let mut events = Vec::new();
    for row in table("ml-100k/ml-100k.inter")? {
        let positive = row[2].parse::<f32>()? >= 4.0;
        events.push((
            user_ids.intern(&row[0]),
            item_ids.intern(&row[1]),
            positive,
            row[3].parse::<f64>()? as u64,
        ));
    }
    events.sort_by_key(|event| event.3);
    let mut activity = (vec![0_u32; user_ids.len()], vec![0_u32; item_ids.len()]);
    for event in &events[..events.len() * share / 10] {
        activity.0[event.0 as usize] += 1;
        activity.1[event.1 as usize] += 1;
    }
    let number = |text: &str| Value::Number(text.parse().unwrap_or(0.0));
    let user_labels = |row: &'static [String]| -> Vec<(&'static str, Value<'static>)> {
        vec![("age", number(&row[1])), ("gender", Value::Text(&row[2])), ("occupation", Value::Text(&row[3]))]
    };
    let item_labels = |row: &'static [String]| -> Vec<(&'static str, Value<'static>)> {
        let genres = row[3].split(' ').map(|genre| ("genre", Value::Text(genre)));
        [("year", number(&row[2]))].into_iter().chain(genres).collect()
    };
    let (user_rows, item_rows) = (user_rows.leak(), item_rows.leak());
    let user_labels: Vec<_> = user_rows.iter().map(|row| user_labels(row)).collect();
    let item_labels: Vec<_> = item_rows.iter().map(|row| item_labels(row)).collect();
    let mut builder = FeatureSpaceBuilder::default();
    user_labels.iter().for_each(|labels| builder.observe(Side::User, labels.iter().copied()));
    item_labels.iter().for_each(|labels| builder.observe(Side::Item, labels.iter().copied()));
    let space = builder.finish(user_ids.len(), item_ids.len());
    let encode = |side, labels: &[Vec<(&'static str, Value)>], activity: &[u32]| {
        let mut rows = space.rows(side);
        for (id, labels) in labels.iter().enumerate() {
            let facts = Facts { id: Some(id as u32), activity: Some(activity[id]), age_days: None };
            space.encode(side, facts, labels.iter().copied(), &mut rows);
        }
        rows
    };
    let users = encode(Side::User, &user_labels, &activity.0);
    let items = encode(Side::Item, &item_labels, &activity.1);
    Ok(Rated { space, users, items, events })
}

/// The ranker on MovieLens 100K: the last fifth of the ratings is test, the fifth before validation.
fn ranker(params: &FmParams) -> Outcome {
    let rated = load_rated(6)?;
    let samples = |from: usize, to: usize| {
        let mut samples = Samples::new(vec![&rated.users, &rated.items]);
        let n = rated.events.len();
        for &(user, item, positive, _) in &rated.events[n * from / 10..n * to / 10] {
            samples.push(&[user, item], positive);
        }
        samples
    };
    let (train, valid, test) = (samples(0, 6), samples(6, 8), samples(8, 10));
    let start = Instant::now();
    let fitted = fit(rated.space.layout(), &train, &valid, params, &Unattended)?;
    let seconds = start.elapsed().as_secs_f64();
    let calibration = Calibration::platt(&fitted.model.predict(&valid), valid.labels());
    let logits = fitted.model.predict(&test);
    let error = |calibration: &Calibration| {
        let probabilities: Vec<f32> = logits.iter().map(|&logit| calibration.probability(logit)).collect();
        expected_calibration_error(&probabilities, test.labels(), 15)
    };
    let (raw, calibrated) = (error(&Calibration::Identity), error(&calibration));
    let ranker = Ranker::new(fitted.model, calibration, &rated.items);
    let candidates: Vec<u32> = (0..500).collect();
    let mut out = Vec::new();
    let vector = fastest(200, || _ = black_box(ranker.user_vector(&rated.users, 7)));
    let user = ranker.user_vector(&rated.users, 7);
    let scoring = fastest(200, || ranker.score_candidates(black_box(&user), &candidates, &mut out));
    println!(
        "{}",
        json!({"task": "ranker", "params": params, "epoch": fitted.best_epoch, "fit_seconds": seconds,
            "auc": area_under_curve(&logits, test.labels()), "logloss": mean_log_loss(&logits, test.labels()),
            "ece": raw, "ece_calibrated": calibrated, "user_vector_us": vector, "score_500_us": scoring})
    );
    Ok(())
}

/// Rows of a tab-separated file with a header.
fn table(path: &str) -> Outcome<Vec<Vec<String>>> {
    let mut bytes = Vec::new();
    File::open(data_dir().join(path))?.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// A source of candidates: the best items of a user, and its name.
type Source<'a> = (&'static str, Box<dyn Fn(&mut Accumulator, u32) -> Vec<Scored> + Sync + 'a>);

const DEPTH: usize = 200;

fn sources<'a>(train: &'a Interactions, name: &str) -> Vec<Source<'a>> {
    let by_item = train.transposed();
    let mut board = Leaderboard::new(train.n_cols(), None);
    train.columns().iter().for_each(|&item| board.add(item, 1.0, 0.0));
    let (by_items, by_users) = (preset("item-knn", name), preset("user-knn", name));
    let items = by_items.neighbors(&by_item);
    let cosine =
        KnnParams { overlap: OverlapParams::COSINE, by_target: false, popularity: 0.0 }.neighbors(&by_item);
    let (users, votes) = (by_users.neighbors(train), discount_popular(train, by_users.popularity));
    let accept = move |user: u32| move |item| !train.contains(user as usize, item);
    let history = move |user: u32| -> Vec<(u32, f32)> {
        train.row(user as usize).0.iter().map(|&item| (item, 1.0)).collect()
    };
    vec![
        ("popular", Box::new(move |_: &mut Accumulator, user| board.top(DEPTH, accept(user)))),
        (
            "item-knn",
            Box::new(move |sums: &mut Accumulator, user| {
                recall_from_neighbors(&history(user), &items, sums, DEPTH, accept(user))
            }),
        ),
        (
            "item-cosine",
            Box::new(move |sums: &mut Accumulator, user| {
                recall_from_neighbors(&history(user), &cosine, sums, DEPTH, accept(user))
            }),
        ),
        (
            "user-knn",
            Box::new(move |sums: &mut Accumulator, user| {
                let (ids, scores) = users.row(user);
                let similar: Vec<(u32, f32)> = ids.iter().copied().zip(scores.iter().copied()).collect();
                recall_from_similar_users(&similar, &votes, sums, DEPTH, accept(user))
            }),
        ),
    ]
}

/// The union of what the sources propose and every source's scores of it, NaN where it proposed nothing.
fn union(lists: &[Vec<Scored>]) -> (Vec<u32>, Vec<Vec<f32>>) {
    let mut items: Vec<u32> = lists.iter().flatten().map(|scored| scored.index).collect();
    items.sort_unstable();
    items.dedup();
    let scores = lists.iter().map(|list| {
        let mut scores = vec![f32::NAN; items.len()];
        for scored in list {
            let position = items.binary_search(&scored.index).expect("the union has them all");
            scores[position] = scored.score;
        }
        scores
    });
    let scores = scores.collect();
    (items, scores)
}

/// Fits a blend on a fifth of the training data held out, then judges it on the test data with everything fitted on all of training.
fn blended(name: &str) -> Outcome {
    let split = load_split(name)?;
    let top = if name == "gowalla" { 20 } else { 10 };
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut kept, mut held) = (Vec::new(), vec![Vec::new(); split.train.n_rows()]);
    for (user, held) in held.iter_mut().enumerate() {
        for &item in split.train.row(user).0 {
            match random.random_range(0..5) {
                0 => held.push(item),
                _kept => kept.push((user as u32, item, 1.0)),
            }
        }
    }
    let kept = Interactions::from_triples(split.train.n_rows(), split.train.n_cols(), kept);
    let start = Instant::now();
    let (fitted, names) = {
        let sources = sources(&kept, name);
        let mut data = BlendData::new(sources.len());
        let mut sums = Accumulator::new(kept.n_cols());
        for user in (0..kept.n_rows() as u32).step_by(1 + kept.n_rows() / 5000) {
            let lists: Vec<Vec<Scored>> = sources.iter().map(|(_, source)| source(&mut sums, user)).collect();
            let (items, scores) = union(&lists);
            let relevant: Vec<bool> = items.iter().map(|item| held[user as usize].contains(item)).collect();
            data.push(&scores, &relevant, held[user as usize].len());
        }
        eprintln!("{} users for the blend after {:?}", data.n_users(), start.elapsed());
        (
            Blend::fit(&data, &BlendParams { k: top, ..BlendParams::default() }),
            sources.iter().map(|source| source.0).collect::<Vec<_>>(),
        )
    };
    eprintln!("fitted after {:?}", start.elapsed());
    let sources = sources(&split.train, name);
    let mut figures = serde_json::Map::new();
    for (name, source) in &sources {
        figures.insert((*name).to_owned(), json!(evaluate(&split, top, source)));
    }
    let blend = evaluate(&split, top, |sums, user| {
        let lists: Vec<Vec<Scored>> = sources.iter().map(|(_, source)| source(sums, user)).collect();
        let (items, scores) = union(&lists);
        let mut out = Vec::new();
        fitted.blend.apply(&scores.concat(), items.len(), &mut out);
        let mut best = TopK::new(top);
        items.iter().zip(&out).for_each(|(&item, &score)| best.push(item, score));
        best.into_sorted()
    });
    let fused = evaluate(&split, top, |sums, user| {
        let lists: Vec<Vec<u32>> =
            sources.iter().map(|(_, source)| source(sums, user).iter().map(|s| s.index).collect()).collect();
        reciprocal_rank_fusion(&lists.iter().map(|list| (list.as_slice(), 1.0)).collect::<Vec<_>>())
    });
    figures.insert("blend".to_owned(), json!(blend));
    figures.insert("fusion".to_owned(), json!(fused));
    println!(
        "{}",
        json!({"task": "blend", "split": name, "sources": names, "fitted": fitted, "ndcg_recall": figures})
    );
    Ok(())
}
