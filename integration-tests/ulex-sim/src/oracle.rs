//! Judgement of a run: what the store holds at rest, what clients were told, and what every server knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ulex_domain::FailureCode;
use ulex_nats::dead_letters::{DeadBody, DeadLetter};
use ulex_nats::topology::{DEAD, EVENTS};
use ulex_recommenders::catalogue::Eligibility;
use ulex_recommenders::request::ScoredId;
use ulex_storage::data::{DataStore as _, MemoryStore};

use crate::commands::{item_id, number_in, number_of};
use crate::history::{Answer, Call, History};
use crate::steps::{ITEMS, NODES};
use crate::store::Effect;
use crate::world::World;

/// Invariants that every run is judged by.
pub const INVARIANTS: &[&str] = &[
    "I1 an acknowledged write is in effect exactly once",
    "I2 a refused write never takes effect, an unknown one at most once",
    "I3 effects follow the order of the log",
    "I4 at rest the store is the fold of the effects, and every catalogue knows the store's items",
    "I5 a list that begins after the acknowledgement of a hiding write does not show the item",
    "I7 no dead letters of sensible writes",
    "I9 nothing waits in a gateway at rest",
    "I10 writes succeed within a minute after the last fault",
];

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Number and name.
    pub invariant: &'static str,
    /// What was found.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.invariant, self.text)
    }
}

/// Faults after which a list may show for a while what was hidden before.
const LISTS_MAY_GO_BACK: &[&str] = &[
    "store_back",
    "cut_log",
    "restore_log",
    "recreate_log",
    "lose_log",
    "recreate_changes",
    "slow_network",
    "lose_answers",
];

/// Faults after which a message may have been applied before without anybody knowing.
const LOG_MAY_BE_CUT: &[&str] = &["cut_log", "restore_log", "recreate_log", "lose_log"];

/// Judges a list: `hidden` may not be in it.
#[must_use]
pub fn judge_list(list: &[ScoredId], hidden: &[u64], faults: &[&str]) -> Option<Violation> {
    if faults.iter().any(|fault| LISTS_MAY_GO_BACK.contains(fault)) {
        return None;
    }
    let shown = hidden.iter().find(|item| list.iter().any(|one| one.id == item_id(**item).as_str()))?;
    Some(Violation {
        invariant: "I5 reads follow writes",
        text: format!("item {shown} is shown after it was hidden"),
    })
}

/// Judges a world at rest.
pub async fn judge(world: &World, history: &History, faults: &[&str]) -> Vec<Violation> {
    let effects = world.database.effects();
    let mut violations = judge_effects(world, &history.calls(), &effects, faults);
    violations.extend(judge_order(world, &effects));
    violations.extend(judge_fold(world, &effects).await);
    violations.extend(judge_catalogues(world).await);
    violations.extend(judge_letters(world, faults));
    for node in 0..NODES {
        let waiting = world.serving(node).map_or(0, |serving| serving.gateway.waiting());
        if waiting > 0 {
            let text = format!("{waiting} writes wait in the gateway of node {node}");
            violations.push(Violation { invariant: "I9 bounds", text });
        }
    }
    violations
}

/// I1 and I2.
fn judge_effects(world: &World, calls: &[Call], effects: &[Effect], faults: &[&str]) -> Vec<Violation> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for number in effects.iter().filter_map(|effect| number_of(&effect.submission)) {
        *counts.entry(number).or_default() += 1;
    }
    let in_log = world.broker.change(|contents| {
        let stream = contents.streams.get(EVENTS.name.as_ref());
        let messages = stream.into_iter().flat_map(|stream| stream.messages.values());
        messages.filter_map(|kept| number_in(&kept.message.payload)).collect::<BTreeSet<u64>>()
    });
    let store_went_back = faults.contains(&"store_back");
    let undecided: BTreeSet<u64> = letters(world)
        .iter()
        .filter(|letter| letter.code == FailureCode::Undecided)
        .filter_map(|letter| match &letter.body {
            DeadBody::Text(text) => number_in(text.as_bytes()),
            DeadBody::Base64(_) | DeadBody::Beginning { .. } => None,
        })
        .collect();
    let mut violations = Vec::new();
    let mut say = |invariant: &'static str, call: &Call, count: usize| {
        let text = format!(
            "write {} ({:?}) was answered {:?} and took effect {count} times",
            call.number, call.write, call.answer
        );
        violations.push(Violation { invariant, text });
    };
    for call in calls {
        let count = counts.get(&call.number).copied().unwrap_or_default();
        // Whatever neither the log nor the restored store holds is lost, and nothing can bring it back; so is what was
        // only published before the log lost it.
        let is_lost = !in_log.contains(&call.number) && (store_went_back || call.write.is_none());
        // A person decides what no id decides.
        let is_lost = is_lost || (undecided.contains(&call.number) && call.write.is_none());
        match call.answer {
            Some(Answer::Done) if count == 0 && is_lost => {}
            Some(Answer::Done) if count != 1 => say("I1 acknowledged", call, count),
            Some(Answer::Refused) if count > 0 => say("I2 refused", call, count),
            Some(Answer::Unknown) | None if count > 1 => say("I2 unknown", call, count),
            Some(_) | None => {}
        }
    }
    violations
}

