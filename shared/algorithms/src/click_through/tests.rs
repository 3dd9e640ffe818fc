use proptest::prelude::*;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

use super::*;
use crate::progress::Unattended;
use calibration::area_under_curve;

const USERS: usize = 40;
const ITEMS: usize = 30;

/// Users and items of two tastes with vectors that tell the taste, and a pair of equal tastes is positive.
struct Shop {
    space: FeatureSpace,
    users: FeatureRows,
    items: FeatureRows,
}

impl Shop {
    fn new() -> Self {
        let taste = |index: usize| if index.is_multiple_of(2) { "sea" } else { "hills" };
        let vectors = [[1.0, 0.2, 0.1], [0.1, 1.0, -0.3]];
        let labels =
            |index: usize| [("taste", Value::Text(taste(index))), ("size", Value::Number(index as f64))];
        let mut builder = FeatureSpaceBuilder::default();
        (0..USERS).for_each(|user| builder.observe(Side::User, labels(user)));
        for item in 0..ITEMS {
            builder.observe(
                Side::Item,
                labels(item).into_iter().chain([("look", Value::Vector(&vectors[item % 2]))]),
            );
        }
        let space = builder.finish(USERS, ITEMS);
        let (mut users, mut items) = (space.rows(Side::User), space.rows(Side::Item));
        for user in 0..USERS {
            let facts = Facts { id: Some(user as u32), activity: Some(3), age_days: None };
            space.encode(Side::User, facts, labels(user), &mut users);
        }
        for item in 0..ITEMS {
            let facts = Facts { id: Some(item as u32), activity: Some(9), age_days: Some(2.0) };
            let labels = labels(item).into_iter().chain([("look", Value::Vector(&vectors[item % 2]))]);
            space.encode(Side::Item, facts, labels, &mut items);
        }
        Self { space, users, items }
    }

    fn samples(&self, seed: u64, n: usize) -> Samples<'_> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut samples = Samples::new(vec![&self.users, &self.items]);
        for _ in 0..n {
            let (user, item) = (random.random_range(0..USERS as u32), random.random_range(0..ITEMS as u32));
            let noise = random.next_u32() % 10 == 0;
            samples.push(&[user, item], (user % 2 == item % 2) != noise);
        }
        samples
    }

    fn fit(&self, params: &FmParams) -> Fitted {
        let (train, valid) = (self.samples(1, 1500), self.samples(2, 400));
        fit(self.space.layout(), &train, &valid, params, &Unattended).unwrap()
    }
}

fn params(field_weights: bool) -> FmParams {
    FmParams {
        factors: 8,
        epochs: 12,
        batch: 100,
        learning_rate: 0.02,
        field_weights,
        dropout: 0.2,
        ..FmParams::default()
    }
}

/// The definition, pair by pair, in double precision.
fn logit_by_pairs(model: &FactorizationMachine, layout: &Layout, samples: &Samples, sample: usize) -> f64 {
    let mut entries: Vec<(u32, f32)> = samples.entries(sample).collect();
    for (table, row) in samples.parts(sample) {
        for block in table.dense() {
            entries.extend((block.first_feature..).zip(block.row(row).iter().copied()));
        }
    }
    let rows = model.rows();
    let width = model.factors() + 1;
    let parameter = |feature: u32| &rows[feature as usize * width..][..width];
    let dense = layout.dense_fields();
    let original = layout.field_of_features();
    let fields = model.interactions().len().isqrt();
    let mut logit = f64::from(model.bias());
    for (i, &(feature, value)) in entries.iter().enumerate() {
        logit += f64::from(parameter(feature)[width - 1] * value);
        for &(other, other_value) in &entries[..i] {
            let (f, g) = (original[feature as usize], original[other as usize]);
            if f == g && dense[usize::from(f)] {
                continue;
            }
            let weight = model.interactions()[usize::from(model.field_of[feature as usize]) * fields
                + usize::from(model.field_of[other as usize])];
            let dot: f32 =
                parameter(feature)[..width - 1].iter().zip(parameter(other)).map(|(a, b)| a * b).sum();
            logit += f64::from(weight * dot * value * other_value);
        }
    }
    logit
}

