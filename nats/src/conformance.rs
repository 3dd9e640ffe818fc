//! What every bus must do. [`crate::bus_conformance!`] makes one test of each case.
//!
//! Cases use names of their own, so they can run side by side on a shared server. They wait for what must happen, at
//! most [`PATIENCE`], and prove that something does not happen only where something that was sent later has arrived.
//! Times are short and only bounded from below, so a slow machine fails nothing.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

pub mod buckets;
pub mod consumers;
pub mod interrupted;
pub mod messages;
pub mod objects;
pub mod order;
pub mod streams;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::transport::{
    ConsumerSpec, MESSAGE_ID_HEADER, Message, Name, Order, RawDelivery, RawPuller, Retention, StreamSpec,
    Transport,
};

/// Longest wait of a case for an effect that must come: generous, because the machine may be busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A bus under test with names that nobody else uses.
pub(crate) struct Place {
    pub(crate) bus: Arc<dyn Transport>,
    own: String,
}

impl Place {
    pub(crate) fn new(bus: Arc<dyn Transport>) -> Self {
        Self { bus, own: format!("t{}", uuid::Uuid::new_v4().simple()) }
    }

    /// A name for a stream, a consumer or a bucket.
    pub(crate) fn name(&self, name: &str) -> Name {
        format!("{name}-{}", self.own).into()
    }

    /// A subject or a filter, of a root that no deployment uses: a server may be shared with one.
    pub(crate) fn subject(&self, below: &str) -> String {
        format!("ulex.v0.{}.{below}", self.own)
    }

    /// A message on `event.<kind>.<key>`.
    pub(crate) fn event(&self, kind: &str, key: &str, body: &str) -> Message {
        let payload = Bytes::copy_from_slice(body.as_bytes());
        Message { subject: self.subject(&format!("event.{kind}.{key}")), payload, ..Message::default() }
    }

    /// The definition of a stream that captures these events.
    pub(crate) fn stream_spec(&self, retention: Retention) -> StreamSpec {
        StreamSpec {
            name: self.name("STREAM"),
            subjects: vec![self.subject("event.*.*").into()].into(),
            retention,
            dedup: Duration::from_secs(60),
            max_age: None,
            max_bytes: 1 << 20,
        }
    }

    /// The definition of a consumer of that stream.
    pub(crate) fn consumer_spec(&self, order: Order) -> ConsumerSpec {
        ConsumerSpec {
            name: self.name("consumer"),
            stream: self.name("STREAM"),
            filter: self.subject("event.*.*").into(),
            order,
            max_ack_pending: 100,
            ack_wait: Duration::from_secs(30),
        }
    }

    /// A stream, a consumer with this definition, and a puller of it.
    pub(crate) async fn drained(&self, retention: Retention, spec: &ConsumerSpec) -> Box<dyn RawPuller> {
        self.bus.ensure_stream(&self.stream_spec(retention)).await.unwrap();
        self.bus.puller(spec, None).await.unwrap()
    }

    /// Appends events of one kind, each `(key, body)`.
    pub(crate) async fn append(&self, events: &[(&str, &str)]) {
        for (key, body) in events {
            self.bus.append(self.event("user", key, body)).await.unwrap();
        }
    }
}

/// Pulls until `count` messages have come.
pub(crate) async fn pull(puller: &mut Box<dyn RawPuller>, count: usize) -> Vec<Box<dyn RawDelivery>> {
    let deadline = Instant::now() + PATIENCE;
    let mut pulled = Vec::new();
    while pulled.len() < count {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{} of {count} messages came", pulled.len());
        pulled.extend(puller.pull(count - pulled.len(), left).await.unwrap());
    }
    pulled
}

/// Bodies of deliveries.
pub(crate) fn bodies(deliveries: &[Box<dyn RawDelivery>]) -> Vec<String> {
    deliveries.iter().map(|delivery| text(delivery.message())).collect()
}

