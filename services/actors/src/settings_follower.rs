//! Follows the settings that are changed while the program runs.
//!
//! - Receives: [`Observe`], [`Shutdown`]; watches the bucket `config`.
//! - Announces: [`SettingsChanged`], once for each change; afterwards [`InForce`] to whoever watches, so that who waits for
//!   a revision there knows that it has been taken over.
//! - Owns: which settings are in force here: the configuration this process was started with, and what is laid over it.
//! - On failure: a bus that is away is waited for; overrides that cannot be used here are reported and the settings in
//!   force stay.
//! - On shutdown: stops watching.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use metrics::{counter, gauge};
use serde_json::json;
use tokio::sync::watch;
use tracing::{error, info, warn};
use ulex_domain::Timestamp;
use ulex_nats::bus::{Bucket, Changed, Stored};
use ulex_nats::overrides::{Overrides, RECOMMEND_KEY, present};
use ulex_nats::topology::CONFIG;
use ulex_nats::{Bus, BusError};
use ulex_settings::{Settings, overlay};

use crate::{Observe, Outlet, Shutdown};

/// Pause before watching again.
const PAUSE: Duration = Duration::from_millis(500);

/// The settings that a process runs on at present.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Checked and complete.
    pub settings: Arc<Settings>,
    /// Revision of the overrides in them; 0: as the process was started.
    pub revision: u64,
    /// When they were overridden.
    at: Timestamp,
}

impl InForce {
    /// What a process is started with, nothing laid over it.
    #[must_use]
    pub const fn as_started(base: Arc<Settings>) -> Self {
        Self { settings: base, revision: 0, at: Timestamp::ZERO }
    }

    /// What is in force when a process starts. Overrides that cannot be used are reported and left out.
    ///
    /// # Errors
    ///
    /// Whatever the bus reports.
    pub async fn read(bus: &Bus, base: &Arc<Settings>) -> Result<Self, BusError> {
        let bucket: Bucket<Overrides> = bus.bucket(&CONFIG).await?;
        let none = Self::as_started(Arc::clone(base));
        let stored = match present(&bucket).await {
            Err(reason @ BusError::Malformed { .. }) => {
                error!(%reason, "changed settings cannot be read and are not in force");
                return Ok(none);
            }
            stored => stored?,
        };
        Ok(none.followed_by(base, &stored).unwrap_or(none))
    }

    /// What is in force after an override; `None` if nothing changes, or the override cannot be used.
    fn followed_by(&self, base: &Settings, stored: &Stored<Overrides>) -> Option<Self> {
        let Stored { value, revision, .. } = stored;
        // A bucket that was lost begins to count anew; then the time says what is later.
        if *revision == self.revision || (*revision < self.revision && value.at <= self.at) {
            return None;
        }
        match overlay(base, &value.values) {
            Ok(settings) => Some(Self { settings: Arc::new(settings), revision: *revision, at: value.at }),
            Err(reason) => {
                error!(%reason, revision, "changed settings cannot be used here, the old ones stay");
                counter!("ulex_settings_refused_total").increment(1);
                None
            }
        }
    }
}

/// Other settings are in force.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct SettingsChanged {
    /// Checked and complete.
    pub settings: Arc<Settings>,
    /// Revision of the overrides in them.
    pub revision: u64,
}

/// See the module documentation.
pub struct SettingsFollower {
    bus: Bus,
    base: Arc<Settings>,
    in_force: Arc<watch::Sender<InForce>>,
    listener: Outlet<SettingsChanged>,
}

