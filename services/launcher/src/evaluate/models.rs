//! The models that learn from likes alone, each with its tuned defaults, fitted to the training part.

use rayon::prelude::*;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::matrix_factorization::batch::PackedItems;
use ulex_algorithms::matrix_factorization::bpr::BprParams;
use ulex_algorithms::matrix_factorization::implicit_als::AlsParams;
use ulex_algorithms::matrix_factorization::linear::{LinearModel, LinearParams};
use ulex_algorithms::matrix_factorization::{FactorModel, FactorizationError};
use ulex_algorithms::progress::Unattended;
use ulex_algorithms::top_k::{Scored, TopK};

use super::cases::{Keep, Recommends, Scratch};
use super::parameters::{self, ParameterError};

/// A model that is chosen but not yet fitted.
#[derive(Clone, Debug)]
pub enum Recipe {
    /// The most liked items.
    Popular,
    /// See [`BprParams`].
    Bpr(BprParams),
    /// See [`AlsParams`].
    Als(AlsParams),
    /// See [`LinearParams`].
    Ease(LinearParams),
}

type Assignments<'a> = &'a [(String, String)];

impl Recipe {
    /// The most liked items.
    ///
    /// # Errors
    ///
    /// [`ParameterError`], as there are no parameters.
    pub fn popular(set: Assignments<'_>) -> Result<Self, ParameterError> {
        parameters::none("popular", set).map(|()| Self::Popular)
    }

    /// BPR with its best guess for data like these, some parameters replaced.
    ///
    /// # Errors
    ///
    /// [`ParameterError`].
    pub fn bpr(train: &Interactions, seed: u64, set: Assignments<'_>) -> Result<Self, ParameterError> {
        let guess = BprParams::candidates(train).into_iter().next().unwrap_or_default();
        parameters::replace(&BprParams { seed, ..guess }, "bpr", set).map(Self::Bpr)
    }

    /// Implicit ALS with its best guess for data like these, some parameters replaced.
    ///
    /// # Errors
    ///
    /// [`ParameterError`].
    pub fn als(train: &Interactions, seed: u64, set: Assignments<'_>) -> Result<Self, ParameterError> {
        let guess = AlsParams::candidates(train).into_iter().next().unwrap_or_default();
        parameters::replace(&AlsParams { seed, ..guess }, "als", set).map(Self::Als)
    }

    /// EASE with some parameters replaced.
    ///
    /// # Errors
    ///
    /// [`ParameterError`].
    pub fn ease(set: Assignments<'_>) -> Result<Self, ParameterError> {
        parameters::replace(&LinearParams::default(), "ease", set).map(Self::Ease)
    }

    /// Fits it.
    ///
    /// # Errors
    ///
    /// [`FactorizationError`] if a parameter is out of range or the fit came to nothing.
    pub fn fit(&self, train: &Interactions) -> Result<Box<dyn Recommends>, FactorizationError> {
        Ok(match self {
            Self::Popular => Box::new(Popular::new(train)),
            Self::Bpr(params) => Box::new(params.check()?.fit(train, &Unattended)?),
            Self::Als(params) => Box::new(params.check()?.fit(train, &Unattended)?),
            Self::Ease(params) => {
                Box::new(Linear { votes: params.check()?.fit(train)?, train: train.clone() })
            }
        })
    }
}

/// The best of all scores.
fn best(scores: &[f32], k: usize, keep: &dyn Fn(u32) -> bool) -> Vec<Scored> {
    let mut top = TopK::new(k);
    for (item, &score) in (0..).zip(scores) {
        // Equal to the threshold may still win by its lower index; `keep` may be a search.
        if score >= top.threshold() && keep(item) {
            top.push(item, score);
        }
    }
    top.into_sorted()
}

/// Number of likes of each item.
struct Popular {
    counts: Vec<f32>,
}

impl Popular {
    fn new(train: &Interactions) -> Self {
        let mut counts = vec![0.0; train.n_cols()];
        train.columns().iter().for_each(|&item| counts[item as usize] += 1.0);
        Self { counts }
    }
}

impl Recommends for Popular {
    fn recommend(&self, _: u32, k: usize, keep: &dyn Fn(u32) -> bool, _: &mut Scratch) -> Vec<Scored> {
        best(&self.counts, k, keep)
    }
}

impl Recommends for FactorModel {
    fn recommend(
        &self,
        user: u32,
        k: usize,
        keep: &dyn Fn(u32) -> bool,
        scratch: &mut Scratch,
    ) -> Vec<Scored> {
        self.scores_into(self.user(user as usize), &mut scratch.scores);
        best(&scratch.scores, k, keep)
    }

