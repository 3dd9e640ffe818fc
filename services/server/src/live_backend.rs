//! The [`Backend`] of a running process: writes go through the log, answers come from the recommender, the dashboard's
//! figures from the buckets of the bus.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use ulex_domain::{Command, EventId, Feedback, ItemId, Timestamp, UserId};
use ulex_nats::bus::Bucket;
use ulex_nats::membership::{Heartbeat, Role};
use ulex_nats::topology::{PROGRESS, members};
use ulex_nats::training::{Progress, TaskStatus};
use ulex_nats::{Bus, BusError};
use ulex_recommenders::plan::Source;
use ulex_recommenders::request::RecommendError;
use ulex_recommenders::service::Recommender;
use ulex_storage::data::DataStore;

use crate::backend::{
    Backend, BackendError, Effort, Health, ListQuery, MatchingScore, Node, RankingScore, Receipt,
    Recommended, ScoredItem, SettingsChange, SettingsRevision, Status, TaskProgress,
};
use crate::gateway::{AppliedWrite, Gateway, SubmitError};
use crate::readiness::ReadinessProbe;
use crate::settings_desk::SettingsDesk;

/// See the module documentation.
pub struct LiveBackend {
    recommender: Recommender,
    gateway: Gateway,
    desk: SettingsDesk,
    readiness: ReadinessProbe,
    progress: Bucket<Progress>,
    members: Bucket<Heartbeat>,
    node: String,
}

impl LiveBackend {
    /// Opens the buckets it reads.
    ///
    /// # Errors
    ///
    /// Whatever the bus reports.
    pub async fn open(
        bus: &Bus,
        recommender: Recommender,
        (gateway, desk): (Gateway, SettingsDesk),
        (node, meta_timeout): (String, Duration),
    ) -> Result<Self, BusError> {
        let progress = bus.bucket(&PROGRESS).await?;
        let members = bus.bucket(&members(meta_timeout)).await?;
        let readiness = ReadinessProbe::open(bus, &recommender).await?;
        Ok(Self { recommender, gateway, desk, readiness, progress, members, node })
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, BackendError> {
        let entries = self.members.entries().await?;
        Ok(entries
            .into_iter()
            .map(|entry| entry.value)
            .filter(|beat| beat.node != self.node || beat.role != Role::One)
            .collect())
    }
}

fn failed(reason: RecommendError) -> BackendError {
    match reason {
        RecommendError::UnknownRecommender { .. } => BackendError::NotFound(reason.to_string()),
        RecommendError::Disabled(text) => BackendError::Disabled(text.to_owned()),
        RecommendError::Storage(source) => source.into(),
    }
}

#[async_trait]
impl Backend for LiveBackend {
    async fn submit(&self, event: Command, id: EventId, wait: Duration) -> Result<Receipt, BackendError> {
        match self.gateway.submit(event, Some(id), Some(wait)).await {
            Ok(AppliedWrite { receipt, .. }) => {
                Ok(Receipt { rows_deleted: receipt.rows_deleted, duplicate: receipt.duplicate })
            }
            Err(SubmitError::Overloaded) => Err(BackendError::Overloaded),
            Err(SubmitError::Unavailable(reason)) => Err(BackendError::Unavailable(reason)),
            Err(SubmitError::Unknown { event_id, .. }) => Err(BackendError::Unknown { event_id }),
            Err(SubmitError::Rejected(reason)) => Err(BackendError::Internal(reason)),
            Err(SubmitError::TooLarge { size, limit }) => Err(BackendError::Invalid {
                field: "body".to_owned(),
                expected: format!("rows of at most {limit} bytes, got one of {size}"),
            }),
        }
    }

    fn recommend_now(&self, user: &UserId, query: &ListQuery, effort: Effort) -> Option<Recommended> {
        self.recommender.recommend_now_within(user, query, effort)
    }

    async fn recommend(
        &self,
        user: &UserId,
        query: &ListQuery,
        effort: Effort,
    ) -> Result<Recommended, BackendError> {
        self.recommender.recommend_within(user, query, effort).await.map_err(failed)
    }

