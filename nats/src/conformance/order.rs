//! Durable consumers: who may overtake whom, partitions, takeover.

use std::sync::Arc;
use std::time::Duration;

use super::{Place, bodies, pull, text};
use crate::partition_of;
use crate::transport::{ConsumerSpec, Order, Retention, Transport};

const DELAY: Duration = Duration::from_millis(200);

/// Neither one that had been pulled along, nor one that comes later.
pub async fn a_later_message_of_a_key_does_not_overtake(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut puller = place.drained(Retention::Limits, &place.consumer_spec(Order::Key)).await;
    place.append(&[("a", "a1"), ("a", "a2")]).await;
    let pulled = pull(&mut puller, 2).await;
    assert_eq!(bodies(&pulled), vec!["a1", "a2"]);
    pulled[0].nak(DELAY).await.unwrap();
    pulled[1].nak(Duration::ZERO).await.unwrap();
    place.append(&[("a", "a3")]).await;
    let again = pull(&mut puller, 3).await;
    assert_eq!(bodies(&again), vec!["a1", "a2", "a3"]);
}

/// For a key that has to.
pub async fn other_keys_do_not_wait(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut puller = place.drained(Retention::Limits, &place.consumer_spec(Order::Key)).await;
    place.append(&[("a", "a1")]).await;
    let held = pull(&mut puller, 1).await;
    place.append(&[("a", "a2"), ("b", "b1"), ("b", "b2")]).await;
    let others = pull(&mut puller, 2).await;
    assert_eq!(bodies(&others), vec!["b1", "b2"], "a1 is in flight from an earlier pull");
    held[0].ack().await.unwrap();
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["a2"]);
}

/// Whatever its key.
pub async fn with_strict_order_nothing_overtakes(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut puller = place.drained(Retention::Limits, &place.consumer_spec(Order::Partition)).await;
    place.append(&[("a", "1"), ("b", "2")]).await;
    let first = pull(&mut puller, 1).await;
    assert!(puller.pull(9, Duration::from_millis(30)).await.unwrap().is_empty(), "the first is not settled");
    first[0].nak(DELAY).await.unwrap();
    place.append(&[("c", "3")]).await;
    let again = pull(&mut puller, 3).await;
    assert_eq!(bodies(&again), vec!["1", "2", "3"]);
    for delivery in again {
        delivery.ack().await.unwrap();
    }
    place.append(&[("d", "4")]).await;
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["4"]);
}

/// The other takes over when that one is gone.
pub async fn a_partition_has_one_puller_at_a_time(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = place.consumer_spec(Order::Partition);
    let mut first = place.drained(Retention::Limits, &spec).await;
    place.append(&[("a", "1")]).await;
    pull(&mut first, 1).await[0].ack().await.unwrap();
    let mut second = place.bus.puller(&spec, 0).await.unwrap();
    place.append(&[("b", "2")]).await;
    assert!(second.pull(9, Duration::from_millis(50)).await.unwrap().is_empty());
    let (taken, ()) = tokio::join!(pull(&mut second, 1), async {
        tokio::task::yield_now().await;
        drop(first);
    });
    assert_eq!(bodies(&taken), vec!["2"]);
}

/// Before anything later.
pub async fn what_a_lost_puller_held_comes_first(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = ConsumerSpec { ack_wait: Duration::from_millis(300), ..place.consumer_spec(Order::Partition) };
    let mut first = place.drained(Retention::Limits, &spec).await;
    place.append(&[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let lost = pull(&mut first, 2).await;
    drop(lost);
    drop(first);
    let mut second = place.bus.puller(&spec, 0).await.unwrap();
    assert_eq!(bodies(&pull(&mut second, 3).await), vec!["1", "2", "3"]);
}

/// The one that [`partition_of`] says.
pub async fn a_key_stays_in_its_partition(bus: Arc<dyn Transport>) {
    const PARTITIONS: u16 = 4;
    let place = Place::new(bus);
    let spec = ConsumerSpec { partitions: PARTITIONS, ..place.consumer_spec(Order::Partition) };
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    place.bus.ensure_consumer(&spec).await.unwrap();
    let keys: Vec<String> = (0..40).map(|number| format!("key{number}")).collect();
    for key in keys.iter().chain(&keys) {
        place.append(&[(key, key)]).await;
    }
    for partition in 0..PARTITIONS {
        let mine = keys.iter().filter(|key| partition_of(key, PARTITIONS) == partition);
        let expected: Vec<String> = mine.clone().chain(mine).cloned().collect();
        assert!(!expected.is_empty());
        let mut puller = place.bus.puller(&spec, partition).await.unwrap();
        let pulled = pull(&mut puller, expected.len()).await;
        assert_eq!(bodies(&pulled), expected);
        assert!(pulled.iter().all(|one| one.message().subject.ends_with(&text(one.message()))));
    }
}

/// Each copy at its place in the order, each settled on its own.
pub async fn some_subjects_go_to_every_partition(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = ConsumerSpec {
        partitions: 2,
        to_all: Some(place.subject("event.item.*").into()),
        ..place.consumer_spec(Order::Partition)
    };
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    place.bus.ensure_consumer(&spec).await.unwrap();
    let key_of = |partition| {
        let mut keys = (0..).map(|number: u32| format!("k{number}"));
        keys.find(|key| partition_of(key, 2) == partition).unwrap()
    };
    let (even, odd) = (key_of(0), key_of(1));
    place.append(&[(&even, "even1"), (&odd, "odd1")]).await;
    place.bus.append(place.event("item", "i", "all")).await.unwrap();
    place.append(&[(&even, "even2"), (&odd, "odd2")]).await;
    let mut pullers = Vec::new();
    for (partition, expected) in [(0, ["even1", "all", "even2"]), (1, ["odd1", "all", "odd2"])] {
        let mut puller = place.bus.puller(&spec, partition).await.unwrap();
        let pulled = pull(&mut puller, 3).await;
        assert_eq!(bodies(&pulled), expected);
        for delivery in pulled {
            delivery.ack().await.unwrap();
        }
        pullers.push(puller);
    }
}
