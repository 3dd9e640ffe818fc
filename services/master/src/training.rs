//! One training cycle: from the table to a complete ModelSet and what is known of its quality. Pure computation.
//!
//! 1. Read the signals, hold back validation and test ([`split`]).
//! 2. Fit on the rest, choose the collaborative models by full-catalogue NDCG@10 on the validation, and learn the blend
//!    of all sources there.
//! 3. Fit what was chosen on everything but the test, and report on the test, the pipeline as it serves and each of its
//!    sources alone; compare with the models in use where neither side has seen the test.
//! 4. Fit what was chosen on everything: that is the ModelSet.

pub mod blending;
pub mod collaborative;
pub mod content;
pub mod leaderboards;
pub mod neighborhoods;
pub mod pipeline_test;
pub mod ranker;
pub mod signals;
pub mod split;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use thiserror::Error;
use tracing::{info, warn};
use ulex_algorithms::click_through::FmParams;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::model_set::{Manifest, ModelSet, PipelineBlend, RankerModel};
use ulex_algorithms::progress::{CancelFlag, Progress};
use ulex_domain::Timestamp;
use ulex_recommenders::history::Signal;
use ulex_recommenders::live::Live;
use ulex_recommenders::plan::Plan;
use ulex_settings::Settings;

use crate::dataset::table::Table;
use crate::task_board::TaskBoard;
use collaborative::Recipe;
use content::Content;
use leaderboards::Boards;
use neighborhoods::{NeighborRecipe, Neighborhoods};
use pipeline_test::TestBed;
use ranker::RankerRecipe;
use signals::{Reading, Signals};
use split::{Part, Shares, Split};

/// How to fit.
#[derive(Clone, Debug)]
pub struct CycleSettings {
    /// All settings.
    pub settings: Settings,
    /// How lists are made.
    pub plan: Plan,
    /// Digest of everything a ModelSet depends on.
    pub digest: String,
}

impl CycleSettings {
    /// What these settings say.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let plan = Plan::new(&settings);
        let digest = plan.digest.clone();
        Self { settings, plan, digest }
    }
}

/// Why there is no ModelSet.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CycleError {
    /// There is nothing to learn from.
    #[error("{0}")]
    Empty(&'static str),
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A part failed.
    #[error("{0}")]
    Failed(String),
}

/// NDCG@10 of the same users under two ModelSets, none of which has seen their test.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The new one.
    pub candidate: Vec<f64>,
    /// The one in use.
    pub live: Vec<f64>,
}

/// A finished cycle.
#[derive(Clone, Debug)]
pub struct Cycled {
    /// What was made.
    pub set: ModelSet,
    /// Users, the most recently active first.
    pub users: Vec<String>,
    /// Against the models in use, where that is fair.
    pub comparison: Option<Comparison>,
    /// Id of the ModelSet it was compared with.
    pub compared_with: Option<String>,
    /// What is not sane about the ModelSet; one sentence each.
    pub problems: Vec<String>,
}

/// What a cycle works on.
pub struct Cycle<'a> {
    /// The data.
    pub table: &'a Table,
    /// How to fit.
    pub settings: &'a CycleSettings,
    /// The models in use.
    pub live: Option<&'a ModelSet>,
    /// The present.
    pub now: Timestamp,
    /// Where progress is shown.
    pub tasks: &'a TaskBoard,
    /// Stops the cycle at its next step.
    pub cancel: &'a CancelFlag,
}

/// Everything that is chosen once and fitted several times.
pub(crate) struct Chosen {
    pub collaborative: Vec<Recipe>,
    pub neighbors: NeighborRecipe,
    pub ranker: Option<RankerRecipe>,
    pub blend: Option<PipelineBlend>,
}

/// What all fits of a cycle share.
pub(crate) struct Shared {
    pub signals: Signals,
    pub content: Content,
    pub shape: (usize, usize),
}

