//! Fits one model on a public split and prints what it is worth, one JSON line.
//!
//! ```text
//! ULEX_DATA_DIR=data cargo run --release --example factorization -- ml100k-80-20 als factors=64 epochs=12
//! ... part=validation   fits on 90 % of the train part and measures on the rest: for choosing parameters
//! ... candidate=2       begins with that entry of the model's candidates instead of the first
//! ```
//!
//! Splits: `splits/<name>/{train,test}.txt[.gz]`, one `user<TAB>item` per line.
#![expect(clippy::disallowed_methods, reason = "a program may read files and the clock; the library may not")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::HashMap;
use std::error::Error;
use std::io::Read;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use ulex_algorithms::evaluation::ranking::{RankingReport, RankingTest};
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::matrix_factorization::FactorModel;
use ulex_algorithms::matrix_factorization::batch::PackedItems;
use ulex_algorithms::matrix_factorization::bpr::{BprParams, Negatives};
use ulex_algorithms::matrix_factorization::fold_in::FoldIn;
use ulex_algorithms::matrix_factorization::implicit_als::{AlsParams, Solver};
use ulex_algorithms::matrix_factorization::linear::LinearParams;
use ulex_algorithms::progress::Unattended;
use ulex_algorithms::random::Seed;
use ulex_algorithms::top_k::Scored;

type Failure = Box<dyn Error>;

/// `key=value` arguments, and those that were asked for with their defaults.
struct Options(HashMap<String, String>);

impl Options {
    fn number<T: std::str::FromStr>(&self, key: &str, default: T) -> T {
        self.0.get(key).and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

struct Split {
    train: Interactions,
    test: Interactions,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let split = arguments.next().ok_or("usage: factorization <split> <model> [key=value]...")?;
    let model = arguments.next().ok_or("a model: als, bpr or ease")?;
    let pairs = arguments
        .filter_map(|pair| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())));
    let options = Options(pairs.collect());
    let data = load(&split, options.number("part", String::from("test")) == "validation")?;
    let (report, timings) = match model.as_str() {
        "als" => als(&data, &options)?,
        "bpr" => bpr(&data, &options)?,
        "ease" => ease(&data, &options)?,
        _ => return Err("a model: als, bpr or ease".into()),
    };
    let mut line = json!({ "split": split, "model": model, "options": options.0, "timings": timings });
    for cutoff in &report.cutoffs {
        let mean = cutoff.mean();
        line[format!("ndcg@{}", cutoff.k)] = json!((mean.ndcg * 1e4).round() / 1e4);
        line[format!("recall@{}", cutoff.k)] = json!((mean.recall * 1e4).round() / 1e4);
        line[format!("coverage@{}", cutoff.k)] = json!((cutoff.coverage * 1e4).round() / 1e4);
    }
    println!("{line}");
    Ok(())
}

fn als(data: &Split, options: &Options) -> Result<(RankingReport, serde_json::Value), Failure> {
    let mut params = AlsParams::candidates(&data.train)[options.number("candidate", 0)];
    params.factors = options.number("factors", params.factors);
    params.epochs = options.number("epochs", params.epochs);
    params.solver = match (options.number("block", 0), options.number("steps", 0)) {
        (0, 0) => params.solver,
        (0, steps) => Solver::Conjugate { steps },
        (size, _) if size >= params.factors => Solver::Exact,
        (size, _) => Solver::Blocks { size },
    };
    params.initial_deviation = options.number("deviation", params.initial_deviation);
    let objective = &mut params.objective;
    objective.unobserved_weight = options.number("unobserved", objective.unobserved_weight);
    objective.confidence = options.number("confidence", objective.confidence);
    objective.regularization = options.number("regularization", objective.regularization);
    objective.frequency_exponent = options.number("exponent", objective.frequency_exponent);
    let (start, cpu) = (Instant::now(), processor_seconds());
    let model = params.check()?.fit(&data.train, &Unattended)?;
    let (fit, cpu) = (start.elapsed().as_secs_f64(), processor_seconds() - cpu);
    let gflops = operations(data, &params) * params.epochs as f64 / fit / 1e9;
    let (report, mut timings) = rank(data, &model);
    timings["fit_seconds"] = json!(fit);
    timings["fit_processor_seconds"] = json!(cpu);
    timings["fold_in_microseconds"] = json!(fold_in(&model, &params)?);
    timings["fit_gflops"] = json!(gflops);
    Ok((report, timings))
}

/// Time to fold in a user with 100 items.
fn fold_in(model: &FactorModel, params: &AlsParams) -> Result<f64, Failure> {
    const REPEATS: u32 = 1000;
    let fold_in = FoldIn::new(&model.items, model.factors, params.objective)?;
    let (mut scratch, mut user) = (fold_in.scratch(), vec![0.0; model.factors]);
    let weights = [1.0; 100];
    let start = Instant::now();
    for round in 0..REPEATS {
        let items: [u32; 100] = std::array::from_fn(|at| (round + at as u32 * 7) % model.n_items() as u32);
        fold_in.solve(&model.items, (&items, &weights), &mut scratch, &mut user)?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(REPEATS))
}

/// Multiplications and additions of one epoch, the unneeded half of symmetric products not counted.
fn operations(data: &Split, params: &AlsParams) -> f64 {
    let k = params.factors as f64;
    let (entries, rows) = (2.0 * data.train.len() as f64, (data.train.n_rows() + data.train.n_cols()) as f64);
    let gram = rows * k * k;
    let solved = match params.solver {
        Solver::Exact => entries * k * (k + 3.0) + rows * (k * k * k / 3.0 + 2.0 * k * k),
        Solver::Blocks { size } => {
            let b = size.min(params.factors) as f64;
            entries * k * (b + 7.0) + rows * k * (2.0 * k + b * b / 3.0 + 2.0 * b)
        }
        Solver::Conjugate { steps } => (steps as f64 + 1.0) * (4.0 * entries * k + rows * 2.0 * k * k),
    };
    gram + solved
}

