use super::*;
use crate::matrix_factorization::implicit_als::AlsParams;
use crate::matrix_factorization::linear::LinearParams;
use crate::progress::CancelFlag;
use crate::random::Seed;
use crate::similarity::{KnnParams, OverlapParams, discount_popular};

/// 40 users of two tastes; users 0 to 19 like items 0 to 9, the others items 10 to 19.
fn liked() -> Interactions {
    let mut random = Seed::new(4).generator();
    let mut triples = Vec::new();
    for user in 0..40 {
        for item in 0..10 {
            if random.unit() < 0.6 {
                triples.push((user, user / 20 * 10 + item, 1.0));
            }
        }
    }
    Interactions::from_triples(40, 20, triples)
}

fn factors() -> Factors {
    let params = AlsParams { factors: 8, ..AlsParams::default() };
    let model = params.check().unwrap().fit(&liked(), &CancelFlag::default()).unwrap();
    Factors::new("als", model, params.objective).unwrap()
}

fn model_set() -> ModelSet {
    let liked = liked();
    let (mut users, mut items) = (Dictionary::default(), Dictionary::default());
    (0..40).for_each(|user| _ = users.intern(&format!("u{user}")));
    (0..20).for_each(|item| _ = items.intern(&format!("i{item}")));
    let linear = LinearParams { regularization: 5.0, ..LinearParams::default() };
    let linear = linear.check().unwrap().fit(&liked).unwrap();
    let overlap = OverlapIndex::new(&liked, OverlapParams::COSINE);
    ModelSet {
        manifest: Manifest { id: "one".to_owned(), ..Manifest::default() },
        users,
        items,
        item_to_item: vec![ItemNeighbors {
            name: "also".to_owned(),
            neighbors: Arc::new(KnnParams::default().neighbors(&liked.transposed())),
            recall: Some(Arc::new(KnnParams::ITEMS_RARELY_SHARED.neighbors(&liked.transposed()))),
        }],
        popularity_discount: 0.2,
        discounted: discount_popular(&liked, 0.2),
        user_to_user: vec![UserNeighbors {
            name: "similar".to_owned(),
            neighbors: Arc::new(overlap.neighbors(&liked)),
            by_items: true,
        }],
        overlap,
        liked,
        collaborative: vec![Collaborative::Linear(linear), Collaborative::Factors(factors())],
        leaderboards: vec![Leaderboard { name: "popular".to_owned(), entries: vec![(3, 2.5), (1, 0.0)] }],
        ranker: None,
        blend: None,
    }
}

#[test]
fn a_model_set_survives_the_journey_as_bytes() {
    let set = model_set();
    let bytes = set.to_bytes().unwrap();
    let read = ModelSet::from_bytes(&bytes).unwrap();
    assert_eq!(read.to_bytes().unwrap(), bytes);
    assert_eq!(ModelSet::manifest_of(&bytes).unwrap(), set.manifest);
    assert_eq!((&read.users, &read.items, &read.liked), (&set.users, &set.items, &set.liked));
    let likes: (&[u32], &[f32]) = (&[3, 12], &[1.0, 2.0]);
    for (a, b) in set.collaborative.iter().zip(&read.collaborative) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        a.scores_into(likes, &mut FoldInMemory::default(), &mut before);
        b.scores_into(likes, &mut FoldInMemory::default(), &mut after);
        assert_eq!((before.len(), &before), (20, &after));
    }
    let Collaborative::Factors(read) = &read.collaborative[1] else { panic!("not factors") };
    let (side, was) = (read.item_side.as_ref().unwrap(), factors().item_side.unwrap());
    assert_eq!((side.users, &side.products), (40, &was.products));
}

#[test]
fn a_model_set_without_products_of_users_is_read_and_folds_no_items_in() {
    let mut set = model_set();
    let Collaborative::Factors(factors) = &mut set.collaborative[1] else { panic!("not factors") };
    factors.item_side = None;
    let read = ModelSet::from_bytes(&set.to_bytes().unwrap()).unwrap();
    let Collaborative::Factors(factors) = &read.collaborative[1] else { panic!("not factors") };
    assert!(factors.item_side.is_none());
    assert!(factors.item_vector(&[0.1; 8], &[1.0], &mut FoldInMemory::default()).is_none());
}