impl SettingsFollower {
    /// Prepares the actor. `base` is what the process was started with, `in_force` what is in force already.
    #[must_use]
    pub const fn new(
        bus: Bus,
        base: Arc<Settings>,
        in_force: Arc<watch::Sender<InForce>>,
        listener: Outlet<SettingsChanged>,
    ) -> Self {
        Self { bus, base, in_force, listener }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Overridden(Stored<Overrides>);

impl Actor for SettingsFollower {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        gauge!("ulex_settings_revision").set(self.in_force.borrow().revision as f64);
        let (bus, own) = (self.bus.clone(), ctx.address());
        let watching = async move {
            while own.connected() {
                if let Err(reason) = watch_bucket(&bus, &own).await {
                    warn!(%reason, "cannot watch the settings");
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        ctx.spawn(watching.into_actor(self));
    }
}

async fn watch_bucket(bus: &Bus, own: &Addr<SettingsFollower>) -> Result<(), BusError> {
    let bucket: Bucket<Overrides> = bus.bucket(&CONFIG).await?;
    let mut watch = bucket.watch().await?;
    while let Some(change) = watch.next().await {
        match change {
            Ok(Changed::Put(stored)) if stored.key == RECOMMEND_KEY => {
                if own.send(Overridden(stored)).await.is_err() {
                    return Ok(());
                }
            }
            Ok(Changed::Put(_) | Changed::Gone { .. }) => {}
            Err(reason) => error!(%reason, "changed settings cannot be read, the old ones stay"),
        }
    }
    Ok(())
}

impl Handler<Overridden> for SettingsFollower {
    type Result = ();

    fn handle(&mut self, Overridden(stored): Overridden, _: &mut Context<Self>) {
        let before = self.in_force.borrow().clone();
        let Some(next) = before.followed_by(&self.base, &stored) else { return };
        let keys: Vec<&str> = stored.value.values.keys().map(String::as_str).collect();
        info!(revision = next.revision, overridden = keys.join(", "), "other settings are in force");
        gauge!("ulex_settings_revision").set(next.revision as f64);
        let (settings, revision) = (Arc::clone(&next.settings), next.revision);
        self.listener.send(SettingsChanged { settings, revision });
        self.in_force.send_replace(next);
    }
}

impl Handler<Observe> for SettingsFollower {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(json!({ "revision": self.in_force.borrow().revision }))
    }
}

impl Handler<Shutdown> for SettingsFollower {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Mutex;

    use ulex_domain::TenantId;
    use ulex_nats::InProcess;
    use ulex_nats::overrides::change;

    const LIMIT: Duration = Duration::from_secs(10);

    /// A process that follows, and the cache sizes it was told, in order.
    struct Process {
        in_force: watch::Receiver<InForce>,
        told: Arc<Mutex<Vec<usize>>>,
        actor: Addr<SettingsFollower>,
    }

    impl Process {
        async fn start(bus: &Bus) -> Self {
            let base = Arc::new(Settings::default());
            let in_force = Arc::new(watch::Sender::new(InForce::read(bus, &base).await.unwrap()));
            let told: Arc<Mutex<Vec<usize>>> = Arc::default();
            let (receiver, noted) = (in_force.subscribe(), Arc::clone(&told));
            let listener = Outlet::new(move |SettingsChanged { settings, .. }| {
                noted.lock().unwrap().push(settings.recommend.cache_size);
            });
            let actor = SettingsFollower::new(bus.clone(), base, in_force, listener).start();
            Self { in_force: receiver, told, actor }
        }

        async fn reaches(&mut self, revision: u64) -> usize {
            let reached = self.in_force.wait_for(|now| now.revision == revision);
            let reached = tokio::time::timeout(LIMIT, reached).await.expect("in time").unwrap();
            reached.settings.recommend.cache_size
        }
    }

    fn bus() -> Bus {
        Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default())
    }

    async fn set(bus: &Bus, size: Option<i64>) -> u64 {
        let bucket = bus.bucket(&CONFIG).await.unwrap();
        let values = size.map(|size| ("recommend.cache_size".to_owned(), json!(size)));
        let edit = |_: &Overrides| {
            let values = values.clone().into_iter().collect();
            Ok::<_, BusError>(Overrides { values, at: Timestamp::now(), restored: None })
        };
        change(&bucket, edit).await.unwrap().revision
    }

    #[actix::test]
    async fn every_process_follows_a_change_and_one_that_starts_later_begins_with_it() {
        let bus = bus();
        let mut processes = [Process::start(&bus).await, Process::start(&bus).await];
        let before = processes[0].in_force.borrow().settings.recommend.cache_size;
        let revision = set(&bus, Some(33)).await;
        for process in &mut processes {
            assert_eq!(process.reaches(revision).await, 33);
            assert_eq!(*process.told.lock().unwrap(), [33], "told before, and once");
        }
        let late = Process::start(&bus).await;
        assert_eq!(late.in_force.borrow().settings.recommend.cache_size, 33);
        let revision = set(&bus, None).await;
        for process in processes.iter_mut().chain([&mut { late }]) {
            assert_eq!(process.reaches(revision).await, before, "as the file says");
        }
    }

    #[actix::test]
    async fn settings_that_cannot_be_used_change_nothing_and_the_next_ones_are_followed() {
        let bus = bus();
        let mut process = Process::start(&bus).await;
        set(&bus, Some(-1)).await;
        let revision = set(&bus, Some(44)).await;
        assert_eq!(process.reaches(revision).await, 44);
        assert_eq!(*process.told.lock().unwrap(), [44]);
        process.actor.send(Shutdown).await.unwrap();
        assert!(!process.actor.connected());
    }

    #[test]
    fn an_older_revision_is_followed_only_if_it_is_of_a_later_time() {
        let base = Arc::new(Settings::default());
        let now = InForce { settings: Arc::clone(&base), revision: 9, at: Timestamp::from_nanos(100) };
        let stored = |revision, at| Stored {
            key: RECOMMEND_KEY.to_owned(),
            value: Overrides { at: Timestamp::from_nanos(at), ..Overrides::default() },
            revision,
        };
        let follows = |revision, at| now.followed_by(&base, &stored(revision, at)).is_some();
        assert!(follows(10, 1), "the clock of another machine does not matter");
        assert!(!follows(9, 200) && !follows(8, 100));
        assert!(follows(1, 101), "the bucket was lost and began anew");
    }
}
