//! How good the lists are that would be served: the very pipeline of serving, run for users whose next steps are known.

use std::collections::BTreeMap;

use rayon::prelude::*;
use ulex_algorithms::evaluation::ranking::{RankingMeasures, measure};
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::model_set::{Collaborative, ModelSet};
use ulex_domain::{ItemId, Timestamp};
use ulex_domain::{ItemState, Version};
use ulex_recommenders::catalogue::{Catalogue, Eligibility};
use ulex_recommenders::history::{History, Liked, Signal};
use ulex_recommenders::live::Live;
use ulex_recommenders::pipeline::{Inputs, Workspace, recommend, single};
use ulex_recommenders::plan::{Plan, Source};

use super::Shared;
use super::signals::Pair;
use super::split::{Part, Split};
use crate::dataset::table::Table;

/// Length of the lists that are measured.
pub const CUTOFF: usize = 10;

/// Users with something held back, and all items that exist.
pub struct TestBed<'a> {
    table: &'a Table,
    pairs: &'a [Pair],
    parts: &'a [Part],
    catalogue: Catalogue,
    spans: Vec<std::ops::Range<usize>>,
    test: Interactions,
    shape: (usize, usize),
}

/// Measures of each user at [`CUTOFF`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured(pub Vec<RankingMeasures>);

impl Measured {
    /// NDCG, user by user.
    #[must_use]
    pub fn ndcg(&self) -> Vec<f64> {
        self.0.iter().map(|user| user.ndcg).collect()
    }

    fn mean(&self, value: fn(&RankingMeasures) -> f64) -> f64 {
        self.0.iter().map(value).sum::<f64>() / self.0.len().max(1) as f64
    }
}

/// Notes the means under `<name>.ndcg@10` and so on.
pub fn note(metrics: &mut BTreeMap<String, f64>, name: &str, measured: &Measured) {
    metrics.insert(format!("{name}.ndcg@{CUTOFF}"), measured.mean(|user| user.ndcg));
    metrics.insert(format!("{name}.recall@{CUTOFF}"), measured.mean(|user| user.recall));
    metrics.insert(format!("{name}.precision@{CUTOFF}"), measured.mean(|user| user.precision));
    metrics.insert(format!("{name}.hr@{CUTOFF}"), measured.mean(|user| user.hit_rate));
    metrics.insert(format!("{name}.users"), measured.0.len() as f64);
}

impl<'a> TestBed<'a> {
    /// Puts every item that exists into a catalogue of its own.
    #[must_use]
    pub(crate) fn new(table: &'a Table, shared: &'a Shared, split: &'a Split) -> Self {
        let catalogue = Catalogue::default();
        let items = (0..table.items.len() as u32).filter(|&item| !table.item_texts_of(item).is_empty());
        let state = |item: u32| ItemState {
            item_id: ItemId::new(table.items.id(item)),
            is_hidden: false,
            categories: Vec::new(),
            timestamp: table.item(item).map_or(Timestamp::ZERO, |item| item.timestamp),
            version: Version::ZERO,
        };
        catalogue.put(&items.map(state).collect::<Vec<_>>());
        let pairs = &shared.signals.pairs;
        let mut spans = Vec::new();
        let mut start = 0;
        for of_user in pairs.chunk_by(|a, b| a.user == b.user) {
            spans.push(start..start + of_user.len());
            start += of_user.len();
        }
        let test = split.liked(pairs, &[Part::Test], shared.shape);
        Self { table, pairs, parts: &split.parts, catalogue, spans, test, shape: shared.shape }
    }

    /// The items.
    #[must_use]
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Users × items.
    #[must_use]
    pub const fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// The user of a pair.
    #[must_use]
    pub fn user(&self, pair: usize) -> u32 {
        self.pairs[pair].user
    }

    /// Users that have something in `part`, as spans of pairs.
    pub fn users_with(&self, part: Part) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let has = move |span: &std::ops::Range<usize>| self.parts[span.clone()].contains(&part);
        self.spans.iter().filter(move |span| has(span)).cloned()
    }

    /// What a user had done before `part`.
    #[must_use]
    pub fn history(&self, span: std::ops::Range<usize>, part: Part) -> History {
        let mut history = History::default();
        for pair in span.rev() {
            let before = match self.parts[pair] {
                Part::Train => true,
                Part::Validation => part == Part::Test,
                Part::Test => false,
            };
            let Pair { item, signal, weight, updated, .. } = self.pairs[pair];
            let id = ItemId::new(self.table.items.id(item));
            match signal {
                Signal::Positive if before => history.liked.push(Liked { item: id, weight, updated }),
                // What was only read may be liked later; the test must be able to show it.
                Signal::Negative => history.disliked.push(id),
                Signal::Positive | Signal::Read | Signal::Other => {}
            }
        }
        history
    }

    /// The liked items of `part`, ascending.
    #[must_use]
    pub fn wanted(&self, span: std::ops::Range<usize>, part: Part) -> Vec<u32> {
        let liked =
            span.filter(|&pair| self.parts[pair] == part && self.pairs[pair].signal == Signal::Positive);
        let mut items: Vec<u32> = liked.map(|pair| self.pairs[pair].item).collect();
        items.sort_unstable();
        items
    }

    /// Makes the list of every test user, as the pipeline or as one source alone, and measures it.
    #[must_use]
    pub fn evaluate(
        &self,
        live: Option<&Live>,
        plan: &Plan,
        source: Option<&Source>,
        _now: Timestamp,
    ) -> Measured {
        let spans: Vec<_> = self.users_with(Part::Test).collect();
        let eligibility = Eligibility::any();
        let evaluate = |workspace: &mut Workspace, span: &std::ops::Range<usize>| {
            let history = self.history(span.clone(), Part::Test);
            let user = self.pairs[span.start].user;
            let view = self.catalogue.view();
            let known = live.and_then(|live| live.set.users.index(self.table.users.id(user)));
            let inputs =
                Inputs { live, view: &view, plan, user: known, history: &history, eligibility: &eligibility };
            let list = match source {
                None => recommend(&inputs, CUTOFF, workspace),
                Some(source) => single(&inputs, source, CUTOFF, workspace),
            };
            let items: Vec<u32> =
                list.iter().filter_map(|place| self.table.items.index(view.id(place.slot))).collect();
            measure(&items, self.test.row(user as usize).0, CUTOFF)
        };
        Measured(spans.par_iter().map_init(Workspace::default, evaluate).collect())
    }
}

/// What is not sane about a ModelSet; one sentence each.
#[must_use]
pub fn problems(set: &ModelSet) -> Vec<String> {
    let mut problems = Vec::new();
    for model in &set.collaborative {
        let (kind, sound) = match model {
            Collaborative::Factors(factors) => {
                (factors.kind.as_str(), factors.model.items.iter().all(|value| value.is_finite()))
            }
            Collaborative::Linear(linear) => {
                ("ease", linear.votes.weights().iter().chain(&linear.rest).all(|value| value.is_finite()))
            }
        };
        if !sound {
            problems.push(format!("{kind} has a value that is not finite"));
        }
    }
    if set.items.is_empty() {
        problems.push("there is no item".to_owned());
    }
    if set.manifest.metrics.values().any(|value| !value.is_finite()) {
        problems.push("a metric is not finite".to_owned());
    }
    problems
}