#[test]
fn an_item_folded_in_from_its_users_is_scored_like_the_items_of_their_taste() {
    let (factors, mut memory) = (factors(), FoldInMemory::default());
    let user = |items: &[u32], memory: &mut FoldInMemory| {
        factors.user_vector((items, &vec![1.0; items.len()]), |_| None, memory).unwrap().to_vec()
    };
    let first = user(&[0, 1, 2, 3, 4, 5], &mut memory);
    let second = user(&[10, 11, 12, 13, 14, 15], &mut memory);
    let likes = [&[4, 5, 6, 7, 8][..], &[7, 8, 9, 0, 1], &[0, 2, 4, 6, 8], &[1, 3, 5, 7, 9]];
    let fans: Vec<f32> = likes.iter().flat_map(|items| user(items, &mut memory)).collect();
    let item = factors.item_vector(&fans, &[1.0; 4], &mut memory).unwrap().to_vec();
    let score = |user: &[f32]| crate::simd::dot(user, &item);
    assert!(score(&first) > 0.3 && score(&second).abs() < 0.1, "{} {}", score(&first), score(&second));
}

#[test]
fn an_item_of_the_fit_folded_in_again_scores_as_it_did() {
    let (factors, liked) = (factors(), liked());
    let by_item = liked.transposed();
    let mut memory = FoldInMemory::default();
    let vectors: Vec<Vec<f32>> = (0..40)
        .map(|user| factors.user_vector(liked.row(user), |_| None, &mut memory).unwrap().to_vec())
        .collect();
    for item in [0, 15] {
        let (users, weights) = by_item.row(item);
        let fans: Vec<f32> = users.iter().flat_map(|&user| vectors[user as usize].clone()).collect();
        let again = factors.item_vector(&fans, weights, &mut memory).unwrap();
        for vector in &vectors {
            let (was, is) =
                (crate::simd::dot(vector, factors.model.item(item)), crate::simd::dot(vector, again));
            assert!((was - is).abs() < 0.1, "{was} {is}");
        }
    }
}

#[test]
fn vectors_from_outside_overrule_those_of_the_model_and_add_to_them() {
    let (factors, mut memory) = (factors(), FoldInMemory::default());
    let of_model = factors.user_vector((&[2], &[1.0]), |_| None, &mut memory).unwrap().to_vec();
    let outside = factors.model.item(2).to_vec();
    let lent = |index: u32| (index == 77).then_some(&outside[..]);
    assert_eq!(factors.user_vector((&[77], &[1.0]), lent, &mut memory).unwrap(), of_model);
    let swapped = |index: u32| (index == 15).then_some(&outside[..]);
    assert_eq!(factors.user_vector((&[15], &[1.0]), swapped, &mut memory).unwrap(), of_model);
    assert!(factors.user_vector((&[], &[]), |_| None, &mut memory).is_none());
    assert_eq!(factors.user_vector((&[99], &[1.0]), |_| None, &mut memory).unwrap(), [0.0; 8]);
}

#[test]
fn users_alike_are_found_by_what_is_liked_now_with_reused_memory_too() {
    let (set, mut memory) = (model_set(), Shared::default());
    let likes: (&[u32], &[f32]) = (&[10, 11, 12, 500], &[1.0; 4]);
    for _ in 0..2 {
        let similar = set.similar_users_with("similar", Some(25), likes, (5, &mut memory));
        assert_eq!(similar, set.similar_users("similar", Some(25), likes, 5));
        assert!(similar.len() == 5 && similar.iter().all(|user| user.index >= 20 && user.index != 25));
    }
    assert_eq!(set.similar_users("similar", Some(3), (&[], &[]), 4).len(), 4, "of the time of the fit");
    assert!(set.similar_users("similar", None, (&[], &[]), 4).is_empty());
    assert!(set.similar_users("unheard of", Some(3), likes, 4).is_empty());
}

/// What the click-through-rate model says is finite whatever its calibration claims, and nothing for other items.
#[test]
fn logits_are_finite_for_known_items_and_nan_for_others() {
    use crate::click_through::{Calibration, FactorizationMachine, FeatureRows, Layout, Ranker};
    let mut layout = Layout::default();
    layout.push("user", 1);
    layout.push("item", 3);
    let table = |first: u32, rows: u32| {
        let mut table = FeatureRows::default();
        (0..rows).for_each(|row| table.push([(first + row, 1.0)], &[]));
        table
    };
    let (users, items) = (table(0, 1), table(1, 3));
    let rows = [0.0, 0.0, 0.0, -9.0, 0.0, 0.0, 0.0, 9.0];
    let machine = FactorizationMachine::from_parts(&layout, &rows, &[1.0], 0.0).unwrap();
    let calibration = Calibration::Isotonic { logits: vec![-1.0, 1.0], probabilities: vec![0.0, 1.0] };
    let ranker = Ranker::new(machine, calibration, &items);
    let model = RankerModel { layout, ranker, users, items };
    let mut out = Vec::new();
    model.logits(None, &[0, 1, 2, 3, u32::MAX], &mut out);
    assert!(out[..3].iter().all(|logit| logit.is_finite()) && out[0] < out[1] && out[1] < out[2], "{out:?}");
    assert!(out[3].is_nan() && out[4].is_nan());
}
