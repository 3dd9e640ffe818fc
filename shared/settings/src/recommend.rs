//! `[recommend]`: the pipeline, from feedback to lists.
//!
//! Expressions are kept as text that is known to compile; whoever evaluates them compiles them again, once per model.
//! Lists of recommenders that a file does not give are made here, from the sources that are left after reading it.

use std::time::Duration;

use ulex_domain::feedback_filter::{FeedbackFilter, FeedbackFilterError};

use crate::given::Given;
use crate::resolve::Checks;
use crate::written;
use serde_json::json;

mod expression;
mod models;
mod recommender_name;
mod sources;

pub use models::{Collaborative, CollaborativeType, Ranker, RankerType, Replacement, RerankerApi};
pub use recommender_name::{RecommenderName, UnknownRecommender};
pub use sources::{External, ItemToItem, ItemToItemType, NonPersonalized, UserToUser, UserToUserType};

/// Longest list of candidates and longest context. Memory and work for each list of each user grow with them.
pub(crate) const MAX_LIST_LENGTH: i64 = 10_000;

/// The section `[recommend]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommend {
    /// Length of every cached list and list of candidates, at least 1.
    pub cache_size: usize,
    /// Cached lists older than this are computed again.
    pub cache_expire: Duration,
    /// So many of a user's newest positive feedback count at request time, at least 1.
    pub context_size: usize,
    /// Users without activity for this long get no cached lists. None: all get them.
    pub active_user_ttl: Option<Duration>,
    /// What feedback means.
    pub data_source: DataSource,
    /// Expressions over an item that are searched; they compile.
    pub search_columns: Vec<String>,
    /// Leaderboards; names are unique.
    pub non_personalized: Vec<NonPersonalized>,
    /// Sources of similar items; names are unique.
    pub item_to_item: Vec<ItemToItem>,
    /// Sources of similar users; names are unique.
    pub user_to_user: Vec<UserToUser>,
    /// Scripts; names are unique.
    pub external: Vec<External>,
    /// Matrix factorisation.
    pub collaborative: Collaborative,
    /// Items that may come back.
    pub replacement: Replacement,
    /// What orders the candidates.
    pub ranker: Ranker,
    /// Sources that fill a list that is too short, in this order; each is configured, none twice.
    pub fallback_recommenders: Vec<RecommenderName>,
}

/// What feedback means.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSource {
    /// Empty: every type that is neither negative nor read.
    pub positive_feedback_types: Vec<FeedbackFilter>,
    /// Never again; wins over positive.
    pub negative_feedback_types: Vec<FeedbackFilter>,
    /// Impressions.
    pub read_feedback_types: Vec<FeedbackFilter>,
    /// Older feedback is not used for training. None: all is.
    pub positive_feedback_ttl: Option<Duration>,
    /// Older items are not recommended. None: all are.
    pub item_ttl: Option<Duration>,
}

impl Recommend {
    pub(crate) fn resolve(written: &written::Recommend, checks: &mut Checks<'_>) -> Self {
        let mut recommend = Self {
            cache_size: checks.integer("recommend.cache_size", &written.cache_size, 1..=MAX_LIST_LENGTH),
            cache_expire: checks.positive_duration("recommend.cache_expire", &written.cache_expire),
            context_size: checks.integer(
                "recommend.context_size",
                &written.context_size,
                1..=MAX_LIST_LENGTH,
            ),
            active_user_ttl: checks.days("recommend.active_user_ttl", &written.active_user_ttl),
            data_source: DataSource::resolve(&written.data_source, checks),
            search_columns: search_columns(&written.search.columns, checks),
            non_personalized: sources::non_personalized(&written.non_personalized, checks),
            item_to_item: sources::item_to_item(&written.item_to_item, checks),
            user_to_user: sources::user_to_user(&written.user_to_user, checks),
            external: sources::external(&written.external, checks),
            collaborative: Collaborative::resolve(&written.collaborative, checks),
            replacement: Replacement::resolve(&written.replacement, checks),
            ranker: Ranker::resolve(&written.ranker, checks),
            fallback_recommenders: Vec::new(),
        };
        recommend.ranker.recommenders = recommend.ranked(&written.ranker.recommenders, checks);
        recommend.fallback_recommenders = recommend.fallback(&written.fallback.recommenders, checks);
        recommend
    }

    /// Every source that is configured, in the order in which candidates are wanted when none is named. External ones
    /// only run when they are named.
    #[must_use]
    pub fn sources(&self) -> Vec<RecommenderName> {
        let collaborative =
            (self.collaborative.kind != CollaborativeType::None).then_some(RecommenderName::Collaborative);
        collaborative
            .into_iter()
            .chain(self.item_to_item.iter().map(|source| RecommenderName::ItemToItem(source.name.clone())))
            .chain(self.user_to_user.iter().map(|source| RecommenderName::UserToUser(source.name.clone())))
            .chain(self.leaderboards())
            .chain([RecommenderName::Latest])
            .collect()
    }

