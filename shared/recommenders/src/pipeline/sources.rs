//! How each scorer finds its best candidates and scores those of the others.

use ulex_algorithms::top_k::TopK;

use super::candidates::{Candidates, Scorer};
use super::workspace::{ScoreBuffer, Workspace};
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
    let mut buffer = workspace.take_buffer(column);
    buffer.clear(live.set.items.len());
    let list = match scorer {
        Scorer::Leaderboard(name) => leaderboard(inputs, live, (name, wanted), workspace, &mut buffer),
        Scorer::Collaborative(model) => {
            if let Some(model) = live.set.collaborative.get(*model) {
                workspace.score_collaborative(model, &mut buffer);
            }
            best(inputs, live, &buffer, wanted, workspace)
        }
        Scorer::ItemToItem(name) => {
            item_to_item(inputs, live, name, workspace, &mut buffer);
            best(inputs, live, &buffer, wanted, workspace)
        }
        Scorer::UserToUser(name) => {
            user_to_user(inputs, live, name, workspace, &mut buffer);
            best(inputs, live, &buffer, wanted, workspace)
        }
        Scorer::Latest | Scorer::Ranker => Vec::new(),
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
        buffer.add(index, score as f32);
        let slot = live.slot(index).filter(|&slot| workspace.may_show(inputs, slot));
        if let Some(slot) = slot.filter(|_| list.len() < wanted) {
            list.push(Ranked { slot, score: score as f32 });
        }
    }
    list
}

fn item_to_item(
    inputs: &Inputs<'_>,
    live: &Live,
    name: &str,
    workspace: &Workspace,
    buffer: &mut ScoreBuffer,
) {
    let Some(neighbors) = live.set.item_neighbors(name).map(|found| found.for_recall()) else { return };
    for (&liked, &weight) in workspace.liked.iter().zip(&workspace.weights).take(inputs.plan.context_size) {
        let (items, scores) = neighbors.row(liked);
        for (&item, &score) in items.iter().zip(scores) {
            buffer.add(item, score * weight);
        }
    }
}

fn user_to_user(
    inputs: &Inputs<'_>,
    live: &Live,
    name: &str,
    workspace: &mut Workspace,
    buffer: &mut ScoreBuffer,
) {
    let liked = (&workspace.liked[..], &workspace.weights[..]);
    let similar = live.set.similar_users(name, inputs.user, liked, SIMILAR_USERS);
    for user in similar {
        let (items, weights) = live.set.discounted.row(user.index as usize);
        for (&item, &weight) in items.iter().zip(weights) {
            buffer.add(item, user.score * weight);
        }
    }
}

/// The best of a buffer that may be shown.
fn best(
    inputs: &Inputs<'_>,
    live: &Live,
    buffer: &ScoreBuffer,
    wanted: usize,
    workspace: &Workspace,
) -> Vec<Ranked> {
    let mut top = TopK::new(wanted);
    for (index, score) in buffer.scored() {
        if score <= top.threshold() {
            continue;
        }
        if let Some(slot) = live.slot(index).filter(|&slot| workspace.may_show(inputs, slot)) {
            top.push(slot, score);
        }
    }
    top.into_sorted().into_iter().map(|place| Ranked { slot: place.index, score: place.score }).collect()
}

/// Fills in what each scorer thinks of the candidates of the others.
pub(super) fn complete(inputs: &Inputs<'_>, candidates: &mut Candidates, workspace: &mut Workspace) {
    let columns = candidates.scorers.len();
    for (column, scorer) in candidates.scorers.iter().enumerate() {
        for (row, &slot) in candidates.slots.iter().enumerate() {
            let score = &mut candidates.scores[row * columns + column];
            if !score.is_nan() {
                continue;
            }
            let found = match scorer {
                Scorer::Latest => (!inputs.view.timestamp(slot).is_zero()).then(|| published(inputs, slot)),
                Scorer::Ranker => None,
                Scorer::Collaborative(_)
                | Scorer::ItemToItem(_)
                | Scorer::UserToUser(_)
                | Scorer::Leaderboard(_) => inputs
                    .live
                    .and_then(|live| live.index(slot))
                    .and_then(|index| workspace.buffer(column)?.get(index)),
            };
            *score = found.unwrap_or(f32::NAN);
        }
    }
    if let Some(column) = candidates.scorers.iter().position(|scorer| *scorer == Scorer::Ranker) {
        rank_column(inputs, candidates, column, workspace);
    }
}

fn rank_column(inputs: &Inputs<'_>, candidates: &mut Candidates, column: usize, workspace: &mut Workspace) {
    let Some(live) = inputs.live else { return };
    let Some(ranker) = &live.set.ranker else { return };
    let columns = candidates.scorers.len();
    let indexes: Vec<u32> =
        candidates.slots.iter().map(|&slot| live.index(slot).unwrap_or(u32::MAX)).collect();
    ranker.logits(inputs.user, &indexes, &mut workspace.clicks);
    for (row, &score) in workspace.clicks.iter().enumerate() {
        candidates.scores[row * columns + column] = score;
    }
}
