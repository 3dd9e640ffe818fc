//! Which items and users count as alike: for people who look at a list of similar things, and for recommending.
//!
//! For recommending there are presets for dense and for sparse data; which one fits is decided on the validation. A list that
//! is shown is the plain cosine.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::info;
use ulex_algorithms::evaluation::ranking::RankingTest;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::model_set::{ItemNeighbors, UserNeighbors};
use ulex_algorithms::similarity::{
    Accumulator, KnnParams, Neighbors, OverlapIndex, OverlapParams, discount_popular, recall_from_neighbors,
    recall_from_similar_users,
};
use ulex_algorithms::top_k::Scored;
use ulex_settings::{ItemToItemType, Recommend, UserToUserType};

use super::content::Content;

/// Cutoff that presets are chosen by.
const CUTOFF: usize = 10;

/// The presets in use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighborRecipe {
    /// How items recommend items.
    pub items: KnnParams,
    /// How users recommend to users.
    pub users: KnnParams,
}

impl NeighborRecipe {
    /// Chooses by NDCG@10 on the validation.
    #[must_use]
    pub fn choose(train: &Interactions, validation: &Interactions) -> Self {
        Self { items: items_preset(train, validation), users: users_preset(train, validation) }
    }
}

/// The better preset for items that recommend items.
#[must_use]
pub fn items_preset(train: &Interactions, validation: &Interactions) -> KnnParams {
    let by_item = train.transposed();
    let judge = |params: &KnnParams| judge_items(&params.neighbors(&by_item), train, validation);
    better("items", [KnnParams::ITEMS_OFTEN_SHARED, KnnParams::ITEMS_RARELY_SHARED], &judge)
}

/// The better preset for users who recommend to users.
#[must_use]
pub fn users_preset(train: &Interactions, validation: &Interactions) -> KnnParams {
    let judge = |params: &KnnParams| judge_users(params, train, validation);
    better("users", [KnnParams::USERS, KnnParams::USERS_RARELY_SHARED], &judge)
}

fn better(side: &str, presets: [KnnParams; 2], judge: &dyn Fn(&KnnParams) -> f64) -> KnnParams {
    let [first, second] = presets.map(|params| (judge(&params), params));
    let (ndcg, params) = if second.0 > first.0 { second } else { first };
    info!(side, ndcg, params = ?params, "neighbourhoods judged on validation");
    params
}

/// NDCG@10 of what neighbours of a user's items recommend.
fn judge_items(neighbors: &Neighbors, seen: &Interactions, test: &Interactions) -> f64 {
    let recall = |user: u32, scored: &mut Vec<Scored>| {
        let mut sums = Accumulator::new(seen.n_cols());
        let history = history(seen, user);
        let keep = |item: u32| !seen.contains(user as usize, item);
        scored.extend(recall_from_neighbors(&history, neighbors, &mut sums, CUTOFF, keep));
    };
    mean_ndcg(seen, test, &recall)
}

/// NDCG@10 of what similar users recommend.
fn judge_users(params: &KnnParams, seen: &Interactions, test: &Interactions) -> f64 {
    let index = OverlapIndex::new(seen, params.overlap);
    let discounted = discount_popular(seen, params.popularity);
    let recall = |user: u32, scored: &mut Vec<Scored>| {
        let mut sums = Accumulator::new(seen.n_cols());
        let similar = index.query(&history(seen, user), params.overlap.k);
        // The user is found by its own history, too, but votes only for what it has seen.
        let similar: Vec<(u32, f32)> = similar.iter().map(|other| (other.index, other.score)).collect();
        let keep = |item: u32| !seen.contains(user as usize, item);
        scored.extend(recall_from_similar_users(&similar, &discounted, &mut sums, CUTOFF, keep));
    };
    mean_ndcg(seen, test, &recall)
}

fn history(seen: &Interactions, user: u32) -> Vec<(u32, f32)> {
    let (items, weights) = seen.row(user as usize);
    items.iter().copied().zip(weights.iter().copied()).collect()
}

fn mean_ndcg(
    seen: &Interactions,
    test: &Interactions,
    recall: &(dyn Fn(u32, &mut Vec<Scored>) + Sync),
) -> f64 {
    let report = RankingTest { test, seen, cutoffs: &[CUTOFF] }.evaluate(recall);
    report.at(CUTOFF).map_or(0.0, |at| at.mean().ndcg)
}

/// Similar items and users under every name of the settings.
pub(crate) struct Neighborhoods {
    pub overlap: OverlapIndex,
    pub discounted: Interactions,
    pub item_to_item: Vec<ItemNeighbors>,
    pub user_to_user: Vec<UserNeighbors>,
}

impl Neighborhoods {
    pub(crate) fn new(
        recommend: &Recommend,
        content: &Content,
        liked: &Interactions,
        recipe: &NeighborRecipe,
    ) -> Self {
        let k = recommend.cache_size;
        let shown = OverlapParams { k, ..OverlapParams::COSINE };
        let by_item = liked.transposed();
        let by_users = Arc::new(OverlapIndex::new(&by_item, shown).neighbors(&by_item));
        let recall = Arc::new(recipe.items.neighbors(&by_item));
        let by_items = Arc::new(OverlapIndex::new(liked, shown).neighbors(liked));
        let none = || Arc::new(Neighbors::default());
        let item_to_item = recommend.item_to_item.iter().map(|known| {
            let content = content.items.get(&known.name).cloned();
            let (neighbors, recall) = match known.kind {
                ItemToItemType::Users => (Arc::clone(&by_users), Some(Arc::clone(&recall))),
                ItemToItemType::Tags | ItemToItemType::Embedding => (content.unwrap_or_else(none), None),
                ItemToItemType::Auto => (Arc::new(content.unwrap_or_else(none).mean(&by_users, k)), None),
            };
            ItemNeighbors { name: known.name.clone(), neighbors, recall }
        });
        let user_to_user = recommend.user_to_user.iter().map(|known| {
            let content = content.users.get(&known.name).cloned();
            let neighbors = match known.kind {
                UserToUserType::Items => Arc::clone(&by_items),
                UserToUserType::Tags | UserToUserType::Embedding => content.unwrap_or_else(none),
                UserToUserType::Auto => Arc::new(content.unwrap_or_else(none).mean(&by_items, k)),
            };
            UserNeighbors {
                name: known.name.clone(),
                neighbors,
                by_items: known.kind == UserToUserType::Items,
            }
        });
        Self {
            overlap: OverlapIndex::new(liked, recipe.users.overlap),
            discounted: discount_popular(liked, recipe.users.popularity),
            item_to_item: item_to_item.collect(),
            user_to_user: user_to_user.collect(),
        }
    }
}
