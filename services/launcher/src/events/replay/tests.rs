use bytes::Bytes;
use ulex_domain::TenantId;
use ulex_nats::InProcess;
use ulex_nats::topology::ensure_topology;
use ulex_nats::transport::{Message, ReadFrom};
use ulex_storage::data::MemoryStore;

use super::*;
use crate::checksum::checksum;

async fn log_of(messages: &[(&str, &str)]) -> Bus {
    let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
    ensure_topology(&bus, Duration::from_secs(10)).await.unwrap();
    for (kind, body) in messages {
        let subject = format!("ulex.v1.default.event.{kind}.x");
        let payload = Bytes::copy_from_slice(body.as_bytes());
        bus.transport().append(Message { subject, payload, ..Message::default() }).await.unwrap();
    }
    bus
}

async fn replay(bus: &Bus, store: &Arc<dyn DataStore>, (from, end): (ReadFrom, Option<End>)) -> Tally {
    let state = bus.stream_state(&EVENTS.name).await.unwrap();
    let replay = Replay {
        bus: bus.clone(),
        store: Arc::clone(store),
        log: SmolStr::new(state.log),
        admission: Admission { insert_users: true, insert_items: true },
        batch_rows: 2,
        progress: Progress::quiet(),
    };
    let reader = bus.raw_reader::<EventEnvelope>(&EVENTS.name, from).await.unwrap();
    let end = end.unwrap_or(End { sequence: state.last_sequence, time: None });
    replay.run(reader, end).await.unwrap()
}

const CLICK: (&str, &str) = ("feedback", r#"{"FeedbackType":"click","UserId":"u","ItemId":"i","Value":1}"#);

#[tokio::test(start_paused = true)]
async fn an_empty_store_gets_the_rows_and_a_second_run_changes_nothing() {
    let bus = log_of(&[
        CLICK,
        ("item", r#"[{"ItemId":"i","Comment":"c"},{"ItemId":"j"},{"Op":"delete","ItemId":"j"}]"#),
        ("feedback", "poison"),
        CLICK,
    ])
    .await;
    let store: Arc<dyn DataStore> = Arc::new(MemoryStore::new());
    let tally = replay(&bus, &store, (ReadFrom::First, None)).await;
    assert_eq!(tally, Tally { messages: 4, applied: 4, duplicates: 0, dead: 1, reached: 4 });
    let rows = store.list_feedback(None, 10, None, None).await.unwrap();
    assert_eq!((rows.len(), rows[0].value), (1, 2.0));
    let sum = checksum(store.as_ref()).await.unwrap();
    let again = replay(&bus, &store, (ReadFrom::First, None)).await;
    assert_eq!(again, Tally { applied: 0, duplicates: 4, ..tally });
    assert_eq!(checksum(store.as_ref()).await.unwrap(), sum);
    let other: Arc<dyn DataStore> = Arc::new(MemoryStore::new());
    replay(&bus, &other, (ReadFrom::First, None)).await;
    assert_eq!(checksum(other.as_ref()).await.unwrap(), sum, "also times are the same");
}

#[tokio::test(start_paused = true)]
async fn a_replay_begins_and_ends_where_it_is_told() {
    let bus = log_of(&[CLICK; 5]).await;
    let store: Arc<dyn DataStore> = Arc::new(MemoryStore::new());
    let end = End { sequence: 4, time: None };
    let tally = replay(&bus, &store, (ReadFrom::Sequence(3), Some(end))).await;
    assert_eq!((tally.applied, tally.reached), (2, 4));
    let end = End { sequence: 5, time: Some(ulex_domain::Timestamp::from_unix_seconds(0)) };
    let tally = replay(&bus, &store, (ReadFrom::First, Some(end))).await;
    assert_eq!(tally.messages, 0, "all were appended later");
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_last_messages_were_removed_has_an_end() {
    let bus = log_of(&[CLICK; 3]).await;
    bus.transport().remove(&EVENTS.name, 3).await.unwrap();
    let store: Arc<dyn DataStore> = Arc::new(MemoryStore::new());
    assert_eq!(replay(&bus, &store, (ReadFrom::First, None)).await.reached, 2);
}
