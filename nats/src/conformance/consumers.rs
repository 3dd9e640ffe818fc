//! Durable consumers: delivery and settlement.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{PATIENCE, Place, bodies, pull, soon};
use crate::BusError;
use crate::transport::{ConsumerSpec, Order, Retention, Transport};

/// A place for messages that come back soon.
fn impatient(place: &Place) -> ConsumerSpec {
    ConsumerSpec { ack_wait: Duration::from_secs(1), ..place.consumer_spec(Order::Strict) }
}

/// The consumer begins with the oldest message.
pub async fn what_was_appended_before_the_consumer_existed_is_delivered(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    place.append(&[("a", "1"), ("b", "2")]).await;
    let mut puller = place.bus.puller(&place.consumer_spec(Order::Strict), None).await.unwrap();
    let pulled = pull(&mut puller, 2).await;
    assert_eq!(bodies(&pulled), vec!["1", "2"]);
    assert_eq!((pulled[1].sequence(), pulled[1].attempt()), (2, 1));
    assert_eq!(pulled[1].message().subject, place.subject("event.user.b"));
}

/// And one with nothing to do returns in its time.
pub async fn a_waiting_puller_wakes_up(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut puller = place.drained(Retention::Limits, &place.consumer_spec(Order::Strict)).await;
    assert!(puller.pull(1, Duration::from_millis(20)).await.unwrap().is_empty());
    let appending = async {
        tokio::task::yield_now().await;
        place.append(&[("a", "1")]).await;
    };
    let (pulled, ()) = tokio::join!(puller.pull(1, PATIENCE), appending);
    assert_eq!(bodies(&pulled.unwrap()), vec!["1"]);
}

/// Not even for another puller of the same name.
pub async fn an_acknowledged_message_does_not_come_back(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = impatient(&place);
    let mut puller = place.drained(Retention::Limits, &spec).await;
    place.append(&[("a", "1"), ("a", "2")]).await;
    for delivery in pull(&mut puller, 2).await {
        delivery.ack().await.unwrap();
        delivery.ack().await.unwrap();
        delivery.nak(Duration::ZERO).await.unwrap();
    }
    sleep(spec.ack_wait * 2).await;
    drop(puller);
    place.append(&[("a", "3")]).await;
    let mut puller = place.bus.puller(&spec, None).await.unwrap();
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["3"]);
}

/// Counted.
pub async fn a_rejected_message_comes_back_after_its_delay(bus: Arc<dyn Transport>) {
    const DELAY: Duration = Duration::from_millis(200);
    let place = Place::new(bus);
    let mut puller = place.drained(Retention::Limits, &place.consumer_spec(Order::Strict)).await;
    place.append(&[("a", "1")]).await;
    let rejected_at = Instant::now();
    let pulled = pull(&mut puller, 1).await;
    pulled[0].nak(DELAY).await.unwrap();
    let again = pull(&mut puller, 1).await;
    assert!(rejected_at.elapsed() >= DELAY);
    assert_eq!((bodies(&again), again[0].attempt()), (vec!["1".to_owned()], pulled[0].attempt() + 1));
    again[0].nak(Duration::ZERO).await.unwrap();
    assert_eq!(pull(&mut puller, 1).await[0].attempt(), pulled[0].attempt() + 2);
}

/// After `ack_wait`; and a word about the old delivery does no harm, while an acknowledgement counts.
pub async fn a_forgotten_message_comes_back(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = impatient(&place);
    let mut puller = place.drained(Retention::Limits, &spec).await;
    place.append(&[("a", "1")]).await;
    let began = Instant::now();
    let forgotten = pull(&mut puller, 1).await;
    let again = pull(&mut puller, 1).await;
    assert!(began.elapsed() >= spec.ack_wait);
    assert_eq!(bodies(&again), vec!["1"]);
    assert!(again[0].attempt() > forgotten[0].attempt());
    forgotten[0].ack().await.unwrap();
    sleep(spec.ack_wait * 2).await;
    place.append(&[("a", "2")]).await;
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["2"]);
}

