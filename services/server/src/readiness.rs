//! Readiness of a process in parts that fail alone: bus, store, cache, models, ingest.
//!
//! | part | is ready if |
//! |---|---|
//! | bus | it answers for the stream of events: a bus that came back empty is not ready |
//! | store, cache | it answers |
//! | models | nothing is published yet, or this process answers with a ModelSet |
//! | ingest | fewer than `MAX_INGEST_LAG_MESSAGES` wait to be applied |

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;
use ulex_nats::bus::Bucket;
use ulex_nats::models::{LIVE_KEY, LivePointer};
use ulex_nats::topology::{EVENTS, INGEST, REGISTRY};
use ulex_nats::{Bus, BusError};
use ulex_recommenders::service::Recommender;

use crate::backend::Health;

/// Longest wait for one part.
const PART_TIMEOUT: Duration = Duration::from_secs(2);

/// Backlog from which on a write waits for longer than a caller does.
const MAX_INGEST_LAG_MESSAGES: u64 = 100_000;

/// Asks each part whether it is there. Cheap to clone.
#[derive(Clone)]
pub struct ReadinessProbe {
    bus: Bus,
    recommender: Recommender,
    registry: Bucket<LivePointer>,
}

impl ReadinessProbe {
    /// Opens the bucket that names the published ModelSet.
    ///
    /// # Errors
    ///
    /// Whatever the bus reports.
    pub async fn open(bus: &Bus, recommender: &Recommender) -> Result<Self, BusError> {
        let registry = bus.bucket(&REGISTRY).await?;
        Ok(Self { bus: bus.clone(), recommender: recommender.clone(), registry })
    }

    /// Asks all parts at once.
    pub async fn check(&self) -> Health {
        let (events, ingest) = (EVENTS, INGEST);
        let (data, cache) = (self.recommender.data(), self.recommender.cache());
        let (bus, data, cache, pointer, backlog) = tokio::join!(
            answer(self.bus.stream_state(&events.name)),
            answer(data.ping()),
            answer(cache.ping()),
            answer(self.registry.get(LIVE_KEY)),
            answer(self.bus.backlog(&ingest)),
        );
        let is_published = pointer.flatten().is_some();
        let ingest_lag = backlog.map(|backlog| backlog.waiting);
        Health {
            data: data.is_some(),
            cache: cache.is_some(),
            bus: bus.is_some(),
            models: !is_published || self.recommender.live().is_some(),
            ingest: ingest_lag.is_none_or(|lag| lag < MAX_INGEST_LAG_MESSAGES),
            ingest_lag,
        }
    }
}

/// The answer of a part, if it comes in time.
async fn answer<T, E>(asked: impl Future<Output = Result<T, E>>) -> Option<T> {
    timeout(PART_TIMEOUT, asked).await.ok()?.ok()
}
