//! Streams: appending, reading, limits.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{PATIENCE, Place, bodies, pull, soon, text, with_id};
use crate::BusError;
use crate::transport::{Order, RawReader, ReadFrom, Retention, StreamMessage, Transport};

async fn read(reader: &mut Box<dyn RawReader>, count: usize) -> Vec<StreamMessage> {
    let mut found = Vec::new();
    while found.len() < count {
        let more = reader.read(count - found.len(), PATIENCE).await.unwrap();
        assert!(!more.is_empty(), "{} of {count} messages came", found.len());
        found.extend(more);
    }
    found
}

fn sequences(messages: &[StreamMessage]) -> Vec<u64> {
    messages.iter().map(|message| message.sequence).collect()
}

/// From 1.
pub async fn positions_grow_and_a_repeated_id_is_one_message(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    let first = place.bus.append(with_id(place.event("user", "a", "1"), "id-1")).await.unwrap();
    let second = place.bus.append(with_id(place.event("user", "a", "2"), "id-2")).await.unwrap();
    let again = place.bus.append(with_id(place.event("user", "b", "3"), "id-1")).await.unwrap();
    assert_eq!((first.sequence, first.duplicate), (1, false));
    assert_eq!((second.sequence, second.duplicate), (2, false));
    assert_eq!((again.sequence, again.duplicate), (1, true));
    let state = place.bus.stream_state(&place.name("STREAM")).await.unwrap();
    assert_eq!((state.messages, state.last_sequence), (2, 2));
    assert!(state.bytes > 0);
}

/// Instead of being lost.
pub async fn a_message_without_a_stream_is_refused(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let outcome = soon(place.bus.append(place.event("user", "a", "1"))).await;
    assert!(matches!(outcome, Err(BusError::NoStream { .. })), "{outcome:?}");
    let outcome = place.bus.stream_state(&place.name("STREAM")).await;
    assert!(matches!(outcome, Err(BusError::NoStream { .. })), "{outcome:?}");
}

/// An append is a publication, too.
pub async fn who_listens_hears_what_is_appended(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    let mut listener = place.bus.subscribe(&place.subject("event.>"), None).await.unwrap();
    place.append(&[("a", "1")]).await;
    let heard = soon(listener.next()).await.unwrap();
    assert_eq!((heard.subject, heard.payload), (place.subject("event.user.a"), "1".into()));
}

/// Beginning, position, time, end; only the subjects asked for.
pub async fn a_reader_reads_from_where_it_was_told(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    place.append(&[("a", "1"), ("b", "2"), ("a", "3")]).await;
    let stream = place.name("STREAM");
    let (all, only_a) = (place.subject("event.*.*"), place.subject("event.user.a"));
    for (filter, from, expected) in [
        (&all, ReadFrom::First, vec![1, 2, 3]),
        (&only_a, ReadFrom::First, vec![1, 3]),
        (&all, ReadFrom::Sequence(2), vec![2, 3]),
        (&only_a, ReadFrom::Sequence(2), vec![3]),
        (&all, ReadFrom::Time(SystemTime::UNIX_EPOCH), vec![1, 2, 3]),
    ] {
        let mut reader = place.bus.reader(&stream, filter, from).await.unwrap();
        assert_eq!(sequences(&read(&mut reader, expected.len()).await), expected, "{from:?}");
    }
    for from in [ReadFrom::New, ReadFrom::Time(SystemTime::now() + Duration::from_secs(3600))] {
        let mut reader = place.bus.reader(&stream, &all, from).await.unwrap();
        assert_eq!(reader.read(9, Duration::from_millis(20)).await.unwrap(), vec![], "{from:?}");
    }
}

/// And gives the message as it was appended, without a reply subject.
pub async fn a_reader_waits_for_what_is_appended(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    let filter = place.subject("event.*.*");
    let mut reader = place.bus.reader(&place.name("STREAM"), &filter, ReadFrom::New).await.unwrap();
    let mut message = with_id(place.event("user", "a", "1"), "x");
    message.headers.insert("traceparent".to_owned(), "00-1-2-01".to_owned());
    let (appended, found) = tokio::join!(place.bus.append(message.clone()), read(&mut reader, 1));
    assert_eq!(found[0].sequence, appended.unwrap().sequence);
    assert_eq!(found[0].message.subject, message.subject);
    assert_eq!(found[0].message.payload, message.payload);
    assert_eq!(found[0].message.headers.get("traceparent"), message.headers.get("traceparent"));
}

/// And then forgets what everybody is done with.
pub async fn a_full_stream_refuses_until_its_consumers_are_done(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut puller = place.drained(Retention::Limits, &place.consumer_spec(Order::Strict)).await;
    let body = "x".repeat(60_000);
    let mut appended = 0;
    let refused = loop {
        match place.bus.append(place.event("user", "a", &body)).await {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        assert!(appended < 100, "a stream of 1 MiB takes no 6 MB");
    };
    assert!(matches!(refused, BusError::Full { .. }), "{refused:?}");
    assert!(refused.is_transient());
    for delivery in pull(&mut puller, appended).await {
        delivery.ack().await.unwrap();
    }
    place.append(&[("a", body.as_str())]).await;
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec![body]);
}

