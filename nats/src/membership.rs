//! Who is in the cluster.
//!
//! | what | bucket | from | to | delivery |
//! |---|---|---|---|---|
//! | [`Heartbeat`] | `members`, key [`Heartbeat::key`] | every process | master, dashboard | vanishes 3 x meta timeout after the last one |

use serde::{Deserialize, Serialize};
use ulex_domain::Timestamp;

use crate::Token;

/// What a process does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    One,
    /// Fits models and plans work.
    Master,
    /// Precomputes recommendations.
    Worker,
    /// Answers REST requests.
    Server,
}

impl Role {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Master => "master",
            Self::Worker => "worker",
            Self::Server => "server",
        }
    }
}

/// "I am alive", and how it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Unique in the cluster, stable for the life of the process.
    pub node: String,
    /// What the sender does.
    pub role: Role,
    /// Where it runs.
    pub host: String,
    /// Version of its program.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it wrote this.
    pub sent_at: Timestamp,
    /// The ModelSet it serves with.
    pub model_set: Option<String>,
    /// Jobs or requests that wait inside it.
    pub queue_depth: u64,
    /// Messages of its streams it has not come to yet.
    pub lag: u64,
    /// Cores in use, 1.0 is one core.
    pub cpu: f64,
    /// Resident memory, bytes.
    pub rss: u64,
}

impl Heartbeat {
    /// The first heartbeat of a process that starts now.
    #[must_use]
    pub fn first(node: String, role: Role, host: String, version: String) -> Self {
        let now = Timestamp::now();
        Self {
            node,
            role,
            host,
            version,
            started_at: now,
            sent_at: now,
            model_set: None,
            queue_depth: 0,
            lag: 0,
            cpu: 0.0,
            rss: 0,
        }
    }

    /// Says that it is sent now.
    pub fn renew(&mut self) {
        self.sent_at = Timestamp::now();
    }

    /// Its key in the bucket.
    #[must_use]
    pub fn key(&self) -> String {
        Token::escape(&self.node).as_str().to_owned()
    }
}
