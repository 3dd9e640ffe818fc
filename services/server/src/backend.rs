//! What the REST surface needs from the rest of the process: one object-safe trait.
//!
//! The routes validate, decode and encode; everything that knows about models, caches and the log of events
//! stands behind [`Backend`]. A call that fails has changed nothing, except that a write whose answer was lost
//! may have happened: repeat it with the same [`EventId`].

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;
use ulex_domain::{Command, EventId, Feedback, ItemId, Timestamp, UserId};
use ulex_nats::BusError;
pub use ulex_recommenders::request::{ListQuery, ScoredId as ScoredItem};
pub use ulex_recommenders::service::{Effort, Quality, Recommended};
use ulex_storage::StorageError;
use ulex_storage::data::DataStore;

pub use crate::settings_desk::{SettingsChange, SettingsRevision};

/// What became of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Rows removed by a deletion of feedback; 0 for every other event.
    pub rows_deleted: u64,
    /// The event's id had been seen before; nothing happened.
    pub duplicate: bool,
}

/// Parts of a process that can fail alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The data store answers.
    pub data: bool,
    /// The cache store answers.
    pub cache: bool,
    /// The bus answers and has its streams.
    pub bus: bool,
    /// The process answers with a ModelSet, or none is published.
    pub models: bool,
    /// Events are applied as fast as they come.
    pub ingest: bool,
    /// Events that wait to be applied; None if the bus does not say.
    pub ingest_lag: Option<u64>,
}

impl Health {
    /// A process with nothing wrong.
    pub const WELL: Self =
        Self { data: true, cache: true, bus: true, models: true, ingest: true, ingest_lag: Some(0) };

    /// Whether requests can be answered.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.data && self.cache && self.bus && self.models && self.ingest
    }
}

/// Something that runs or ran in the background.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct TaskProgress {
    /// Which process it belongs to.
    pub tracer: String,
    /// What it does.
    pub name: String,
    /// `Pending`, `Complete`, `Running`, `Suspended` or `Failed`.
    pub status: String,
    /// Why it failed; empty otherwise.
    pub error: String,
    /// Steps done.
    pub count: u64,
    /// Steps in all.
    pub total: u64,
    /// When it started.
    pub start_time: Timestamp,
    /// When it ended; [`Timestamp::ZERO`] while it runs.
    pub finish_time: Timestamp,
}

/// A live process of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// Its id.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// Where it runs.
    pub hostname: String,
    /// `Server` or `Worker`.
    #[serde(rename = "Type")]
    pub role: String,
    /// Version of the program.
    pub version: String,
    /// Its last heartbeat.
    pub update_time: Timestamp,
    /// When it started.
    pub start_time: Timestamp,
    /// The ModelSet it answers with; empty if it has none.
    pub model_set: String,
    /// Requests and jobs it is working on.
    pub queue_depth: u64,
    /// Events or jobs that wait for it and its like.
    pub lag: u64,
    /// Cores in use; 1.0 is one core.
    #[serde(rename = "CPU")]
    pub cpu: f64,
    /// Resident memory, bytes.
    #[serde(rename = "RSS")]
    pub rss: u64,
}

/// Quality of the collaborative filtering model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MatchingScore {
    /// Normalised discounted cumulative gain.
    #[serde(rename = "NDCG")]
    pub ndcg: f64,
    /// Precision.
    #[serde(rename = "Precision")]
    pub precision: f64,
    /// Recall.
    #[serde(rename = "Recall")]
    pub recall: f64,
}

/// Quality of the ranker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RankingScore {
    /// Root mean squared error.
    #[serde(rename = "RMSE")]
    pub rmse: f64,
    /// Precision.
    #[serde(rename = "Precision")]
    pub precision: f64,
    /// Recall.
    #[serde(rename = "Recall")]
    pub recall: f64,
    /// Accuracy.
    #[serde(rename = "Accuracy")]
    pub accuracy: f64,
    /// Area under the receiver operating characteristic.
    #[serde(rename = "AUC")]
    pub auc: f64,
}

/// The figures of the dashboard's first page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// Version of the program.
    pub binary_version: String,
    /// Live servers, this process apart.
    pub num_servers: u64,
    /// Live workers, this process apart.
    pub num_workers: u64,
    /// Users.
    pub num_users: u64,
    /// Items.
    pub num_items: u64,
    /// Distinct user labels that models use.
    pub num_user_labels: u64,
    /// Distinct item labels that models use.
    pub num_item_labels: u64,
    /// Positive feedback in the store.
    pub num_total_pos_feedback: u64,
    /// Positive feedback that models learned from.
    pub num_valid_pos_feedback: u64,
    /// Negative feedback that models learned from.
    pub num_valid_neg_feedback: u64,
    /// When leaderboards were made.
    pub popular_items_update_time: Timestamp,
    /// When the latest items were listed.
    pub latest_items_update_time: Timestamp,
    /// When collaborative filtering was fitted.
    pub matching_model_fit_time: Timestamp,
    /// Its quality.
    pub matching_model_score: MatchingScore,
    /// When the ranker was fitted.
    pub ranking_model_fit_time: Timestamp,
    /// Its quality.
    pub ranking_model_score: RankingScore,
}

