//! Item-based and user-based neighbourhoods.
//!
//! What makes good neighbours differs between data in which items have many users and data in which they have few, so
//! without `--set` the presets for both are tried on a tenth of the training part, the test untouched.

use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::random::Seed;
use ulex_algorithms::similarity::{
    KnnParams, Neighbors, discount_popular, recall_from_neighbors, recall_from_similar_users,
};
use ulex_algorithms::split::{Shares, Touch, by_share};
use ulex_algorithms::top_k::Scored;
use ulex_master::training::neighborhoods::{items_preset, users_preset};

use super::cases::{Recommends, Scratch};

/// Share of the training part that presets are chosen by.
const CHOOSING_SHARE: f64 = 0.1;

/// Which side neighbours are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Items like those the user has.
    Items,
    /// Items of users like the user.
    Users,
}

impl Side {
    /// The preset that the service would choose, judged on a part of `train` that is held back for it.
    #[must_use]
    pub fn choose(self, train: &Interactions, seed: u64) -> KnnParams {
        let (fit_on, validation) = hold_back(train, seed);
        match self {
            Self::Items => items_preset(&fit_on, &validation),
            Self::Users => users_preset(&fit_on, &validation),
        }
    }
}

fn hold_back(train: &Interactions, seed: u64) -> (Interactions, Interactions) {
    let touches: Vec<Touch> = (0..train.n_rows())
        .flat_map(|user| {
            let (items, weights) = train.row(user);
            let touch = move |(&item, &weight)| Touch { user: user as u32, item, weight, time: 0 };
            items.iter().zip(weights).map(touch)
        })
        .collect();
    let shares = Shares { validation: CHOOSING_SHARE, test: 0.0 };
    let split = by_share(&touches, shares, Seed::new(seed).purpose("evaluate.neighborhood"));
    let matrices = split.matrices(&touches, train.n_rows(), train.n_cols());
    (matrices.train, matrices.validation)
}

/// A fitted neighbourhood.
pub struct Neighborhood {
    side: Side,
    neighbors: Neighbors,
    /// Of items: what users like. Of users: the same, with popular items discounted.
    votes: Interactions,
}

impl Neighborhood {
    /// Finds all neighbours.
    #[must_use]
    pub fn fit(side: Side, params: &KnnParams, train: &Interactions) -> Self {
        match side {
            Side::Items => {
                Self { side, neighbors: params.neighbors(&train.transposed()), votes: train.clone() }
            }
            Side::Users => {
                let votes = discount_popular(train, params.popularity);
                Self { side, neighbors: params.neighbors(train), votes }
            }
        }
    }
}

impl Recommends for Neighborhood {
    fn recommend(
        &self,
        user: u32,
        k: usize,
        keep: &dyn Fn(u32) -> bool,
        scratch: &mut Scratch,
    ) -> Vec<Scored> {
        scratch.sums.grow(self.votes.n_cols());
        let paired = |(ids, values): (&[u32], &[f32])| -> Vec<(u32, f32)> {
            ids.iter().copied().zip(values.iter().copied()).collect()
        };
        match self.side {
            Side::Items => {
                let history = paired(self.votes.row(user as usize));
                recall_from_neighbors(&history, &self.neighbors, &mut scratch.sums, k, keep)
            }
            Side::Users => {
                let similar = paired(self.neighbors.row(user));
                recall_from_similar_users(&similar, &self.votes, &mut scratch.sums, k, keep)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users 0 to 9 like items 0 to 4, users 10 to 19 items 5 to 9; user 0 has not seen item 4 and user 10 not item 9.
    fn two_groups() -> Interactions {
        let likes = (0..20_u32).flat_map(|user| (0..5).map(move |item| (user, user / 10 * 5 + item, 1.0)));
        let likes = likes.filter(|&(user, item, _)| (user, item) != (0, 4) && (user, item) != (10, 9));
        Interactions::from_triples(20, 10, likes.collect())
    }

    #[test]
    fn both_sides_find_what_the_group_likes_and_the_user_has_not() {
        let train = two_groups();
        for side in [Side::Items, Side::Users] {
            let params = side.choose(&train, 7);
            assert_eq!(params, side.choose(&train, 7), "the choice can be repeated");
            let model = Neighborhood::fit(side, &params, &train);
            let found = |user: u32| -> Vec<u32> {
                let keep = |item| !train.contains(user as usize, item);
                let list = model.recommend(user, 3, &keep, &mut Scratch::default());
                list.iter().map(|scored| scored.index).collect()
            };
            assert_eq!((found(0), found(10)), (vec![4], vec![9]), "{side:?} {params:?}");
        }
    }

    #[test]
    fn what_is_held_back_for_choosing_is_a_tenth_of_the_training_part() {
        let full = Interactions::from_triples(
            4,
            30,
            (0..4).flat_map(|user| (0..30).map(move |item| (user, item, 1.0))).collect(),
        );
        let (fit_on, validation) = hold_back(&full, 1);
        assert_eq!((fit_on.len(), validation.len()), (108, 12));
    }
}
