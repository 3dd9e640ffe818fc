//! How each scorer finds its best candidates and scores those of the others.

use ulex_algorithms::model_set::ItemNeighbors;
use ulex_algorithms::top_k::TopK;

use super::buffer::ScoreBuffer;
use super::candidates::{Candidates, Scorer};
use super::workspace::Workspace;
use super::{Inputs, Ranked};
use crate::live::Live;
use crate::plan::Source;

/// Similar users whose likes are counted.
const SIMILAR_USERS: usize = 100;

/// The columns that the given sources have in this ModelSet.
pub(super) fn scorers(inputs: &Inputs<'_>, sources: &[Source]) -> Vec<Scorer> {
    let mut scorers = Vec::with_capacity(sources.len() + 2);
    for source in sources {
        match source {
            Source::Latest => scorers.push(Scorer::Latest),
            Source::Collaborative => {
                let models = inputs.live.map_or(0, |live| live.set.collaborative.len());
                scorers.extend((0..models).map(Scorer::Collaborative));
            }
            Source::Leaderboard(name) => scorers.push(Scorer::Leaderboard(name.clone())),
            Source::ItemToItem(name) => scorers.push(Scorer::ItemToItem(name.clone())),
            Source::UserToUser(name) => scorers.push(Scorer::UserToUser(name.clone())),
        }
    }
    if inputs.plan.ranked && inputs.live.is_some_and(|live| live.set.ranker.is_some()) {
        scorers.push(Scorer::Ranker);
    }
    scorers
}

/// What one source alone has, best first; of several collaborative models the first.
pub(super) fn only(
    inputs: &Inputs<'_>,
    source: &Source,
    wanted: usize,
    workspace: &mut Workspace,
) -> Vec<Ranked> {
    let scorer = match source {
        Source::Latest => Scorer::Latest,
        Source::Collaborative => Scorer::Collaborative(0),
        Source::Leaderboard(name) => Scorer::Leaderboard(name.clone()),
        Source::ItemToItem(name) => Scorer::ItemToItem(name.clone()),
        Source::UserToUser(name) => Scorer::UserToUser(name.clone()),
    };
    recall(inputs, &scorer, 0, wanted, workspace)
}

/// Scores what the scorer knows into the buffer of its column and returns the best that may be shown.
pub(super) fn recall(
    inputs: &Inputs<'_>,
    scorer: &Scorer,
    column: usize,
    wanted: usize,
    workspace: &mut Workspace,
) -> Vec<Ranked> {
    if *scorer == Scorer::Latest {
        return latest(inputs, wanted, workspace);
    }
    let Some(live) = inputs.live else { return Vec::new() };
    let items = live.set.items.len();
    let mut buffer = workspace.take_buffer(column);
    let list = match scorer {
        Scorer::Leaderboard(name) => {
            buffer.clear(items);
            leaderboard(inputs, live, (name, wanted), workspace, &mut buffer)
        }
        Scorer::Collaborative(model) => {
            workspace.score_collaborative(live, *model, &mut buffer);
            best(inputs, live, &buffer, wanted, workspace)
        }
        Scorer::ItemToItem(name) => {
            buffer.clear(items);
            item_to_item(inputs, live, name, workspace, &mut buffer);
            best(inputs, live, &buffer, wanted, workspace)
        }
        Scorer::UserToUser(name) => {
            buffer.clear(items);
            user_to_user(inputs, live, name, workspace, &mut buffer);
            best(inputs, live, &buffer, wanted, workspace)
        }
        Scorer::Latest | Scorer::Ranker => {
            buffer.clear(items);
            Vec::new()
        }
    };
    workspace.put_buffer(column, buffer);
    list
}

fn latest(inputs: &Inputs<'_>, wanted: usize, workspace: &Workspace) -> Vec<Ranked> {
    let newest = inputs.view.newest(inputs.eligibility).filter(|&slot| workspace.may_show(inputs, slot));
    let scored = newest.take(wanted).map(|slot| Ranked { slot, score: published(inputs, slot) });
    scored.collect()
}

fn published(inputs: &Inputs<'_>, slot: u32) -> f32 {
    inputs.view.timestamp(slot).as_unix_seconds() as f32
}

