use super::*;
use crate::progress::{CancelFlag, Unattended};

/// Users like the items of their own half; some likes are left out.
fn two_tastes(n_users: u32, n_items: u32) -> Interactions {
    let likes = (0..n_users).flat_map(|user| (0..n_items).map(move |item| (user, item)));
    let seen =
        likes.filter(|(user, item)| user * 2 / n_users == item * 2 / n_items && (user + item) % 4 != 0);
    Interactions::from_triples(
        n_users as usize,
        n_items as usize,
        seen.map(|(user, item)| (user, item, 1.0)).collect(),
    )
}

fn every_kind_of_negative() -> [Negatives; 3] {
    [Negatives::Uniform, Negatives::Popularity { power: 0.75 }, Negatives::Adaptive { candidates: 2 }]
}

#[test]
fn ranks_held_out_items_of_the_own_taste_above_the_others() {
    let data = two_tastes(20, 16);
    for negatives in every_kind_of_negative() {
        for item_bias in [true, false] {
            let params = BprParams { factors: 2, negatives, item_bias, ..BprParams::default() };
            let model = params.check().unwrap().fit(&data, &Unattended).unwrap();
            for user in 0..20 {
                let mut held_out = (user / 10 * 8..user / 10 * 8 + 8).filter(|item| (user + item) % 4 == 0);
                let foreign = (8 - user / 10 * 8)..(16 - user / 10 * 8);
                let best_foreign = foreign.map(|item| model.score(user, item)).fold(f32::MIN, f32::max);
                assert!(held_out.all(|item| model.score(user, item) > best_foreign), "{negatives:?} {user}");
            }
        }
    }
}

#[test]
fn thread_count_does_not_change_a_single_bit() {
    let mut random = Seed::new(1).generator();
    let triples = (0..4000).map(|_| (random.below(200), random.below(700), 1.0)).collect();
    let data = Interactions::from_triples(200, 700, triples);
    assert!(group_count(&data) > 2);
    for negatives in every_kind_of_negative() {
        let fit_with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let params = BprParams { factors: 10, epochs: 3, negatives, ..BprParams::default() };
            pool.install(|| params.check().unwrap().fit(&data, &Unattended).unwrap())
        };
        assert_eq!(fit_with(1), fit_with(4));
    }
}

#[test]
fn a_step_follows_the_gradient() {
    struct OneStep([Vec<f32>; 3]);
    impl Kernel for OneStep {
        type Output = [Vec<f32>; 3];
        fn run<L: Lanes>(self, lanes: L) -> [Vec<f32>; 3] {
            let Self([mut user, mut positive, mut negative]) = self;
            step(lanes, [&mut user, &mut positive, &mut negative], (1e-3, 1.0));
            [user, positive, negative]
        }
    }
    let mut random = Seed::new(8).generator();
    let rows: [Vec<f32>; 3] = std::array::from_fn(|_| (0..11).map(|_| random.normal()).collect());
    let value = |rows: &[Vec<f32>; 3]| -> f64 {
        let margin = rows[0].iter().zip(rows[1].iter().zip(&rows[2]));
        let margin: f64 = margin.map(|(&u, (&p, &n))| f64::from(u) * (f64::from(p) - f64::from(n))).sum();
        -(-margin).exp().ln_1p()
    };
    let moved = simd::run(OneStep(rows.clone()));
    for row in 0..3 {
        for at in 0..11 {
            let (mut up, mut down) = (rows.clone(), rows.clone());
            up[row][at] += 1e-2;
            down[row][at] -= 1e-2;
            let slope = (value(&up) - value(&down)) / 2e-2;
            let found = f64::from(moved[row][at] - rows[row][at]) / 1e-3;
            assert!((slope - found).abs() < 1e-2, "{slope} {found}");
        }
    }
}

#[test]
fn a_user_who_touched_everything_does_not_hang_the_fit() {
    let all = (0..3).flat_map(|user| (0..4).map(move |item| (user, item, 1.0))).collect();
    let data = Interactions::from_triples(3, 4, all);
    for negatives in every_kind_of_negative() {
        let params = BprParams { negatives, factors: 3, epochs: 2, ..BprParams::default() };
        let model = params.check().unwrap().fit(&data, &Unattended).unwrap();
        assert!(model.users.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn extreme_rates_are_finite_or_refused() {
    let params =
        BprParams { learning_rate: 1.0, final_rate: 1.0, initial_deviation: 100.0, ..BprParams::default() };
    match params.check().unwrap().fit(&two_tastes(20, 16), &Unattended) {
        Ok(model) => assert!(model.users.iter().chain(&model.items).all(|value| value.is_finite())),
        Err(error) => assert!(matches!(error, FactorizationError::Unsuitable { .. })),
    }
    assert_eq!([sigmoid(-1e9), sigmoid(0.0), sigmoid(1e9)], [0.0, 0.5, 1.0]);
}

#[test]
fn parameters_are_checked_and_no_data_is_no_trouble() {
    let refused = [
        BprParams { learning_rate: f32::NAN, ..BprParams::default() },
        BprParams { factors: 0, ..BprParams::default() },
        BprParams { negatives: Negatives::Adaptive { candidates: 0 }, ..BprParams::default() },
        BprParams { regularization: -0.1, ..BprParams::default() },
    ];
    assert!(refused.iter().all(|params| params.check().is_err()));
    for data in [Interactions::from_triples(0, 0, vec![]), two_tastes(20, 16), two_tastes(200, 900)] {
        assert!(BprParams::candidates(&data).into_iter().all(|params| params.check().is_ok()));
    }
    let params = BprParams { factors: 2, ..BprParams::default() }.check().unwrap();
    for (n_users, n_items) in [(0, 0), (3, 0), (0, 3), (2, 2)] {
        let model =
            params.fit(&Interactions::from_triples(n_users, n_items, Vec::new()), &Unattended).unwrap();
        assert_eq!((model.n_users(), model.n_items()), (n_users, n_items));
    }
}

#[test]
fn cancelling_keeps_the_last_complete_epoch() {
    let cancelled = CancelFlag::default();
    cancelled.cancel();
    let many = BprParams { factors: 2, final_rate: 1.0, ..BprParams::default() };
    let one = BprParams { epochs: 1, ..many };
    let data = two_tastes(20, 16);
    assert_eq!(
        many.check().unwrap().fit(&data, &cancelled).unwrap(),
        one.check().unwrap().fit(&data, &Unattended).unwrap()
    );
}
