use super::*;
use proptest::prelude::*;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

/// Users with `n` candidates; source 0 and 1 each see half of the truth on different scales, source 2 is noise.
fn complementary(seed: u64, users: usize) -> BlendData {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut data = BlendData::new(3);
    for _ in 0..users {
        let parts: Vec<(f32, f32)> = (0..60).map(|_| (random.random(), random.random())).collect();
        let relevant: Vec<bool> = parts.iter().map(|(a, b)| a + b > 1.6).collect();
        let first = parts.iter().map(|(a, _)| a * 1e6).collect();
        let second = parts.iter().map(|(_, b)| if *b < 0.1 { f32::NAN } else { b * 1e-3 }).collect();
        let noise = parts.iter().map(|_| random.random_range(-1.0..1.0)).collect();
        data.push(&[first, second, noise], &relevant, 0);
    }
    data
}

#[test]
fn two_halves_of_the_truth_are_put_together_and_noise_is_left_out() {
    let data = complementary(1, 100);
    let fitted = Blend::fit(&data, &BlendParams::default());
    let best_single = fitted.single.iter().copied().fold(0.0, f64::max);
    assert!(fitted.ndcg > best_single + 0.15, "{fitted:?}");
    let [first, second, noise] = fitted.blend.weights[..] else { panic!("three sources") };
    assert!(noise < 0.15 && first > 0.25 && second > 0.25, "{fitted:?}");
    let others = complementary(2, 100);
    assert!(others.ndcg(&fitted.blend, 10) > others.ndcg(&Blend::single(0, 3), 10) + 0.15);
}

#[test]
fn a_perfect_source_stays_alone() {
    let mut data = BlendData::new(2);
    for _ in 0..5 {
        let relevant = [true, false, false, true];
        data.push(&[vec![9.0, 1.0, 2.0, 8.0], vec![0.0, 1.0, 1.0, 0.0]], &relevant, 2);
    }
    let fitted = Blend::fit(&data, &BlendParams::default());
    assert_eq!(fitted.blend, Blend::single(0, 2));
    assert_eq!((fitted.ndcg, fitted.single[0]), (1.0, 1.0));
}

#[test]
fn nothing_to_learn_from_gives_equal_weights() {
    let mut data = BlendData::new(2);
    data.push(&[vec![1.0], vec![2.0]], &[false], 0);
    assert_eq!(data.n_users(), 0);
    assert_eq!(Blend::fit(&data, &BlendParams::default()).blend.weights, [0.5, 0.5]);
}

#[test]
fn scores_are_standardised_among_the_candidates_a_source_proposed() {
    let mut out = Vec::new();
    let z_score = Blend::single(0, 1);
    z_score.apply(&[1e8, 1e8 + 16.0, f32::NAN, 1e8 + 32.0], 4, &mut out);
    let step = 1.5_f32.sqrt();
    for (found, expected) in out.iter().zip([-step, 0.0, -step, step]) {
        assert!((found - expected).abs() < 1e-3, "{out:?}");
    }
    let min_max = Blend { standardisation: Standardisation::MinMax, ..z_score };
    min_max.apply(&[2.0, 6.0, f32::NEG_INFINITY, 4.0], 4, &mut out);
    assert_eq!(out, [0.0, 1.0, 0.0, 0.5]);
    min_max.apply(&[3.0, f32::NAN, 3.0, f32::NAN], 4, &mut out);
    assert_eq!(out, [1.0, 0.0, 1.0, 0.0], "equal scores say only that a source proposed something");
    min_max.apply(&[f32::NAN; 4], 4, &mut out);
    assert_eq!(out, [0.0; 4]);
    min_max.apply(&[], 0, &mut out);
    assert!(out.is_empty());
}

#[test]
fn thread_count_does_not_change_the_blend() {
    let data = complementary(3, 40);
    let fit_with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Blend::fit(&data, &BlendParams::default()))
    };
    assert_eq!(fit_with(1), fit_with(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_blend_is_never_below_the_best_single_source(seed in any::<u64>(), sources in 1_usize..5, k in 1_usize..6) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut data = BlendData::new(sources);
        for _ in 0..random.random_range(1..8) {
            let n = random.random_range(0..12);
            let mut score = || match random.next_u32() % 8 {
                0 => f32::NAN,
                1 => f32::INFINITY,
                value => value as f32 * 10.0_f32.powi(value as i32 * 3 - 12),
            };
            let scores: Vec<Vec<f32>> = (0..sources).map(|_| (0..n).map(|_| score()).collect()).collect();
            let relevant: Vec<bool> = (0..n).map(|_| random.next_u32().is_multiple_of(3)).collect();
            data.push(&scores, &relevant, random.random_range(0..4));
        }
        let fitted = Blend::fit(&data, &BlendParams { k, ..BlendParams::default() });
        for (source, &single) in fitted.single.iter().enumerate() {
            prop_assert!(fitted.ndcg >= single);
            prop_assert_eq!(data.ndcg(&Blend::single(source, sources), k), single);
        }
        if data.n_users() > 0 {
            prop_assert_eq!(data.ndcg(&fitted.blend, k), fitted.ndcg);
        }
        let total: f32 = fitted.blend.weights.iter().sum();
        prop_assert!((total - 1.0).abs() < 1e-4 && fitted.blend.weights.iter().all(|&weight| weight >= 0.0));
    }
}
