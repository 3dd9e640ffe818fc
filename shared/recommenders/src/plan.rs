//! The recommendation pipeline as configured: which sources, which ranker, which limits.

use std::fmt;
use std::time::Duration;

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