    fn leaderboards(&self) -> impl Iterator<Item = RecommenderName> {
        self.non_personalized.iter().map(|source| RecommenderName::NonPersonalized(source.name.clone()))
    }

    /// What is ranked if the configuration does not say.
    pub(crate) fn ranked_by_default(&self) -> Vec<RecommenderName> {
        let unranked = self.ranker.kind == RankerType::None;
        if unranked { vec![RecommenderName::Latest] } else { self.sources() }
    }

    /// What fills a list up if the configuration does not say.
    pub(crate) fn fallback_by_default(&self) -> Vec<RecommenderName> {
        self.leaderboards().chain([RecommenderName::Latest]).collect()
    }

    fn ranked(&self, given: &Given<Vec<String>>, checks: &mut Checks<'_>) -> Vec<RecommenderName> {
        const KEY: &str = "recommend.ranker.recommenders";
        let unranked = self.ranker.kind == RankerType::None;
        if checks.optional(KEY, given).is_none() {
            return self.ranked_by_default();
        }
        let names = checks.texts(KEY, given);
        if names.is_empty() {
            checks.problem(KEY, &json!(names), "at least one recommender");
        }
        if unranked && names.len() > 1 {
            let expected = "at most one recommender, because recommend.ranker.type is \"none\"";
            checks.problem(KEY, &json!(names), expected);
        }
        self.known(KEY, &names, checks)
    }

    fn fallback(&self, given: &Given<Vec<String>>, checks: &mut Checks<'_>) -> Vec<RecommenderName> {
        const KEY: &str = "recommend.fallback.recommenders";
        match checks.optional(KEY, given) {
            Some(_) => {
                let names = checks.texts(KEY, given);
                self.known(KEY, &names, checks)
            }
            None => self.fallback_by_default(),
        }
    }

    /// The names that are configured, each once; the others are problems.
    fn known(&self, key: &str, names: &[String], checks: &mut Checks<'_>) -> Vec<RecommenderName> {
        let mut known = Vec::with_capacity(names.len());
        for text in names {
            match self.find(text) {
                Ok(name) if known.contains(&name) => {}
                Ok(name) => known.push(name),
                Err(expected) => checks.problem(key, &json!(text), expected),
            }
        }
        known
    }

    /// The recommender of this name, or what was expected instead.
    fn find(&self, text: &str) -> Result<RecommenderName, String> {
        let mut configured = self.sources();
        configured.extend(self.external.iter().map(|source| RecommenderName::External(source.name.clone())));
        let name = text.parse::<RecommenderName>();
        if let Some(name) = name.as_ref().ok().filter(|name| configured.contains(name)) {
            return Ok(name.clone());
        }
        if name == Ok(RecommenderName::Collaborative) {
            return Err(String::from("recommend.collaborative.type \"mf\" with it, because it is \"none\""));
        }
        let names: Vec<String> = configured.iter().map(|name| format!("\"{name}\"")).collect();
        Err(format!("one of the recommenders there are: {}", names.join(", ")))
    }
}

impl DataSource {
    fn resolve(written: &written::DataSource, checks: &mut Checks<'_>) -> Self {
        const SECTION: &str = "recommend.data_source";
        Self {
            positive_feedback_types: feedback_types(
                &format!("{SECTION}.positive_feedback_types"),
                &written.positive_feedback_types,
                checks,
            ),
            negative_feedback_types: feedback_types(
                &format!("{SECTION}.negative_feedback_types"),
                &written.negative_feedback_types,
                checks,
            ),
            read_feedback_types: feedback_types(
                &format!("{SECTION}.read_feedback_types"),
                &written.read_feedback_types,
                checks,
            ),
            positive_feedback_ttl: checks
                .days(&format!("{SECTION}.positive_feedback_ttl"), &written.positive_feedback_ttl),
            item_ttl: checks.days(&format!("{SECTION}.item_ttl"), &written.item_ttl),
        }
    }
}

fn feedback_types(key: &str, given: &Given<Vec<String>>, checks: &mut Checks<'_>) -> Vec<FeedbackFilter> {
    let texts = checks.texts(key, given);
    let mut filters = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse::<FeedbackFilter>() {
            Ok(filter) => filters.push(filter),
            Err(FeedbackFilterError) => {
                let expected =
                    "types such as \"star\", or with a condition on the value such as \"rating>=4\"";
                checks.problem(key, &json!(text), expected);
            }
        }
    }
    filters
}

fn search_columns(given: &Given<Vec<String>>, checks: &mut Checks<'_>) -> Vec<String> {
    const KEY: &str = "recommend.search.columns";
    let columns = checks.texts(KEY, given);
    for column in &columns {
        if let Err(why) = expression::check(column, expression::Use::ItemColumn) {
            checks.problem(KEY, &json!(column), why);
        }
    }
    columns
}

#[cfg(test)]
mod tests;
