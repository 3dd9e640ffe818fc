use std::time::Duration;

use ulex_domain::{TenantId, UserId};
use ulex_nats::InProcess;
use ulex_nats::bus::AppendOptions;
use ulex_nats::conformance::interrupted::InterruptedBus;
use ulex_nats::transport::Transport;
use ulex_storage::data::MemoryStore;

use super::*;

/// Longest wait for what must happen.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

struct World {
    transport: Arc<InterruptedBus>,
    bus: Bus,
    dataset: Addr<Dataset>,
}

impl World {
    async fn new() -> Self {
        let transport = Arc::new(InterruptedBus::new(empty_bus().await));
        let bus = Bus::new(Arc::clone(&transport) as Arc<dyn Transport>, TenantId::default());
        let dataset = Dataset::new(bus.clone(), Arc::new(MemoryStore::default()), Outlet::new(drop)).start();
        let world = Self { transport, bus, dataset };
        world.reaches(|dataset| dataset.following).await;
        world.dataset.send(TakeTable).await.unwrap().unwrap();
        world
    }

    async fn change(&self, user: &str) {
        let changes = vec![Change::Users { user_ids: vec![UserId::new(user)] }];
        self.bus.append(&Changes { changes, rows: 1 }, AppendOptions::default()).await.unwrap();
    }

    /// Waits until the dataset has come to a state.
    async fn reaches(&self, is_reached: fn(&Dataset) -> bool) {
        let reached = async {
            while !self.dataset.send(Inspect(is_reached)).await.unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(WAIT_LIMIT, reached).await.unwrap();
    }
}

#[derive(Message)]
#[rtype(result = "bool")]
struct Inspect(fn(&Dataset) -> bool);

impl Handler<Inspect> for Dataset {
    type Result = bool;

    fn handle(&mut self, Inspect(question): Inspect, _: &mut Context<Self>) -> bool {
        question(self)
    }
}

async fn empty_bus() -> Arc<dyn Transport> {
    let bus: Arc<dyn Transport> = Arc::new(InProcess::open(None).unwrap());
    bus.ensure_stream(&CHANGES).await.unwrap();
    bus
}

fn of(user: &str) -> Dirty {
    let mut dirty = Dirty::default();
    dirty.note(&Change::Users { user_ids: vec![UserId::new(user)] });
    dirty
}

#[actix::test]
async fn a_user_who_changes_while_the_reader_is_broken_is_dirty_when_it_returns() {
    let world = World::new().await;
    world.change("anna").await;
    world.reaches(|dataset| dataset.dirty == of("anna")).await;
    world.dataset.send(TakeTable).await.unwrap().unwrap();

    world.transport.interrupt();
    world.change("bea").await;
    world.transport.restore();
    world.reaches(|dataset| dataset.dirty == of("bea")).await;
}

#[actix::test]
async fn a_bus_that_comes_back_empty_makes_everything_be_read_again() {
    let world = World::new().await;
    world.reaches(|dataset| dataset.dirty.is_empty()).await;
    world.transport.interrupt();
    world.transport.replace(empty_bus().await);
    world.transport.restore();
    world.reaches(|dataset| dataset.dirty.is_everything() && dataset.rows > 0).await;
    world.dataset.send(TakeTable).await.unwrap().unwrap();
    world.change("anna").await;
    world.reaches(|dataset| dataset.dirty == of("anna")).await;
}
