//! Says "alive" to the cluster.
//!
//! - Receives: [`Observe`], [`Shutdown`].
//! - Announces: a heartbeat in the bucket `members`, three times in each meta timeout.
//! - Owns: nothing but its timer, which no other work shares.
//! - On failure: a heartbeat that could not be written is written at the next beat.
//! - On shutdown: takes its entry out, so that nobody waits for it to expire.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use serde_json::json;
use tracing::warn;
use ulex_nats::bus::Bucket;
use ulex_nats::membership::{Heartbeat as Beat, Role};

use crate::usage::{cpu_seconds, resident_bytes};
use crate::{Observe, Shutdown};

/// What changes from beat to beat; filled in by the role.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// The ModelSet it serves with.
    pub model_set: Option<String>,
    /// Jobs or requests that wait inside it.
    pub queue_depth: u64,
    /// Messages of its streams it has not come to yet.
    pub lag: u64,
}

/// See the module documentation.
pub struct Heartbeat {
    bucket: Bucket<Beat>,
    beat: Beat,
    vitals: Arc<dyn Fn() -> Vitals + Send + Sync>,
    interval: Duration,
    sent: u64,
    used: (Instant, f64),
}

impl Heartbeat {
    /// Prepares the heartbeat of a process.
    #[must_use]
    pub fn new(
        bucket: Bucket<Beat>,
        (node, role, version): (String, Role, String),
        meta_timeout: Duration,
        vitals: Arc<dyn Fn() -> Vitals + Send + Sync>,
    ) -> Self {
        let beat = Beat::first(node, role, host_name(), version);
        let used = (Instant::now(), cpu_seconds());
        Self { bucket, beat, vitals, interval: meta_timeout / 3, sent: 0, used }
    }

    fn beat(&mut self, ctx: &mut Context<Self>) {
        let Vitals { model_set, queue_depth, lag } = (self.vitals)();
        let (then, before) = std::mem::replace(&mut self.used, (Instant::now(), cpu_seconds()));
        let elapsed = then.elapsed().as_secs_f64().max(1e-3);
        self.beat.renew();
        self.beat.model_set = model_set;
        self.beat.queue_depth = queue_depth;
        self.beat.lag = lag;
        self.beat.cpu = ((self.used.1 - before) / elapsed).max(0.0);
        self.beat.rss = resident_bytes();
        let (bucket, beat) = (self.bucket.clone(), self.beat.clone());
        let write = async move { bucket.put(&beat.key(), &beat).await };
        ctx.spawn(write.into_actor(self).map(|written, actor, _| match written {
            Ok(_) => actor.sent += 1,
            Err(reason) => warn!(%reason, "a heartbeat could not be written"),
        }));
    }
}

/// The kernel's name of this machine; empty where it cannot be read.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.beat(ctx);
        ctx.run_interval(self.interval, Self::beat);
    }
}

impl Handler<Observe> for Heartbeat {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({ "sent": self.sent, "node": self.beat.node }))
    }
}

impl Handler<Shutdown> for Heartbeat {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
        let (bucket, key) = (self.bucket.clone(), self.beat.key());
        let leave = async move {
            if let Err(reason) = bucket.delete(&key).await {
                warn!(%reason, "could not leave the members");
            }
        };
        Box::pin(leave.into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ulex_domain::TenantId;
    use ulex_nats::topology::members;
    use ulex_nats::{Bus, InProcess};

    const META_TIMEOUT: Duration = Duration::from_secs(10);

    async fn bucket() -> Bucket<Beat> {
        let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
        bus.bucket(&members(META_TIMEOUT)).await.unwrap()
    }

    fn start(bucket: &Bucket<Beat>) -> Addr<Heartbeat> {
        let identity = ("worker.1".to_owned(), Role::Worker, "0.1.0".to_owned());
        let vitals = || Vitals { queue_depth: 7, ..Vitals::default() };
        Heartbeat::new(bucket.clone(), identity, META_TIMEOUT, Arc::new(vitals)).start()
    }

    async fn names(bucket: &Bucket<Beat>) -> Vec<String> {
        bucket.entries().await.unwrap().into_iter().map(|stored| stored.value.node).collect()
    }

    #[actix::test]
    async fn a_process_is_a_member_for_as_long_as_it_beats() {
        tokio::time::pause();
        let bucket = bucket().await;
        let heartbeat = start(&bucket);
        tokio::time::sleep(META_TIMEOUT * 20).await;
        let member = bucket.entries().await.unwrap().remove(0).value;
        assert_eq!((member.node.as_str(), member.role, member.queue_depth), ("worker.1", Role::Worker, 7));
        assert!(heartbeat.send(Observe).await.unwrap()["sent"].as_u64().unwrap() >= 55);

        heartbeat.send(Shutdown).await.unwrap();
        assert_eq!(names(&bucket).await, Vec::<String>::new(), "it left");
        assert!(!heartbeat.connected());
        tokio::time::sleep(META_TIMEOUT).await;
        assert_eq!(names(&bucket).await, Vec::<String>::new(), "and does not come back");
    }
}
