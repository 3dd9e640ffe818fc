//! The right to do something that only one may do, such as training.
//!
//! | what | bucket | from | to | delivery |
//! |---|---|---|---|---|
//! | [`LeaseRecord`] | `leases`, key is the lease's name | masters | masters | vanishes one meta timeout after the last renewal |
//!
//! Whoever creates the key holds the lease; the holder renews by compare-and-set on its own last revision. The
//! revision is the [`FencingToken`]: it only grows, so what a deposed holder still sends can be told from what its
//! successor sends. The holder stops by its own clock at 0.8 of the time to live, counted from before it sent the
//! last renewal that succeeded, so it has stopped before the bus lets anybody else in, however late answers come.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{info, warn};
use ulex_domain::Timestamp;

use crate::BusError;
use crate::bus::Bucket;

/// Name of the lease to train.
pub const TRAINER_LEASE: &str = "trainer";

/// Grows with every renewal and every change of holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

/// Who holds a lease, for people; only the revision decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Node that holds it.
    pub holder: String,
    /// Since when.
    pub since: Timestamp,
}

/// What the owner of a [`Lease`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// Nothing.
    Standby,
    /// The lease, under this token.
    Leading(FencingToken),
}

/// What to do next about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Try to create it.
    Campaign,
    /// Try to renew it.
    Renew(FencingToken),
    /// Nothing yet.
    Hold,
    /// Stop leading: the time is up.
    StepDown,
}

/// The lease as its holder knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    token: FencingToken,
    /// Before the last successful renewal was sent.
    renewed_at: Instant,
}

/// Part of the time to live after which a holder renews: two more tries fit before it must stop.
const RENEW_AFTER: f64 = 0.25;
/// Part of the time to live after which a holder stops.
const STOP_AFTER: f64 = 0.8;

fn decide(held: Option<Held>, now: Instant, ttl: Duration) -> Decision {
    let Some(held) = held else { return Decision::Campaign };
    let age = now.duration_since(held.renewed_at);
    if age >= ttl.mul_f64(STOP_AFTER) {
        Decision::StepDown
    } else if age >= ttl.mul_f64(RENEW_AFTER) {
        Decision::Renew(held.token)
    } else {
        Decision::Hold
    }
}

/// One node's claim to a lease. Call [`Lease::step`] every [`Lease::interval`].
pub struct Lease {
    bucket: Bucket<LeaseRecord>,
    name: &'static str,
    record: LeaseRecord,
    ttl: Duration,
    held: Option<Held>,
}

impl Lease {
    /// A claim of `holder` to the lease `name`. `ttl` is that of the bucket.
    #[must_use]
    pub fn new(bucket: Bucket<LeaseRecord>, name: &'static str, holder: &str, ttl: Duration) -> Self {
        let record = LeaseRecord { holder: holder.to_owned(), since: Timestamp::ZERO };
        Self { bucket, name, record, ttl, held: None }
    }

    /// How often to call [`Lease::step`]: an eighth of the time to live.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.ttl / 8
    }

    /// What this node has right now, by its own clock. Ask before every deed that needs the lease.
    #[must_use]
    pub fn tenure(&self) -> Tenure {
        match self.held {
            Some(held) if decide(Some(held), Instant::now(), self.ttl) != Decision::StepDown => {
                Tenure::Leading(held.token)
            }
            Some(_) | None => Tenure::Standby,
        }
    }

    /// Until when this node has the lease for certain, by its own clock; `None` if it does not have it.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        self.held.map(|held| held.renewed_at + self.ttl.mul_f64(STOP_AFTER))
    }

    /// Campaigns, renews or stops, whichever is due, and says what this node has afterwards. A bus that cannot be
    /// reached is logged; the lease is kept until its time is up.
    pub async fn step(&mut self) -> Tenure {
        let now = Instant::now();
        match decide(self.held, now, self.ttl) {
            Decision::Hold => {}
            Decision::Campaign => self.campaign(now).await,
            Decision::Renew(token) => self.renew(token, now).await,
            Decision::StepDown => {
                warn!(lease = self.name, "stopped leading: the lease could not be renewed in time");
                self.held = None;
            }
        }
        self.tenure()
    }

    /// Gives the lease back, so that another node can take it at once.
    ///
    /// # Errors
    ///
    /// [`BusError::Transport`] if the bus cannot be reached; the lease then ends by itself.
    pub async fn release(&mut self) -> Result<(), BusError> {
        let Some(held) = self.held.take() else { return Ok(()) };
        match self.bucket.delete_at(self.name, held.token.0).await {
            Err(BusError::Conflict { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    async fn campaign(&mut self, now: Instant) {
        self.record.since = Timestamp::now();
        match self.within_reason(self.bucket.create(self.name, &self.record)).await {
            Ok(revision) => {
                info!(lease = self.name, token = revision, "leading");
                self.held = Some(Held { token: FencingToken(revision), renewed_at: now });
            }
            Err(BusError::Conflict { .. }) => {}
            Err(error) => warn!(lease = self.name, %error, "could not campaign"),
        }
    }

    async fn renew(&mut self, token: FencingToken, now: Instant) {
        match self.within_reason(self.bucket.update(self.name, &self.record, token.0)).await {
            Ok(revision) => self.held = Some(Held { token: FencingToken(revision), renewed_at: now }),
            Err(BusError::Conflict { .. }) => {
                warn!(lease = self.name, "stopped leading: the lease was lost");
                self.held = None;
            }
            Err(error) => warn!(lease = self.name, %error, "could not renew"),
        }
    }

    /// An answer that takes longer than a quarter of the time to live is as good as none.
    async fn within_reason(
        &self,
        call: impl Future<Output = Result<u64, BusError>>,
    ) -> Result<u64, BusError> {
        let answer = tokio::time::timeout(self.ttl.mul_f64(RENEW_AFTER), call).await;
        answer.unwrap_or_else(|_late| Err(BusError::Timeout { subject: self.name.to_owned() }))
    }
}

#[cfg(test)]
mod tests;
