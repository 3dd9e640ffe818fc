mod doubles;
mod on_nats;
mod outcomes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ulex_domain::{Change, Command, EventId, ItemId, TenantId, User, UserId};
use ulex_nats::bus::Reader;
use ulex_nats::changes::Changes;
use ulex_nats::dead_letters::{DeadBody, DeadLetter};
use ulex_nats::topology::{CHANGES, DEAD, EVENTS, INGEST, ensure_topology};
use ulex_nats::transport::{Message, ReadFrom};
use ulex_nats::{InProcess, InProcessOptions, Payload};
use ulex_recommenders::plan::Plan;
use ulex_settings::Settings;
use ulex_storage::cache::{CacheStore, MemoryCache};
use ulex_storage::data::{DataStore, MemoryStore};

use self::doubles::{Faults, FaultyBus, FaultyCache, FaultyStore, Point, Side, Way};
use super::*;
use crate::gateway::{Gateway, SubmitError};

/// Everything that an ingester needs, and what goes wrong around it.
struct Place {
    parts: IngestParts,
    store: Arc<FaultyStore>,
    cache: Arc<FaultyCache>,
    faults: Arc<Faults>,
    counts: Rc<RefCell<IngestCounters>>,
}

impl Place {
    async fn new() -> Self {
        Self::with_payload(1 << 20).await
    }

    async fn with_payload(max_payload: usize) -> Self {
        let faults = Arc::new(Faults::default());
        let inner = InProcess::open(None).unwrap();
        let transport = FaultyBus { inner, faults: Arc::clone(&faults), max_payload };
        let bus = Bus::new(Arc::new(transport), TenantId::default());
        ensure_topology(&bus, Duration::from_secs(10)).await.unwrap();
        let store = Arc::new(FaultyStore { inner: MemoryStore::new(), faults: Arc::clone(&faults) });
        let plan = Plan::new(&Settings::default());
        let cache = FaultyCache { inner: MemoryCache::new(1 << 20), is_away: AtomicBool::new(false) };
        let cache = Arc::new(cache);
        let shared_cache: Arc<dyn CacheStore> = Arc::clone(&cache) as Arc<dyn CacheStore>;
        let recommender =
            Recommender::new(Arc::clone(&store) as Arc<dyn DataStore>, shared_cache, plan, Duration::ZERO);
        let admission = Admission { insert_users: true, insert_items: true };
        let parts = IngestParts { bus, node: "node".to_owned(), recommender, batch_rows: 100, admission };
        Self { parts, store, cache, faults, counts: Rc::default() }
    }

    async fn publish(&self, kind: &str, id: Option<&str>, body: &str) -> u64 {
        let headers = id.map(|id| ("Nats-Msg-Id".to_owned(), id.to_owned()));
        let message = Message {
            subject: format!("ulex.v1.default.event.{kind}.x"),
            headers: headers.into_iter().collect(),
            payload: Bytes::copy_from_slice(body.as_bytes()),
            reply: None,
        };
        self.parts.bus.transport().append(message).await.unwrap().sequence
    }

