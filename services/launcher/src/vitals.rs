//! What a process says about itself in its heartbeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ulex_actors::Vitals;
use ulex_nats::membership::Role;

use crate::parts::Parts;

/// Figures that are measured in one place of the process and reported in another.
#[derive(Debug, Default)]
pub struct Figures {
    /// Events that wait to be applied, in the whole cluster.
    pub events_waiting: AtomicU64,
    /// Refresh jobs that wait for a worker, in the whole cluster.
    pub jobs_waiting: AtomicU64,
    /// Refresh jobs that this process is working on.
    pub jobs_under_way: Arc<AtomicUsize>,
}

/// What a heartbeat of this moment says.
pub fn vitals(parts: &Parts) -> Vitals {
    let requests = parts.api.get().map_or(0, |api| api.in_flight() as u64);
    let jobs = parts.figures.jobs_under_way.load(Ordering::Relaxed) as u64;
    let events = parts.figures.events_waiting.load(Ordering::Relaxed);
    let waiting = parts.figures.jobs_waiting.load(Ordering::Relaxed);
    let (applies, refreshes) = match parts.role {
        Role::One => (true, true),
        Role::Server => (true, false),
        Role::Worker | Role::Master => (false, true),
    };
    Vitals {
        model_set: parts.recommender.live().map(|live| live.set.id().to_owned()),
        queue_depth: requests + jobs,
        lag: if applies { events } else { 0 } + if refreshes { waiting } else { 0 },
    }
}
