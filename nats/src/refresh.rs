//! "Recompute this user's cached list".
//!
//! | what | subject | from | to | delivery |
//! |---|---|---|---|---|
//! | [`RefreshJob`] | `job.refresh.<token>`, stream `JOBS` | planner, servers | any worker | at least once; of several for one user the newest |

use serde::{Deserialize, Serialize};
use ulex_domain::UserId;

use crate::{Event, Payload, Token};

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

/// Recompute the cached lists of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshJob {
    /// Whose.
    pub user_id: UserId,
    /// The ModelSet that was live when this was asked. The worker uses the one that it has, and waits a while for this one if
    /// its own is older.
    pub model_set: Option<String>,
    /// Why.
    pub reason: RefreshReason,
}

impl Payload for RefreshJob {
    const SCHEMA: &'static str = "refresh-job/1";
}

impl Event for RefreshJob {
    const PATTERN: &'static str = "job.refresh.*";

    fn tokens(&self) -> Vec<Token> {
        vec![Token::of_id(self.user_id.as_str())]
    }
}