/// Mean log-loss of the definition.
fn mean_loss(model: &FactorizationMachine, layout: &Layout, samples: &Samples) -> f64 {
    let loss = |sample: usize| {
        let logit = logit_by_pairs(model, layout, samples, sample);
        let sign = if samples.labels()[sample] { -1.0 } else { 1.0 };
        (sign * logit).exp().ln_1p()
    };
    (0..samples.len()).map(loss).sum::<f64>() / samples.len() as f64
}

#[test]
fn the_logit_is_the_sum_over_all_pairs() {
    let shop = Shop::new();
    let samples = shop.samples(3, 50);
    for field_weights in [false, true] {
        let model = shop.fit(&params(field_weights)).model;
        for (sample, logit) in model.predict(&samples).into_iter().enumerate() {
            let expected = logit_by_pairs(&model, shop.space.layout(), &samples, sample);
            assert!((f64::from(logit) - expected).abs() < 1e-4, "{logit} {expected}");
        }
    }
}

#[test]
fn one_step_goes_down_the_numerical_gradient() {
    // Adam's first step is `learning rate × sign of the gradient`, so signs must match wherever the gradient is not tiny.
    let shop = Shop::new();
    let train = shop.samples(4, 64);
    for (field_weights, rate) in [(false, 1e-4_f32), (true, 1e-4)] {
        let params = FmParams {
            epochs: 1,
            batch: 64,
            learning_rate: rate,
            decay: 0.0,
            initial_spread: 0.3,
            min_count: 0,
            dropout: 0.0,
            ..params(field_weights)
        };
        let start = fit(
            shop.space.layout(),
            &train,
            &train,
            &FmParams { learning_rate: 1e-12, ..params.clone() },
            &Unattended,
        )
        .unwrap()
        .model;
        let moved = fit(shop.space.layout(), &train, &train, &params, &Unattended).unwrap().model;
        let loss = |model: &FactorizationMachine| mean_loss(model, shop.space.layout(), &train);
        let (from, to) = (start.rows(), moved.rows());
        let mut checked = 0;
        for parameter in (0..from.len()).step_by(7) {
            let slope = |delta: f32| {
                let mut rows = from.clone();
                rows[parameter] += delta;
                loss(
                    &FactorizationMachine::from_parts(
                        shop.space.layout(),
                        &rows,
                        start.interactions(),
                        start.bias(),
                    )
                    .unwrap(),
                )
            };
            let gradient = (slope(1e-2) - slope(-1e-2)) / 2e-2;
            if gradient.abs() > 1e-4 {
                checked += 1;
                let step = f64::from(to[parameter] - from[parameter]);
                assert!(
                    (step + f64::from(rate) * gradient.signum()).abs() < 2e-5,
                    "{parameter}: {step} {gradient}"
                );
            }
        }
        assert!(checked > 50, "{checked}");
    }
}

#[test]
fn learns_what_two_tastes_have_in_common() {
    let shop = Shop::new();
    for field_weights in [false, true] {
        let fitted = shop.fit(&params(field_weights));
        let test = shop.samples(9, 500);
        let auc = area_under_curve(&fitted.model.predict(&test), test.labels());
        assert!(auc > 0.87, "{auc}; a tenth of the labels is noise");
    }
}

#[test]
fn the_kept_machine_is_that_of_the_best_epoch() {
    let shop = Shop::new();
    let fitted = shop.fit(&FmParams { epochs: 40, learning_rate: 0.1, dropout: 0.0, ..params(false) });
    let best = fitted.epochs.iter().map(|report| report.auc).fold(0.0, f64::max);
    let valid = shop.samples(2, 400);
    assert_eq!(area_under_curve(&fitted.model.predict(&valid), valid.labels()), best);
    assert_eq!(fitted.epochs[fitted.best_epoch - 1].auc, best);
    assert!(fitted.epochs.len() <= fitted.best_epoch + 3, "stops after three epochs without a better one");
}

#[test]
fn thread_count_does_not_change_a_single_bit() {
    let shop = Shop::new();
    let fit_with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| shop.fit(&FmParams { epochs: 3, ..params(true) }).model)
    };
    assert_eq!(fit_with(1), fit_with(4));
}

