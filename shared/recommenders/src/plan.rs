//! The recommendation pipeline as configured: which sources, which ranker, which limits.

use std::fmt;
use std::time::Duration;

use ulex_settings::{CollaborativeType, RankerType, RecommenderName, Settings, lists_digest};

use crate::history::FeedbackTypes;

/// A source of candidates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The newest items.
    Latest,
    /// Collaborative filtering.
    Collaborative,
    /// A leaderboard.
    Leaderboard(String),
    /// Items like those the user liked.
    ItemToItem(String),
    /// Items liked by users like this one.
    UserToUser(String),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => formatter.write_str("latest"),
            Self::Collaborative => formatter.write_str("collaborative"),
            Self::Leaderboard(name) => write!(formatter, "non-personalized/{name}"),
            Self::ItemToItem(name) => write!(formatter, "item-to-item/{name}"),
            Self::UserToUser(name) => write!(formatter, "user-to-user/{name}"),
        }
    }
}

/// What happens to items the user has met already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replacement {
    /// Factor on the probability of a liked item.
    pub positive_decay: f32,
    /// Factor on the probability of an item that was only read.
    pub read_decay: f32,
}

/// See the module documentation. Made from the settings; never invalid.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where candidates come from, in order of preference.
    pub sources: Vec<Source>,
    /// What fills a list that is too short, in order.
    pub fallback: Vec<Source>,
    /// Candidates are ranked by the learned blend; otherwise the only source's own order stands.
    pub ranked: bool,
    /// Collaborative filtering is on.
    pub collaborative: bool,
    /// Names of the item-to-item recommenders, in order.
    pub item_to_item: Vec<String>,
    /// Names of the user-to-user recommenders, in order.
    pub user_to_user: Vec<String>,
    /// Names of the leaderboards, in order.
    pub leaderboards: Vec<String>,
    /// Candidates of each source, and length of a cached list.
    pub cache_size: usize,
    /// Latest liked items looked at.
    pub context_size: usize,
    /// A cached list older than this is computed again.
    pub cache_expire: Duration,
    /// Items older than this are not recommended.
    pub item_ttl: Option<Duration>,
    /// Items the user has met may come back; `None`: they never do.
    pub replacement: Option<Replacement>,
    /// Which feedback says what.
    pub types: FeedbackTypes,
    /// Lists are kept; `false` computes each at the time of the request.
    pub cached_lists: bool,
    /// Changes whenever a list made under another plan would be stale.
    pub digest: String,
}

impl Plan {
    /// The plan that these settings describe.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let recommend = &settings.recommend;
        let data = &recommend.data_source;
        let replacement = &recommend.replacement;
        Self {
            sources: sources(&recommend.ranker.recommenders),
            fallback: sources(&recommend.fallback_recommenders),
            ranked: recommend.ranker.kind != RankerType::None,
            collaborative: recommend.collaborative.kind != CollaborativeType::None,
            item_to_item: recommend.item_to_item.iter().map(|known| known.name.clone()).collect(),
            user_to_user: recommend.user_to_user.iter().map(|known| known.name.clone()).collect(),
            leaderboards: recommend.non_personalized.iter().map(|known| known.name.clone()).collect(),
            cache_size: recommend.cache_size,
            context_size: recommend.context_size,
            cache_expire: recommend.cache_expire,
            item_ttl: data.item_ttl,
            replacement: replacement.enable.then_some(Replacement {
                positive_decay: replacement.positive_decay as f32,
                read_decay: replacement.read_decay as f32,
            }),
            types: FeedbackTypes {
                positive: data.positive_feedback_types.clone(),
                negative: data.negative_feedback_types.clone(),
                read: data.read_feedback_types.clone(),
            },
            cached_lists: settings.serving.cached_lists,
            digest: lists_digest(recommend),
        }
    }
}

/// Sources that exist in this build; scripts are none yet.
fn sources(names: &[RecommenderName]) -> Vec<Source> {
    names.iter().filter_map(Source::named).collect()
}

impl Source {
    /// The source that the settings name; `None` for a script.
    #[must_use]
    pub fn named(name: &RecommenderName) -> Option<Self> {
        Some(match name {
            RecommenderName::Latest => Self::Latest,
            RecommenderName::Collaborative => Self::Collaborative,
            RecommenderName::NonPersonalized(name) => Self::Leaderboard(name.clone()),
            RecommenderName::ItemToItem(name) => Self::ItemToItem(name.clone()),
            RecommenderName::UserToUser(name) => Self::UserToUser(name.clone()),
            RecommenderName::External(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_called_as_in_the_settings() {
        for text in ["latest", "collaborative", "non-personalized/a", "item-to-item/b", "user-to-user/c"] {
            let name: RecommenderName = text.parse().unwrap();
            assert_eq!(Source::named(&name).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_plan_says_what_the_settings_say() {
        let mut settings = Settings::default();
        let plan = Plan::new(&settings);
        assert_eq!((plan.cache_size, plan.replacement), (settings.recommend.cache_size, None));
        assert_eq!(plan.digest, Plan::new(&settings).digest);
        settings.recommend.replacement.enable = true;
        settings.recommend.ranker.kind = RankerType::None;
        settings.recommend.collaborative.kind = CollaborativeType::None;
        let other = Plan::new(&settings);
        let decays = other.replacement.map(|known| (known.positive_decay, known.read_decay));
        assert_eq!(decays, Some((0.8, 0.6)));
        assert!(!other.ranked && !other.collaborative);
        assert_ne!(other.digest, plan.digest, "lists made under the first are stale");
    }
}
