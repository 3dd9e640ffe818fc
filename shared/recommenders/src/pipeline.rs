//! From a user's history to one list: sources, then the filter, then the ranking. The one place with the order.
//!
//! Pure computation over one [`Live`] ModelSet and one view of the catalogue; no IO, no clock. Serving, refresh
//! jobs and the training cycle's own evaluation all run exactly this.
//!
//! The filter comes inside the sources: a source yields only items that may be shown, so each yields as many
//! candidates as there are and a list is never short because of what was filtered later.

mod buffer;
mod candidates;
mod ranking;
mod sources;
mod workspace;

pub use candidates::{Candidates, Scorer};
pub(crate) use workspace::MAX_LIKED;
pub use workspace::Workspace;

use crate::catalogue::{CatalogueView, Eligibility};
use crate::history::History;
use crate::live::Live;
use crate::plan::{Plan, Source};
use workspace::Met;

/// Everything one computation looks at.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The models; `None` before the first fit.
    pub live: Option<&'a Live>,
    /// Which items there are.
    pub view: &'a CatalogueView<'a>,
    /// How lists are made.
    pub plan: &'a Plan,
    /// Who asks, as an index into the ModelSet's users, if it knows the user.
    pub user: Option<u32>,
    /// What the user did.
    pub history: &'a History,
    /// What an item must be.
    pub eligibility: &'a Eligibility,
}

/// A place in a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Item, as a slot of the catalogue.
    pub slot: u32,
    /// A probability if the plan is ranked and a blend exists, else the score of whatever found the item.
    pub score: f32,
}

/// The best `wanted` items for a user, best first. What the sources of the plan have not, the fallbacks fill up; what
/// they have not either, the sources beyond their first candidates, and at last the newest items. So the list is
/// shorter only if fewer eligible items exist.
#[must_use]
pub fn recommend(inputs: &Inputs<'_>, wanted: usize, workspace: &mut Workspace) -> Vec<Ranked> {
    let candidates = recall(inputs, workspace);
    let mut list =
        if inputs.plan.ranked { ranking::rank(inputs, &candidates) } else { candidates.in_order() };
    list.truncate(wanted);
    fill(inputs, &mut list, wanted, workspace);
    list
}

/// Candidates of the plan's sources with the score each scorer gives each of them.
#[must_use]
pub fn recall(inputs: &Inputs<'_>, workspace: &mut Workspace) -> Candidates {
    // A ranked list takes in what the user has met by itself, with its own factors.
    let replaced = inputs.plan.replacement.is_some() && !inputs.plan.ranked;
    workspace.begin(inputs, if replaced { Met::Allowed } else { Met::Excluded });
    let mut candidates = Candidates::new(sources::scorers(inputs, &inputs.plan.sources));
    for column in 0..candidates.scorers.len() {
        let scorer = candidates.scorers[column].clone();
        let found = sources::recall(inputs, &scorer, column, inputs.plan.cache_size, workspace);
        candidates.add(column, &found, workspace);
    }
    if inputs.plan.ranked {
        candidates.add_met(inputs, workspace);
        sources::complete(inputs, &mut candidates, workspace);
    }
    candidates
}

/// Appends what the list has not yet.
fn fill(inputs: &Inputs<'_>, list: &mut Vec<Ranked>, wanted: usize, workspace: &mut Workspace) {
    if list.len() >= wanted {
        return;
    }
    workspace.exclude(list.iter().map(|place| place.slot));
    for source in inputs.plan.fallback.iter().chain(&inputs.plan.sources).chain([&Source::Latest]) {
        let missing = wanted - list.len();
        let more = sources::only(inputs, source, missing, workspace);
        workspace.exclude(more.iter().map(|place| place.slot));
        list.extend(more);
        if list.len() >= wanted {
            return;
        }
    }
}

/// What one source alone would answer, best first.
#[must_use]
pub fn single(inputs: &Inputs<'_>, source: &Source, wanted: usize, workspace: &mut Workspace) -> Vec<Ranked> {
    workspace.begin(inputs, Met::Excluded);
    sources::only(inputs, source, wanted, workspace)
}

#[cfg(test)]
mod tests;
