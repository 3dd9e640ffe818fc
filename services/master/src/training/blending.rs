//! What the sources' scores are worth together, learned where the next steps are known: on the validation.
//!
//! The blend may lean on one source alone, so on these users it is never worse than the best of them.

use std::sync::Arc;

use rayon::prelude::*;
use tracing::info;
use ulex_algorithms::click_through::Calibration;
use ulex_algorithms::list::blend::{Blend, BlendExample};
use ulex_algorithms::model_set::{ModelSet, PipelineBlend};
use ulex_domain::Timestamp;
use ulex_recommenders::catalogue::Eligibility;
use ulex_recommenders::live::Live;
use ulex_recommenders::pipeline::{Candidates, Inputs, Workspace, recall};
use ulex_recommenders::plan::Plan;

use super::pipeline_test::TestBed;
use super::split::Part;

/// Users the blend is learned on at most.
const USERS: usize = 2_000;

/// Learns the blend of a ModelSet that was fitted on the train part; `None` if there is nothing to learn from.
#[must_use]
pub fn learn(bed: &TestBed<'_>, set: ModelSet, plan: &Plan, _now: Timestamp) -> Option<PipelineBlend> {
    let live = Live::new(Arc::new(set), bed.catalogue());
    let spans: Vec<_> = bed.users_with(Part::Validation).collect();
    let stride = spans.len().div_ceil(USERS).max(1);
    let chosen: Vec<_> = spans.into_iter().step_by(stride).collect();
    let examples: Vec<(Candidates, BlendExample)> = chosen
        .par_iter()
        .map_init(Workspace::default, |workspace, span| example(bed, &live, plan, span.clone(), workspace))
        .collect();
    let scorers: Vec<String> = examples.first()?.0.scorers.iter().map(|scorer| scorer.name()).collect();
    let examples: Vec<BlendExample> = examples.into_iter().map(|(_, example)| example).collect();
    let blend = Blend::fit(scorers.len(), &examples)?;
    let (slope, intercept) = calibrate(&blend, &examples);
    info!(scorers = ?scorers, weights = ?blend.weights(), users = examples.len(), "blend learned");
    Some(PipelineBlend { scorers, blend, slope, intercept })
}

fn example(
    bed: &TestBed<'_>,
    live: &Live,
    plan: &Plan,
    span: std::ops::Range<usize>,
    workspace: &mut Workspace,
) -> (Candidates, BlendExample) {
    let history = bed.history(span.clone(), Part::Validation);
    let wanted = bed.wanted(span.clone(), Part::Validation);
    let eligibility = Eligibility::any();
    let view = bed.catalogue().view();
    let inputs = Inputs {
        live: Some(live),
        view: &view,
        plan,
        user: Some(bed.user(span.start)),
        history: &history,
        eligibility: &eligibility,
    };
    let candidates = recall(&inputs, workspace);
    let relevant = candidates
        .slots
        .iter()
        .map(|&slot| live.index(slot).is_some_and(|index| wanted.binary_search(&index).is_ok()));
    let example = BlendExample {
        scores: candidates.scores.clone(),
        relevant: relevant.collect(),
        n_relevant: wanted.len(),
    };
    (candidates, example)
}

/// Logistic calibration of the blended score: how likely a candidate is among the next steps.
fn calibrate(blend: &Blend, examples: &[BlendExample]) -> (f32, f32) {
    let (mut scores, mut labels, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for example in examples {
        blend.apply(&example.scores, &mut out);
        scores.extend_from_slice(&out);
        labels.extend_from_slice(&example.relevant);
    }
    match Calibration::platt(&scores, &labels) {
        Calibration::Platt { slope, intercept } if slope > 0.0 => (slope, intercept),
        // Without a usable fit the order stands and the numbers are what they are.
        Calibration::Platt { .. } | Calibration::Isotonic { .. } | Calibration::Identity => (1.0, 0.0),
    }
}