/// I3.
fn judge_order(world: &World, effects: &[Effect]) -> Option<Violation> {
    let appended: BTreeMap<(u64, u64), usize> = world.broker.change(|contents| {
        let places = contents.appended_writes.iter().enumerate();
        places.map(|(place, key)| (*key, place)).collect()
    });
    let place_of = |effect: &Effect| {
        let position = effect.submission.position.as_ref()?;
        let sequence = ulex_server::published::sequence_at(position.sequence);
        Some((*appended.get(&(number_of(&effect.submission)?, sequence))?, position.log.clone()))
    };
    let places: Vec<_> = effects.iter().filter_map(place_of).collect();
    let wrong = places.windows(2).find(|pair| pair[0].0 >= pair[1].0)?;
    let text = format!("{:?} took effect before {:?}", wrong[0], wrong[1]);
    Some(Violation { invariant: "I3 order", text })
}

/// I4, the store.
async fn judge_fold(world: &World, effects: &[Effect]) -> Option<Violation> {
    let fold = MemoryStore::new();
    for effect in effects {
        let submission =
            ulex_storage::data::Submission { position: None, follows: None, ..effect.submission.clone() };
        let _ = fold.apply(vec![submission]).await;
    }
    let store = world.database.contents();
    let both =
        (fold.list_feedback(None, usize::MAX, None, None), store.list_feedback(None, usize::MAX, None, None));
    let differs = both.0.await.ok() != both.1.await.ok()
        || fold.list_items(None, usize::MAX).await.ok() != store.list_items(None, usize::MAX).await.ok()
        || fold.list_users(None, usize::MAX).await.ok() != store.list_users(None, usize::MAX).await.ok();
    differs.then(|| Violation {
        invariant: "I4 at rest",
        text: "the store is not the fold of its effects".to_owned(),
    })
}

/// I4, the catalogues.
async fn judge_catalogues(world: &World) -> Vec<Violation> {
    let store = world.database.contents();
    let mut violations = Vec::new();
    for item in 0..ITEMS {
        let id = item_id(item);
        let kept = store.item(&id).await.ok().flatten();
        let should_show = kept.as_ref().is_some_and(|item| !item.is_hidden);
        for node in 0..NODES {
            let Some(serving) = world.serving(node) else { continue };
            let view = serving.recommender.catalogue().view();
            let shows = view
                .slot(id.as_str())
                .is_some_and(|slot| view.exists(slot) && view.is_eligible(slot, &Eligibility::any()));
            if shows != should_show {
                let text =
                    format!("item {item} is shown by node {node}: {shows}, by the store: {should_show}");
                violations.push(Violation { invariant: "I4 at rest", text });
            }
        }
    }
    violations
}

fn letters(world: &World) -> Vec<DeadLetter> {
    world.broker.change(|contents| {
        let stream = contents.streams.get(DEAD.name.as_ref());
        let messages = stream.into_iter().flat_map(|stream| stream.messages.values());
        messages.filter_map(|kept| serde_json::from_slice(&kept.message.payload).ok()).collect()
    })
}

/// I7: nothing sensible becomes a dead letter but messages without an id near the place where their log was cut.
fn judge_letters(world: &World, faults: &[&str]) -> Option<Violation> {
    let may_be_undecided = faults.iter().any(|fault| LOG_MAY_BE_CUT.contains(fault));
    let is_excused = |letter: &DeadLetter| may_be_undecided && letter.code == FailureCode::Undecided;
    let letters: Vec<_> = letters(world).into_iter().filter(|letter| !is_excused(letter)).collect();
    let first = letters.first()?;
    let text = format!("{} dead letters, the first because of: {}", letters.len(), first.reason);
    Some(Violation { invariant: "I7 dead letters", text })
}
