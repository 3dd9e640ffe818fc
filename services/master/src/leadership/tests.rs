use ulex_domain::TenantId;
use ulex_nats::leases::TRAINER_LEASE;
use ulex_nats::topology::{ensure_topology, leases};
use ulex_nats::{Bus, InProcess};

use super::*;

const TTL: Duration = Duration::from_millis(1_500);
const LIMIT: Duration = Duration::from_secs(10);

/// A process that would like to lead.
struct Candidate {
    throne: Arc<Throne>,
    actor: Addr<Leadership>,
}

impl Candidate {
    async fn start(bus: &Bus, name: &str) -> Self {
        let bucket = bus.bucket(&leases(TTL)).await.unwrap();
        let throne = Arc::new(Throne::new(None));
        let lease = Lease::new(bucket, TRAINER_LEASE, name, TTL);
        Self { actor: Leadership::new(lease, Arc::clone(&throne)).start(), throne }
    }

    async fn leads(&self) -> FencingToken {
        let mut watched = self.throne.subscribe();
        let leading = watched.wait_for(|reign| reign.is_some_and(|reign| reign.lasts()));
        let reign = tokio::time::timeout(LIMIT, leading).await.expect("a leader").unwrap();
        reign.unwrap().token
    }
}

async fn bus() -> Bus {
    let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
    ensure_topology(&bus, TTL).await.unwrap();
    bus
}

#[actix::test]
async fn one_leads_for_as_long_as_it_likes_and_hands_over_under_a_higher_token() {
    let bus = bus().await;
    let first = Candidate::start(&bus, "first").await;
    let token = first.leads().await;
    let second = Candidate::start(&bus, "second").await;
    tokio::time::sleep(2 * TTL).await;
    assert_eq!(first.leads().await, token, "one reign, one token");
    assert!(second.throne.borrow().is_none());
    first.actor.send(Shutdown).await.unwrap();
    assert!(first.throne.borrow().is_none());
    assert!(second.leads().await > token);
}

#[actix::test]
async fn a_leader_that_stands_still_has_no_reign_when_another_one_begins() {
    let bus = bus().await;
    let bucket = bus.bucket(&leases(TTL)).await.unwrap();
    // Takes the lease and renews it no more.
    let mut still = Lease::new(bucket, TRAINER_LEASE, "still", TTL);
    let Tenure::Leading(token) = still.step().await else { panic!("nobody else is there") };
    let reign = Reign { token, until: still.until() };
    let next = Candidate::start(&bus, "next").await;
    assert!(next.leads().await > token);
    assert!(!reign.lasts(), "two lead at the same time");
}