/// For as long as its worker says so.
pub async fn a_message_in_progress_does_not_come_back(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = ConsumerSpec { ack_wait: Duration::from_secs(2), ..place.consumer_spec(Order::Any) };
    let mut puller = place.drained(Retention::WorkQueue, &spec).await;
    place.append(&[("a", "1")]).await;
    let working = pull(&mut puller, 1).await;
    for _ in 0..6 {
        sleep(spec.ack_wait / 4).await;
        working[0].in_progress().await.unwrap();
    }
    place.append(&[("b", "2")]).await;
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["2"], "three ack_waits have passed for the other");
    working[0].ack().await.unwrap();
}

/// Although nobody acknowledged it.
pub async fn a_terminated_message_does_not_come_back(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = impatient(&place);
    let mut puller = place.drained(Retention::Limits, &spec).await;
    place.append(&[("a", "1")]).await;
    pull(&mut puller, 1).await[0].term().await.unwrap();
    sleep(spec.ack_wait * 2).await;
    place.append(&[("a", "2")]).await;
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["2"]);
}

/// By `max_ack_pending`, until some are settled.
pub async fn deliveries_in_flight_are_bounded(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = ConsumerSpec { max_ack_pending: 2, ..place.consumer_spec(Order::Any) };
    let mut puller = place.drained(Retention::Limits, &spec).await;
    place.append(&[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let pulled = pull(&mut puller, 2).await;
    assert_eq!(bodies(&pulled), vec!["1", "2"]);
    assert!(puller.pull(10, Duration::from_millis(50)).await.unwrap().is_empty());
    pulled[0].ack().await.unwrap();
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["3"]);
}

/// Each message goes to one of them.
pub async fn pullers_without_order_share_the_work(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = place.consumer_spec(Order::Any);
    let mut first = place.drained(Retention::WorkQueue, &spec).await;
    let mut second = place.bus.puller(&spec, None).await.unwrap();
    place.append(&[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let mut all = bodies(&pull(&mut first, 1).await);
    all.extend(bodies(&pull(&mut second, 1).await));
    all.extend(bodies(&pull(&mut first, 1).await));
    all.sort();
    assert_eq!(all, vec!["1", "2", "3"]);
}

/// Waiting and in flight.
pub async fn the_backlog_is_what_is_left(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = place.consumer_spec(Order::Any);
    let mut puller = place.drained(Retention::WorkQueue, &spec).await;
    place.append(&[("a", "1"), ("b", "2"), ("c", "3"), ("a", "4")]).await;
    let backlog = place.bus.backlog(&spec).await.unwrap();
    assert_eq!((backlog.waiting, backlog.in_flight), (3, 0));
    let pulled = pull(&mut puller, 2).await;
    pulled[0].ack().await.unwrap();
    let waits = async {
        loop {
            let backlog = place.bus.backlog(&spec).await.unwrap();
            if (backlog.waiting, backlog.in_flight) == (1, 1) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    soon(waits).await;
}

/// With other limits, without losing its place.
pub async fn a_consumer_can_be_defined_again(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut spec = place.consumer_spec(Order::Strict);
    let mut puller = place.drained(Retention::Limits, &spec).await;
    place.append(&[("a", "1"), ("b", "2")]).await;
    pull(&mut puller, 1).await[0].ack().await.unwrap();
    spec.max_ack_pending = 7;
    spec.ack_wait = Duration::from_secs(9);
    place.bus.ensure_consumer(&spec).await.unwrap();
    place.bus.ensure_consumer(&spec).await.unwrap();
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["2"]);
}

/// With an error, not by doing something else.
pub async fn an_impossible_consumer_is_refused(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = place.consumer_spec(Order::Any);
    let outcome = place.bus.ensure_consumer(&spec).await;
    assert!(matches!(outcome, Err(BusError::NoStream { .. })), "{outcome:?}");
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    let impossible = ConsumerSpec { max_ack_pending: 0, ..spec };
    let outcome = place.bus.ensure_consumer(&impossible).await;
    assert!(matches!(outcome, Err(BusError::Refused { .. })), "{outcome:?}");
}
