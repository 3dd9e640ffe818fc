//! Publish, subscribe, request.

use std::sync::Arc;
use std::time::Duration;

use super::{PATIENCE, Place, soon, text};
use crate::BusError;
use crate::transport::{Message, Transport};

fn on(subject: String, body: &str) -> Message {
    Message { subject, payload: body.to_owned().into(), ..Message::default() }
}

/// Exact names, `*` and `>`; with headers.
pub async fn everybody_who_listens_hears_a_message(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut exact = place.bus.subscribe(&place.subject("a.b"), None).await.unwrap();
    let mut star = place.bus.subscribe(&place.subject("a.*"), None).await.unwrap();
    let mut rest = place.bus.subscribe(&place.subject(">"), None).await.unwrap();
    let mut other = place.bus.subscribe(&place.subject("a.c"), None).await.unwrap();
    let mut message = on(place.subject("a.b"), "first");
    message.headers.insert("traceparent".to_owned(), "00-1-2-01".to_owned());
    place.bus.publish(message.clone()).await.unwrap();
    place.bus.publish(on(place.subject("a.c"), "second")).await.unwrap();
    for listener in [&mut exact, &mut star, &mut rest] {
        assert_eq!(soon(listener.next()).await, Some(message.clone()));
    }
    assert_eq!(text(&soon(other.next()).await.unwrap()), "second");
    assert_eq!(text(&soon(star.next()).await.unwrap()), "second");
}

/// Beside listeners on their own.
pub async fn a_queue_hears_each_message_once(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut alone = place.bus.subscribe(&place.subject("x"), None).await.unwrap();
    let mut first = place.bus.subscribe(&place.subject("x"), Some("q")).await.unwrap();
    let mut second = place.bus.subscribe(&place.subject("x"), Some("q")).await.unwrap();
    const COUNT: usize = 40;
    for number in 0..COUNT {
        place.bus.publish(on(place.subject("x"), &number.to_string())).await.unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < COUNT {
        let message = soon(async {
            tokio::select! { one = first.next() => one, one = second.next() => one }
        });
        heard.push(text(&message.await.unwrap()).parse::<usize>().unwrap());
    }
    heard.sort_unstable();
    assert_eq!(heard, (0..COUNT).collect::<Vec<_>>());
    for number in 0..COUNT {
        assert_eq!(text(&soon(alone.next()).await.unwrap()), number.to_string());
    }
}

/// On the inbox that the request carries.
pub async fn a_request_is_answered(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut server = place.bus.subscribe(&place.subject("rpc"), Some("servers")).await.unwrap();
    let answering = async {
        let request = server.next().await.unwrap();
        let inbox = request.reply.clone().unwrap();
        place.bus.publish(on(inbox, &format!("re: {}", text(&request)))).await.unwrap();
    };
    let asking = place.bus.request(on(place.subject("rpc"), "hello"), PATIENCE);
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(text(&answer.unwrap()), "re: hello");
}

/// Instead of waiting for the timeout.
pub async fn a_request_that_nobody_serves_fails_at_once(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let answer = soon(place.bus.request(on(place.subject("rpc"), ""), Duration::from_secs(3600))).await;
    assert!(matches!(answer, Err(BusError::NoResponders { .. })), "{answer:?}");
}

/// With the caller's timeout.
pub async fn a_request_that_nobody_answers_ends(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let _deaf = place.bus.subscribe(&place.subject("rpc"), None).await.unwrap();
    let answer = soon(place.bus.request(on(place.subject("rpc"), ""), Duration::from_millis(50))).await;
    assert!(matches!(answer, Err(BusError::Timeout { .. })), "{answer:?}");
}

/// For one listener.
pub async fn messages_of_one_publisher_keep_their_order(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut listener = place.bus.subscribe(&place.subject("x.*"), None).await.unwrap();
    for number in 0..200 {
        let subject = place.subject(&format!("x.{}", number % 7));
        place.bus.publish(on(subject, &number.to_string())).await.unwrap();
    }
    for number in 0..200 {
        assert_eq!(text(&soon(listener.next()).await.unwrap()), number.to_string());
    }
}

/// With subjects below it.
pub async fn an_inbox_is_a_subject_of_its_own(bus: Arc<dyn Transport>) {
    let (one, other) = (bus.inbox(), bus.inbox());
    assert_ne!(one, other);
    let mut listener = bus.subscribe(&format!("{one}.*"), None).await.unwrap();
    bus.publish(on(format!("{other}.1"), "not this")).await.unwrap();
    bus.publish(on(format!("{one}.7"), "this")).await.unwrap();
    let message = soon(listener.next()).await.unwrap();
    assert_eq!((message.subject.as_str(), text(&message).as_str()), (format!("{one}.7").as_str(), "this"));
}
