use std::time::Duration;

use serde::Deserialize;
use ulex_domain::{Command, UserId};

use super::*;
use crate::events::{EventEnvelope, Receipt};
use crate::refresh::{Basis, RefreshJob, RefreshReason};
use crate::topology::{self, ensure_topology};
use crate::training::{FitAnswer, FitNow};
use crate::transport::TRACE_HEADER;
use crate::{InProcess, Token};

const META_TIMEOUT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(60);

fn transport() -> Arc<dyn Transport> {
    Arc::new(InProcess::open(None).unwrap())
}

async fn bus() -> Bus {
    let bus = Bus::new(transport(), TenantId::default());
    ensure_topology(&bus, META_TIMEOUT).await.unwrap();
    bus
}

fn job(user: &str) -> RefreshJob {
    RefreshJob { user_id: UserId::new(user), basis: Basis::default(), reason: RefreshReason::Changed }
}

fn deletion(user: &str) -> EventEnvelope {
    EventEnvelope { event_id: None, event: Command::DeleteUser { user_id: UserId::new(user) } }
}

#[tokio::test(start_paused = true)]
async fn a_message_arrives_with_its_trace() {
    let bus = bus().await;
    let mut jobs = bus.subscribe::<RefreshJob>(None).await.unwrap();
    let headers = Headers::from([(TRACE_HEADER.to_owned(), "00-1-2-01".to_owned())]);
    bus.publish_with(&job("u"), headers).await.unwrap();
    let received = jobs.next().await.unwrap().unwrap();
    assert_eq!(received.body, job("u"));
    assert_eq!(received.subject, format!("ulex.v1.default.job.refresh.{}", Token::of_id("u").as_str()));
    assert_eq!(received.headers[TRACE_HEADER], "00-1-2-01");
    assert_eq!(received.headers[SCHEMA_HEADER], "refresh-job/1");
}