/// Why a call could not be answered; mapped to a status code in one place of this crate.
#[derive(Debug, Error)]
pub enum BackendError {
    /// 404: nothing has this name. The text is the answer.
    #[error("{0}")]
    NotFound(String),
    /// 404: the feature is switched off. The text is the answer.
    #[error("{0}")]
    Disabled(String),
    /// 400: the caller gave something that cannot be.
    #[error("{field}: expected {expected}")]
    Invalid {
        /// Which field or parameter.
        field: String,
        /// What would have been right.
        expected: String,
    },
    /// 400: what was given does not hold together. The text says all that is wrong.
    #[error("{0}")]
    Unfit(String),
    /// 503 with `Retry-After`: the same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// 504: not known whether the write takes effect; repeated with this id it has its effect once.
    #[error("not known whether the write takes effect; repeat it with event id {event_id}")]
    Unknown {
        /// The id of the write.
        event_id: EventId,
    },
    /// 429 with `Retry-After`: too much at once.
    #[error("too many requests at once")]
    Overloaded,
    /// 500: the cause is logged, not shown.
    #[error("{0}")]
    Internal(String),
}

impl From<StorageError> for BackendError {
    fn from(source: StorageError) -> Self {
        if source.is_transient() {
            Self::Unavailable("the data store is unavailable".to_owned())
        } else {
            Self::Internal(format!("{source}: {source:?}"))
        }
    }
}

impl From<BusError> for BackendError {
    fn from(reason: BusError) -> Self {
        Self::Unavailable(reason.to_string())
    }
}

/// The service behind the routes. Cheap to share, safe to call concurrently.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Applies a validated event as a whole, or not at all, and returns when it is durable and visible to
    /// every later call. An event whose `id` was seen before has no effect.
    async fn submit(&self, event: Command, id: EventId, wait: Duration) -> Result<Receipt, BackendError>;

    /// The hot path: the user's list if it can be had without waiting and is good enough for `effort`, else `None`. Called
    /// on the thread that serves all other requests of its connection: microseconds only.
    fn recommend_now(&self, user: &UserId, query: &ListQuery, effort: Effort) -> Option<Recommended>;

    /// The user's list, computed if need be, for no more than `effort`. Never fails for want of knowledge about the user.
    async fn recommend(
        &self,
        user: &UserId,
        query: &ListQuery,
        effort: Effort,
    ) -> Result<Recommended, BackendError>;

    /// Newest items, without what `user` has seen; the score is the item's time in Unix seconds.
    async fn latest(&self, user: Option<&UserId>, query: &ListQuery)
    -> Result<Vec<ScoredItem>, BackendError>;

    /// The named leaderboard, without what `user` has seen; an unknown name is empty. Categories: `None` is the
    /// global list, empty the union of the lists of all categories.
    async fn leaderboard(
        &self,
        name: &str,
        user: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError>;

    /// The final list of `user`, without what `reader` has seen; [`BackendError::Disabled`] without
    /// collaborative filtering.
    async fn collaborative(
        &self,
        user: &UserId,
        reader: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError>;

    /// Items like `item`, without what `reader` has seen; `None` is the first configured recommender.
    async fn item_neighbors(
        &self,
        name: Option<&str>,
        item: &ItemId,
        reader: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError>;

    /// Users like `user`; `None` is the first configured recommender.
    async fn user_neighbors(
        &self,
        name: Option<&str>,
        user: &UserId,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError>;

    /// A list for somebody of whom only this feedback is known; nothing is stored.
    async fn session(
        &self,
        feedback: Vec<Feedback>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError>;

    /// The system of record, for plain reads.
    fn data(&self) -> &dyn DataStore;

    /// Whether the stores can be reached.
    async fn health(&self) -> Health;

    /// What runs in the background, and what ran last.
    async fn tasks(&self) -> Result<Vec<TaskProgress>, BackendError>;

    /// Counts, times and qualities.
    async fn stats(&self) -> Result<Status, BackendError>;

    /// Live processes, this one apart, by type.
    async fn cluster(&self) -> Result<Vec<Node>, BackendError>;

    /// The settings that are in force, by section, secrets masked.
    fn shown_settings(&self) -> Value;

    /// Changes settings while the service runs and returns when they are in force here. What is wrong is refused as a
    /// whole: [`BackendError::Unfit`], [`BackendError::NotFound`] for a revision.
    async fn change_settings(&self, change: SettingsChange) -> Result<(), BackendError>;

    /// Earlier changes, the latest first.
    async fn settings_history(&self) -> Result<Vec<SettingsRevision>, BackendError>;
}
