use std::sync::atomic::AtomicU64;

use ulex_actors::{Guard, GuardPolicy};
use ulex_domain::{TenantId, UserId};
use ulex_nats::InProcess;
use ulex_nats::refresh::RefreshReason;
use ulex_nats::topology::ensure_topology;
use ulex_recommenders::plan::Plan;
use ulex_recommenders::service::Recommender;
use ulex_settings::from_toml;
use ulex_storage::cache::{CacheStore, MemoryCache};
use ulex_storage::data::MemoryStore;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// A worker without models whose basis the test decides.
struct World {
    bus: Bus,
    epoch: Arc<AtomicU64>,
    cache: Arc<MemoryCache>,
    jobs: Addr<Jobs>,
}

impl World {
    async fn new() -> Self {
        let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
        ensure_topology(&bus, LIMIT).await.unwrap();
        let cache = Arc::new(MemoryCache::new(1 << 20));
        let plan = Plan::new(&from_toml("").unwrap().settings);
        let recommender = Recommender::new(
            Arc::new(MemoryStore::new()),
            Arc::<MemoryCache>::clone(&cache),
            plan,
            Duration::ZERO,
        );
        let predictor = Guarded::default();
        let arbiter = Arbiter::new().handle();
        let start = move || {
            let recommender = recommender.clone();
            Predictor::start_in_arbiter(&arbiter, |_| Predictor::new(recommender))
        };
        Guard::start("predictor", GuardPolicy::default(), predictor.clone(), start);
        let epoch = Arc::new(AtomicU64::new(1));
        let known = Arc::clone(&epoch);
        let here: Here = Arc::new(move || Basis { epoch: known.load(Ordering::Relaxed), settings: 3 });
        let jobs = Jobs::new(bus.clone(), here, vec![predictor], Arc::default()).start();
        Self { bus, epoch, cache, jobs }
    }

    async fn ask(&self, user: &str, epoch: u64, settings: u64) {
        let basis = Basis { epoch, settings };
        let job = RefreshJob { user_id: UserId::new(user), basis, reason: RefreshReason::ModelSet };
        self.bus.append(&job, ulex_nats::bus::AppendOptions::default()).await.unwrap();
    }

    async fn has_list(&self, user: &str) -> bool {
        self.cache.user(&UserId::new(user)).await.unwrap().entry.is_some()
    }

    async fn wait_for_list(&self, user: &str) {
        let waiting = async {
            while !self.has_list(user).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("a list");
    }
}

#[actix::test]
async fn a_job_waits_for_its_own_model_set_and_settings_but_not_for_earlier_ones() {
    let world = World::new().await;
    world.ask("another model", 2, 3).await;
    world.ask("other settings", 1, 4).await;
    world.ask("now", 1, 3).await;
    world.ask("earlier", 0, 2).await;
    world.wait_for_list("now").await;
    world.wait_for_list("earlier").await;
    assert!(!world.has_list("another model").await && !world.has_list("other settings").await);
    world.epoch.store(2, Ordering::Relaxed);
    world.wait_for_list("another model").await;
    assert!(!world.has_list("other settings").await);
    world.jobs.send(Shutdown).await.unwrap();
}