/// Without refusing.
pub async fn a_stream_of_recent_messages_forgets_the_oldest(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    place.bus.ensure_stream(&place.stream_spec(Retention::Recent)).await.unwrap();
    let body = "x".repeat(60_000);
    for _ in 0..30 {
        place.append(&[("a", body.as_str())]).await;
    }
    let state = place.bus.stream_state(&place.name("STREAM")).await.unwrap();
    assert_eq!(state.last_sequence, 30);
    assert!((5..=17).contains(&state.messages), "{state:?}");
    let filter = place.subject("event.*.*");
    let mut reader = place.bus.reader(&place.name("STREAM"), &filter, ReadFrom::First).await.unwrap();
    assert_eq!(read(&mut reader, 1).await[0].sequence, 31 - state.messages);
}

/// In the newest one's place.
pub async fn a_work_queue_keeps_the_newest_of_a_subject(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let spec = place.consumer_spec(Order::Any);
    let mut puller = place.drained(Retention::WorkQueue, &spec).await;
    place.append(&[("a", "1"), ("b", "2"), ("a", "3"), ("a", "4"), ("c", "5")]).await;
    // Of several servers, the one that hands out may hear of a job later than who appended it.
    soon(async { while place.bus.backlog(&spec).await.unwrap().waiting != 3 {} }).await;
    let pulled = pull(&mut puller, 3).await;
    assert_eq!(bodies(&pulled), vec!["2", "4", "5"]);
    for delivery in pulled {
        delivery.ack().await.unwrap();
    }
    place.append(&[("z", "last")]).await;
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["last"]);
    // What was acknowledged goes a moment later.
    let gone = async {
        while place.bus.stream_state(&place.name("STREAM")).await.unwrap().messages > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(gone).await;
}

/// The acknowledgement of the older is not one of the newer.
pub async fn a_job_that_is_asked_for_again_while_it_is_done_is_done_again(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut puller = place.drained(Retention::WorkQueue, &place.consumer_spec(Order::Any)).await;
    place.append(&[("a", "old")]).await;
    let old = pull(&mut puller, 1).await;
    place.append(&[("a", "new")]).await;
    old[0].ack().await.unwrap();
    assert_eq!(bodies(&pull(&mut puller, 1).await), vec!["new"]);
}

/// For consumers and readers that do not have them at hand yet.
pub async fn removed_and_purged_messages_are_gone(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let consumer = place.consumer_spec(Order::Strict);
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    place.bus.ensure_consumer(&consumer).await.unwrap();
    place.append(&[("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("a", "5")]).await;
    let stream = place.name("STREAM");
    assert!(place.bus.remove(&stream, 2).await.unwrap());
    assert!(!place.bus.remove(&stream, 2).await.unwrap());
    assert_eq!(place.bus.purge(&stream, &place.subject("event.*.a")).await.unwrap(), 3);
    place.append(&[("a", "6")]).await;
    let mut puller = place.bus.puller(&consumer, None).await.unwrap();
    assert_eq!(bodies(&pull(&mut puller, 2).await), vec!["4", "6"]);
    let filter = place.subject("event.*.*");
    let mut reader = place.bus.reader(&stream, &filter, ReadFrom::First).await.unwrap();
    let left: Vec<String> = read(&mut reader, 2).await.iter().map(|one| text(&one.message)).collect();
    assert_eq!(left, vec!["4", "6"]);
}

/// Without losing what it holds.
pub async fn a_stream_can_be_defined_again(bus: Arc<dyn Transport>) {
    let place = Place::new(bus);
    let mut spec = place.stream_spec(Retention::Limits);
    place.bus.ensure_stream(&spec).await.unwrap();
    place.append(&[("a", "1")]).await;
    place.bus.ensure_stream(&spec).await.unwrap();
    spec.max_bytes *= 2;
    spec.max_age = Some(Duration::from_secs(3600));
    place.bus.ensure_stream(&spec).await.unwrap();
    assert_eq!(place.bus.stream_state(&spec.name).await.unwrap().messages, 1);
}

/// So that what was applied of one is not taken for what was applied of the other.
pub async fn a_log_keeps_its_name_and_another_has_another(bus: Arc<dyn Transport>) {
    let (place, other) = (Place::new(Arc::clone(&bus)), Place::new(bus));
    for place in [&place, &other] {
        place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    }
    let before = place.bus.stream_state(&place.name("STREAM")).await.unwrap().log;
    place.append(&[("a", "1")]).await;
    place.bus.ensure_stream(&place.stream_spec(Retention::Limits)).await.unwrap();
    assert_eq!(place.bus.stream_state(&place.name("STREAM")).await.unwrap().log, before);
    assert_ne!(other.bus.stream_state(&other.name("STREAM")).await.unwrap().log, before);
    assert!(place.bus.max_payload() >= 1 << 20, "{}", place.bus.max_payload());
}
