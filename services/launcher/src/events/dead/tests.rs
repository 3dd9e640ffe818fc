use std::sync::Arc;

use ulex_domain::{FailureCode, TenantId};
use ulex_nats::InProcess;
use ulex_nats::bus::AppendOptions;
use ulex_nats::topology::ensure_topology;
use ulex_nats::transport::{Headers, RawDelivery};

use super::*;

async fn empty() -> Bus {
    let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
    ensure_topology(&bus, Duration::from_secs(10)).await.unwrap();
    bus
}

/// A message that was refused, in the log and as a letter.
async fn give_up(bus: &Bus, id: &str, body: &str, most: usize) {
    let message = Message {
        subject: "ulex.v1.default.event.user.x".to_owned(),
        headers: Headers::from([(MESSAGE_ID_HEADER.to_owned(), id.to_owned())]),
        payload: Bytes::copy_from_slice(body.as_bytes()),
        reply: None,
    };
    let sequence = bus.transport().append(message.clone()).await.unwrap().sequence;
    let mut letter =
        DeadLetter::of(&message, (sequence, 1), FailureCode::Malformed, "UserId: expected a name".to_owned());
    if body.len() > most {
        letter.body = DeadBody::begin(body.as_bytes(), most);
    }
    bus.append(&letter, AppendOptions::default()).await.unwrap();
}

/// What is in the log behind the messages that were given up.
async fn sent_again(bus: &Bus, behind: u64) -> Vec<Message> {
    let from = ReadFrom::Sequence(behind + 1);
    let mut reader = bus.raw_reader::<EventEnvelope>(&EVENTS.name, from).await.unwrap();
    reader.read(100, Duration::ZERO).await.unwrap().into_iter().map(|kept| kept.message).collect()
}

#[tokio::test(start_paused = true)]
async fn letters_are_listed_and_go_back_to_the_log_with_their_id() {
    let bus = empty().await;
    assert_eq!(list(&letters(&bus, ReadFrom::First, 10).await.unwrap()), "there are no dead letters\n");
    give_up(&bus, "first", "{}", 100).await;
    give_up(&bus, "second", &"x".repeat(200), 100).await;
    let text = list(&letters(&bus, ReadFrom::First, 10).await.unwrap());
    assert!(text.contains("malformed") && text.contains("UserId: expected a name"), "{text}");
    assert_eq!(letters(&bus, ReadFrom::First, 1).await.unwrap()[0].0, 2, "the newest");

    run(&bus, &DeadAction::Replay { number: None, all: true, body: None }).await.unwrap();
    let sent = sent_again(&bus, 2).await;
    let ids: Vec<&str> = sent.iter().map(|message| message.headers[EVENT_ID_HEADER].as_str()).collect();
    assert_eq!(ids, ["first", "second"]);
    assert_eq!(sent[1].payload.len(), 200, "the whole body was in the log");
    assert!(letters(&bus, ReadFrom::First, 10).await.unwrap().is_empty());
    assert!(matches!(letter(&bus, 1).await, Err(EventsError::NoLetter(1))));
}

#[tokio::test(start_paused = true)]
async fn a_letter_goes_back_with_another_body() {
    let bus = empty().await;
    give_up(&bus, "id", "{}", 100).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fixed.json");
    std::fs::write(&file, r#"{"UserId":"u"}"#).unwrap();
    run(&bus, &DeadAction::Replay { number: Some(1), all: false, body: Some(file) }).await.unwrap();
    assert_eq!(sent_again(&bus, 1).await[0].payload, r#"{"UserId":"u"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_letter_stays_if_its_body_is_lost_or_the_store_is_away() {
    let bus = empty().await;
    give_up(&bus, "lost", &"x".repeat(200), 100).await;
    bus.transport().remove(&EVENTS.name, 1).await.unwrap();
    give_up(&bus, "away", "{}", 100).await;
    let mut events = bus.raw_puller(&ulex_nats::topology::INGEST, None).await.unwrap();
    let answering = async {
        loop {
            for delivery in events.pull(10, Duration::from_secs(1)).await.unwrap() {
                refuse(&bus, delivery.as_ref()).await;
            }
        }
    };
    let result = tokio::select! {
        result = run(&bus, &DeadAction::Replay { number: None, all: true, body: None }) => result,
        () = answering => panic!("ended"),
    };
    assert!(matches!(result, Err(EventsError::Kept(2))), "{result:?}");
    assert_eq!(letters(&bus, ReadFrom::First, 10).await.unwrap().len(), 2);
    let sent = sent_again(&bus, 2).await.len();
    run(&bus, &DeadAction::Replay { number: Some(2), all: false, body: None }).await.unwrap();
    assert_eq!(sent_again(&bus, 2).await.len(), sent + 1, "the next try is not taken for a repetition");
}

async fn refuse(bus: &Bus, delivery: &dyn RawDelivery) {
    let error =
        ulex_nats::events::ReceiptError { code: FailureCode::Unavailable, message: "away".to_owned() };
    let receipt = Receipt { error: Some(error), ..Receipt::default() };
    if let Some(inbox) = delivery.message().headers.get(RECEIPT_HEADER) {
        bus.send_to(inbox, &receipt).await.unwrap();
    }
    delivery.term().await.unwrap();
}
