//! What the trainer is doing, and what it can be told.
//!
//! | what | subject or bucket | from | to | delivery |
//! |---|---|---|---|---|
//! | [`Progress`] | bucket `progress`, key [`Progress::key`] | whoever runs a task | dashboard | newest only |
//! | [`FitNow`] | `rpc.master.fit-now` | dashboard | the leading master | request, 2 s |
//! | [`CancelFit`] | `rpc.master.cancel-fit` | dashboard | the leading master | request, 2 s |

use std::time::Duration;

use serde::{Deserialize, Serialize};
use ulex_domain::Timestamp;

use crate::{Payload, Request, Subject, Token};

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Not begun.
    Pending,
    /// Running.
    Running,
    /// Finished.
    Complete,
    /// Stopped on request or because a newer one took its place.
    Suspended,
    /// Ended with an error.
    Failed,
}

/// How far a task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which task, for people.
    pub name: String,
    /// Who runs it.
    pub node: String,
    /// How it stands.
    pub status: TaskStatus,
    /// Steps done.
    pub count: u64,
    /// Steps in all.
    pub total: u64,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; [`Timestamp::ZERO`] before.
    pub finish: Timestamp,
}

impl Progress {
    /// Its key in the bucket: one per node and task.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}.{}", Token::escape(&self.node).as_str(), Token::escape(&self.name).as_str())
    }
}

/// Asks the leading master for a fit with the data it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FitNow {}

/// What came of [`FitNow`] or [`CancelFit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum FitAnswer {
    /// A fit has begun.
    Started,
    /// A fit was running already and goes on.
    Running,
    /// The running fit stops at its next step.
    Cancelling,
    /// There was nothing to cancel.
    Idle,
    /// It could not be done.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

impl Payload for FitNow {
    const SCHEMA: &'static str = "fit-now/1";
}

impl Payload for FitAnswer {
    const SCHEMA: &'static str = "fit-answer/1";
}

impl Subject for FitNow {
    const PATTERN: &'static str = "rpc.master.fit-now";

    fn tokens(&self) -> Vec<Token> {
        Vec::new()
    }
}

impl Request for FitNow {
    type Reply = FitAnswer;
    const TIMEOUT: Duration = Duration::from_secs(2);
}

/// Asks the leading master to stop a running fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelFit {}

impl Payload for CancelFit {
    const SCHEMA: &'static str = "cancel-fit/1";
}

impl Subject for CancelFit {
    const PATTERN: &'static str = "rpc.master.cancel-fit";

    fn tokens(&self) -> Vec<Token> {
        Vec::new()
    }
}

impl Request for CancelFit {
    type Reply = FitAnswer;
    const TIMEOUT: Duration = Duration::from_secs(2);
}
