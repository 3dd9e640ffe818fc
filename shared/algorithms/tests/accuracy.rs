//! What the factorization models are worth on a public split, under the published protocol.
//!
//! `ULEX_DATA_DIR` holds `splits/ml100k-80-20/{train.txt.gz, test.txt}`, one `user<TAB>item` per line.

use std::io::Read;
use std::path::PathBuf;

use ulex_algorithms::evaluation::interval::Bootstrap;
use ulex_algorithms::evaluation::ranking::{RankingReport, RankingTest};
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::matrix_factorization::FactorModel;
use ulex_algorithms::matrix_factorization::batch::PackedItems;
use ulex_algorithms::matrix_factorization::bpr::BprParams;
use ulex_algorithms::matrix_factorization::implicit_als::{AlsParams, Solver};
use ulex_algorithms::matrix_factorization::linear::LinearParams;
use ulex_algorithms::progress::Unattended;
use ulex_algorithms::random::Seed;
use ulex_algorithms::top_k::Scored;

struct Split {
    train: Interactions,
    test: Interactions,
}

fn movielens() -> Split {
    let data = std::env::var("ULEX_DATA_DIR").expect("ULEX_DATA_DIR is set");
    let folder = PathBuf::from(data).join("splits/ml100k-80-20");
    let read = |name: &str| {
        let file = std::fs::File::open(folder.join(name)).expect("ULEX_DATA_DIR has the split");
        let mut text = String::new();
        if name.ends_with(".gz") {
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("readable");
        } else {
            std::io::BufReader::new(file).read_to_string(&mut text).expect("readable");
        }
        let number = |text: &str| text.trim().parse::<u32>().expect("a number");
        let pairs = text.lines().map(|line| line.split_once('\t').expect("a pair"));
        let triples = pairs.map(|(user, item)| (number(user), number(item), 1.0)).collect();
        Interactions::from_triples(943, 1682, triples)
    };
    Split { train: read("train.txt.gz"), test: read("test.txt") }
}

impl Split {
    fn protocol(&self) -> RankingTest<'_> {
        RankingTest { test: &self.test, seen: &self.train, cutoffs: &[10] }
    }

    fn ranked_by(&self, model: &FactorModel) -> RankingReport {
        let keep = |user: usize, item: u32| !self.train.contains(user, item);
        let lists = PackedItems::new(&model.items, model.factors).recommend_all(&model.users, 10, keep);
        self.protocol().evaluate_lists(&lists)
    }

    fn ranked_by_votes(&self, kept: usize) -> RankingReport {
        let params = LinearParams { kept, ..LinearParams::default() };
        let model = params.check().expect("in range").fit(&self.train).expect("a model");
        self.protocol().evaluate(&|user, candidates| {
            let mut scores = Vec::new();
            model.scores_into(self.train.row(user as usize), &mut scores);
            candidates.extend(
                scores.iter().enumerate().map(|(index, &score)| Scored { index: index as u32, score }),
            );
        })
    }
}

fn ndcg(report: &RankingReport) -> f64 {
    report.at(10).expect("asked for").mean().ndcg
}

#[test]
#[ignore = "needs ULEX_DATA_DIR"]
fn least_squares_reach_their_accuracy_with_every_solver() {
    let split = movielens();
    for solver in [Solver::Exact, Solver::Blocks { size: 32 }, Solver::Conjugate { steps: 3 }] {
        let params = AlsParams { solver, ..AlsParams::candidates(&split.train)[0] };
        let model = params.check().expect("in range").fit(&split.train, &Unattended).expect("a model");
        let found = ndcg(&split.ranked_by(&model));
        assert!(found > 0.435, "{solver:?}: {found}");
    }
}

#[test]
#[ignore = "needs ULEX_DATA_DIR"]
fn pairwise_ranking_reaches_its_accuracy() {
    let split = movielens();
    let params = BprParams::candidates(&split.train)[0].check().expect("in range");
    let found = ndcg(&split.ranked_by(&params.fit(&split.train, &Unattended).expect("a model")));
    assert!(found > 0.43, "{found}");
}

#[test]
#[ignore = "needs ULEX_DATA_DIR"]
fn keeping_the_strongest_votes_costs_less_than_two_thousandths() {
    let split = movielens();
    let (all, kept) = (split.ranked_by_votes(2000), split.ranked_by_votes(LinearParams::default().kept));
    assert!(ndcg(&all) > 0.44, "{}", ndcg(&all));
    assert!(ndcg(&all) - ndcg(&kept) < 0.002, "{} {}", ndcg(&all), ndcg(&kept));
}

#[test]
#[ignore = "needs ULEX_DATA_DIR"]
fn the_gain_over_popularity_is_beyond_doubt() {
    let split = movielens();
    let by_item = split.train.transposed();
    let popular = split.protocol().evaluate(&|_, candidates| {
        let count = |item: u32| by_item.row(item as usize).0.len() as f32;
        candidates.extend((0..1682).map(|index| Scored { index, score: count(index) }));
    });
    let params = AlsParams::candidates(&split.train)[0].check().expect("in range");
    let model = params.fit(&split.train, &Unattended).expect("a model");
    let values = |report: &RankingReport| report.at(10).expect("asked for").values(|user| user.ndcg);
    let bootstrap = Bootstrap { resamples: 1000, confidence: 0.99, seed: Seed::new(1) };
    let difference = bootstrap.paired_difference(&values(&split.ranked_by(&model)), &values(&popular));
    assert!(difference.expect("comparable").low > 0.1, "{difference:?}");
}