/// Time all threads of this program spent computing, to a hundredth of a second; 0 where the system does not say.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks =
        stat.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(11)?.parse::<f64>().ok());
    ticks.unwrap_or(0.0) / 100.0
}

fn bpr(data: &Split, options: &Options) -> Result<(RankingReport, serde_json::Value), Failure> {
    let mut params = BprParams::candidates(&data.train)[options.number("candidate", 0)];
    params.factors = options.number("factors", params.factors);
    params.epochs = options.number("epochs", params.epochs);
    params.learning_rate = options.number("rate", params.learning_rate);
    params.final_rate = options.number("final_rate", params.final_rate);
    params.regularization = options.number("regularization", params.regularization);
    params.item_bias = options.number("bias", params.item_bias);
    params.initial_deviation = options.number("deviation", params.initial_deviation);
    let power = options.number("power", -1.0);
    params.negatives = match (power >= 0.0, options.number("candidates", 0)) {
        (true, _) => Negatives::Popularity { power },
        (false, 0) => params.negatives,
        (false, candidates) => Negatives::Adaptive { candidates },
    };
    let start = Instant::now();
    let model = params.check()?.fit(&data.train, &Unattended)?;
    let fit = start.elapsed().as_secs_f64();
    let (report, mut timings) = rank(data, &model);
    timings["fit_seconds"] = json!(fit);
    timings["steps_per_second"] = json!((data.train.len() * params.epochs) as f64 / fit);
    Ok((report, timings))
}

fn ease(data: &Split, options: &Options) -> Result<(RankingReport, serde_json::Value), Failure> {
    let mut params = LinearParams::candidates()[options.number("candidate", 0)];
    params.regularization = options.number("regularization", params.regularization);
    params.kept = options.number("kept", params.kept);
    params.max_items = options.number("max_items", params.max_items);
    let (start, cpu) = (Instant::now(), processor_seconds());
    let model = params.check()?.fit(&data.train)?;
    let (fit, cpu) = (start.elapsed().as_secs_f64(), processor_seconds() - cpu);
    let start = Instant::now();
    let protocol = RankingTest { test: &data.test, seen: &data.train, cutoffs: &[10, 20] };
    let report = protocol.evaluate(&|user, candidates| {
        let mut scores = Vec::new();
        model.scores_into(data.train.row(user as usize), &mut scores);
        candidates
            .extend(scores.iter().enumerate().map(|(index, &score)| Scored { index: index as u32, score }));
    });
    let seconds = start.elapsed().as_secs_f64();
    let votes = model.votes.len();
    let timings =
        json!({ "fit_seconds": fit, "fit_processor_seconds": cpu, "lists_seconds": seconds, "votes": votes });
    Ok((report, timings))
}

fn rank(data: &Split, model: &FactorModel) -> (RankingReport, serde_json::Value) {
    let start = Instant::now();
    let keep = |user: usize, item: u32| !data.train.contains(user, item);
    let lists = PackedItems::new(&model.items, model.factors).recommend_all(&model.users, 20, keep);
    let seconds = start.elapsed().as_secs_f64();
    let operations = 2.0 * model.users.len() as f64 * model.n_items() as f64;
    let protocol = RankingTest { test: &data.test, seen: &data.train, cutoffs: &[10, 20] };
    let timings = json!({ "lists_seconds": seconds, "lists_gflops": operations / seconds / 1e9 });
    (protocol.evaluate_lists(&lists), timings)
}

fn load(split: &str, validation: bool) -> Result<Split, Failure> {
    let data = std::env::var("ULEX_DATA_DIR").map_err(|_unset| "set ULEX_DATA_DIR")?;
    let folder = PathBuf::from(data).join("splits").join(split);
    let (mut train, mut test) = (read(folder.join("train.txt"))?, read(folder.join("test.txt"))?);
    let n_users = 1 + train.iter().chain(&test).map(|pair| pair.0).max().unwrap_or(0);
    let n_items = 1 + train.iter().chain(&test).map(|pair| pair.1).max().unwrap_or(0);
    if validation {
        let mut random = Seed::new(2024).purpose("factorization.validation").generator();
        (test, train) = train.into_iter().partition(|_| random.below(10) == 0);
    }
    let build = |pairs: Vec<(u32, u32)>| {
        let triples = pairs.into_iter().map(|(user, item)| (user, item, 1.0)).collect();
        Interactions::from_triples(n_users as usize, n_items as usize, triples)
    };
    Ok(Split { train: build(train), test: build(test) })
}

fn read(path: PathBuf) -> Result<Vec<(u32, u32)>, Failure> {
    let mut text = String::new();
    if path.exists() {
        std::fs::File::open(path)?.read_to_string(&mut text)?;
    } else {
        let file = std::fs::File::open(path.with_extension("txt.gz"))?;
        flate2::read::GzDecoder::new(file).read_to_string(&mut text)?;
    }
    let pair = |line: &str| {
        let (user, item) = line.split_once('\t')?;
        Some((user.trim().parse().ok()?, item.trim().parse().ok()?))
    };
    text.lines().map(|line| pair(line).ok_or_else(|| format!("not a pair: {line}").into())).collect()
}
