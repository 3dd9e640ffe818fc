use ulex_algorithms::model_set::{Manifest, ModelSet};
use ulex_domain::TenantId;
use ulex_nats::InProcess;
use ulex_nats::bus::Puller;
use ulex_nats::conformance::interrupted::InterruptedBus;
use ulex_nats::topology::ensure_topology;
use ulex_nats::transport::Transport;

use super::*;
use crate::small_model_set::knows_only;

/// A ModelSet that knows these users and nothing else.
fn model_set(epoch: u64, user_ids: &[&str]) -> LiveChanged {
    LiveChanged(Arc::new(knows_only(&format!("ms-{epoch}"), epoch, user_ids)))
}

fn order(id: &str, users: &[&str]) -> RefreshOrder {
    let users = users.iter().map(|id| (*id).to_owned()).collect();
    RefreshOrder { model_set: id.to_owned(), users: Arc::new(users) }
}

/// A planner, and a worker that only notes what it is told.
struct World {
    transport: Arc<InterruptedBus>,
    bus: Bus,
    planner: Addr<Planner>,
    worker: Puller<RefreshJob>,
}

impl World {
    async fn new() -> Self {
        let transport = Arc::new(InterruptedBus::new(Arc::new(InProcess::open(None).unwrap())));
        let bus = Bus::new(Arc::clone(&transport) as Arc<dyn Transport>, TenantId::default());
        ensure_topology(&bus, Duration::from_secs(10)).await.unwrap();
        let worker = bus.puller(&REFRESH).await.unwrap();
        let planner = Planner::new(bus.clone(), 0).start();
        let follows = async {
            while !planner.send(IsFollowing).await.unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), follows).await.unwrap();
        Self { transport, bus, planner, worker }
    }

    /// The next jobs, as users and what their lists are made from.
    async fn jobs(&mut self, count: usize) -> Vec<(String, Basis)> {
        let mut jobs = Vec::new();
        while jobs.len() < count {
            let pulled = self.worker.pull(count - jobs.len(), Duration::from_secs(5)).await.unwrap();
            assert!(!pulled.is_empty(), "no more jobs than {jobs:?}");
            for job in pulled {
                let RefreshJob { user_id, basis, .. } = job.body().unwrap();
                jobs.push((user_id.to_string(), *basis));
                job.ack().await.unwrap();
            }
        }
        jobs
    }

    async fn no_job(&mut self) {
        assert!(self.worker.pull(1, Duration::from_millis(200)).await.unwrap().is_empty());
    }
}

#[derive(Message)]
#[rtype(result = "bool")]
struct IsFollowing;

impl Handler<IsFollowing> for Planner {
    type Result = bool;

    fn handle(&mut self, _: IsFollowing, _: &mut Context<Self>) -> bool {
        self.following
    }
}

fn of(epoch: u64, settings: u64, users: &[&str]) -> Vec<(String, Basis)> {
    users.iter().map(|user| ((*user).to_owned(), Basis { epoch, settings })).collect()
}

#[actix::test]
async fn everybody_gets_a_list_of_a_new_model_set_those_first_who_were_active_last() {
    let mut world = World::new().await;
    world.planner.send(order("ms-1", &["c", "a", "b"])).await.unwrap();
    world.no_job().await;
    world.planner.send(model_set(1, &["a", "b", "c"])).await.unwrap();
    assert_eq!(world.jobs(3).await, of(1, 0, &["c", "a", "b"]));
    world.planner.send(model_set(1, &["a", "b", "c"])).await.unwrap();
    world.no_job().await;
}

#[actix::test]
async fn a_model_set_that_was_rolled_back_to_or_taken_over_is_planned_without_an_order() {
    let mut world = World::new().await;
    // Fitted here, but it never went live.
    world.planner.send(order("ms-2", &["b", "a"])).await.unwrap();
    world.planner.send(model_set(1, &["a", "b"])).await.unwrap();
    assert_eq!(world.jobs(2).await, of(1, 0, &["a", "b"]));
    world.no_job().await;
    // Live again, after others: its lists were made anew meanwhile.
    let LiveChanged(set) = model_set(1, &["a", "b"]);
    let manifest = Manifest { epoch: 3, ..set.manifest.clone() };
    let again = LiveChanged(Arc::new(ModelSet { manifest, ..set.as_ref().clone() }));
    world.planner.send(again).await.unwrap();
    assert_eq!(world.jobs(2).await, of(3, 0, &["a", "b"]));
}

#[actix::test]
async fn other_settings_make_every_list_anew() {
    let mut world = World::new().await;
    world.planner.send(model_set(1, &["a", "b"])).await.unwrap();
    assert_eq!(world.jobs(2).await.len(), 2);
    let settings = Arc::new(ulex_settings::from_toml("[recommend]\ncache_size = 7").unwrap().settings);
    world.planner.send(SettingsChanged { settings, revision: 5 }).await.unwrap();
    assert_eq!(world.jobs(2).await, of(1, 5, &["a", "b"]));
    world.no_job().await;
}

#[actix::test]
async fn without_a_model_nobody_is_planned() {
    let mut world = World::new().await;
    let settings = Arc::new(ulex_settings::from_toml("").unwrap().settings);
    world.planner.send(SettingsChanged { settings, revision: 1 }).await.unwrap();
    world.planner.send(Changed(vec![(UserId::new("a"), Headers::new())])).await.unwrap();
    world.no_job().await;
}

#[actix::test]
async fn no_more_jobs_wait_than_a_backlog_and_none_is_left_out() {
    let mut world = World::new().await;
    let users: Vec<String> = (0..BACKLOG + 500).map(|user| format!("{user:05}")).collect();
    let ids: Vec<&str> = users.iter().map(String::as_str).collect();
    world.planner.send(model_set(1, &ids)).await.unwrap();
    let mut planned: Vec<String> = world.jobs(ids.len()).await.into_iter().map(|(user, _)| user).collect();
    assert_eq!(planned[..10], users[..10]);
    planned.sort_unstable();
    assert_eq!(planned, users);
    world.no_job().await;
}

#[actix::test]
async fn everyone_is_planned_again_when_changes_may_have_been_missed() {
    let mut world = World::new().await;
    world.planner.send(model_set(1, &["a", "b"])).await.unwrap();
    assert_eq!(world.jobs(2).await.len(), 2);
    world.transport.interrupt();
    let changes = vec![Change::Users { user_ids: vec![UserId::new("a")] }];
    let appended = world.bus.append(&Changes { changes, rows: 1 }, AppendOptions::default()).await.unwrap();
    world.transport.remove(&CHANGES.name, appended.sequence).await.unwrap();
    world.transport.restore();
    assert_eq!(world.jobs(2).await, of(1, 0, &["a", "b"]));
    world.no_job().await;
}
