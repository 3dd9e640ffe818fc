//! How long one list takes, by part, on synthetic worlds: `cargo run --release -p ulex-recommenders --example
//! pipeline_bench [small|large]`. One thread; of many calls one of the fastest, because other programs only ever add time.

#![expect(clippy::print_stdout, reason = "its purpose")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ulex_algorithms::click_through::{
    Calibration, Facts, FeatureSpaceBuilder, FmParams, Ranker, Samples, Side, Value, fit,
};
use ulex_algorithms::dictionary::Dictionary;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::list::blend::{Blend, Standardisation};
use ulex_algorithms::matrix_factorization::implicit_als::AlsParams;
use ulex_algorithms::matrix_factorization::linear::LinearParams;
use ulex_algorithms::model_set::{
    Collaborative, Factors, FoldInMemory, ItemNeighbors, Leaderboard, Manifest, ModelSet, PipelineBlend,
    RankerModel, UserNeighbors,
};
use ulex_algorithms::progress::CancelFlag;
use ulex_algorithms::random::{Generator, Seed};
use ulex_algorithms::similarity::{KnnParams, Neighbors, OverlapIndex, discount_popular};
use ulex_domain::{Feedback, ItemId, Timestamp, UserId};
use ulex_domain::{ItemState, Version};
use ulex_recommenders::catalogue::{Catalogue, Eligibility};
use ulex_recommenders::history::{History, TypeScales};
use ulex_recommenders::live::Live;
use ulex_recommenders::pipeline::{Inputs, Workspace, recall, recommend, single};
use ulex_recommenders::plan::{Plan, Source};
use ulex_settings::Settings;

const TASTES: u32 = 20;

fn main() {
    let which = std::env::args().nth(1).unwrap_or_default();
    if which != "large" {
        measure("1,000 users x 1,700 items", 1_000, 1_700, 100);
    }
    if which != "small" {
        measure("20,000 users x 100,000 items", 20_000, 100_000, 50);
    }
}

/// Liked pairs: users of one taste mostly like items of that taste, popular ones most.
fn world(users: u32, items: u32, mean: u32) -> Interactions {
    let mut random = Seed::new(1).generator();
    let mut triples = Vec::new();
    for user in 0..users {
        for _ in 0..mean / 2 + random.below(mean) {
            triples.push((user, pick(user % TASTES, items, &mut random), 1.0));
        }
    }
    Interactions::from_triples(users as usize, items as usize, triples)
}

/// An item for somebody of this taste; the lower its number, the more popular.
fn pick(taste: u32, items: u32, random: &mut Generator) -> u32 {
    let popular = (random.unit().powi(3) * items as f32) as u32;
    let own = popular / TASTES * TASTES + taste;
    if random.unit() < 0.7 { own.min(items - 1) } else { popular.min(items - 1) }
}

