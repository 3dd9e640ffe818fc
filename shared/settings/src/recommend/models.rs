//! The fitted parts of the pipeline: collaborative filtering, the ranker, and replacement.

use std::time::Duration;

use super::RecommenderName;
use crate::given::Given;
use crate::resolve::{Checks, Keyword};
use crate::secret::Secret;
use crate::written;

/// `[recommend.collaborative]`
#[derive(Clone, Debug, PartialEq)]
pub struct Collaborative {
    /// Whether there is any.
    pub kind: CollaborativeType,
    /// How often it is fitted.
    pub fit_period: Duration,
    /// Most epochs of one fit, at least 1.
    pub fit_epoch: usize,
    /// Zero: no search for hyper-parameters.
    pub optimize_period: Duration,
    /// Trials of one search, at least 1.
    pub optimize_trials: usize,
    /// None: every fit runs all epochs.
    pub early_stopping_patience: Option<usize>,
}

/// Whether there is collaborative filtering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollaborativeType {
    /// No.
    None,
    /// Matrix factorisation.
    MatrixFactorization,
}

impl Keyword for CollaborativeType {
    const WORDS: &'static [(&'static str, Self)] = &[("none", Self::None), ("mf", Self::MatrixFactorization)];
}

/// `[recommend.replacement]`: items the user has dealt with already may come back.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// Whether they may.
    pub enable: bool,
    /// Their scores are multiplied by this, greater than 0.
    pub positive_decay: f64,
    /// The same for items only seen.
    pub read_decay: f64,
}

/// `[recommend.ranker]`
#[derive(Clone, Debug, PartialEq)]
pub struct Ranker {
    /// What orders the candidates.
    pub kind: RankerType,
    /// Sources of candidates: at least one, exactly one without a ranker; each is configured, none twice.
    pub recommenders: Vec<RecommenderName>,
    /// When lists of idle users are computed again.
    pub cache_expire: Duration,
    /// How often it is fitted.
    pub fit_period: Duration,
    /// Most epochs of one fit, at least 1.
    pub fit_epoch: usize,
    /// Zero: no search for hyper-parameters.
    pub optimize_period: Duration,
    /// Trials of one search, at least 1.
    pub optimize_trials: usize,
    /// Jinja2: the text about the user.
    pub query_template: String,
    /// Jinja2: the text about a candidate.
    pub document_template: String,
    /// None: every fit runs all epochs.
    pub early_stopping_patience: Option<usize>,
    /// The service of an external reranker.
    pub reranker_api: RerankerApi,
}

/// What orders the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankerType {
    /// Nothing.
    None,
    /// A factorisation machine.
    FactorizationMachine,
    /// An external reranker.
    LanguageModel,
}

impl Keyword for RankerType {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("fm", Self::FactorizationMachine), ("llm", Self::LanguageModel)];
}

/// `[recommend.ranker.reranker_api]`
#[derive(Clone, Debug, PartialEq)]
pub struct RerankerApi {
    /// Its address.
    pub url: String,
    /// Its model.
    pub model: String,
    /// Proves who we are.
    pub auth_token: Secret,
}

impl Collaborative {
    pub(super) fn resolve(written: &written::Collaborative, checks: &mut Checks<'_>) -> Self {
        let key = |name| format!("recommend.collaborative.{name}");
        Self {
            kind: checks.keyword(&key("type"), &written.r#type),
            fit_period: checks.period(&key("fit_period"), &written.fit_period),
            fit_epoch: checks.integer(&key("fit_epoch"), &written.fit_epoch, 1..=MAX_ROUNDS),
            optimize_period: checks.duration(&key("optimize_period"), &written.optimize_period),
            optimize_trials: checks.integer(
                &key("optimize_trials"),
                &written.optimize_trials,
                1..=MAX_ROUNDS,
            ),
            early_stopping_patience: patience(
                &key("early_stopping.patience"),
                &written.early_stopping.patience,
                checks,
            ),
        }
    }
}

impl Replacement {
    pub(super) fn resolve(written: &written::Replacement, checks: &mut Checks<'_>) -> Self {
        let key = |name| format!("recommend.replacement.{name}");
        Self {
            enable: checks.flag(&key("enable_replacement"), &written.enable_replacement),
            positive_decay: checks
                .positive_number(&key("positive_replacement_decay"), &written.positive_replacement_decay),
            read_decay: checks
                .positive_number(&key("read_replacement_decay"), &written.read_replacement_decay),
        }
    }
}

impl Ranker {
    /// `recommenders` stays empty: it depends on the other sections.
    pub(super) fn resolve(written: &written::Ranker, checks: &mut Checks<'_>) -> Self {
        let key = |name| format!("recommend.ranker.{name}");
        Self {
            kind: checks.keyword(&key("type"), &written.r#type),
            recommenders: Vec::new(),
            cache_expire: checks.positive_duration(&key("cache_expire"), &written.cache_expire),
            fit_period: checks.period(&key("fit_period"), &written.fit_period),
            fit_epoch: checks.integer(&key("fit_epoch"), &written.fit_epoch, 1..=MAX_ROUNDS),
            optimize_period: checks.duration(&key("optimize_period"), &written.optimize_period),
            optimize_trials: checks.integer(
                &key("optimize_trials"),
                &written.optimize_trials,
                1..=MAX_ROUNDS,
            ),
            query_template: checks.text(&key("query_template"), &written.query_template),
            document_template: checks.text(&key("document_template"), &written.document_template),
            early_stopping_patience: patience(
                &key("early_stopping.patience"),
                &written.early_stopping.patience,
                checks,
            ),
            reranker_api: RerankerApi {
                url: checks.text(&key("reranker_api.url"), &written.reranker_api.url),
                model: checks.text(&key("reranker_api.model"), &written.reranker_api.model),
                auth_token: checks.secret(&key("reranker_api.auth_token"), &written.reranker_api.auth_token),
            },
        }
    }
}

/// Epochs of one fit and trials of one search: more of either would run for weeks.
const MAX_ROUNDS: i64 = 100_000;

fn patience(key: &str, given: &Given<i64>, checks: &mut Checks<'_>) -> Option<usize> {
    let patience: usize = checks.integer(key, given, 0..=MAX_ROUNDS);
    (patience > 0).then_some(patience)
}
