//! What is looked up whenever somebody asks for the page: it costs next to nothing and is never out of date.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};
use ulex_actors::usage::{cpu_seconds, open_files, resident_bytes};
use ulex_algorithms::model_set::Manifest;
use ulex_nats::membership::Role;
use ulex_recommenders::plan::Source;
use ulex_recommenders::service::Recommender;

/// See the module documentation. Cheap to clone.
#[derive(Clone)]
pub struct Lookups {
    role: Role,
    recommender: Recommender,
    started: f64,
    /// Writes that wait for their receipt.
    waiting: Option<Arc<dyn Fn() -> usize + Send + Sync>>,
}

impl Lookups {
    /// Of a process that answers from `recommender`.
    #[must_use]
    pub fn new(role: Role, recommender: Recommender) -> Self {
        Self { role, recommender, started: now(), waiting: None }
    }

    /// Also says how many writes wait.
    #[must_use]
    pub fn with_waiting(mut self, waiting: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        self.waiting = Some(Arc::new(waiting));
        self
    }

    /// Looks.
    pub(super) fn look(&self) {
        gauge!("process_start_time_seconds").set(self.started);
        gauge!("process_cpu_seconds_total").set(cpu_seconds());
        gauge!("process_resident_memory_bytes").set(resident_bytes() as f64);
        gauge!("process_open_fds").set(open_files() as f64);
        gauge!("ulex_build_info", "version" => env!("CARGO_PKG_VERSION"), "role" => self.role.as_str())
            .set(1.0);
        if let Some(waiting) = &self.waiting {
            gauge!("ulex_gateway_waiting").set(waiting() as f64);
        }
        gauge!("ulex_catalogue_items").set(self.recommender.catalogue().view().len() as f64);
        if let Some(live) = self.recommender.live() {
            let manifest = &live.set.manifest;
            gauge!("ulex_model_epoch").set(manifest.epoch as f64);
            gauge!("ulex_model_age_seconds").set(now() - manifest.created_ms as f64 / 1e3);
            if matches!(self.role, Role::One | Role::Master) {
                look_as_gorse(manifest);
            }
        }
        // Counted elsewhere: named here so that they are on the page, as 0, before the first one.
        for name in ["ulex_bus_disconnected_total", "ulex_gateway_overloaded_total"] {
            counter!(name).increment(0);
        }
    }
}

/// The figures of the live ModelSet by the names that Gorse gives them.
fn look_as_gorse(manifest: &Manifest) {
    gauge!("gorse_master_users_total").set(manifest.users as f64);
    gauge!("gorse_master_items_total").set(manifest.items as f64);
    gauge!("gorse_master_feedbacks_total").set(manifest.rows as f64);
    gauge!("gorse_master_positive_feedbacks_total").set(manifest.liked as f64);
    let rest = manifest.rows.saturating_sub(manifest.liked);
    gauge!("gorse_master_negative_feedbacks_total").set(rest as f64);
    let collaborative = Source::Collaborative;
    let told = [
        ("gorse_master_collaborative_filtering_ndcg_10", format!("{collaborative}.ndcg@10")),
        ("gorse_master_collaborative_filtering_precision_10", format!("{collaborative}.precision@10")),
        ("gorse_master_collaborative_filtering_recall_10", format!("{collaborative}.recall@10")),
        ("gorse_master_ranking_model_precision", "pipeline.precision@10".to_owned()),
        ("gorse_master_ranking_model_recall", "pipeline.recall@10".to_owned()),
        ("gorse_master_ranking_model_auc", "ranker.auc".to_owned()),
    ];
    for (name, metric) in told {
        if let Some(value) = manifest.metrics.get(&metric) {
            // A negative zero is a zero to everybody but a reader.
            gauge!(name).set(*value + 0.0);
        }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