fn model_set(liked: &Interactions) -> ModelSet {
    let (n_users, n_items) = (liked.n_rows(), liked.n_cols());
    let (mut users, mut items) = (Dictionary::default(), Dictionary::default());
    (0..n_users).for_each(|user| _ = users.intern(&format!("user-{user}")));
    (0..n_items).for_each(|item| _ = items.intern(&format!("item-{item}")));
    let als = AlsParams { epochs: 6, ..AlsParams::default() };
    let model = als.check().expect("sound").fit(liked, &CancelFlag::default()).expect("fits");
    let factors = Factors::new("als", model, als.objective).expect("sound");
    let mut collaborative = vec![Collaborative::Factors(factors)];
    if n_items <= 6_000 {
        let ease = LinearParams::default().check().expect("sound").fit(liked).expect("fits");
        collaborative.insert(0, Collaborative::Linear(ease));
    }
    let overlap = OverlapIndex::new(liked, KnnParams::USERS.overlap);
    let of_items = KnnParams::ITEMS_OFTEN_SHARED.neighbors(&liked.transposed());
    let mut counts = vec![0_u32; n_items];
    liked.columns().iter().for_each(|&item| counts[item as usize] += 1);
    let mut popular: Vec<(u32, f64)> =
        counts.iter().enumerate().map(|(item, &count)| (item as u32, f64::from(count))).collect();
    popular.sort_by(|a, b| b.1.total_cmp(&a.1));
    popular.truncate(500);
    let ranker = ranker(liked);
    let mut scorers: Vec<String> = ["latest", "non-personalized/popular"].map(str::to_owned).into();
    scorers.push("collaborative".to_owned());
    scorers.extend((collaborative.len() > 1).then(|| "collaborative#1".to_owned()));
    scorers.extend(["item-to-item/neighbors", "user-to-user/neighbors", "ranker"].map(str::to_owned));
    let weights = vec![1.0 / scorers.len() as f32; scorers.len()];
    ModelSet {
        manifest: Manifest { id: "bench".to_owned(), ..Manifest::default() },
        users,
        items,
        liked: liked.clone(),
        overlap,
        collaborative,
        item_to_item: vec![ItemNeighbors {
            name: "neighbors".to_owned(),
            neighbors: Arc::new(of_items),
            recall: None,
        }],
        popularity_discount: 0.2,
        discounted: discount_popular(liked, 0.2),
        user_to_user: vec![UserNeighbors {
            name: "neighbors".to_owned(),
            neighbors: Arc::new(Neighbors::default()),
            by_items: true,
        }],
        leaderboards: vec![Leaderboard { name: "popular".to_owned(), entries: popular }],
        ranker: Some(ranker),
        blend: Some(PipelineBlend {
            scorers,
            blend: Blend::new(weights, Standardisation::LogRank),
            slope: 1.0,
            intercept: 0.0,
        }),
    }
}

/// A factorisation machine on ids, activity and a tag: nothing clever, but of the usual size.
fn ranker(liked: &Interactions) -> RankerModel {
    let (n_users, n_items) = (liked.n_rows(), liked.n_cols());
    let tags: Vec<String> = (0..TASTES).map(|taste| format!("tag-{taste}")).collect();
    let tag = |index: usize| [("tag", Value::Text(&tags[index % TASTES as usize]))];
    let mut builder = FeatureSpaceBuilder::default();
    (0..n_users).for_each(|user| builder.observe(Side::User, tag(user)));
    (0..n_items).for_each(|item| builder.observe(Side::Item, tag(item)));
    let space = builder.finish(n_users, n_items);
    let (mut users, mut items) = (space.rows(Side::User), space.rows(Side::Item));
    for user in 0..n_users {
        let facts = Facts { id: Some(user as u32), activity: Some(9), age_days: None };
        space.encode(Side::User, facts, tag(user), &mut users);
    }
    space.encode(Side::User, Facts::default(), std::iter::empty(), &mut users);
    for item in 0..n_items {
        let facts = Facts { id: Some(item as u32), activity: Some(9), age_days: Some(3.0) };
        space.encode(Side::Item, facts, tag(item), &mut items);
    }
    let mut random = Seed::new(2).generator();
    let tables = || vec![&users, &items];
    let (mut train, mut valid) = (Samples::new(tables()), Samples::new(tables()));
    for user in 0..n_users.min(1_000) {
        for (number, &item) in liked.row(user).0.iter().enumerate() {
            let samples = if number % 5 == 0 { &mut valid } else { &mut train };
            samples.push(&[user as u32, item], true);
            samples.push(&[user as u32, random.below(n_items as u32)], false);
        }
    }
    let params = FmParams { epochs: 2, ..FmParams::default() };
    let fitted = fit(space.layout(), &train, &valid, &params, &CancelFlag::default()).expect("fits");
    let calibration = Calibration::Platt { slope: 1.0, intercept: 0.0 };
    let ranker = Ranker::new(fitted.model, calibration, &items);
    RankerModel { layout: space.layout().clone(), ranker, users, items }
}