    async fn click(&self, user: &str, id: Option<&str>) {
        let body = format!(r#"{{"FeedbackType":"click","UserId":"{user}","ItemId":"i","Value":1}}"#);
        self.publish("feedback", id, &body).await;
    }

    fn worker(&self) -> IngestDriver {
        IngestDriver::new(self.parts.clone(), Rc::clone(&self.counts), watch::Sender::new(false).subscribe())
    }

    /// Ingests until the log is drained.
    async fn drain(&self) {
        let drained = async {
            loop {
                let backlog = self.parts.bus.backlog(&INGEST).await.unwrap();
                if backlog.waiting + backlog.in_flight == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = self.worker().run() => panic!("the ingester ended"),
            () = drained => {}
            () = tokio::time::sleep(Duration::from_secs(600)) => panic!("not drained"),
        }
    }

    /// Ingests until something hangs, then ends as a killed process does.
    async fn crash(&self) {
        tokio::select! {
            () = self.worker().run() => panic!("the ingester ended"),
            () = self.faults.hanging.notified() => {}
            () = tokio::time::sleep(Duration::from_secs(600)) => panic!("never came to that point"),
        }
    }

    async fn value(&self, user: &str) -> f64 {
        let rows = self.store.inner.pair_feedback(&UserId::new(user), &ItemId::new("i")).await.unwrap();
        rows.iter().map(|row| row.value).sum()
    }

    async fn read<E: ulex_nats::Subject>(&self, stream: &str) -> Vec<E> {
        let mut reader: Reader<E> = self.parts.bus.reader(stream, ReadFrom::First).await.unwrap();
        let read = reader.read(10_000, Duration::ZERO).await.unwrap();
        read.into_iter().map(|one| one.body.unwrap()).collect()
    }

    async fn changes(&self) -> Vec<Change> {
        self.read::<Changes>(&CHANGES.name).await.into_iter().flat_map(|one| one.changes).collect()
    }

    async fn letters(&self) -> Vec<DeadLetter> {
        self.read(&DEAD.name).await
    }

    async fn events_left(&self) -> u64 {
        self.parts.bus.stream_state(&EVENTS.name).await.unwrap().messages
    }
}

fn pairs_of(changes: &[Change]) -> Vec<&str> {
    let mut found = Vec::new();
    for change in changes {
        if let Change::Feedback { pairs } = change {
            found.extend(pairs.iter().map(|(user, _)| user.as_str()));
        }
    }
    found
}

fn user(id: impl Into<String>) -> User {
    User { user_id: UserId::new(id.into()), labels: serde_json::Value::Null, comment: String::new() }
}

#[tokio::test(start_paused = true)]
async fn whatever_crashes_or_fails_events_take_effect_once_and_their_changes_are_announced() {
    let points = [Point::Apply, Point::Announce, Point::Ack, Point::Bury];
    for point in points {
        for (side, way) in [
            (Side::Before, Way::Hangs),
            (Side::After, Way::Hangs),
            (Side::Before, Way::Fails),
            (Side::After, Way::Fails),
        ] {
            let place = Place::new().await;
            place.click("a", None).await;
            place.publish("feedback", None, "poison").await;
            place.click("b", Some("id")).await;
            place.click("a", None).await;
            place.publish("user", None, r#"{"Op":"delete","UserId":"nobody"}"#).await;
            place.faults.arm(point, side, way);
            if way == Way::Hangs {
                place.crash().await;
            }
            place.drain().await;
            assert!(!place.faults.is_armed(), "{point:?} was passed");
            let what = format!("{side:?} {point:?} {way:?}");
            assert_eq!((place.value("a").await, place.value("b").await), (2.0, 1.0), "{what}");
            let changes = place.changes().await;
            assert!(["a", "b"].iter().all(|user| pairs_of(&changes).contains(user)), "{what}: {changes:?}");
            let letters = place.letters().await;
            assert_eq!(letters.len(), 1, "{what}: {letters:?}");
            assert_eq!(letters[0].sequence, 2, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn large_groups_overlap_and_still_take_effect_once_in_order() {
    let points = [Point::Apply, Point::Announce, Point::Ack];
    let ways = [(Side::Before, Way::Fails), (Side::After, Way::Fails), (Side::Before, Way::Hangs)];
    for (point, (side, way)) in points.into_iter().flat_map(|point| ways.map(|how| (point, how))) {
        let mut place = Place::new().await;
        place.parts.batch_rows = 600;
        let (messages, users) = (12, 300);
        for message in 0..messages {
            let rows: Vec<String> = (0..users)
                .map(|user| format!(r#"{{"FeedbackType":"click","UserId":"{user}","ItemId":"i","Value":1}}"#))
                .collect();
            place.publish("feedback", None, &format!("[{}]", rows.join(","))).await;
            let comment = format!(r#"{{"UserId":"last","Comment":"{message}"}}"#);
            place.publish("user", None, &comment).await;
        }
        place.faults.arm(point, side, way);
        if way == Way::Hangs {
            place.crash().await;
        }
        place.drain().await;
        let what = format!("{side:?} {point:?} {way:?}");
        assert!(!place.faults.is_armed(), "{what} was passed");
        for user in 0..users {
            assert_eq!(place.value(&user.to_string()).await, f64::from(messages), "{what}: {user}");
        }
        let last = place.store.inner.user(&UserId::new("last")).await.unwrap().unwrap();
        assert_eq!(last.comment, (messages - 1).to_string(), "{what}");
        assert!(place.counts.borrow().batches > 3, "{what}: it was one group");
        let changes = place.changes().await;
        let announced = pairs_of(&changes).len();
        assert!(announced >= messages as usize * users as usize, "{what}: {announced}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_ingester_does_no_harm() {
    let place = Place::new().await;
    place.click("a", None).await;
    // It stands still with the batch in its hands, is taken for dead, and goes on.
    let mut asleep = place.parts.bus.raw_puller(&INGEST, None).await.unwrap();
    let held = asleep.pull(10, Duration::ZERO).await.unwrap();
    drop(asleep);
    place.drain().await;
    assert_eq!(place.value("a").await, 1.0);
    let mut state = place.worker().open().await.unwrap();
    state.reader.accept(held);
    let group = state.reader.next_group(100);
    assert_eq!(group.len(), 1);
    assert!(state.commit(group).await.is_continue());
    state.settle_committed().await;
    assert_eq!(place.value("a").await, 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_same_id_has_its_effect_once_also_after_the_window_of_the_stream() {
    let place = Place::new().await;
    place.click("a", Some("id")).await;
    place.drain().await;
    tokio::time::advance(EVENTS.dedup + Duration::from_secs(1)).await;
    place.click("a", Some("id")).await;
    place.drain().await;
    assert_eq!(place.events_left().await, 2, "the stream took it twice");
    assert_eq!(place.value("a").await, 1.0);
    assert_eq!(place.counts.borrow().duplicates, 1);
}

#[tokio::test(start_paused = true)]
async fn poison_is_kept_with_its_reason_and_holds_up_nobody() {
    let place = Place::new().await;
    let body = r#"{"FeedbackType":"click","UserId":"u","ItemId":"i","Value":"much"}"#;
    let sequence = place.publish("feedback", Some("poison"), body).await;
    place.click("a", None).await;
    place.drain().await;
    assert_eq!(place.value("a").await, 1.0);
    let letters = place.letters().await;
    let letter = &letters[0];
    assert!(letter.reason.starts_with("Value: ") && letter.reason.contains("a finite number"), "{letter:?}");
    assert_eq!((letter.sequence, letter.attempts, letter.code.as_str()), (sequence, 1, "malformed"));
    assert_eq!(letter.headers["Nats-Msg-Id"], "poison");
    assert_eq!(letter.revive().unwrap().payload, body);
}

#[tokio::test(start_paused = true)]
async fn poison_too_large_for_a_letter_is_kept_by_its_beginning() {
    let place = Place::with_payload(64 << 10).await;
    let body = format!("[{}", "\"".repeat(40 << 10));
    place.publish("feedback", None, &body).await;
    place.click("a", None).await;
    place.drain().await;
    let letters = place.letters().await;
    let DeadBody::Beginning { text, bytes } = &letters[0].body else { panic!("{letters:?}") };
    assert!(body.starts_with(text) && *bytes == body.len());
    assert_eq!(place.value("a").await, 1.0);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_callers_are_told_and_publishers_are_waited_for_in_order() {
    let place = Place::new().await;
    let gateway = Gateway::open(place.parts.bus.clone(), 10, None).await.unwrap();
    place.publish("user", None, r#"{"UserId":"u","Comment":"first"}"#).await;
    place.publish("user", None, r#"{"UserId":"u","Comment":"second"}"#).await;
    *place.faults.away.lock() = 3;
    let write = Command::PutUsers { users: vec![user("refused")] };
    let asked = tokio::time::Instant::now();
    tokio::select! {
        () = place.worker().run() => panic!("the ingester ended"),
        result = gateway.submit(write, None, None) => {
            assert!(matches!(result, Err(SubmitError::Unavailable(_))), "{result:?}");
        }
    }
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    place.drain().await;
    let stored = place.store.inner.user(&UserId::new("u")).await.unwrap().unwrap();
    assert_eq!(stored.comment, "second");
    assert_eq!(place.store.inner.user(&UserId::new("refused")).await.unwrap(), None);
    assert_eq!(place.events_left().await, 2, "a replay does not bring it back");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_503_while_the_event_is_still_in_the_log() {
    let place = Place::new().await;
    let gateway = Gateway::open(place.parts.bus.clone(), 10, None).await.unwrap();
    *place.faults.away.lock() = 1;
    place.faults.arm(Point::Remove, Side::Before, Way::Fails);
    let write = Command::PutUsers { users: vec![user("u")] };
    tokio::select! {
        () = place.worker().run() => panic!("the ingester ended"),
        result = gateway.submit(write, None, None) => assert!(result.is_ok(), "{result:?}"),
    }
    assert!(place.store.inner.user(&UserId::new("u")).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_word_was_lost_is_a_success() {
    let place = Place::new().await;
    let gateway = Gateway::open(place.parts.bus.clone(), 10, None).await.unwrap();
    place.faults.arm(Point::Apply, Side::After, Way::Fails);
    tokio::select! {
        () = place.worker().run() => panic!("the ingester ended"),
        result = gateway.submit(Command::PutUsers { users: vec![user("u")] }, None, None) => {
            assert!(result.is_ok(), "{result:?}");
        }
    }
    assert!(place.store.inner.user(&UserId::new("u")).await.unwrap().is_some());
    assert_eq!(place.events_left().await, 1);
    place.drain().await;
    assert!(place.changes().await.contains(&Change::Users { user_ids: vec![UserId::new("u")] }));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_is_removed_unless_it_was_applied() {
    let place = Place::new().await;
    let gateway = Gateway::open(place.parts.bus.clone(), 10, None).await.unwrap();
    let asked = tokio::time::Instant::now();
    let result = gateway.submit(Command::PutUsers { users: vec![user("u")] }, None, None).await;
    assert!(
        matches!(&result, Err(SubmitError::Unknown { reason, .. }) if reason.contains("not confirmed")),
        "{result:?}"
    );
    assert!(asked.elapsed() < Duration::from_secs(16), "{:?}", asked.elapsed());
    // A message after it shows how far the server's clock has come.
    let log = place.parts.bus.transport();
    log.purge(&EVENTS.name, "ulex.v1.*.event.*.*").await.unwrap();
    for user in ["late", "applied"] {
        let message = Message {
            subject: "ulex.v1.default.event.user.x".to_owned(),
            payload: Bytes::from(format!(r#"{{"UserId":"{user}"}}"#)),
            headers: [("ulex-expires-after-ms".to_owned(), "0".to_owned())].into(),
            reply: None,
        };
        let appended = log.append(message).await.unwrap();
        place.publish("user", None, r#"{"UserId":"later"}"#).await;
        if user == "late" {
            place.drain().await;
            assert_eq!(place.events_left().await, 1);
        } else {
            let state = log.stream_state(&EVENTS.name).await.unwrap();
            let sequence = crate::published::position(appended.sequence, 0);
            let position = Some(ulex_storage::data::LogPosition {
                log: state.log,
                epoch: 1,
                sequence,
                ..ulex_storage::data::LogPosition::default()
            });
            let event = Command::PutUsers { users: vec![self::user("applied")] };
            let submission = ulex_storage::data::Submission { position, ..event.into() };
            place.store.inner.apply(vec![submission]).await.unwrap();
            place.drain().await;
            assert_eq!(place.events_left().await, 3, "it is part of what a replay must bring");
        }
    }
    assert_eq!(place.store.inner.user(&UserId::new("late")).await.unwrap(), None);
    assert_eq!(place.counts.borrow().rejected, 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_larger_than_a_message_goes_in_parts_and_is_answered_when_all_are_applied() {
    let place = Place::with_payload(16 << 10).await;
    let gateway = Gateway::open(place.parts.bus.clone(), 1000, None).await.unwrap();
    let event =
        || Command::PutUsers { users: (0..1000).map(|number| user(format!("user {number}"))).collect() };
    let id = Some(EventId::new("large").unwrap());
    for duplicate in [false, true] {
        tokio::select! {
            () = place.worker().run() => panic!("the ingester ended"),
            result = gateway.submit(event(), id.clone(), None) => assert_eq!(result.unwrap().receipt.duplicate, duplicate),
        }
        assert_eq!(place.store.inner.counts().await.unwrap().users, 1000);
    }
    assert!(place.events_left().await > 4);
    place.drain().await;
    let announced = place.changes().await.iter().map(Change::row_count).sum::<usize>();
    assert!(announced >= 1000, "{announced}");
    let huge = Command::PutUsers { users: vec![User { comment: "x".repeat(20 << 10), ..user("huge") }] };
    let result = gateway.submit(huge, None, None).await;
    assert!(matches!(result, Err(SubmitError::TooLarge { .. })), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_full_or_does_not_answer_is_said_soon() {
    let full = InProcess::open_with(InProcessOptions { folder: None, stream_bytes: 65_536 }).unwrap();
    let full = Bus::new(Arc::new(full), TenantId::default());
    ensure_topology(&full, Duration::from_secs(10)).await.unwrap();
    let gateway = Gateway::open(full.clone(), 10, None).await.unwrap();
    // Nobody drains it.
    let mut message = Message { subject: "ulex.v1.default.event.user.x".to_owned(), ..Message::default() };
    for size in [4000, 100, 0] {
        message.payload = Bytes::from(vec![b'x'; size]);
        while full.transport().append(message.clone()).await.is_ok() {}
    }
    let event = || Command::PutUsers { users: vec![user("u")] };
    let asked = tokio::time::Instant::now();
    let result = gateway.submit(event(), None, None).await;
    assert!(matches!(&result, Err(SubmitError::Unavailable(text)) if text.contains("full")), "{result:?}");
    assert!(asked.elapsed() < Duration::from_secs(1));

    let place = Place::new().await;
    let gateway = Gateway::open(place.parts.bus.clone(), 10, None).await.unwrap();
    place.faults.arm(Point::Append, Side::Before, Way::Hangs);
    let asked = tokio::time::Instant::now();
    let result = gateway.submit(event(), None, None).await;
    assert!(matches!(result, Err(SubmitError::Unknown { .. })), "{result:?}");
    assert!(asked.elapsed() < Duration::from_secs(4));
    assert_eq!(gateway.waiting(), 0);
}

/// Whether the item `i` is said to be deleted, and then, with a greater version, to be there.
fn deleted_before_created(changes: &[Change]) -> bool {
    let deleted = changes.iter().position(|change| matches!(change, Change::ItemDeleted { .. }));
    let created =
        changes.iter().position(|change| matches!(change, Change::Items { items } if items.len() == 1));
    let (Some(deleted), Some(created)) = (deleted, created) else { return false };
    match (&changes[deleted], &changes[created]) {
        (Change::ItemDeleted { version, .. }, Change::Items { items }) => {
            deleted < created && *version < items[0].version && *version > ulex_domain::Version::ZERO
        }
        _ => false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_sent_again_does_not_delete_what_was_created_since() {
    let place = Place::new().await;
    let delete = r#"{"Op":"delete","ItemId":"i","EventId":"once"}"#;
    place.click("a", None).await;
    place.publish("item", None, delete).await;
    place.click("b", None).await;
    place.drain().await;
    let before = place.changes().await.len();
    place.publish("item", None, delete).await;
    place.drain().await;
    let changes = &place.changes().await[before..];
    assert!(deleted_before_created(changes), "{changes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_said_again_names_what_came_after_it() {
    let place = Place::new().await;
    place.click("a", None).await;
    place.drain().await;
    place.publish("item", None, r#"{"Op":"delete","ItemId":"i"}"#).await;
    place.click("b", None).await;
    place.faults.arm(Point::Announce, Side::Before, Way::Hangs);
    place.crash().await;
    let before = place.changes().await.len();
    place.drain().await;
    let changes = &place.changes().await[before..];
    assert!(deleted_before_created(changes), "{changes:?}");
    assert!(pairs_of(changes).contains(&"b"), "{changes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_successor_begins_again_with_the_first_change_that_the_cache_has_not_been_told_of() {
    let place = Place::new().await;
    place.click("a", None).await;
    place.drain().await;
    assert!(place.faults.restart.lock().is_empty());
    place.cache.is_away.store(true, Ordering::Relaxed);
    let driver = place.worker();
    let mut state = driver.open().await.unwrap();
    for user in ["b", "c"] {
        place.click(user, None).await;
        state.reader.pull().await.unwrap();
        let group = state.reader.next_group(100);
        assert!(state.commit(group).await.is_continue());
        state.settle_committed().await;
    }
    assert_eq!(*place.faults.restart.lock(), vec![(2, true)], "and not with the second");
    assert_eq!(place.parts.bus.backlog(&INGEST).await.unwrap().waiting, 0, "which does not hold up the log");
    place.cache.is_away.store(false, Ordering::Relaxed);
    place.click("d", None).await;
    state.reader.pull().await.unwrap();
    let group = state.reader.next_group(100);
    assert!(state.commit(group).await.is_continue());
    state.settle_committed().await;
    assert_eq!(*place.faults.restart.lock(), vec![(2, true), (2, false)]);
}

#[test]
fn the_gateway_writes_the_schema_that_is_read() {
    assert_eq!(ulex_nats::events::EventEnvelope::SCHEMA, "event/1");
}