#[tokio::test(start_paused = true)]
async fn a_message_of_another_schema_or_without_sense_is_an_error_and_the_next_one_is_read() {
    let bus = bus().await;
    let mut jobs = bus.subscribe::<RefreshJob>(None).await.unwrap();
    let subject = "ulex.v1.default.job.refresh.x".to_owned();
    let send = async |schema: Option<&str>, body: &'static str| {
        let headers =
            schema.map(|schema| (SCHEMA_HEADER.to_owned(), schema.to_owned())).into_iter().collect();
        let message = Message { subject: subject.clone(), reply: None, headers, payload: body.into() };
        bus.transport().publish(message).await.unwrap();
    };
    let body = r#"{"user_id": "u", "basis": {"epoch": 0, "settings": 0}, "reason": "changed"}"#;
    send(Some("refresh-job/2"), body).await;
    send(Some("refresh-job/1"), "not json").await;
    send(None, body).await;
    assert!(matches!(jobs.next().await.unwrap(), Err(BusError::Schema { .. })));
    assert!(matches!(jobs.next().await.unwrap(), Err(BusError::Malformed { .. })));
    assert_eq!(
        jobs.next().await.unwrap().unwrap().body,
        job("u"),
        "without a header it is read as if it had one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_gets_the_answer_of_its_type() {
    let bus = bus().await;
    let refused = bus.request(&FitNow {}).await;
    assert!(matches!(refused, Err(BusError::NoResponders { .. })), "{refused:?}");
    let mut master = bus.subscribe::<FitNow>(Some("master")).await.unwrap();
    let (answer, served) = tokio::join!(bus.request(&FitNow {}), master.answer(async |_| FitAnswer::Started));
    assert_eq!(answer.unwrap(), FitAnswer::Started);
    served.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_receipt_finds_whoever_waits_for_it() {
    let bus = bus().await;
    let mut inbox = bus.inbox::<Receipt>().await.unwrap();
    let addresses = inbox.addresses();
    let mut ingest = bus.puller::<EventEnvelope>(&topology::INGEST).await.unwrap();
    for number in [7, 8] {
        let receipt_to = Some(addresses.address(number));
        let options = AppendOptions { receipt_to, ..AppendOptions::default() };
        bus.append(&deletion(&number.to_string()), options).await.unwrap();
    }
    let mut deliveries = ingest.pull(9, LONG).await.unwrap();
    deliveries.reverse();
    for delivery in deliveries {
        let receipt = Receipt { sequence: delivery.sequence(), ..Receipt::default() };
        bus.send_to(delivery.receipt_to().unwrap(), &receipt).await.unwrap();
        delivery.ack().await.unwrap();
    }
    let receipts = [inbox.next().await.unwrap().unwrap(), inbox.next().await.unwrap().unwrap()];
    assert_eq!(receipts.map(|(number, receipt)| (number, receipt.sequence)), [(8, 2), (7, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_jobs_for_one_user_is_one_job() {
    let bus = bus().await;
    let mut worker = bus.puller::<RefreshJob>(&topology::REFRESH).await.unwrap();
    for user in ["a", "b", "a", "a"] {
        bus.append(&job(user), AppendOptions::default()).await.unwrap();
    }
    assert_eq!(bus.backlog(&topology::REFRESH).await.unwrap().waiting, 2);
    let pulled = worker.pull(9, LONG).await.unwrap();
    let users: Vec<&str> = pulled.iter().map(|one| one.body().unwrap().user_id.as_str()).collect();
    assert_eq!(users, vec!["b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn tenants_do_not_see_each_other() {
    let transport = transport();
    let own = |name: &str| Bus::new(Arc::clone(&transport), TenantId::new(name).unwrap());
    let (one, two) = (own("one"), own("two"));
    for bus in [&one, &two] {
        ensure_topology(bus, META_TIMEOUT).await.unwrap();
    }
    let mut heard_by_two = two.subscribe::<EventEnvelope>(None).await.unwrap();
    one.append(&deletion("u"), AppendOptions::default()).await.unwrap();
    two.append(&deletion("v"), AppendOptions::default()).await.unwrap();
    assert_eq!(heard_by_two.next().await.unwrap().unwrap().body, deletion("v"));
    for (bus, expected) in [(&one, "u"), (&two, "v")] {
        let mut ingest = bus.puller::<EventEnvelope>(&topology::INGEST).await.unwrap();
        let pulled = ingest.pull(9, LONG).await.unwrap();
        assert_eq!(
            pulled.iter().map(|one| one.body().unwrap()).collect::<Vec<_>>(),
            vec![&deletion(expected)]
        );
        let mut reader = bus.reader::<EventEnvelope>("EVENTS", ReadFrom::First).await.unwrap();
        assert_eq!(reader.read(9, LONG).await.unwrap().len(), 1);
    }
    let bucket = one.bucket::<String>(&topology::CONFIG).await.unwrap();
    bucket.put("a", &"1".to_owned()).await.unwrap();
    assert_eq!(two.bucket::<String>(&topology::CONFIG).await.unwrap().get("a").await.unwrap(), None);
    one.objects("models").await.unwrap().put("m", "x".into()).await.unwrap();
    assert_eq!(two.objects("models").await.unwrap().get("m").await.unwrap(), None);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Value {
    number: u32,
}

#[tokio::test(start_paused = true)]
async fn a_value_nobody_can_read_is_reported_and_the_others_are_there() {
    let bus = bus().await;
    let values = bus.bucket::<Value>(&topology::CONFIG).await.unwrap();
    let texts = bus.bucket::<String>(&topology::CONFIG).await.unwrap();
    let mut watch = values.watch().await.unwrap();
    texts.put("a", &"no number".to_owned()).await.unwrap();
    let revision = values.create("b", &Value { number: 1 }).await.unwrap();
    assert!(matches!(values.get("a").await, Err(BusError::Malformed { .. })));
    let readable = values.entries().await.unwrap();
    assert_eq!(readable, vec![Stored { key: "b".to_owned(), value: Value { number: 1 }, revision }]);
    assert!(matches!(watch.next().await.unwrap(), Err(BusError::Malformed { .. })));
    assert_eq!(watch.next().await.unwrap().unwrap(), Changed::Put(readable.into_iter().next().unwrap()));
    texts.delete("a").await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Changed::Gone { key: "a".to_owned() });
}

#[tokio::test(start_paused = true)]
async fn a_second_process_with_another_meta_timeout_redefines_the_topology() {
    let bus = bus().await;
    for seconds in [10, 20, 20] {
        ensure_topology(&bus, Duration::from_secs(seconds)).await.unwrap();
    }
}

#[tokio::test]
async fn receipts_go_to_inboxes_only() {
    let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
    let receipt = Receipt::default();
    for address in [
        "$KV.ulex-cursors.EVENTS.ingest-default",
        "$JS.API.STREAM.PURGE.EVENTS",
        "ulex.v1.default.event.feedback.x",
        "_INBOX",
        "_INBOX.>",
        "_INBOX..a",
        "_INBOXES.a",
        "",
    ] {
        let outcome = bus.send_to(address, &receipt).await;
        assert!(matches!(outcome, Err(BusError::Refused { .. })), "{address}");
    }
    bus.send_to("_INBOX.abc.1", &receipt).await.unwrap();
    assert!(is_inbox("shop.inbox.abc", "shop.inbox.xyz"));
    assert!(!is_inbox("other.inbox.abc", "shop.inbox.xyz"));
}
