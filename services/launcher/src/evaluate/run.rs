//! `ulex evaluate`: divides data, trains one model on the training part and says what it is worth on the rest.

use std::process::ExitCode;
use std::time::Instant;

use thiserror::Error;
use ulex_algorithms::click_through::{FmError, FmParams};
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::matrix_factorization::FactorizationError;
use ulex_algorithms::model_set::RankerModel;
use ulex_algorithms::similarity::KnnParams;
use ulex_domain::Timestamp;
use ulex_master::dataset::table::Table;
use ulex_master::training::{CycleError, CycleSettings};
use ulex_recommenders::plan::Plan;
use ulex_settings::{LoadError, Loaded, Settings, load};
use ulex_storage::StorageError;

use super::cases::{Cases, Recommends};
use super::clicks;
use super::divided::{DivideError, Divided, Division};
use super::models::{Recipe, Scorer};
use super::neighborhood::{Neighborhood, Side};
use super::parameters::{self, ParameterError};
use super::pipeline::{Served, train, train_ranker};
use super::report::Report;
use super::splits::{self, Split, SplitError};
use crate::command_line::{EvaluateArguments, ModelChoice, SplitChoice};
use crate::configuration::{Voice, start_logging};
use crate::exit::{self, print};
use crate::parts::{DirectoryLock, StartError, open_data};

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum EvaluateError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Settings(#[from] LoadError),
    /// The parameters cannot be used.
    #[error("{0}")]
    Parameter(#[from] ParameterError),
    /// This model makes no sense on this split.
    #[error("{0}")]
    Mismatch(&'static str),
    /// The files cannot be used.
    #[error("{0}")]
    Files(#[from] SplitError),
    /// There is no data directory.
    #[error("{0} holds no data: no such directory; `ulex import` fills it")]
    NoDirectory(std::path::PathBuf),
    /// The data cannot be opened.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The data cannot be read.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// The data cannot be divided.
    #[error("{0}")]
    Divide(#[from] DivideError),
    /// The model cannot be fitted.
    #[error("{0}")]
    Factorization(#[from] FactorizationError),
    /// The ranker cannot be fitted.
    #[error("{0}")]
    Machine(#[from] FmError),
    /// The training cycle came to nothing.
    #[error("{0}")]
    Cycle(#[from] CycleError),
}

impl EvaluateError {
    /// Whether the command itself makes no sense.
    const fn is_usage(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Parameter(_) | Self::Mismatch(_) => true,
            Self::Files(_)
            | Self::NoDirectory(_)
            | Self::Start(_)
            | Self::Storage(_)
            | Self::Divide(_)
            | Self::Factorization(_)
            | Self::Machine(_)
            | Self::Cycle(_) => false,
        }
    }
}

/// Runs the command.
pub fn run(arguments: &EvaluateArguments) -> ExitCode {
    if let Err(code) = start_logging(&Settings::default(), Voice::Command) {
        return code;
    }
    match evaluate(arguments) {
        Ok(report) if arguments.json => {
            print(&format!("{}\n", report.json()));
            ExitCode::SUCCESS
        }
        Ok(report) => {
            print(&report.table());
            ExitCode::SUCCESS
        }
        Err(error) if error.is_usage() => exit::refused(&error),
        Err(error) => exit::failed(&error),
    }
}

/// Measures what the command line asks for.
///
/// # Errors
///
/// [`EvaluateError`] says what cannot be used.
pub fn evaluate(arguments: &EvaluateArguments) -> Result<Report, EvaluateError> {
    let settings = settings(arguments)?;
    let mut evaluation = Evaluation { arguments, settings, report: Report::default() };
    match &arguments.split {
        SplitChoice::Folder(folder) => match splits::read(folder)? {
            Split::Ranking(split) => evaluation.lists(&Divided::from_files(split))?,
            Split::Clicks(split) => evaluation.clicks(&split)?,
        },
        SplitChoice::Temporal => evaluation.stored(Division::Temporal)?,
        SplitChoice::LeaveLastOut => evaluation.stored(Division::LeaveLastOut)?,
        SplitChoice::Random => evaluation.stored(Division::Random { seed: arguments.seed })?,
    }
    evaluation.report.put_peak_rss();
    Ok(evaluation.report)
}

/// The configuration; for the pipeline `--set` changes it.
fn settings(arguments: &EvaluateArguments) -> Result<Settings, LoadError> {
    let overrides: &[(String, String)] = match arguments.model {
        ModelChoice::Pipeline => &arguments.parameters,
        ModelChoice::Popular
        | ModelChoice::ItemKnn
        | ModelChoice::UserKnn
        | ModelChoice::Bpr
        | ModelChoice::Als
        | ModelChoice::Ease
        | ModelChoice::Fm => &[],
    };
    let Loaded { mut settings, .. } = load(arguments.config.as_deref(), std::env::vars(), overrides)?;
    settings.training.seed = arguments.seed;
    Ok(settings)
}

struct Evaluation<'a> {
    arguments: &'a EvaluateArguments,
    settings: Settings,
    report: Report,
}

impl Evaluation<'_> {
    fn stored(&mut self, division: Division) -> Result<(), EvaluateError> {
        let data_dir = &self.arguments.place.data_dir;
        if !data_dir.is_dir() {
            return Err(EvaluateError::NoDirectory(data_dir.clone()));
        }
        let _lock = DirectoryLock::take(data_dir)?;
        let table = exit::block_on(async {
            let store = open_data(&self.settings, data_dir).await?;
            Ok::<_, EvaluateError>(Table::load(store.as_ref()).await?)
        })?;
        let types = Plan::new(&self.settings).types;
        let divided = Divided::from_table(table, &types, division, Timestamp::now())?;
        self.lists(&divided)
    }

    /// Fits and scores on labelled examples.
    fn clicks(&mut self, split: &splits::ClickSplit) -> Result<(), EvaluateError> {
        let ModelChoice::Fm = self.arguments.model else {
            return Err(EvaluateError::Mismatch("a split of labelled examples is for --model fm"));
        };
        self.report = Report::new(self.arguments.model.name(), &split.name);
        let params = self.machine_parameters()?;
        Ok(clicks::measure(split, &params, &mut self.report)?)
    }

    fn machine_parameters(&self) -> Result<FmParams, ParameterError> {
        let params = FmParams { seed: self.arguments.seed, ..FmParams::default() };
        parameters::replace(&params, "fm", &self.arguments.parameters)
    }

    /// Fits, makes all lists and scores them.
    fn lists(&mut self, divided: &Divided) -> Result<(), EvaluateError> {
        let EvaluateArguments { seed, parameters: set, .. } = self.arguments;
        self.report = Report::new(self.arguments.model.name(), &divided.name);
        if divided.is_files() {
            // Files know one type of feedback, and it says "liked".
            let data = &mut self.settings.recommend.data_source;
            data.positive_feedback_types.clear();
            data.negative_feedback_types.clear();
            data.read_feedback_types.clear();
        }
        match self.arguments.model {
            ModelChoice::Popular => self.recipe(divided, &Recipe::popular(set)?),
            ModelChoice::Bpr => self.recipe(divided, &Recipe::bpr(&divided.train, *seed, set)?),
            ModelChoice::Als => self.recipe(divided, &Recipe::als(&divided.train, *seed, set)?),
            ModelChoice::Ease => self.recipe(divided, &Recipe::ease(set)?),
            ModelChoice::ItemKnn => self.neighborhood(divided, Side::Items),
            ModelChoice::UserKnn => self.neighborhood(divided, Side::Users),
            ModelChoice::Fm => self.machine(divided),
            ModelChoice::Pipeline => self.pipeline(divided),
        }
    }

    fn recipe(&mut self, divided: &Divided, recipe: &Recipe) -> Result<(), EvaluateError> {
        let begun = Instant::now();
        let model = recipe.fit(&divided.train)?;
        self.measure(divided, &*model, begun);
        Ok(())
    }

    fn neighborhood(&mut self, divided: &Divided, side: Side) -> Result<(), EvaluateError> {
        let begun = Instant::now();
        // Nonsense is refused before the work begins.
        parameters::replace(&KnnParams::default(), self.arguments.model.name(), &self.arguments.parameters)?;
        let preset = side.choose(&divided.train, self.arguments.seed);
        let params = parameters::replace(&preset, self.arguments.model.name(), &self.arguments.parameters)?;
        let choose_seconds = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let model = Neighborhood::fit(side, &params, &divided.train);
        self.measure(divided, &model, begun);
        self.report.put("choose_seconds", choose_seconds);
        Ok(())
    }

    fn machine(&mut self, divided: &Divided) -> Result<(), EvaluateError> {
        let params = self.machine_parameters()?;
        let (table, settings) = (divided.table(), CycleSettings::new(self.settings.clone()));
        let begun = Instant::now();
        let model = train_ranker(&table, &settings, divided.now, &params)?;
        let score = |user: u32, items: &[u32]| logits(&model, user, items);
        self.measure(divided, &Scorer(&score, divided.shape().1), begun);
        let cases = Cases::new(&divided.test);
        if let Some(auc) = cases.auc(&divided.met, self.arguments.seed, &score) {
            self.report.put("auc", auc);
        }
        Ok(())
    }

    fn pipeline(&mut self, divided: &Divided) -> Result<(), EvaluateError> {
        if divided.negatives.is_some() {
            return Err(EvaluateError::Mismatch(
                "this split ranks given items only, and the pipeline chooses its candidates itself: \
                 measure one of the models it is made of",
            ));
        }
        let (table, settings) = (divided.table(), CycleSettings::new(self.settings.clone()));
        let cases = Cases::new(&divided.test);
        let k = self.longest();
        let begun = Instant::now();
        let trained = train(&table, &settings, divided.now)?;
        let fit_seconds = begun.elapsed().as_secs_f64();
        let served = Served::new(&table, &settings, divided.now, trained);
        let begun = Instant::now();
        let lists = served.lists(&cases.users, k, None);
        let score_seconds = begun.elapsed().as_secs_f64();
        self.note(divided, &cases);
        cases.measure(&lists, &self.cutoffs(), &mut self.report);
        self.report.put("short_lists", lists.iter().filter(|list| list.len() < k).count());
        self.report.put("fit_seconds", fit_seconds);
        self.report.put("score_seconds", score_seconds);
        for source in &settings.plan.sources {
            let mut alone = Report::default();
            cases.measure(&served.lists(&cases.users, k, Some(source)), &self.cutoffs(), &mut alone);
            for k in self.cutoffs() {
                let ndcg = alone.get(&format!("ndcg@{k}")).cloned();
                ndcg.into_iter().for_each(|ndcg| self.report.put_at(&format!("{source}.ndcg"), k, ndcg));
            }
        }
        Ok(())
    }

    /// Makes the lists of a model whose fit began then, and notes what they are worth.
    fn measure(&mut self, divided: &Divided, model: &dyn Recommends, begun: Instant) {
        let fit_seconds = begun.elapsed().as_secs_f64();
        let cases = match &divided.negatives {
            Some(negatives) => Cases::among(negatives, divided.shape().1),
            None => Cases::new(&divided.test),
        };
        let begun = Instant::now();
        let lists = cases.answer(model, &divided.met, self.longest());
        let score_seconds = begun.elapsed().as_secs_f64();
        self.note(divided, &cases);
        cases.measure(&lists, &self.cutoffs(), &mut self.report);
        self.report.put("fit_seconds", fit_seconds);
        self.report.put("score_seconds", score_seconds);
    }

    /// Notes how much was learned from and asked.
    fn note(&mut self, divided: &Divided, cases: &Cases) {
        let (users, items) = divided.shape();
        let entries: [(&str, usize); 5] = [
            ("users", users),
            ("items", items),
            ("train", divided.train.len()),
            ("test", Interactions::len(&cases.wanted)),
            ("test_users", cases.users.len()),
        ];
        entries.into_iter().for_each(|(key, count)| self.report.put(key, count));
    }

    fn cutoffs(&self) -> Vec<usize> {
        self.arguments.at.iter().map(|&k| k as usize).collect()
    }

    fn longest(&self) -> usize {
        self.cutoffs().into_iter().max().unwrap_or(0)
    }
}

/// Logits of items; one that the model does not hold comes last.
fn logits(model: &RankerModel, user: u32, items: &[u32]) -> Vec<f32> {
    let mut logits = Vec::new();
    model.logits(Some(user), items, &mut logits);
    logits.iter_mut().filter(|logit| logit.is_nan()).for_each(|logit| *logit = f32::MIN);
    logits
}

#[cfg(test)]
mod tests;