impl Cycle<'_> {
    /// Runs the cycle on the current thread pool.
    ///
    /// # Errors
    ///
    /// See [`CycleError`]; nothing is left behind.
    pub fn run(&self) -> Result<Cycled, CycleError> {
        let mut times = BTreeMap::new();
        let shared = timed(&mut times, "read_seconds", || self.read())?;
        let known = self.live.map(|live| self.known_by(live));
        let shares = Shares { seed: self.settings.settings.training.seed, ..Shares::default() };
        let is_known = known.as_ref().map(|known| known as &dyn Fn(&signals::Pair) -> bool);
        let split = Split::new(&shared.signals.pairs, &shares, is_known);
        let bed = TestBed::new(self.table, &shared, &split);

        let task = self.tasks.begin("Train Collaborative Filtering Model", 4);
        let chosen = timed(&mut times, "choose_seconds", || self.choose(&shared, &split, &bed, &task));
        let chosen = chosen.inspect_err(|reason| task_failed(self.tasks, reason))?;
        self.check()?;
        task.at(2);
        let (mut metrics, tested) =
            timed(&mut times, "test_seconds", || self.test(&shared, &split, &bed, &chosen))?;
        task.at(3);
        let everything =
            split.liked(&shared.signals.pairs, &[Part::Train, Part::Validation, Part::Test], shared.shape);
        let all = |_: usize| true;
        let mut set = timed(&mut times, "refit_seconds", || self.fit(&shared, &everything, &all, &chosen))?;
        task.finish();
        set.leaderboards = timed(&mut times, "leaderboard_seconds", || Boards::new(self).build())?;
        metrics.extend(times);
        set.manifest = self.manifest(&shared, &everything, &chosen, metrics);
        set.manifest.content =
            set.content_digest().map_err(|reason| CycleError::Failed(reason.to_string()))?;
        let problems = pipeline_test::problems(&set);
        info!(
            model_set = set.id(),
            ndcg = set.manifest.metrics.get("pipeline.ndcg@10"),
            "training cycle finished"
        );
        let users = active_users(self.table, &shared);
        let compared_with = tested.as_ref().and(self.live).map(|live| live.id().to_owned());
        Ok(Cycled { set, users, comparison: tested, compared_with, problems })
    }

    /// Chooses and fits the click-through-rate model alone, on the whole table, to measure it by itself; `None` if there
    /// is nothing to learn from.
    ///
    /// # Errors
    ///
    /// As [`Cycle::run`].
    pub fn ranker(&self, params: &FmParams) -> Result<Option<RankerModel>, CycleError> {
        let shared = self.read()?;
        let all = |_: usize| true;
        match ranker::choose_from(&shared, &all, params, self.cancel)? {
            Some(recipe) => ranker::fit(&shared, &all, &recipe, params.seed, self.cancel),
            None => Ok(None),
        }
    }

    fn check(&self) -> Result<(), CycleError> {
        if self.cancel.epoch(0, 0).is_break() { Err(CycleError::Cancelled) } else { Ok(()) }
    }

    fn read(&self) -> Result<Shared, CycleError> {
        let data = &self.settings.settings.recommend.data_source;
        let oldest = data
            .positive_feedback_ttl
            .map(|ttl| self.now.plus_nanos(-i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX)));
        let reading = Reading { types: &self.settings.plan.types, now: self.now, oldest };
        let signals = Signals::read(self.table, &reading);
        if self.table.item_texts.iter().all(|text| text.is_empty()) {
            return Err(CycleError::Empty("No item found."));
        }
        if !signals.pairs.iter().any(|pair| pair.signal == Signal::Positive) {
            return Err(CycleError::Empty("No feedback found."));
        }
        let content = Content::read(self.table, &self.settings.settings.recommend, self.now);
        let shape = (self.table.users.len(), self.table.items.len());
        Ok(Shared { signals, content, shape })
    }

    /// Whether a pair was in the data of a ModelSet.
    fn known_by(&self, live: &ModelSet) -> impl Fn(&signals::Pair) -> bool + use<> {
        let users: Vec<Option<u32>> = self.table.users.iter().map(|id| live.users.index(id)).collect();
        let items: Vec<Option<u32>> = self.table.items.iter().map(|id| live.items.index(id)).collect();
        let liked = live.liked.clone();
        move |pair| {
            let user = users.get(pair.user as usize).copied().flatten();
            let item = items.get(pair.item as usize).copied().flatten();
            user.zip(item).is_some_and(|(user, item)| liked.contains(user as usize, item))
        }
    }

    /// Fits on the train part and chooses on the validation.
    fn choose(
        &self,
        shared: &Shared,
        split: &Split,
        bed: &TestBed<'_>,
        task: &crate::task_board::Task,
    ) -> Result<Chosen, CycleError> {
        let train = split.liked(&shared.signals.pairs, &[Part::Train], shared.shape);
        let validation = split.liked(&shared.signals.pairs, &[Part::Validation], shared.shape);
        let seed = self.settings.settings.training.seed;
        let collaborative = if self.settings.plan.collaborative {
            collaborative::choose(&train, &validation, seed, self.cancel)?
        } else {
            Vec::new()
        };
        self.check()?;
        task.at(1);
        let neighbors = NeighborRecipe::choose(&train, &validation);
        let mut chosen = Chosen { collaborative, neighbors, ranker: None, blend: None };
        if !self.settings.plan.ranked {
            return Ok(chosen);
        }
        let ranking = self.tasks.begin("Train Click-Through Rate Prediction Model", 2);
        let in_train = |pair: usize| split.parts[pair] == Part::Train;
        chosen.ranker = ranker::choose(shared, &in_train, seed, self.cancel)?;
        ranking.at(1);
        let mut set = self.fit(shared, &train, &in_train, &chosen)?;
        // Without them the blend would have to guess what leaderboards are worth.
        set.leaderboards = Boards::new(self).counting(&train);
        chosen.blend = blending::learn(bed, set, &self.settings.plan, self.now);
        ranking.finish();
        Ok(chosen)
    }

    /// Reports on the test; compares with the models in use where that is fair.
    fn test(
        &self,
        shared: &Shared,
        split: &Split,
        bed: &TestBed<'_>,
        chosen: &Chosen,
    ) -> Result<(BTreeMap<String, f64>, Option<Comparison>), CycleError> {
        let before = [Part::Train, Part::Validation];
        let liked = split.liked(&shared.signals.pairs, &before, shared.shape);
        let in_before = |pair: usize| before.contains(&split.parts[pair]);
        let mut set = self.fit(shared, &liked, &in_before, chosen)?;
        set.leaderboards = Boards::new(self).counting(&liked);
        let set = Arc::new(set);
        self.check()?;
        let mut metrics = BTreeMap::new();
        if let Some(ranker) = &chosen.ranker {
            metrics.insert("ranker.auc".to_owned(), ranker.auc);
        }
        let live = Live::new(set, bed.catalogue());
        let plan = &self.settings.plan;
        let pipeline = bed.evaluate(Some(&live), plan, None, self.now);
        pipeline_test::note(&mut metrics, "pipeline", &pipeline);
        for source in &plan.sources {
            let alone = bed.evaluate(Some(&live), plan, Some(source), self.now);
            pipeline_test::note(&mut metrics, &source.to_string(), &alone);
        }
        let (Some(in_use), true) = (self.live, split.comparable) else { return Ok((metrics, None)) };
        let in_use = Live::new(Arc::new(in_use.clone()), bed.catalogue());
        let theirs = bed.evaluate(Some(&in_use), plan, None, self.now);
        pipeline_test::note(&mut metrics, "live.pipeline", &theirs);
        Ok((metrics, Some(Comparison { candidate: pipeline.ndcg(), live: theirs.ndcg() })))
    }

    /// Fits everything that was chosen on some of the liked pairs. Leaderboards and manifest are left empty.
    fn fit(
        &self,
        shared: &Shared,
        liked: &Interactions,
        included: &dyn Fn(usize) -> bool,
        chosen: &Chosen,
    ) -> Result<ModelSet, CycleError> {
        self.check()?;
        let seed = self.settings.settings.training.seed;
        let mut collaborative = Vec::new();
        for recipe in &chosen.collaborative {
            collaborative.push(recipe.fit(liked, seed, self.cancel)?);
            self.check()?;
        }
        let ranker = match &chosen.ranker {
            Some(recipe) => ranker::fit(shared, included, recipe, seed, self.cancel)?,
            None => None,
        };
        self.check()?;
        let recommend = &self.settings.settings.recommend;
        let neighborhoods = Neighborhoods::new(recommend, &shared.content, liked, &chosen.neighbors);
        Ok(ModelSet {
            manifest: Manifest { type_scales: scales(shared), ..Manifest::default() },
            users: self.table.users.clone(),
            items: self.table.items.clone(),
            overlap: neighborhoods.overlap,
            popularity_discount: chosen.neighbors.users.popularity,
            discounted: neighborhoods.discounted,
            item_to_item: neighborhoods.item_to_item,
            user_to_user: neighborhoods.user_to_user,
            liked: liked.clone(),
            collaborative,
            leaderboards: Vec::new(),
            ranker,
            blend: chosen.blend.clone(),
        })
    }

    fn manifest(
        &self,
        shared: &Shared,
        liked: &Interactions,
        chosen: &Chosen,
        metrics: BTreeMap<String, f64>,
    ) -> Manifest {
        let created_ms = self.now.as_nanos() / 1_000_000;
        let mut recipe = BTreeMap::new();
        recipe.insert("collaborative".to_owned(), json!(chosen.collaborative));
        recipe.insert("neighbors".to_owned(), json!(chosen.neighbors));
        recipe.insert("ranker".to_owned(), json!(chosen.ranker));
        if let Some(blend) = &chosen.blend {
            let weights = blend.scorers.iter().zip(blend.blend.weights());
            recipe.insert(
                "blend".to_owned(),
                weights.map(|(name, &weight)| (name.clone(), json!(weight))).collect(),
            );
        }
        Manifest {
            id: format!("ms-{created_ms:014}"),
            epoch: 0,
            created_ms,
            content: String::new(),
            settings_digest: self.settings.digest.clone(),
            seed: self.settings.settings.training.seed,
            users: shared.shape.0,
            items: shared.shape.1,
            liked: liked.len(),
            rows: self.table.rows.len(),
            type_scales: scales(shared),
            recipe,
            metrics,
        }
    }
}

fn task_failed(tasks: &TaskBoard, reason: &CycleError) {
    tasks.begin("Train Collaborative Filtering Model", 1).fail(&reason.to_string());
}

fn scales(shared: &Shared) -> BTreeMap<String, f32> {
    shared.signals.scales.0.iter().map(|(name, &scale)| (name.to_string(), scale)).collect()
}

fn timed<T>(times: &mut BTreeMap<String, f64>, name: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    times.insert(name.to_owned(), begun.elapsed().as_secs_f64());
    result
}

/// Users, the most recently active first.
fn active_users(table: &Table, shared: &Shared) -> Vec<String> {
    let mut last: Vec<(Timestamp, u32)> = Vec::new();
    for of_user in shared.signals.pairs.chunk_by(|a, b| a.user == b.user) {
        let latest = of_user.iter().map(|pair| pair.updated).max();
        last.extend(latest.map(|moment| (moment, of_user[0].user)));
    }
    last.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    last.into_iter().map(|(_, user)| table.users.id(user).to_owned()).collect()
}

/// Says in the log what a part could not do; the cycle goes on without it.
pub(crate) fn without(part: &str, reason: &dyn std::fmt::Display) {
    warn!(part, %reason, "fitting goes on without a part");
}