    fn recommend_all(&self, users: &[u32], k: usize, keep: Keep<'_>) -> Vec<Vec<Scored>> {
        let packed = PackedItems::new(&self.items, self.factors);
        let vectors: Vec<f32> = users.iter().flat_map(|&user| self.user(user as usize)).copied().collect();
        packed.recommend_all(&vectors, k, keep)
    }
}

struct Linear {
    votes: LinearModel,
    train: Interactions,
}

impl Recommends for Linear {
    fn recommend(
        &self,
        user: u32,
        k: usize,
        keep: &dyn Fn(u32) -> bool,
        scratch: &mut Scratch,
    ) -> Vec<Scored> {
        self.votes.scores_into(self.train.row(user as usize), &mut scratch.scores);
        best(&scratch.scores, k, keep)
    }
}

/// A model that scores any items for a user.
pub struct Scorer<F>(pub F, pub usize);

impl<F: Fn(u32, &[u32]) -> Vec<f32> + Sync> Recommends for Scorer<F> {
    fn recommend(&self, user: u32, k: usize, keep: &dyn Fn(u32) -> bool, _: &mut Scratch) -> Vec<Scored> {
        let items: Vec<u32> = (0..self.1 as u32).collect();
        best(&(self.0)(user, &items), k, keep)
    }

    fn recommend_all(&self, users: &[u32], k: usize, keep: Keep<'_>) -> Vec<Vec<Scored>> {
        let items: Vec<u32> = (0..self.1 as u32).collect();
        let list = |(case, &user): (usize, &u32)| best(&(self.0)(user, &items), k, &|item| keep(case, item));
        users.par_iter().enumerate().map(list).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::cases::Cases;

    /// Even users like even items, odd users odd ones; each misses one.
    fn tastes() -> (Interactions, Interactions) {
        let likes = (0..40_u32).flat_map(|user| (user % 2..20).step_by(2).map(move |item| (user, item, 1.0)));
        let (test, train) = likes.partition(|&(user, item, _)| item / 2 == user % 10);
        (Interactions::from_triples(40, 20, train), Interactions::from_triples(40, 20, test))
    }

    fn first_hits(recipe: &Recipe) -> usize {
        let (train, test) = tastes();
        let cases = Cases::new(&test);
        let lists = cases.answer(&*recipe.fit(&train).unwrap(), &train, 1);
        let hit = |(case, list): &(usize, &Vec<Scored>)| cases.wanted.contains(*case, list[0].index);
        lists.iter().enumerate().filter(hit).count()
    }

    #[test]
    fn models_of_taste_find_what_is_missing_and_the_popular_list_does_not() {
        let (train, _) = tastes();
        for recipe in [Recipe::als(&train, 1, &[]), Recipe::bpr(&train, 1, &[]), Recipe::ease(&[])] {
            let recipe = recipe.unwrap();
            assert!(first_hits(&recipe) >= 38, "{recipe:?}");
        }
        assert!(first_hits(&Recipe::Popular) < 30);
    }

    #[test]
    fn the_popular_list_is_by_likes_with_ties_to_the_lower_index() {
        let train = Interactions::from_triples(3, 4, vec![(0, 2, 9.0), (1, 3, 1.0), (2, 3, 1.0)]);
        let model = Recipe::popular(&[]).unwrap().fit(&train).unwrap();
        let list = model.recommend(0, 3, &|_| true, &mut Scratch::default());
        assert_eq!(list.iter().map(|scored| scored.index).collect::<Vec<_>>(), [3, 2, 0]);
    }

    #[test]
    fn a_batch_of_lists_is_the_lists_one_by_one() {
        let (train, test) = tastes();
        let Recipe::Als(params) = Recipe::als(&train, 1, &[]).unwrap() else { panic!("als") };
        let model = params.check().unwrap().fit(&train, &Unattended).unwrap();
        let cases = Cases::new(&test);
        for (case, list) in cases.answer(&model, &train, 3).iter().enumerate() {
            let user = cases.users[case];
            let keep = |item| !train.contains(user as usize, item);
            let alone = model.recommend(user, 1, &keep, &mut Scratch::default());
            assert_eq!(alone[0].index, list[0].index);
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused_by_the_model() {
        let set = [("factors".to_owned(), "0".to_owned())];
        let (train, _) = tastes();
        let reason = Recipe::als(&train, 1, &set).unwrap().fit(&train).err().unwrap().to_string();
        assert!(reason.contains("factors"), "{reason}");
    }
}
