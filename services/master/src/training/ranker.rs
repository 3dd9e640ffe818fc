//! The click-through-rate model: which samples it learns from, and for how long.
//!
//! Liked pairs are positive; disliked ones and those that were only read are negative. Where a service records no
//! impressions, pairs drawn at random stand in for them: half by popularity, so that the model does not merely learn
//! what is popular, and half uniformly.

use serde::{Deserialize, Serialize};
use tracing::info;
use ulex_algorithms::click_through::{Calibration, FmError, FmParams, Ranker, Samples, fit as fit_machine};
use ulex_algorithms::model_set::RankerModel;
use ulex_algorithms::progress::CancelFlag;
use ulex_algorithms::random::{Generator, Seed};
use ulex_recommenders::history::Signal;

use super::{CycleError, Shared, without};

/// Negatives for each positive, recorded and drawn together.
const NEGATIVES: usize = 4;
/// Positives learned from at most; more are thinned out.
const MAX_POSITIVES: usize = 1_000_000;
/// Every so many-th sample is held back to choose the epoch by.
const HELD_BACK: usize = 10;

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankerRecipe {
    /// Parameters; `epochs` is the best epoch.
    pub params: FmParams,
    /// Area under the ROC curve of the samples held back.
    pub auc: f64,
}

/// Fits with a tenth of the samples held back and keeps the number of epochs that was best; `None` if there is nothing
/// to learn from.
///
/// # Errors
///
/// [`CycleError::Failed`] if the fit failed.
pub(crate) fn choose(
    shared: &Shared,
    included: &dyn Fn(usize) -> bool,
    seed: u64,
    cancel: &CancelFlag,
) -> Result<Option<RankerRecipe>, CycleError> {
    choose_from(shared, included, &FmParams { seed, ..FmParams::default() }, cancel)
}

/// As [`choose`], with parameters of the caller's.
///
/// # Errors
///
/// [`CycleError::Failed`] if the fit failed.
pub(crate) fn choose_from(
    shared: &Shared,
    included: &dyn Fn(usize) -> bool,
    params: &FmParams,
    cancel: &CancelFlag,
) -> Result<Option<RankerRecipe>, CycleError> {
    let Some((_, recipe)) = learn(shared, included, params, true, cancel)? else { return Ok(None) };
    info!(auc = recipe.auc, epochs = recipe.params.epochs, "click-through-rate model judged");
    Ok(Some(recipe))
}

/// Fits on all samples for the chosen number of epochs.
///
/// # Errors
///
/// [`CycleError::Failed`] if the fit failed.
pub(crate) fn fit(
    shared: &Shared,
    included: &dyn Fn(usize) -> bool,
    recipe: &RankerRecipe,
    seed: u64,
    cancel: &CancelFlag,
) -> Result<Option<RankerModel>, CycleError> {
    let params = FmParams { seed, ..recipe.params.clone() };
    Ok(learn(shared, included, &params, false, cancel)?.map(|(model, _)| model))
}

fn learn(
    shared: &Shared,
    included: &dyn Fn(usize) -> bool,
    params: &FmParams,
    hold_back: bool,
    cancel: &CancelFlag,
) -> Result<Option<(RankerModel, RankerRecipe)>, CycleError> {
    let content = &shared.content;
    let Some(space) = &content.space else { return Ok(None) };
    let pairs = samples(shared, included, params.seed);
    let tables = || vec![&content.user_rows, &content.item_rows];
    let (mut train, mut valid) = (Samples::new(tables()), Samples::new(tables()));
    for (number, &(user, item, positive)) in pairs.iter().enumerate() {
        let held_back = hold_back && number % HELD_BACK == 0;
        if held_back { valid.push(&[user, item], positive) } else { train.push(&[user, item], positive) }
    }
    let fitted = match fit_machine(space.layout(), &train, &valid, params, cancel) {
        Ok(fitted) => fitted,
        Err(reason @ FmError::OneClass { .. }) => {
            without("ranker", &reason);
            return Ok(None);
        }
        Err(reason) => return Err(CycleError::Failed(format!("fm: {reason}"))),
    };
    let judged_on = if valid.is_empty() { &train } else { &valid };
    let calibration = Calibration::platt(&fitted.model.predict(judged_on), judged_on.labels());
    let auc = fitted.epochs.get(fitted.best_epoch.saturating_sub(1)).map_or(0.0, |report| report.auc);
    let recipe =
        RankerRecipe { params: FmParams { epochs: fitted.best_epoch.max(1), ..params.clone() }, auc };
    let ranker = Ranker::new(fitted.model, calibration, &content.item_rows);
    let model = RankerModel {
        layout: space.layout().clone(),
        ranker,
        users: content.user_rows.clone(),
        items: content.item_rows.clone(),
    };
    Ok(Some((model, recipe)))
}

/// `(user, item, positive)` in an order that mixes them.
fn samples(shared: &Shared, included: &dyn Fn(usize) -> bool, seed: u64) -> Vec<(u32, u32, bool)> {
    let pairs = &shared.signals.pairs;
    let mut random = Seed::new(seed).purpose("ranker.samples").generator();
    let mut positives: Vec<(u32, u32)> = Vec::new();
    let mut negatives: Vec<(u32, u32)> = Vec::new();
    for (number, pair) in pairs.iter().enumerate() {
        match pair.signal {
            Signal::Positive if included(number) => positives.push((pair.user, pair.item)),
            Signal::Negative | Signal::Read => negatives.push((pair.user, pair.item)),
            Signal::Positive | Signal::Other => {}
        }
    }
    random.shuffle(&mut positives);
    positives.truncate(MAX_POSITIVES);
    random.shuffle(&mut negatives);
    negatives.truncate(positives.len() * NEGATIVES);
    // A pair that is held back has not happened as far as this fit may know.
    let known = |number: usize| pairs[number].signal != Signal::Positive || included(number);
    draw(shared, &known, &positives, &mut negatives, &mut random);
    let labelled = positives.iter().map(|&(user, item)| (user, item, true));
    let mut samples: Vec<_> =
        labelled.chain(negatives.iter().map(|&(user, item)| (user, item, false))).collect();
    random.shuffle(&mut samples);
    samples
}

/// Draws pairs that never happened until there are enough negatives.
fn draw(
    shared: &Shared,
    known: &dyn Fn(usize) -> bool,
    positives: &[(u32, u32)],
    negatives: &mut Vec<(u32, u32)>,
    random: &mut Generator,
) {
    let pairs = &shared.signals.pairs;
    let n_items = shared.shape.1 as u32;
    let happened = |user: u32, item: u32| {
        let start = pairs.partition_point(|pair| pair.user < user);
        let of_user = pairs[start..].iter().take_while(|pair| pair.user == user).enumerate();
        of_user.into_iter().any(|(number, pair)| pair.item == item && known(start + number))
    };
    let missing = (positives.len() * NEGATIVES).saturating_sub(negatives.len());
    let mut drawn = 0;
    // A user who has met everything yields nothing; the attempts are bounded.
    for attempt in 0..missing * 2 {
        if drawn == missing || n_items == 0 {
            return;
        }
        let (user, _) = positives[attempt % positives.len()];
        let popular = positives[random.below(positives.len() as u32) as usize].1;
        let item = if attempt % 2 == 0 { popular } else { random.below(n_items) };
        if !happened(user, item) {
            negatives.push((user, item));
            drawn += 1;
        }
    }
}
