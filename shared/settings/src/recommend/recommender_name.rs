//! How a pipeline names its sources: `latest`, `collaborative`, `item-to-item/similar`, ...

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One source of candidates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecommenderName {
    /// The newest items.
    Latest,
    /// Matrix factorisation.
    Collaborative,
    /// A leaderboard.
    NonPersonalized(String),
    /// Items similar to what the user liked.
    ItemToItem(String),
    /// What similar users liked.
    UserToUser(String),
    /// A script.
    External(String),
}

/// The text names no kind of recommender.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "expected latest, collaborative or KIND/NAME, where KIND is non-personalized, item-to-item, user-to-user or external"
)]
pub struct UnknownRecommender;

impl FromStr for RecommenderName {
    type Err = UnknownRecommender;

    fn from_str(text: &str) -> Result<Self, UnknownRecommender> {
        match text.split_once('/') {
            None if text == "latest" => Ok(Self::Latest),
            None if text == "collaborative" => Ok(Self::Collaborative),
            Some(("non-personalized", name)) if !name.is_empty() => {
                Ok(Self::NonPersonalized(String::from(name)))
            }
            Some(("item-to-item", name)) if !name.is_empty() => Ok(Self::ItemToItem(String::from(name))),
            Some(("user-to-user", name)) if !name.is_empty() => Ok(Self::UserToUser(String::from(name))),
            Some(("external", name)) if !name.is_empty() => Ok(Self::External(String::from(name))),
            Some(_) | None => Err(UnknownRecommender),
        }
    }
}

impl fmt::Display for RecommenderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Collaborative => f.write_str("collaborative"),
            Self::NonPersonalized(name) => write!(f, "non-personalized/{name}"),
            Self::ItemToItem(name) => write!(f, "item-to-item/{name}"),
            Self::UserToUser(name) => write!(f, "user-to-user/{name}"),
            Self::External(name) => write!(f, "external/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_reads_as_the_same() {
        for text in [
            "latest",
            "collaborative",
            "non-personalized/popular",
            "item-to-item/a/b",
            "user-to-user/similar",
            "external/x",
        ] {
            assert_eq!(text.parse::<RecommenderName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "Latest", "latest/", "collaborative/x", "item-to-item", "item-to-item/", "popular", "/x"]
        {
            assert_eq!(text.parse::<RecommenderName>(), Err(UnknownRecommender), "{text:?}");
        }
    }
}