    async fn latest(
        &self,
        user: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError> {
        self.recommender.latest(user, query).await.map_err(failed)
    }

    async fn leaderboard(
        &self,
        name: &str,
        user: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError> {
        self.recommender.leaderboard(name, user, query).await.map_err(failed)
    }

    async fn collaborative(
        &self,
        user: &UserId,
        reader: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError> {
        if !self.recommender.plan().collaborative {
            let text = "collaborative filtering recommendation is disabled";
            return Err(BackendError::Disabled(text.to_owned()));
        }
        let list = self.recommender.recommend_for(user, reader, query).await;
        list.map_err(failed)
    }

    async fn item_neighbors(
        &self,
        name: Option<&str>,
        item: &ItemId,
        reader: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError> {
        self.recommender.item_neighbors(name, item, reader, query).await.map_err(failed)
    }

    async fn user_neighbors(
        &self,
        name: Option<&str>,
        user: &UserId,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError> {
        self.recommender.user_neighbors(name, user, query).await.map_err(failed)
    }

    async fn session(
        &self,
        feedback: Vec<Feedback>,
        query: &ListQuery,
    ) -> Result<Vec<ScoredItem>, BackendError> {
        self.recommender.session(&feedback, query).map_err(failed)
    }

    fn data(&self) -> &dyn DataStore {
        self.recommender.data().as_ref()
    }

    async fn health(&self) -> Health {
        self.readiness.check().await
    }

    async fn tasks(&self) -> Result<Vec<TaskProgress>, BackendError> {
        let entries = self.progress.entries().await?;
        let mut tasks: Vec<TaskProgress> = entries.into_iter().map(|entry| task(entry.value)).collect();
        tasks.sort_by(|a, b| a.start_time.cmp(&b.start_time).then_with(|| a.name.cmp(&b.name)));
        Ok(tasks)
    }

    async fn stats(&self) -> Result<Status, BackendError> {
        let counts = self.recommender.data().counts().await?;
        let beats = self.heartbeats().await?;
        let of = |role: Role| beats.iter().filter(|beat| beat.role == role).count() as u64;
        let mut status = Status {
            binary_version: env!("CARGO_PKG_VERSION").to_owned(),
            num_servers: of(Role::Server),
            num_workers: of(Role::Worker),
            num_users: counts.users,
            num_items: counts.items,
            ..Status::default()
        };
        if let Some(live) = self.recommender.live() {
            let manifest = &live.set.manifest;
            let metric = |name: &str| manifest.metrics.get(name).copied().unwrap_or(0.0);
            let fitted = Timestamp::from_nanos(manifest.created_ms.saturating_mul(1_000_000));
            status.num_total_pos_feedback = manifest.liked as u64;
            status.num_valid_pos_feedback = manifest.liked as u64;
            status.num_valid_neg_feedback = (manifest.rows - manifest.liked.min(manifest.rows)) as u64;
            status.popular_items_update_time = fitted;
            status.matching_model_fit_time = fitted;
            let cf = Source::Collaborative.to_string();
            status.matching_model_score = MatchingScore {
                ndcg: metric(&format!("{cf}.ndcg@10")),
                precision: metric(&format!("{cf}.precision@10")),
                recall: metric(&format!("{cf}.recall@10")),
            };
            if live.set.ranker.is_some() {
                status.ranking_model_fit_time = fitted;
                status.ranking_model_score = RankingScore {
                    precision: metric("pipeline.precision@10"),
                    recall: metric("pipeline.recall@10"),
                    auc: metric("ranker.auc"),
                    ..RankingScore::default()
                };
            }
        }
        Ok(status)
    }

    async fn cluster(&self) -> Result<Vec<Node>, BackendError> {
        let node = |beat: Heartbeat| Node {
            uuid: beat.node,
            hostname: beat.host,
            role: match beat.role {
                Role::Master => "Master".to_owned(),
                Role::Worker => "Worker".to_owned(),
                Role::Server => "Server".to_owned(),
                Role::One => "One".to_owned(),
            },
            version: beat.version,
            update_time: beat.sent_at,
            start_time: beat.started_at,
            model_set: beat.model_set.unwrap_or_default(),
            queue_depth: beat.queue_depth,
            lag: beat.lag,
            cpu: beat.cpu,
            rss: beat.rss,
        };
        let mut nodes: Vec<Node> = self.heartbeats().await?.into_iter().map(node).collect();
        nodes.sort_by(|a, b| a.role.cmp(&b.role).then_with(|| a.uuid.cmp(&b.uuid)));
        Ok(nodes)
    }

    fn shown_settings(&self) -> Value {
        self.desk.shown()
    }

    async fn change_settings(&self, change: SettingsChange) -> Result<(), BackendError> {
        self.desk.change(change).await
    }

    async fn settings_history(&self) -> Result<Vec<SettingsRevision>, BackendError> {
        self.desk.history().await
    }
}

fn task(progress: Progress) -> TaskProgress {
    let status = match progress.status {
        TaskStatus::Pending => "Pending",
        TaskStatus::Running => "Running",
        TaskStatus::Complete => "Complete",
        TaskStatus::Suspended => "Suspended",
        TaskStatus::Failed => "Failed",
    };
    TaskProgress {
        tracer: progress.node,
        name: progress.name,
        status: status.to_owned(),
        error: progress.error,
        count: progress.count,
        total: progress.total,
        start_time: progress.start,
        finish_time: progress.finish,
    }
}
