//! Which collaborative models are used, and how they are fitted.
//!
//! Candidates are few and scaled by the data; each is fitted on the train part and judged by full-catalogue NDCG@10 on
//! the validation. The best model of vectors is kept and, for catalogues it can handle, the linear model beside it: the
//! two err differently, and the blend decides what each is worth.

use serde::{Deserialize, Serialize};
use tracing::info;
use ulex_algorithms::evaluation::ranking::RankingTest;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::matrix_factorization::bpr::BprParams;
use ulex_algorithms::matrix_factorization::fold_in::Objective;
use ulex_algorithms::matrix_factorization::implicit_als::AlsParams;
use ulex_algorithms::matrix_factorization::linear::LinearParams;
use ulex_algorithms::model_set::{Collaborative, Factors, FoldInMemory};
use ulex_algorithms::progress::{CancelFlag, Progress};
use ulex_algorithms::top_k::Scored;

use super::{CycleError, without};

/// Largest catalogue for the linear model: its fit costs items³ operations and items² numbers of memory.
pub const LINEAR_ITEMS: usize = 6_000;
/// Liked pairs up to which alternatives and slower models are tried, too.
const QUICK: usize = 500_000;
/// Parameters tried for each model.
const ALTERNATIVES: usize = 4;
/// Cutoff that models are chosen by.
const CUTOFF: usize = 10;

/// A model and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case")]
pub enum Recipe {
    /// Implicit ALS.
    Als(AlsParams),
    /// BPR.
    Bpr(BprParams),
    /// EASE.
    Ease(LinearParams),
}

impl Recipe {
    /// Its short name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Als(_) => "als",
            Self::Bpr(_) => "bpr",
            Self::Ease(_) => "ease",
        }
    }

    /// Fits it.
    ///
    /// # Errors
    ///
    /// [`CycleError::Failed`] with the model's own reason.
    pub fn fit(
        &self,
        liked: &Interactions,
        seed: u64,
        cancel: &CancelFlag,
    ) -> Result<Collaborative, CycleError> {
        let failed =
            |reason: &dyn std::fmt::Display| CycleError::Failed(format!("{}: {reason}", self.name()));
        match self {
            Self::Als(params) => {
                let params = AlsParams { seed, ..*params };
                let model = params.check().and_then(|checked| checked.fit(liked, cancel));
                let model = model.map_err(|reason| failed(&reason))?;
                let factors =
                    Factors::new("als", model, params.objective).map_err(|reason| failed(&reason))?;
                Ok(Collaborative::Factors(factors))
            }
            Self::Bpr(params) => {
                let params = BprParams { seed, ..*params };
                let model = params.check().and_then(|checked| checked.fit(liked, cancel));
                let model = model.map_err(|reason| failed(&reason))?;
                let factors = Factors::new("bpr", model, BPR_FOLD_IN).map_err(|reason| failed(&reason))?;
                Ok(Collaborative::Factors(factors))
            }
            Self::Ease(params) => {
                let weights = (*params).check().and_then(|checked| checked.fit(liked));
                Ok(Collaborative::Linear(weights.map_err(|reason| failed(&reason))?))
            }
        }
    }
}

/// Vectors of a ranking loss have no natural least squares; this finds the user who would have liked these.
const BPR_FOLD_IN: Objective =
    Objective { unobserved_weight: 0.05, confidence: 0.0, regularization: 0.05, frequency_exponent: 1.0 };

/// What is tried for data of this size: of each model its own best guess, and for data that is quick to fit its alternatives.
#[must_use]
pub fn candidates(liked: &Interactions) -> Vec<Recipe> {
    let wanted = if liked.len() <= QUICK { usize::MAX } else { 1 };
    let mut candidates: Vec<Recipe> =
        AlsParams::candidates(liked).into_iter().take(wanted.min(ALTERNATIVES)).map(Recipe::Als).collect();
    // Where likes differ in strength, a stronger one may be worth more.
    let unequal = liked.weights().iter().any(|&weight| weight != 1.0);
    if let Some(Recipe::Als(best)) = candidates.first().filter(|_| unequal) {
        let objective = Objective { confidence: 0.5, ..best.objective };
        candidates.push(Recipe::Als(AlsParams { objective, ..*best }));
    }
    if liked.len() <= QUICK {
        candidates.extend(BprParams::candidates(liked).into_iter().take(1).map(Recipe::Bpr));
    }
    if liked.n_cols() <= LINEAR_ITEMS {
        let linear = LinearParams::candidates().into_iter().take(wanted.min(ALTERNATIVES));
        candidates.extend(linear.map(Recipe::Ease));
    }
    candidates
}

/// The recipes to use, the best one first.
///
/// # Errors
///
/// [`CycleError::Cancelled`]; a candidate that fails is left out, and none at all is an empty list.
pub fn choose(
    train: &Interactions,
    validation: &Interactions,
    seed: u64,
    cancel: &CancelFlag,
) -> Result<Vec<Recipe>, CycleError> {
    let mut judged: Vec<(f64, Recipe)> = Vec::new();
    for recipe in candidates(train) {
        if cancel.epoch(0, 0).is_break() {
            return Err(CycleError::Cancelled);
        }
        match recipe.fit(train, seed, cancel) {
            Ok(model) => {
                let ndcg = judge(&model, train, validation);
                info!(model = recipe.name(), ndcg, recipe = ?recipe, "candidate judged on validation");
                judged.push((ndcg, recipe));
            }
            Err(reason) => without(recipe.name(), &reason),
        }
    }
    judged.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut chosen: Vec<Recipe> = Vec::new();
    for (_, recipe) in judged {
        let linear = |recipe: &Recipe| matches!(recipe, Recipe::Ease(_));
        if chosen.iter().all(|other| linear(other) != linear(&recipe)) {
            chosen.push(recipe);
        }
    }
    Ok(chosen)
}

/// NDCG@10 of a model as it serves: every user folded in from what the user liked.
#[must_use]
pub fn judge(model: &Collaborative, seen: &Interactions, test: &Interactions) -> f64 {
    let report = RankingTest { test, seen, cutoffs: &[CUTOFF] }.evaluate(&|user, scored| {
        score_all(model, seen.row(user as usize), scored);
    });
    report.at(CUTOFF).map_or(0.0, |at| at.mean().ndcg)
}

/// Scores every item for a user who likes `liked`.
pub fn score_all(model: &Collaborative, liked: (&[u32], &[f32]), scored: &mut Vec<Scored>) {
    let (mut memory, mut scores) = (FoldInMemory::default(), Vec::new());
    model.scores_into(liked, &mut memory, &mut scores);
    scored.extend(scores.iter().enumerate().map(|(index, &score)| Scored { index: index as u32, score }));
}
