//! Outcomes that are not known, events that are at fault, and a store that is.

use std::future::poll_fn;

use ulex_domain::FailureCode;
use ulex_nats::dead_letters::BuryRequest;
use ulex_nats::topology::BURIALS;
use ulex_nats::transport::RECEIPT_HEADER;
use ulex_storage::data::DataStore as _;

use super::*;

const PUT_USER: &str = r#"{"UserId":"u","Comment":"c"}"#;

#[tokio::test(start_paused = true)]
async fn a_commit_that_nobody_can_ask_about_is_announced_when_it_is_found_and_nobody_is_refused() {
    let place = Place::new().await;
    let gateway = Gateway::open(place.parts.bus.clone(), 10, None).await.unwrap();
    place.faults.arm(Point::Apply, Side::After, Way::Fails);
    *place.faults.mute.lock() = 1;
    tokio::select! {
        () = place.worker().run() => panic!("the ingester ended"),
        result = gateway.submit(Command::PutUsers { users: vec![user("u")] }, None, None) => {
            assert!(result.is_ok(), "{result:?}");
        }
    }
    place.drain().await;
    assert_eq!(place.counts.borrow().rejected, 0);
    assert_eq!(place.events_left().await, 1, "the event is part of what a replay must bring");
    assert!(place.changes().await.contains(&Change::Users { user_ids: vec![UserId::new("u")] }));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_store_refuses_alone_is_buried_and_the_others_are_applied() {
    let place = Place::new().await;
    place.publish("user", None, r#"{"UserId":"before"}"#).await;
    let sequence = place.publish("user", None, r#"{"UserId":"rejected"}"#).await;
    place.publish("user", None, r#"{"UserId":"after"}"#).await;
    place.drain().await;
    let letters = place.letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0].sequence, &letters[0].code), (sequence, &FailureCode::Rejected));
    assert_eq!(place.store.inner.counts().await.unwrap().users, 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_everything_buries_nothing() {
    let place = Place::new().await;
    for user in 0..5 {
        place.publish("user", None, &format!(r#"{{"UserId":"{user}"}}"#)).await;
    }
    *place.faults.refuses.lock() = 50;
    place.drain().await;
    assert_eq!(place.letters().await, []);
    assert_eq!(place.store.inner.counts().await.unwrap().users, 5);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_panics_is_buried_and_the_others_are_applied() {
    let place = Place::new().await;
    place.publish("user", None, r#"{"UserId":"before"}"#).await;
    let sequence = place.publish("user", None, r#"{"UserId":"panics"}"#).await;
    place.publish("user", None, r#"{"UserId":"after"}"#).await;
    place.drain().await;
    let letters = place.letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0].sequence, &letters[0].code), (sequence, &FailureCode::Panicked));
    assert_eq!(place.store.inner.counts().await.unwrap().users, 2);
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_bury_the_event_at_which_the_log_stands_still() {
    let place = Place::new().await;
    let sequence = place.publish("user", None, PUT_USER).await;
    *place.faults.away.lock() = usize::MAX;
    let requests = place.parts.bus.bucket::<BuryRequest>(&BURIALS).await.unwrap();
    let at = ulex_domain::Timestamp::ZERO;
    requests.put(&BuryRequest::key(sequence), &BuryRequest { at }).await.unwrap();
    place.drain().await;
    let letters = place.letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].reason.starts_with("buried by an operator"), "{letters:?}");
    assert_eq!(requests.get(&BuryRequest::key(sequence)).await.unwrap(), None, "a request counts once");
}

#[tokio::test(start_paused = true)]
async fn a_receipt_is_not_written_over_the_cursor_of_the_ingester() {
    let place = Place::new().await;
    let headers = [(RECEIPT_HEADER.to_owned(), "ulex.v1.default.event.user.forged".to_owned())];
    let message = Message {
        subject: "ulex.v1.default.event.user.x".to_owned(),
        headers: headers.into(),
        payload: Bytes::from_static(PUT_USER.as_bytes()),
        reply: None,
    };
    let mut forged =
        place.parts.bus.transport().subscribe("ulex.v1.default.event.user.forged", None).await.unwrap();
    place.parts.bus.transport().append(message).await.unwrap();
    place.drain().await;
    let mut next = forged.next();
    let received = poll_fn(|context| std::task::Poll::Ready(next.as_mut().poll(context).is_ready())).await;
    assert!(!received, "a receipt went to an address that is no inbox");
}

#[tokio::test(start_paused = true)]
async fn an_expired_event_that_had_been_reached_before_is_not_called_applied() {
    let place = Place::new().await;
    let gateway = Gateway::open(place.parts.bus.clone(), 10, None).await.unwrap();
    // Nobody ingests: the write expires in the log.
    let result =
        gateway.submit(Command::PutUsers { users: vec![user("u")] }, None, Some(Duration::ZERO)).await;
    let Err(SubmitError::Unknown { event_id, .. }) = result else { panic!("{result:?}") };
    place.publish("user", None, r#"{"UserId":"later"}"#).await;
    place.drain().await;
    assert_eq!(place.store.inner.user(&UserId::new("u")).await.unwrap(), None);
    // The same id has its effect once, whatever became of the first attempt.
    for duplicate in [false, true] {
        tokio::select! {
            () = place.worker().run() => panic!("the ingester ended"),
            result = gateway.submit(Command::PutUsers { users: vec![user("u")] }, Some(event_id.clone()), None) => {
                assert_eq!(result.unwrap().receipt.duplicate, duplicate);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_write_has_an_id_by_which_it_can_be_repeated() {
    let place = Place::new().await;
    let gateway = Gateway::open(place.parts.bus.clone(), 10, None).await.unwrap();
    let write = || Command::PutUsers { users: vec![user("u")] };
    tokio::select! {
        () = place.worker().run() => panic!("the ingester ended"),
        () = async {
            let first = gateway.submit(write(), None, None).await.unwrap();
            assert!(!first.receipt.duplicate);
            let again = gateway.submit(write(), Some(first.event_id.clone()), None).await.unwrap();
            assert_eq!((again.event_id, again.receipt.duplicate), (first.event_id, true));
        } => {}
    }
}
