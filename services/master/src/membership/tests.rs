use std::sync::Arc;

use ulex_domain::TenantId;
use ulex_nats::InProcess;
use ulex_nats::membership::Role;
use ulex_nats::topology::ensure_topology;

use super::*;

/// Lives for three times as long.
const META_TIMEOUT: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(10);

async fn wait_for(membership: &Addr<Membership>, nodes: &[&str]) -> Vec<Heartbeat> {
    let waiting = async {
        loop {
            let alive = membership.send(Members).await.unwrap();
            if alive.iter().map(|heartbeat| &heartbeat.node).eq(nodes) {
                return alive;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("these members")
}

#[actix::test]
async fn who_sends_heartbeats_is_a_member_and_who_is_silent_is_not() {
    let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
    ensure_topology(&bus, META_TIMEOUT).await.unwrap();
    let bucket: Bucket<Heartbeat> = bus.bucket(&members(META_TIMEOUT)).await.unwrap();
    let first =
        |node: &str| Heartbeat::first(node.to_owned(), Role::Worker, "here".to_owned(), "1".to_owned());
    let (a, b) = (first("a"), first("b"));
    // One who was there before somebody watched.
    bucket.put(&a.key(), &a).await.unwrap();
    let membership = Membership::new(bus.clone(), META_TIMEOUT).start();
    wait_for(&membership, &["a"]).await;
    bucket.put(&b.key(), &b).await.unwrap();
    wait_for(&membership, &["a", "b"]).await;
    let busy = Heartbeat { queue_depth: 12, ..b };
    for _ in 0..20 {
        bucket.put(&busy.key(), &busy).await.unwrap();
        tokio::time::sleep(META_TIMEOUT / 4).await;
    }
    let alive = wait_for(&membership, &["b"]).await;
    assert_eq!(alive[0].queue_depth, 12);
    wait_for(&membership, &[]).await;
}
