use std::sync::Arc;

use ulex_domain::{Change, TenantId, UserId};

use super::*;
use crate::InProcess;
use crate::bus::AppendOptions;
use crate::changes::Changes;
use crate::conformance::interrupted::InterruptedBus;
use crate::topology::CHANGES;
use crate::transport::Transport;

/// Longest wait for what must happen, in paused time.
const WAIT_LIMIT: Duration = Duration::from_secs(120);

struct World {
    transport: Arc<InterruptedBus>,
    bus: Bus,
}

impl World {
    async fn new() -> Self {
        let transport = Arc::new(InterruptedBus::new(empty_bus().await));
        let bus = Bus::new(Arc::clone(&transport) as Arc<dyn Transport>, TenantId::default());
        Self { transport, bus }
    }

    async fn change(&self, user: &str) -> u64 {
        let changes = vec![Change::Users { user_ids: vec![UserId::new(user)] }];
        let changes = Changes { changes, rows: 1 };
        self.bus.append(&changes, AppendOptions::default()).await.unwrap().sequence
    }

    async fn follower(&self) -> Follower<Changes> {
        let position = StreamPosition::end_of(&self.bus, &CHANGES).await.unwrap();
        follow(self.bus.clone(), &CHANGES, Some(position))
    }
}

async fn empty_bus() -> Arc<dyn Transport> {
    let bus: Arc<dyn Transport> = Arc::new(InProcess::open(None).unwrap());
    bus.ensure_stream(&CHANGES).await.unwrap();
    bus
}

/// The next `count` messages; a gap is an error.
async fn users(follower: &mut Follower<Changes>, count: usize) -> Vec<String> {
    let mut users = Vec::new();
    while users.len() < count {
        let followed = tokio::time::timeout(WAIT_LIMIT, follower.next()).await.unwrap().unwrap();
        let Followed::Messages(messages) = followed else { panic!("a gap after {users:?}") };
        for message in messages {
            for change in message.body.unwrap().changes {
                let Change::Users { user_ids } = change else { panic!("{change:?}") };
                users.extend(user_ids.iter().map(ToString::to_string));
            }
        }
    }
    users
}

async fn gap(follower: &mut Follower<Changes>) {
    let followed = tokio::time::timeout(WAIT_LIMIT, follower.next()).await.unwrap().unwrap();
    assert!(matches!(followed, Followed::Gap), "{followed:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_appended_while_the_reader_is_broken_is_read_when_it_returns() {
    let world = World::new().await;
    world.change("before").await;
    let mut follower = world.follower().await;
    world.change("anna").await;
    assert_eq!(users(&mut follower, 1).await, ["anna"]);

    world.transport.interrupt();
    let while_broken = async {
        world.change("bea").await;
        world.change("carl").await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        world.transport.restore();
    };
    let (read, ()) = tokio::join!(users(&mut follower, 2), while_broken);
    assert_eq!(read, ["bea", "carl"]);
}

#[tokio::test(start_paused = true)]
async fn a_follower_without_a_position_begins_with_a_gap_at_the_end() {
    let world = World::new().await;
    let last = world.change("before").await;
    let mut follower = follow::<Changes>(world.bus.clone(), &CHANGES, None);
    gap(&mut follower).await;
    assert_eq!(follower.position().unwrap().sequence, last);
    world.change("anna").await;
    assert_eq!(users(&mut follower, 1).await, ["anna"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_forgotten_is_a_gap_that_is_noticed_on_a_quiet_system() {
    let world = World::new().await;
    let mut follower = world.follower().await;
    world.change("anna").await;
    assert_eq!(users(&mut follower, 1).await, ["anna"]);
    world.transport.interrupt();
    world.change("bea").await;
    let last = world.change("carl").await;
    for sequence in 1..=last {
        world.transport.remove(&CHANGES.name, sequence).await.unwrap();
    }
    world.transport.restore();
    gap(&mut follower).await;
    assert_eq!(follower.position().unwrap().sequence, last);
    world.change("dora").await;
    assert_eq!(users(&mut follower, 1).await, ["dora"], "one gap, and then what follows");
}

#[tokio::test(start_paused = true)]
async fn another_stream_in_its_place_is_a_gap_also_beyond_the_position() {
    let world = World::new().await;
    let mut follower = world.follower().await;
    world.change("anna").await;
    assert_eq!(users(&mut follower, 1).await, ["anna"]);
    // The reader stands on the old one, where nothing comes any more.
    world.transport.replace(empty_bus().await);
    for user in ["x", "y", "z"] {
        world.change(user).await;
    }
    gap(&mut follower).await;
    world.change("bea").await;
    assert_eq!(users(&mut follower, 1).await, ["bea"]);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_comes_back_empty_is_waited_for_and_is_a_gap() {
    let world = World::new().await;
    let mut follower = world.follower().await;
    world.change("anna").await;
    assert_eq!(users(&mut follower, 1).await, ["anna"]);
    world.transport.interrupt();
    world.transport.replace(Arc::new(InProcess::open(None).unwrap()));
    world.transport.restore();
    let furnished = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        world.bus.ensure_stream(&CHANGES).await.unwrap();
    };
    tokio::join!(gap(&mut follower), furnished);
    world.change("bea").await;
    assert_eq!(users(&mut follower, 1).await, ["bea"]);
}

#[test]
fn a_log_that_was_cut_is_lost_and_one_that_holds_what_follows_is_not() {
    let position = StreamPosition { log: "a".into(), sequence: 10 };
    let state = |log: &str, messages, last_sequence| StreamState {
        log: log.into(),
        epoch: 1,
        first_sequence: last_sequence + 1 - messages,
        messages,
        bytes: 0,
        last_sequence,
    };
    assert!(!position.is_lost(&state("a", 5, 10)), "nothing follows");
    assert!(!position.is_lost(&state("a", 5, 15)), "11 is the first there is");
    assert!(position.is_lost(&state("a", 4, 15)), "11 was forgotten");
    assert!(position.is_lost(&state("a", 9, 9)), "cut before the position");
    assert!(position.is_lost(&state("b", 15, 15)), "another log");
}

#[tokio::test(start_paused = true)]
async fn a_closed_bus_ends_the_following() {
    let world = World::new().await;
    let mut follower = world.follower().await;
    world.bus.close().await;
    assert!(matches!(follower.next().await, Err(BusError::Closed)));
}
