use std::sync::Arc;

use proptest::prelude::*;
use ulex_algorithms::list::blend::{Blend, Standardisation};
use ulex_algorithms::model_set::{Collaborative, Leaderboard, ModelSet, PipelineBlend};
use ulex_domain::{ItemId, Timestamp};
use ulex_domain::{ItemState, Version};

use super::*;
use crate::catalogue::Catalogue;
use crate::history::Liked;
use crate::plan::Replacement;
use crate::two_tastes::{ITEMS, item_id, model_set, plan, seconds};

fn state(id: &str, published: Timestamp, categories: &[&str]) -> ItemState {
    let categories = categories.iter().map(smol_str::SmolStr::new).collect();
    ItemState {
        item_id: ItemId::new(id),
        is_hidden: false,
        categories,
        timestamp: published,
        version: Version::ZERO,
    }
}

/// Models, the catalogue of their items, and the latest item that came after them.
struct Scene {
    catalogue: Catalogue,
    live: Live,
    plan: Plan,
}

impl Scene {
    fn new(set: ModelSet, plan: Plan) -> Self {
        let catalogue = Catalogue::default();
        let items = (0..2 * ITEMS).map(|index| state(&item_id(index), seconds(i64::from(index) + 1), &[]));
        catalogue.put(&items.collect::<Vec<_>>());
        let live = Live::new(Arc::new(set), &catalogue);
        catalogue.put(&[state("unheard of", seconds(1_000), &[])]);
        Self { catalogue, live, plan }
    }

