use super::*;

const TTL: Duration = Duration::from_secs(10);

fn after(seconds: u64) -> Decision {
    let renewed_at = Instant::now();
    let held = Held { token: FencingToken(3), renewed_at };
    decide(Some(held), renewed_at + Duration::from_secs(seconds), TTL)
}

#[test]
fn without_the_lease_a_node_campaigns() {
    assert_eq!(decide(None, Instant::now(), TTL), Decision::Campaign);
}

#[test]
fn a_holder_renews_in_good_time_and_stops_before_the_bus_lets_others_in() {
    assert_eq!(after(0), Decision::Hold);
    assert_eq!(after(2), Decision::Hold);
    assert_eq!(after(3), Decision::Renew(FencingToken(3)));
    assert_eq!(after(7), Decision::Renew(FencingToken(3)));
    assert_eq!(after(8), Decision::StepDown);
    assert_eq!(after(60), Decision::StepDown);
}

mod on_a_bus {
    use super::*;
    use std::sync::Arc;
    use ulex_domain::TenantId;

    use crate::models::{Advance, Candidate, LivePointer, advance};
    use crate::topology::{REGISTRY, leases};
    use crate::{Bus, InProcess};

    fn bus() -> Bus {
        Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default())
    }

    async fn claim(bus: &Bus, node: &str) -> Lease {
        Lease::new(bus.bucket(&leases(TTL)).await.unwrap(), TRAINER_LEASE, node, TTL)
    }

    async fn lead_for(lease: &mut Lease, time: Duration) -> FencingToken {
        let until = Instant::now() + time;
        loop {
            let Tenure::Leading(token) = lease.step().await else { panic!("lost the lease") };
            if Instant::now() >= until {
                return token;
            }
            tokio::time::sleep(lease.interval()).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_renews_leads_for_as_long_as_it_likes() {
        let bus = bus();
        let (mut first, mut second) = (claim(&bus, "one").await, claim(&bus, "two").await);
        let Tenure::Leading(began) = first.step().await else { panic!("nobody else is there") };
        assert_eq!(second.step().await, Tenure::Standby);
        assert!(lead_for(&mut first, TTL * 20).await > began, "tokens grow with every renewal");
        assert_eq!(second.step().await, Tenure::Standby);
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_leads_within_two_times_to_live_and_the_old_leader_has_stopped_by_then() {
        let bus = bus();
        let (mut first, mut second) = (claim(&bus, "one").await, claim(&bus, "two").await);
        let old = lead_for(&mut first, TTL).await;
        let silent_since = Instant::now();
        let mut tenure = Tenure::Standby;
        while tenure == Tenure::Standby {
            tokio::time::sleep(second.interval()).await;
            tenure = second.step().await;
        }
        assert_eq!(first.tenure(), Tenure::Standby, "by its own clock, before it hears anything");
        assert!(matches!(tenure, Tenure::Leading(token) if token > old));
        assert!(silent_since.elapsed() < TTL * 2);
        assert_eq!(first.step().await, Tenure::Standby);
        assert_eq!(first.step().await, Tenure::Standby, "it campaigns again and does not get it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_lease_is_free_at_once() {
        let bus = bus();
        let (mut first, mut second) = (claim(&bus, "one").await, claim(&bus, "two").await);
        lead_for(&mut first, TTL).await;
        first.release().await.unwrap();
        assert_eq!(first.tenure(), Tenure::Standby);
        assert!(matches!(second.step().await, Tenure::Leading(_)));
        first.release().await.unwrap();
        assert!(matches!(second.step().await, Tenure::Leading(_)), "who has nothing releases nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_bus_a_leader_stops_before_its_time_to_live_is_over() {
        let bus = bus();
        let mut lease = claim(&bus, "one").await;
        lead_for(&mut lease, TTL).await;
        bus.close().await;
        let closed_at = Instant::now();
        while lease.step().await != Tenure::Standby {
            tokio::time::sleep(lease.interval()).await;
        }
        assert!(closed_at.elapsed() < TTL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deposed_leader_cannot_publish_although_it_believes_to_lead() {
        let bus = bus();
        let registry = bus.bucket::<LivePointer>(&REGISTRY).await.unwrap();
        let candidate = |name: &str| Candidate {
            model_set: name.to_owned(),
            object: name.to_owned(),
            digest: String::new(),
        };
        let (old, new) = (FencingToken(3), FencingToken(9));
        let now = Timestamp::ZERO;
        let moved = advance(&registry, candidate("a"), old, now).await.unwrap();
        assert!(matches!(moved, Advance::Moved(LivePointer { epoch: 1, .. })), "{moved:?}");
        advance(&registry, candidate("b"), new, now).await.unwrap();
        let refused = advance(&registry, candidate("c"), old, now).await.unwrap();
        assert_eq!(refused, Advance::Fenced { by: new });
        let live = registry.get(crate::models::LIVE_KEY).await.unwrap().unwrap().value;
        assert_eq!((live.model_set.as_str(), live.epoch), ("b", 2));
    }
}
