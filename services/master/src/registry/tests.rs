use std::sync::Mutex;

use tokio::time::Instant;
use ulex_domain::TenantId;
use ulex_nats::InProcess;
use ulex_nats::leases::FencingToken;
use ulex_nats::models::fence;
use ulex_nats::topology::ensure_topology;

use super::*;
use crate::small_model_set::knows_only;

/// A registry under the lease 7, and what it told the planner.
struct World {
    pointers: Bucket<LivePointer>,
    objects: Objects,
    verdicts: Bucket<GateVerdict>,
    throne: Arc<Throne>,
    orders: Arc<Mutex<Vec<String>>>,
    registry: Addr<Registry>,
}

const REIGN: Reign = Reign { token: FencingToken(7), until: None };

impl World {
    async fn new() -> Self {
        let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
        ensure_topology(&bus, std::time::Duration::from_secs(10)).await.unwrap();
        let (orders, throne) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Throne::new(Some(REIGN))));
        let told = Arc::clone(&orders);
        let planner = Outlet::new(move |order: RefreshOrder| told.lock().unwrap().push(order.model_set));
        let parts = RegistryParts {
            bus: bus.clone(),
            pool: Arc::new(ComputePool::new(1).unwrap()),
            keep: 2,
            gate: true,
            reign: REIGN,
            throne: Arc::clone(&throne),
            planner,
        };
        Self {
            pointers: bus.bucket(&REGISTRY).await.unwrap(),
            objects: bus.objects(MODELS).await.unwrap(),
            verdicts: bus.bucket(&VERDICTS).await.unwrap(),
            throne,
            orders,
            registry: Registry::new(parts).start(),
        }
    }

    /// Hands a ModelSet over and says what the registry has done: published, refused, failed.
    async fn fitted(&self, id: &str, problems: &[&str]) -> (u64, u64, u64) {
        let cycled = Cycled {
            set: knows_only(id, 0, &["a", "b"]),
            users: vec!["b".to_owned(), "a".to_owned()],
            comparison: None,
            compared_with: None,
            problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
        };
        self.registry.send(Fitted(Box::new(cycled))).await.unwrap();
        let done = self.registry.send(Observe).await.unwrap();
        let count = |name: &str| done[name].as_u64().unwrap();
        (count("published"), count("refused"), count("failures"))
    }

    async fn live(&self) -> Option<(String, u64)> {
        let pointer = self.pointers.get(LIVE_KEY).await.unwrap()?.value;
        Some((pointer.model_set, pointer.epoch))
    }

    async fn kept(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.objects.list().await.unwrap().into_iter().map(|kept| kept.name).collect();
        names.sort_unstable();
        names
    }
}

fn live(id: &str, epoch: u64) -> Option<(String, u64)> {
    Some((id.to_owned(), epoch))
}

#[actix::test]
async fn what_is_fitted_goes_live_under_rising_epochs_and_as_many_are_kept_as_wanted() {
    let world = World::new().await;
    for (at, id) in ["ms-1", "ms-2", "ms-3"].into_iter().enumerate() {
        assert_eq!(world.fitted(id, &[]).await, (at as u64 + 1, 0, 0));
        assert_eq!(world.live().await, live(id, at as u64 + 1));
    }
    assert_eq!(world.kept().await, ["ms-2", "ms-3"]);
    assert_eq!(*world.orders.lock().unwrap(), ["ms-1", "ms-2", "ms-3"]);
    let pointer = world.pointers.get(LIVE_KEY).await.unwrap().unwrap().value;
    let bytes = world.objects.get_exactly("ms-3", &pointer.digest).await.unwrap().unwrap();
    assert_eq!(ModelSet::from_bytes(&bytes).unwrap().manifest.epoch, 3);
}

#[actix::test]
async fn what_the_gate_refuses_is_kept_to_be_looked_at_and_never_live() {
    let world = World::new().await;
    world.fitted("ms-1", &[]).await;
    assert_eq!(world.fitted("ms-2", &["not finite"]).await, (1, 1, 0));
    assert_eq!(world.live().await, live("ms-1", 1));
    assert_eq!(world.kept().await, ["ms-1", "ms-2"]);
    let verdict = world.verdicts.get(&verdict_key("ms-2")).await.unwrap().unwrap().value;
    assert_eq!((verdict.passed, verdict.reasons), (false, vec!["not finite".to_owned()]));
    // Refused ones do not push out the live one.
    world.fitted("ms-3", &["not finite"]).await;
    world.fitted("ms-4", &["not finite"]).await;
    assert_eq!(world.kept().await, ["ms-1", "ms-3", "ms-4"]);
}

#[actix::test]
async fn a_leader_that_a_newer_one_has_fenced_off_publishes_nothing_though_it_believes_to_lead() {
    let world = World::new().await;
    world.fitted("ms-1", &[]).await;
    fence(&world.pointers, FencingToken(8)).await.unwrap();
    assert_eq!(world.fitted("ms-2", &[]).await, (1, 0, 1));
    assert_eq!(world.live().await, live("ms-1", 1));
}

#[actix::test]
async fn a_leader_whose_time_is_up_stores_nothing() {
    let world = World::new().await;
    for reign in [None, Some(Reign { until: Some(Instant::now()), ..REIGN })] {
        world.throne.send_replace(reign);
        let (published, refused, _) = world.fitted("ms-1", &[]).await;
        assert_eq!((published, refused), (0, 0));
    }
    assert!(world.live().await.is_none() && world.kept().await.is_empty());
}

#[actix::test]
async fn a_pointer_that_others_move_at_the_same_time_is_moved_in_the_end() {
    let world = World::new().await;
    world.fitted("ms-1", &[]).await;
    let pointers = world.pointers.clone();
    let back = actix::spawn(async move {
        for _ in 0..20 {
            let back =
                Candidate { model_set: "ms-1".to_owned(), object: "ms-1".to_owned(), digest: String::new() };
            let _ = advance(&pointers, back, FencingToken(7), Timestamp::now()).await;
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(world.fitted("ms-2", &[]).await, (2, 0, 0));
    back.await.unwrap();
    // Of two who move it at the same time the later one has its way, and no epoch is given twice.
    let (_, epoch) = world.live().await.unwrap();
    assert!(epoch >= 3, "{epoch}");
}
