//! Durable consumers with an order: who may overtake whom, takeover.

use std::sync::Arc;
use std::time::Duration;

use super::{Place, bodies, pull};
use crate::transport::{ConsumerSpec, Order, Retention, Transport};

const DELAY: Duration = Duration::from_millis(200);

/// Neither one that had been pulled along, nor one that comes later.
pub async fn a_later_message_does_not_overtake(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut puller = place.drained(Retention::Limits, &place.consumer_spec(Order::Strict)).await;
    place.append(&[("a", "a1"), ("a", "a2")]).await;
    let pulled = pull(&mut puller, 2).await;
    assert_eq!(bodies(&pulled), vec!["a1", "a2"]);
    pulled[0].nak(DELAY).await.unwrap();
    pulled[1].nak(Duration::ZERO).await.unwrap();
    place.append(&[("a", "a3")]).await;
    let again = pull(&mut puller, 3).await;
    assert_eq!(bodies(&again), vec!["a1", "a2", "a3"]);
}

/// Whatever its key, and although several pulls are in flight.
pub async fn with_strict_order_nothing_overtakes(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut puller = place.drained(Retention::Limits, &place.consumer_spec(Order::Strict)).await;
    place.append(&[("a", "1"), ("b", "2")]).await;
    let first = pull(&mut puller, 1).await;
    let second = pull(&mut puller, 1).await;
    assert_eq!(bodies(&first), vec!["1"]);
    assert_eq!(bodies(&second), vec!["2"]);
    first[0].nak(DELAY).await.unwrap();
    place.append(&[("c", "3")]).await;
    tokio::time::sleep(2 * DELAY).await;
    assert!(puller.pull(9, Duration::from_millis(30)).await.unwrap().is_empty(), "the second is not settled");
    second[0].nak(Duration::ZERO).await.unwrap();
    let again = pull(&mut puller, 3).await;
    assert_eq!(bodies(&again), vec!["1", "2", "3"]);
    for delivery in again {
        delivery.ack().await.unwrap();
    }
    place.append(&[("d", "4")]).await;
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["4"]);
}

/// The other takes over when that one is gone.
pub async fn there_is_one_puller_at_a_time(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = place.consumer_spec(Order::Strict);
    let mut first = place.drained(Retention::Limits, &spec).await;
    place.append(&[("a", "1")]).await;
    pull(&mut first, 1).await[0].ack().await.unwrap();
    let mut second = place.bus.puller(&spec, None).await.unwrap();
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
    let spec = ConsumerSpec { ack_wait: Duration::from_millis(300), ..place.consumer_spec(Order::Strict) };
    let mut first = place.drained(Retention::Limits, &spec).await;
    place.append(&[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let lost = pull(&mut first, 2).await;
    drop(lost);
    drop(first);
    let mut second = place.bus.puller(&spec, None).await.unwrap();
    assert_eq!(bodies(&pull(&mut second, 3).await), vec!["1", "2", "3"]);
}
