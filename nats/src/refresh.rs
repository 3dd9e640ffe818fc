//! "Recompute this user's cached list".
//!
//! | what | subject | from | to | delivery |
//! |---|---|---|---|---|
//! | [`RefreshJob`] | `job.refresh.<token>`, stream `JOBS` | planner, servers | any worker | at least once; of several for one user the newest |

use serde::{Deserialize, Serialize};
use ulex_domain::UserId;

use crate::{Payload, Subject, Token};

/// Why a list is recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshReason {
    /// The user's data changed.
    Changed,
    /// A list was asked for and was absent, or too old.
    Stale,
    /// A new ModelSet is live.
    ModelSet,
}

/// What there is to make lists from at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Basis {
    /// Epoch of the live ModelSet; 0 if there is none.
    pub epoch: u64,
    /// Revision of the settings that were changed at run time; 0 if none were.
    pub settings: u64,
}

impl Basis {
    /// Whether anything here is later than there.
    #[must_use]
    pub const fn is_ahead_of(self, other: Self) -> bool {
        self.epoch > other.epoch || self.settings > other.settings
    }
}

/// Recompute the cached lists of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshJob {
    /// Whose.
    pub user_id: UserId,
    /// What was in force when this was asked. The worker uses what it has, and waits a while for what it has not heard of yet.
    pub basis: Basis,
    /// Why.
    pub reason: RefreshReason,
}

impl Payload for RefreshJob {
    const SCHEMA: &'static str = "refresh-job/1";
}

impl Subject for RefreshJob {
    const PATTERN: &'static str = "job.refresh.*";

    fn tokens(&self) -> Vec<Token> {
        vec![Token::of_id(self.user_id.as_str())]
    }
}

#[cfg(test)]
mod tests {
    use super::Basis;

    #[test]
    fn a_basis_is_ahead_if_anything_in_it_is_later() {
        let basis = |epoch, settings| Basis { epoch, settings };
        assert!(basis(2, 0).is_ahead_of(basis(1, 0)) && basis(1, 5).is_ahead_of(basis(2, 4)));
        assert!(!basis(1, 1).is_ahead_of(basis(1, 1)) && !basis(1, 1).is_ahead_of(basis(2, 1)));
    }
}
