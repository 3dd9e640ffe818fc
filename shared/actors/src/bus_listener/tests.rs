use super::*;
use std::sync::Arc;

use ulex_domain::{TenantId, UserId};
use ulex_nats::InProcess;
use ulex_nats::dead_letters::DeadBody;
use ulex_nats::refresh::{RefreshJob, RefreshReason};
use ulex_nats::topology::{REFRESH, ensure_topology};
use ulex_nats::transport::{Message, ReadFrom};

async fn bus() -> Bus {
    let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
    ensure_topology(&bus, Duration::from_secs(10), 1).await.unwrap();
    bus
}

fn job(user: &str) -> RefreshJob {
    RefreshJob { user_id: UserId::new(user), model_set: None, reason: RefreshReason::Stale }
}

fn nonsense() -> Message {
    let subject = "ulex.v1.default.job.refresh.x".to_owned();
    Message { subject, payload: "nonsense".into(), ..Message::default() }
}

#[tokio::test(start_paused = true)]
async fn a_message_nobody_can_read_does_not_deafen_a_listener_and_the_end_of_the_bus_ends_it() {
    let (bus, heard, mut users) = (bus().await, Heard::default(), Vec::new());
    let listening = listen::<RefreshJob>(&bus, None, &heard, async |received| {
        users.push(received.body.user_id);
    });
    let talking = async {
        tokio::task::yield_now().await;
        bus.publish(&job("a")).await.unwrap();
        bus.transport().publish(nonsense()).await.unwrap();
        bus.publish(&job("b")).await.unwrap();
        bus.close().await;
    };
    tokio::join!(listening, talking);
    assert_eq!(users, vec![UserId::new("a"), UserId::new("b")]);
    assert_eq!(heard.unreadable.into_inner(), 1);
    assert_eq!(heard.taken.into_inner(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_drained_message_that_nobody_can_read_is_kept_as_a_dead_letter() {
    let (bus, heard, mut users) = (bus().await, Heard::default(), Vec::new());
    bus.append(&job("a"), AppendOptions::default()).await.unwrap();
    bus.transport().append(nonsense()).await.unwrap();
    bus.append(&job("b"), AppendOptions::default()).await.unwrap();
    let refresh = Drain { consumer: REFRESH, partition: 0, batch: 10 };
    let mut dead = bus.reader::<DeadLetter>("DEAD", ReadFrom::First).await.unwrap();
    let mut letters = Vec::new();
    let draining = drain::<RefreshJob>(&bus, &refresh, &heard, async |batch| {
        for delivery in batch {
            users.push(delivery.body().unwrap().user_id.clone());
            delivery.ack().await.unwrap();
        }
        letters = dead.read(9, Duration::from_secs(60)).await.unwrap();
        bus.close().await;
    });
    draining.await;
    assert_eq!(users, vec![UserId::new("a"), UserId::new("b")]);
    let letter = letters.remove(0).body.unwrap();
    assert_eq!((letter.sequence, letter.attempts, letter.code.as_str()), (2, 1, "malformed"));
    assert_eq!(letter.body, DeadBody::Text("nonsense".to_owned()));
    assert!(letter.reason.contains("expected"), "{}", letter.reason);
    assert_eq!(heard.unreadable.into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_pulled_while_a_batch_is_being_worked_on() {
    let (bus, heard, mut sizes) = (bus().await, Heard::default(), Vec::new());
    for user in ["a", "b", "c", "d", "e"] {
        bus.append(&job(user), AppendOptions::default()).await.unwrap();
    }
    let refresh = Drain { consumer: REFRESH, partition: 0, batch: 2 };
    drain::<RefreshJob>(&bus, &refresh, &heard, async |batch| {
        assert_eq!(bus.backlog(&REFRESH).await.unwrap().in_flight, batch.len() as u64);
        sizes.push(batch.len());
        for delivery in batch {
            delivery.ack().await.unwrap();
        }
        if sizes.iter().sum::<usize>() == 5 {
            bus.close().await;
        }
    })
    .await;
    assert_eq!(sizes, vec![2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_whose_stream_appears_later_is_drained_from_then_on() {
    let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
    let (heard, mut seen) = (Heard::default(), 0);
    let refresh = Drain { consumer: REFRESH, partition: 0, batch: 2 };
    let draining = drain::<RefreshJob>(&bus, &refresh, &heard, async |batch| {
        seen += batch.len();
        bus.close().await;
    });
    let appearing = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        ensure_topology(&bus, Duration::from_secs(10), 1).await.unwrap();
        bus.append(&job("a"), AppendOptions::default()).await.unwrap();
    };
    tokio::join!(draining, appearing);
    assert_eq!(seen, 1);
    assert!(heard.failures.into_inner() > 2);
}