/// Body of a message.
pub(crate) fn text(message: &Message) -> String {
    String::from_utf8(message.payload.to_vec()).unwrap()
}

/// The same message with a message id.
pub(crate) fn with_id(mut message: Message, id: &str) -> Message {
    message.headers.insert(MESSAGE_ID_HEADER.to_owned(), id.to_owned());
    message
}

/// Waits for something that must happen.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// Makes a test of every case. `[$test]` are the attributes of a test, such as `tokio::test`; `$open` is an async function
/// that gives an `Arc<dyn Transport>`.
#[macro_export]
macro_rules! bus_conformance {
    ($tests:tt, $open:path) => {
        $crate::bus_conformance!(@group $tests, $open, messages:
            everybody_who_listens_hears_a_message,
            a_queue_hears_each_message_once,
            a_request_is_answered,
            a_request_that_nobody_serves_fails_at_once,
            a_request_that_nobody_answers_ends,
            messages_of_one_publisher_keep_their_order,
            an_inbox_is_a_subject_of_its_own
        );
        $crate::bus_conformance!(@group $tests, $open, streams:
            positions_grow_and_a_repeated_id_is_one_message,
            a_message_without_a_stream_is_refused,
            who_listens_hears_what_is_appended,
            a_reader_reads_from_where_it_was_told,
            a_reader_waits_for_what_is_appended,
            a_full_stream_refuses_until_its_consumers_are_done,
            a_stream_of_recent_messages_forgets_the_oldest,
            a_work_queue_keeps_the_newest_of_a_subject,
            a_job_that_is_asked_for_again_while_it_is_done_is_done_again,
            removed_and_purged_messages_are_gone,
            a_stream_can_be_defined_again,
            a_log_keeps_its_name_and_another_has_another
        );
        $crate::bus_conformance!(@group $tests, $open, consumers:
            what_was_appended_before_the_consumer_existed_is_delivered,
            a_waiting_puller_wakes_up,
            an_acknowledged_message_does_not_come_back,
            a_rejected_message_comes_back_after_its_delay,
            a_forgotten_message_comes_back,
            a_message_in_progress_does_not_come_back,
            a_terminated_message_does_not_come_back,
            deliveries_in_flight_are_bounded,
            pullers_without_order_share_the_work,
            the_backlog_is_what_is_left,
            a_consumer_can_be_defined_again,
            an_impossible_consumer_is_refused
        );
        $crate::bus_conformance!(@group $tests, $open, order:
            a_later_message_does_not_overtake,
            with_strict_order_nothing_overtakes,
            there_is_one_puller_at_a_time,
            what_a_lost_puller_held_comes_first
        );
        $crate::bus_conformance!(@group $tests, $open, buckets:
            a_value_is_what_was_written_last,
            only_one_creates_a_key,
            an_update_needs_the_last_revision,
            a_removed_key_can_be_created_again,
            a_removal_can_need_the_last_revision,
            a_watch_begins_with_what_there_is,
            a_watch_never_misses_the_last_value,
            values_vanish_after_their_time,
            a_written_value_lives_on,
            history_is_kept_as_long_as_defined,
            what_cannot_be_a_key_is_refused,
            a_bucket_can_be_defined_again
        );
        $crate::bus_conformance!(@group $tests, $open, objects:
            an_object_comes_back_as_it_was_stored,
            an_object_is_replaced_as_a_whole,
            objects_are_listed_with_their_digests,
            a_removed_object_is_gone
        );
    };
    (@group $tests:tt, $open:path, $group:ident: $($case:ident),*) => {
        $($crate::bus_conformance!(@case $tests, $open, $group, $case);)*
    };
    (@case [$($test:meta),+], $open:path, $group:ident, $case:ident) => {
        $(#[$test])+
        async fn $case() {
            $crate::conformance::$group::$case($open().await).await;
        }
    };
}