    fn with<T>(&self, history: &History, run: impl FnOnce(&Inputs<'_>, &mut Workspace) -> T) -> T {
        let (view, eligibility) = (self.catalogue.view(), Eligibility::any());
        let inputs = Inputs {
            live: Some(&self.live),
            view: &view,
            plan: &self.plan,
            user: None,
            history,
            eligibility: &eligibility,
        };
        run(&inputs, &mut Workspace::default())
    }

    fn names(&self, list: &[Ranked]) -> Vec<String> {
        let view = self.catalogue.view();
        list.iter().map(|place| view.id(place.slot).to_string()).collect()
    }
}

fn likes(items: &[&str]) -> History {
    let liked = items.iter().enumerate().map(|(age, item)| Liked {
        item: ItemId::new(item),
        weight: 1.0,
        updated: seconds(100 - age as i64),
    });
    History { liked: liked.collect(), ..History::default() }
}

/// A blend that trusts one scorer.
fn trusting(trusted: &str, scorers: &[&str]) -> PipelineBlend {
    let weights = scorers.iter().map(|&scorer| f32::from(u8::from(scorer == trusted))).collect();
    PipelineBlend {
        scorers: scorers.iter().map(|&scorer| scorer.to_owned()).collect(),
        blend: Blend::new(weights, Standardisation::LogRank),
        slope: 1.0,
        intercept: 0.0,
    }
}

const SCORERS: [&str; 6] = [
    "collaborative",
    "collaborative#1",
    "item-to-item/also",
    "user-to-user/similar",
    "non-personalized/popular",
    "latest",
];

#[test]
fn every_source_finds_the_taste_it_can_see_and_nothing_that_was_met() {
    let scene = Scene::new(model_set(), plan());
    let history = likes(&["blue-1", "blue-2", "blue-3"]);
    for source in &plan().sources {
        let list = scene.with(&history, |inputs, workspace| single(inputs, source, 5, workspace));
        let names = scene.names(&list);
        assert_eq!(names.len(), 5, "{source}");
        assert!(list.is_sorted_by(|a, b| a.score >= b.score), "{source}: {list:?}");
        assert!(names.iter().all(|name| !["blue-1", "blue-2", "blue-3"].contains(&&name[..])), "{names:?}");
        match source {
            Source::Latest => assert_eq!(names[..2], ["unheard of", "blue-19"]),
            Source::Leaderboard(_) => {}
            Source::Collaborative | Source::ItemToItem(_) | Source::UserToUser(_) => {
                assert!(names.iter().all(|name| name.starts_with("blue")), "{source}: {names:?}");
            }
        }
    }
}

#[test]
fn personal_sources_have_nothing_to_say_about_somebody_who_likes_nothing() {
    let scene = Scene::new(model_set(), plan());
    for history in [History::default(), likes(&["unheard of", "deleted long ago"])] {
        for source in &plan().sources[..3] {
            let list = scene.with(&history, |inputs, workspace| single(inputs, source, 5, workspace));
            assert!(list.is_empty(), "{source}");
        }
    }
}

#[test]
fn somebody_who_took_every_like_back_is_like_nobody_any_more() {
    let scene = Scene::new(model_set(), plan());
    let (view, eligibility) = (scene.catalogue.view(), Eligibility::any());
    let history = History::default();
    let inputs = Inputs {
        live: Some(&scene.live),
        view: &view,
        plan: &scene.plan,
        user: Some(3),
        history: &history,
        eligibility: &eligibility,
    };
    let similar = Source::UserToUser("similar".to_owned());
    assert!(single(&inputs, &similar, 5, &mut Workspace::default()).is_empty());
}

#[test]
fn only_the_latest_likes_that_have_neighbours_speak_for_similar_items() {
    let scene = Scene::new(model_set(), Plan { context_size: 1, ..plan() });
    let also = Source::ItemToItem("also".to_owned());
    let ask = |items: &[&str]| {
        scene.names(&scene.with(&likes(items), |inputs, workspace| single(inputs, &also, 5, workspace)))
    };
    let list = ask(&["unheard of", "red-19", "red-1", "blue-1", "blue-2"]);
    assert_eq!(list.len(), 5);
    assert!(list.iter().all(|name| name.starts_with("red")), "{list:?}");
}

#[test]
fn every_candidate_is_scored_by_every_scorer_that_knows_it() {
    let scene = Scene::new(model_set(), plan());
    let history = likes(&["red-1", "red-2"]);
    let candidates = scene.with(&history, recall);
    let names: Vec<String> = candidates.scorers.iter().map(Scorer::name).collect();
    assert_eq!(names, SCORERS);
    let view = scene.catalogue.view();
    let row = |id: &str| {
        let slot = view.slot(id).unwrap();
        candidates.row(candidates.slots.iter().position(|&other| other == slot).unwrap())
    };
    let (newest, common) = (row("unheard of"), row("red-3"));
    assert!(newest[..5].iter().all(|score| score.is_nan()) && newest[5] == 1_000.0, "{newest:?}");
    assert!(common.iter().all(|score| score.is_finite()), "{common:?}");
    for (column, found) in candidates.found.iter().enumerate() {
        let scores: Vec<f32> = found.iter().map(|&place| candidates.row(place as usize)[column]).collect();
        assert!(scores.len() == 10 && scores.is_sorted_by(|a, b| a >= b), "{column}: {scores:?}");
    }
}

#[test]
fn a_blend_for_exactly_these_scorers_decides_and_its_scores_are_probabilities() {
    for (trusted, source) in SCORERS.iter().zip([0, 9, 1, 2, 3, 4]) {
        let set = ModelSet { blend: Some(trusting(trusted, &SCORERS)), ..model_set() };
        let scene = Scene::new(set, plan());
        let history = likes(&["red-1", "red-2"]);
        let list = scene.with(&history, |inputs, workspace| recommend(inputs, 10, workspace));
        assert!(list.is_sorted_by(|a, b| a.score >= b.score), "{list:?}");
        assert!(list.iter().all(|place| (0.0..=1.0).contains(&place.score)), "{list:?}");
        if let Some(source) = plan().sources.get(source) {
            let alone = scene.with(&history, |inputs, workspace| single(inputs, source, 10, workspace));
            assert_eq!(scene.names(&list), scene.names(&alone), "{trusted}");
        }
    }
}

#[test]
fn without_a_blend_or_with_one_for_other_scorers_ranks_are_fused() {
    let mut other = SCORERS;
    other.swap(0, 5);
    let history = likes(&["red-1", "red-2"]);
    let scene = Scene::new(model_set(), plan());
    let list = scene.with(&history, |inputs, workspace| recommend(inputs, 10, workspace));
    let candidates = scene.with(&history, recall);
    let expected = |slot: u32| {
        let row = candidates.slots.iter().position(|&other| other == slot).unwrap() as u32;
        let ranks = candidates.found.iter().filter_map(|found| found.iter().position(|&place| place == row));
        ranks.map(|rank| 1.0 / (61.0 + rank as f32)).sum::<f32>()
    };
    for place in &list {
        assert!((place.score - expected(place.slot)).abs() < 1e-6);
    }
    assert!(list.is_sorted_by(|a, b| a.score >= b.score));
    for blend in [trusting("latest", &other), trusting("latest", &SCORERS[..5])] {
        let scene = Scene::new(ModelSet { blend: Some(blend), ..model_set() }, plan());
        assert_eq!(scene.with(&history, |inputs, workspace| recommend(inputs, 10, workspace)), list);
    }
}

#[test]
fn what_was_met_comes_back_with_its_probability_multiplied() {
    let replacement = Some(Replacement { positive_decay: 0.5, read_decay: 0.25 });
    let set = ModelSet { blend: Some(trusting("collaborative", &SCORERS)), ..model_set() };
    let read = vec![ItemId::new("red-3"), ItemId::new("never existed")];
    let disliked = vec![ItemId::new("red-4")];
    let history = History { read, disliked, ..likes(&["red-1", "red-2"]) };
    let lists = [None, replacement].map(|replacement| {
        let scene = Scene::new(set.clone(), Plan { replacement, ..plan() });
        let candidates = scene.with(&history, recall);
        let list = scene.with(&history, |inputs, workspace| recommend(inputs, 100, workspace));
        (scene, candidates, list)
    });
    let [(_, _, without), (scene, candidates, with)] = lists;
    assert_eq!((without.len(), with.len()), (37, 40), "one is disliked");
    let score = |id: &str| {
        let slot = scene.catalogue.view().slot(id).unwrap();
        with.iter().find(|place| place.slot == slot).map(|place| place.score)
    };
    let blend = scene.live.set.blend.as_ref().unwrap();
    let probabilities = blend.probabilities(&candidates.scores);
    for (id, factor) in [("red-1", 0.5), ("red-3", 0.25), ("red-5", 1.0)] {
        let slot = scene.catalogue.view().slot(id).unwrap();
        let row = candidates.slots.iter().position(|&other| other == slot).unwrap();
        assert_eq!(score(id), Some(probabilities[row] * factor), "{id}");
    }
    assert_eq!(score("red-4"), None);
}

#[test]
fn an_unranked_list_is_its_sources_own_order_and_goes_on_where_that_ends() {
    let sources = vec![Source::ItemToItem("also".to_owned())];
    let fallback = vec![Source::Leaderboard("popular".to_owned())];
    let scene = Scene::new(model_set(), Plan { ranked: false, sources, fallback, ..plan() });
    let history = likes(&["red-1"]);
    let whole = scene.with(&history, |inputs, workspace| recommend(inputs, 1_000, workspace));
    let names = scene.names(&whole);
    let alone = scene.with(&history, |inputs, workspace| {
        single(inputs, &Source::ItemToItem("also".to_owned()), 10, workspace)
    });
    assert_eq!(whole[..10], alone);
    assert!(names[..10].iter().all(|name| name.starts_with("red")));
    assert_eq!((names.len(), names.last().unwrap().as_str()), (40, "unheard of"), "of no source at all");
    assert!(names[10..25].iter().any(|name| name.starts_with("blue")), "the fallback comes next");
}

#[test]
fn beyond_their_first_candidates_the_sources_go_on_before_the_newest_items() {
    let sources = vec![Source::Leaderboard("popular".to_owned())];
    let of_plan = Plan { ranked: false, sources, fallback: Vec::new(), cache_size: 3, ..plan() };
    let scene = Scene::new(model_set(), of_plan);
    let board = &scene.live.set.leaderboards[0].entries;
    let list = scene.with(&History::default(), |inputs, workspace| recommend(inputs, 12, workspace));
    let expected: Vec<&str> = board[..12].iter().map(|entry| scene.live.set.items.id(entry.0)).collect();
    assert_eq!(scene.names(&list), expected);
}

#[test]
fn without_models_there_are_the_newest_items() {
    let scene = Scene::new(model_set(), plan());
    let (view, history) = (scene.catalogue.view(), likes(&["blue-19"]));
    let eligibility = view.eligibility(&[], Some(seconds(38)));
    let inputs = Inputs {
        live: None,
        view: &view,
        plan: &scene.plan,
        user: None,
        history: &history,
        eligibility: &eligibility,
    };
    let list = recommend(&inputs, 5, &mut Workspace::default());
    let names: Vec<&str> = list.iter().map(|place| view.id(place.slot).as_str()).collect();
    assert_eq!(names, ["unheard of", "blue-18"], "older ones are not eligible");
}

#[test]
fn items_without_a_time_are_the_oldest_and_do_not_distort_the_rest() {
    let set = ModelSet { blend: Some(trusting("latest", &SCORERS)), ..model_set() };
    let scene = Scene::new(set, plan());
    scene.catalogue.put(&[state("red-3", Timestamp::ZERO, &[])]);
    let history = likes(&["red-1"]);
    let candidates = scene.with(&history, recall);
    let slot = scene.catalogue.view().slot("red-3").unwrap();
    let row = candidates.slots.iter().position(|&other| other == slot).unwrap();
    assert!(candidates.row(row)[5].is_nan());
    let names = scene.names(&scene.with(&history, |inputs, workspace| recommend(inputs, 100, workspace)));
    assert_eq!(names[..2], ["unheard of", "blue-19"]);
    assert_eq!(names.len(), 40);
}

#[test]
fn a_leaderboard_that_repeats_itself_or_is_not_finite_does_no_harm() {
    let entries = vec![(3, 9.0), (4, f64::NAN), (3, 7.0), (5, 0.0), (6, f64::INFINITY), (7, -1.0)];
    let set = ModelSet {
        leaderboards: vec![Leaderboard { name: "popular".to_owned(), entries }],
        collaborative: Vec::new(),
        ..model_set()
    };
    let scene = Scene::new(set, plan());
    let board = Source::Leaderboard("popular".to_owned());
    let list = scene.with(&History::default(), |inputs, workspace| single(inputs, &board, 9, workspace));
    assert_eq!(scene.names(&list), ["red-3", "red-5", "red-7"]);
    assert_eq!(list.iter().map(|place| place.score).collect::<Vec<_>>(), [9.0, 0.0, -1.0]);
}

#[test]
fn a_model_whose_numbers_broke_neither_panics_nor_answers_nan() {
    let mut set = model_set();
    for model in &mut set.collaborative {
        match model {
            Collaborative::Factors(factors) => factors.model.items[8..16].fill(f32::NAN),
            Collaborative::Linear(linear) => linear.rest[3] = f32::INFINITY,
        }
    }
    let scene = Scene::new(set, plan());
    for history in [likes(&["red-5"]), likes(&["red-2"])] {
        let list = scene.with(&history, |inputs, workspace| recommend(inputs, 100, workspace));
        assert_eq!(list.len(), 40);
        assert!(list.iter().all(|place| place.score.is_finite()), "{list:?}");
    }
}

#[test]
fn a_workspace_remembers_nothing_of_who_used_it_before() {
    let scene = Scene::new(model_set(), plan());
    let histories = [likes(&["red-1", "red-2"]), likes(&["blue-1"]), History::default()];
    let mut shared = Workspace::default();
    for (first, second) in [(0, 1), (1, 2), (2, 0), (0, 0)] {
        for history in [&histories[first], &histories[second]] {
            let alone = scene.with(history, |inputs, workspace| recommend(inputs, 30, workspace));
            let again = scene.with(history, |inputs, _| recommend(inputs, 30, &mut shared));
            assert_eq!(again, alone);
        }
    }
}

fn arbitrary_plan() -> impl Strategy<Value = Plan> {
    let sources = || {
        let all = plan().sources;
        proptest::collection::vec((0..all.len()).prop_map(move |index| all[index].clone()), 0..5)
    };
    (sources(), sources(), any::<bool>(), any::<bool>(), 1..15_usize).prop_map(
        |(mut sources, fallback, ranked, replaced, cache_size)| {
            sources.dedup();
            let replacement = replaced.then_some(Replacement { positive_decay: 0.5, read_decay: 0.5 });
            Plan { sources, fallback, ranked, replacement, cache_size, ..plan() }
        },
    )
}

proptest! {
    #[test]
    fn lists_hold_what_they_may_each_once_and_as_much_as_there_is(
        plan in arbitrary_plan(),
        liked in proptest::collection::vec(0..2 * ITEMS, 0..6),
        read in proptest::collection::vec(0..2 * ITEMS, 0..6),
        disliked in proptest::collection::vec(0..2 * ITEMS, 0..6),
        gone in proptest::collection::vec(0..2 * ITEMS, 0..12),
        films in proptest::collection::vec(0..2 * ITEMS, 0..30),
        (only_films, wanted) in (any::<bool>(), 0..60_usize),
    ) {
        let scene = Scene::new(model_set(), plan);
        for &item in &films {
            scene.catalogue.put(&[state(&item_id(item), seconds(5), &["film"])]);
        }
        gone.iter().for_each(|&item| scene.catalogue.remove(&ItemId::new(item_id(item)), Version::ZERO));
        let ids = |items: &[u32]| -> Vec<ItemId> {
            let mut items = items.to_vec();
            items.sort_unstable();
            items.dedup();
            items.into_iter().map(|item| ItemId::new(item_id(item))).collect()
        };
        // As a history is: every item stands in it once.
        let read: Vec<u32> = read.into_iter().filter(|item| !liked.contains(item)).collect();
        let met = |item: &u32| liked.contains(item) || read.contains(item);
        let disliked: Vec<u32> = disliked.into_iter().filter(|item| !met(item)).collect();
        let likes = ids(&liked).into_iter().map(|item| Liked { item, weight: 1.0, updated: seconds(9) });
        let history =
            History { liked: likes.collect(), read: ids(&read), disliked: ids(&disliked), changes_at: None };
        let view = scene.catalogue.view();
        let names: &[String] = if only_films { &["film".to_owned()] } else { &[] };
        let eligibility = view.eligibility(names, None);
        let inputs = Inputs {
            live: Some(&scene.live),
            view: &view,
            plan: &scene.plan,
            user: Some(3),
            history: &history,
            eligibility: &eligibility,
        };
        let list = recommend(&inputs, wanted, &mut Workspace::default());

        let replaced = scene.plan.replacement.is_some();
        let kept_out = |slot: u32| {
            let out = |item: &ItemId| view.slot(item.as_str()) == Some(slot);
            history.disliked.iter().any(out) || (!replaced && history.met().any(out))
        };
        let eligible: Vec<u32> = view.newest(&eligibility).filter(|&slot| !kept_out(slot)).collect();
        prop_assert!(list.iter().all(|place| eligible.contains(&place.slot)));
        prop_assert!(list.iter().all(|place| place.score.is_finite()));
        let mut slots: Vec<u32> = list.iter().map(|place| place.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        prop_assert_eq!(slots.len(), list.len());
        prop_assert_eq!(list.len(), eligible.len().min(wanted));
        let candidates = recall(&inputs, &mut Workspace::default()).slots.len().min(wanted);
        if scene.plan.ranked {
            prop_assert!(list[..candidates].is_sorted_by(|a, b| a.score >= b.score));
        }
    }
}