fn measure(title: &str, users: u32, items: u32, mean: u32) {
    let liked = world(users, items, mean);
    let catalogue = Catalogue::default();
    let state = |item: u32| ItemState {
        item_id: ItemId::new(format!("item-{item}")),
        is_hidden: false,
        categories: Vec::new(),
        timestamp: Timestamp::from_unix_seconds(1_600_000_000 + i64::from(item) * 977 % 10_000_000),
        version: Version::ZERO,
    };
    catalogue.put(&(0..items).map(state).collect::<Vec<_>>());
    let live = Live::new(Arc::new(model_set(&liked)), &catalogue);
    let sources = [
        Source::Latest,
        Source::Leaderboard("popular".to_owned()),
        Source::Collaborative,
        Source::ItemToItem("neighbors".to_owned()),
        Source::UserToUser("neighbors".to_owned()),
    ];
    let plan = Plan { sources: sources.to_vec(), ranked: true, ..Plan::new(&Settings::default()) };
    println!("{title}, microseconds for one list");
    println!("{:>8}  {:<26}{:>9}", "history", "part", "us");
    for length in [20, 100, 500] {
        let rows = rows(length, items);
        let world = World { live: &live, catalogue: &catalogue, plan: &plan, rows: &rows };
        world.measure(&sources);
    }
}

/// A user of taste 3 with as many likes.
fn rows(length: usize, items: u32) -> Vec<Feedback> {
    let mut random = Seed::new(3).generator();
    let mut chosen: Vec<u32> = Vec::new();
    while chosen.len() < length {
        let item = pick(3, items, &mut random);
        if !chosen.contains(&item) {
            chosen.push(item);
        }
    }
    let row = |(age, item): (usize, u32)| {
        let time = Timestamp::from_unix_seconds(1_700_000_000 - age as i64);
        Feedback {
            feedback_type: "star".into(),
            user_id: UserId::new("user-3"),
            item_id: ItemId::new(format!("item-{item}")),
            value: 1.0,
            timestamp: time,
            updated: time,
            labels: serde_json::Value::Null,
            comment: String::new(),
        }
    };
    chosen.into_iter().enumerate().map(row).collect()
}

struct World<'a> {
    live: &'a Live,
    catalogue: &'a Catalogue,
    plan: &'a Plan,
    rows: &'a [Feedback],
}

impl World<'_> {
    fn measure(&self, sources: &[Source]) {
        let length = self.rows.len();
        let report = |part: &str, time: Duration| {
            println!("{length:>8}  {part:<26}{:>9.1}", time.as_secs_f64() * 1e6);
        };
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let scales = TypeScales::default();
        let history = || History::new(self.rows, &self.plan.types, &scales, now);
        report("history from rows", best(&history));
        let history = history();
        let view = self.catalogue.view();
        let eligibility = Eligibility::any();
        let inputs = Inputs {
            live: Some(self.live),
            view: &view,
            plan: self.plan,
            user: Some(3),
            history: &history,
            eligibility: &eligibility,
        };
        let mut workspace = Workspace::default();
        let known: Vec<u32> =
            history.liked.iter().filter_map(|liked| self.live.set.items.index(liked.item.as_str())).collect();
        let (weights, mut scores) = (vec![1.0; known.len()], Vec::new());
        let mut memory = FoldInMemory::default();
        for model in &self.live.set.collaborative {
            let score = || model.scores_into((&known, &weights), &mut memory, &mut scores);
            report(&format!("all scores of {}", model.kind()), best(score));
        }
        for source in sources {
            report(&source.to_string(), best(|| single(&inputs, source, 100, &mut workspace)));
        }
        let candidates = recall(&inputs, &mut workspace);
        report("recall and complete", best(|| recall(&inputs, &mut workspace)));
        if let Some(ranker) = &self.live.set.ranker {
            let items: Vec<u32> = (0..500).collect();
            let mut out = Vec::new();
            report("fm, 500 candidates", best(|| ranker.logits(Some(3), &items, &mut out)));
        }
        if let Some(blend) = &self.live.set.blend {
            let part = format!("blend, {} candidates", candidates.slots.len());
            report(&part, best(|| blend.probabilities(&candidates.scores)));
        }
        report("WHOLE, list of 100", best(|| recommend(&inputs, 100, &mut workspace)));
    }
}

/// The twentieth part of the calls is faster than this.
fn best<T>(mut call: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 20 || start.elapsed() < Duration::from_millis(200) {
        let start = Instant::now();
        black_box(call());
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 20]
}