fn leaderboard(
    inputs: &Inputs<'_>,
    live: &Live,
    (name, wanted): (&str, usize),
    workspace: &Workspace,
    buffer: &mut ScoreBuffer,
) -> Vec<Ranked> {
    let mut list = Vec::new();
    let entries = live.set.leaderboard(name).map_or(&[][..], |board| &board.entries[..]);
    for &(index, score) in entries {
        // A board that names an item twice means the better place.
        if buffer.get(index).is_some() || !(score as f32).is_finite() {
            continue;
        }
        buffer.add(index, score as f32);
        let slot = live.slot(index).filter(|&slot| list.len() < wanted && workspace.may_show(inputs, slot));
        list.extend(slot.map(|slot| Ranked { slot, score: score as f32 }));
    }
    list
}

/// The latest likes that have neighbours at all speak, up to the context size.
fn item_to_item(
    inputs: &Inputs<'_>,
    live: &Live,
    name: &str,
    workspace: &Workspace,
    buffer: &mut ScoreBuffer,
) {
    let Some(neighbors) = live.set.item_neighbors(name).map(ItemNeighbors::for_recall) else { return };
    let liked = workspace.liked.iter().zip(&workspace.weights);
    let speaking = liked.map(|(&liked, weight)| (neighbors.row(liked), weight));
    let speaking = speaking.filter(|((items, _), _)| !items.is_empty());
    for ((items, scores), weight) in speaking.take(inputs.plan.context_size) {
        buffer.add_scaled(items, scores, *weight);
    }
}

fn user_to_user(
    inputs: &Inputs<'_>,
    live: &Live,
    name: &str,
    workspace: &mut Workspace,
    buffer: &mut ScoreBuffer,
) {
    let by_items = live.set.user_to_user.iter().any(|known| known.name == name && known.by_items);
    if by_items && workspace.liked.is_empty() {
        // What the user liked at the time of the fit has been taken back.
        return;
    }
    let Workspace { liked, weights, similar, .. } = workspace;
    let memory = (SIMILAR_USERS, similar);
    for user in live.set.similar_users_with(name, inputs.user, (liked, weights), memory) {
        let (items, weights) = live.set.discounted.row(user.index as usize);
        buffer.add_scaled(items, weights, user.score);
    }
}

/// The best of a buffer that may be shown; of equal scores the lower slot.
fn best(
    inputs: &Inputs<'_>,
    live: &Live,
    buffer: &ScoreBuffer,
    wanted: usize,
    workspace: &Workspace,
) -> Vec<Ranked> {
    if wanted == 0 {
        return Vec::new();
    }
    let mut top = TopK::new(wanted);
    buffer.visit(|index, score| {
        let slot = workspace.slot_of(live, index).filter(|&slot| workspace.may_show(inputs, slot));
        if let Some(slot) = slot {
            top.push(slot, score);
        }
        top.threshold()
    });
    top.into_sorted().into_iter().map(|place| Ranked { slot: place.index, score: place.score }).collect()
}

/// Fills in what each scorer thinks of the candidates of the others.
pub(super) fn complete(inputs: &Inputs<'_>, candidates: &mut Candidates, workspace: &mut Workspace) {
    let Candidates { scorers, slots, scores, .. } = candidates;
    let columns = scorers.len();
    let index_at = |&slot| inputs.live.and_then(|live| workspace.index_at(live, slot)).unwrap_or(u32::MAX);
    let indexes: Vec<u32> = slots.iter().map(index_at).collect();
    workspace.indexes = indexes;
    for (column, scorer) in scorers.iter().enumerate() {
        let cells = scores.iter_mut().skip(column).step_by(columns);
        match scorer {
            Scorer::Latest => {
                for (score, &slot) in cells.zip(&*slots) {
                    let known = !inputs.view.timestamp(slot).is_zero();
                    *score = if known { published(inputs, slot) } else { f32::NAN };
                }
            }
            Scorer::Ranker => rank_column(inputs, cells, workspace),
            Scorer::Collaborative(_)
            | Scorer::ItemToItem(_)
            | Scorer::UserToUser(_)
            | Scorer::Leaderboard(_) => {
                let Some(buffer) = workspace.buffer(column).filter(|_| inputs.live.is_some()) else {
                    continue;
                };
                for (score, &index) in cells.zip(&workspace.indexes) {
                    *score = buffer.get(index).unwrap_or(f32::NAN);
                }
            }
        }
    }
}

fn rank_column<'a>(inputs: &Inputs<'_>, cells: impl Iterator<Item = &'a mut f32>, workspace: &mut Workspace) {
    let Some(ranker) = inputs.live.and_then(|live| live.set.ranker.as_ref()) else { return };
    let Workspace { indexes, clicks, .. } = workspace;
    ranker.logits(inputs.user, indexes, clicks);
    cells.zip(&*clicks).for_each(|(cell, &logit)| *cell = logit);
}