#[test]
fn the_serving_form_scores_as_the_machine_does() {
    let shop = Shop::new();
    for field_weights in [false, true] {
        let model = shop.fit(&params(field_weights)).model;
        let calibration = Calibration::Platt { slope: 0.8, intercept: 0.1 };
        let ranker = Ranker::new(model, calibration.clone(), &shop.items);
        let candidates: Vec<u32> = (0..ITEMS as u32 + 1).collect();
        let mut scores = Vec::new();
        for user in 0..USERS {
            let vector = ranker.user_vector(&shop.users, user);
            ranker.score_candidates(&vector, &candidates, &mut scores);
            assert_eq!(scores[ITEMS], 0.0, "not an item");
            for (item, &score) in scores[..ITEMS].iter().enumerate() {
                let mut sample = Samples::new(vec![&shop.users, &shop.items]);
                sample.push(&[user as u32, item as u32], true);
                let expected = calibration.probability(ranker.model().predict(&sample)[0]);
                assert!((score - expected).abs() < 1e-5);
                assert!((ranker.score_row(&vector, &shop.items, item) - expected).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn a_newcomer_is_ranked_by_labels() {
    let shop = Shop::new();
    let fitted = shop.fit(&FmParams { epochs: 30, patience: 30, ..params(false) });
    let ranker = Ranker::new(fitted.model, Calibration::Identity, &shop.items);
    let mut users = shop.space.rows(Side::User);
    shop.space.encode(Side::User, Facts::default(), [("taste", Value::Text("sea"))], &mut users);
    let mut scores = Vec::new();
    ranker.score_candidates(
        &ranker.user_vector(&users, 0),
        &(0..ITEMS as u32).collect::<Vec<_>>(),
        &mut scores,
    );
    let mean = |parity: usize| scores.iter().skip(parity).step_by(2).sum::<f32>();
    assert!(mean(0) > mean(1), "{} {}", mean(0), mean(1));
}

#[test]
fn what_cannot_be_fitted_is_refused_with_a_reason() {
    let shop = Shop::new();
    let layout = shop.space.layout();
    let samples = shop.samples(1, 50);
    let none = Samples::new(vec![&shop.users, &shop.items]);
    let refused = |layout: &Layout, samples: &Samples, params: &FmParams| {
        fit(layout, samples, &none, params, &Unattended).unwrap_err()
    };
    assert_eq!(refused(layout, &none, &params(false)), FmError::OneClass { positive: 0, negative: 0 });
    assert_eq!(refused(&Layout::default(), &samples, &params(false)), FmError::OutsideLayout);
    for (name, bad) in [
        ("factors", FmParams { factors: 0, ..FmParams::default() }),
        ("learning_rate", FmParams { learning_rate: f32::NAN, ..FmParams::default() }),
        ("dropout", FmParams { dropout: 1.0, ..FmParams::default() }),
        ("decay", FmParams { decay: -1.0, ..FmParams::default() }),
    ] {
        let error = refused(layout, &samples, &bad);
        assert!(matches!(error, FmError::InvalidParameter { name: field, .. } if field == name), "{error}");
    }
}

#[test]
fn parameters_that_stop_being_finite_are_never_kept() {
    let shop = Shop::new();
    let mut rows = FeatureRows::default();
    rows.push([(0, f32::MAX)], &[]);
    rows.push([(1, f32::MAX)], &[]);
    let broken = Samples::from_table(&rows, vec![true, false]);
    let params = FmParams { min_count: 0, initial_spread: 1e30, ..params(false) };
    let error = fit(shop.space.layout(), &broken, &broken, &params, &Unattended).unwrap_err();
    assert_eq!(error, FmError::Diverged);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn stored_parts_give_the_same_machine_or_a_reason(cut in 0_usize..40, weighted in any::<bool>()) {
        let shop = Shop::new();
        let model = FactorizationMachine::from_parts(
            shop.space.layout(),
            &vec![0.5; shop.space.layout().n_features() * 9],
            &vec![1.0; if weighted { shop.space.layout().n_fields().pow(2) } else { 4 }],
            0.25,
        ).unwrap();
        let again = FactorizationMachine::from_parts(shop.space.layout(), &model.rows(), model.interactions(), model.bias());
        prop_assert_eq!(again.as_ref(), Ok(&model));
        let rows = model.rows();
        if cut > 0 {
            let short = FactorizationMachine::from_parts(shop.space.layout(), &rows[..rows.len() - cut], model.interactions(), 0.0);
            prop_assert!(matches!(short, Err(FmError::Inconsistent(_))) || cut % shop.space.layout().n_features() == 0);
        }
    }
}
