//! The whole shape of the bus on one page: every subject, stream, consumer, bucket. `SUBJECTS.md` is made from it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use crate::changes::Changes;
use crate::dead_letters::DeadLetter;
use crate::events::EventEnvelope;
use crate::leases::LeaseRecord;
use crate::membership::Heartbeat;
use crate::models::{GateVerdict, LivePointer};
use crate::overrides::Overrides;
use crate::refresh::RefreshJob;
use crate::subject::ROOT;
use crate::training::{CancelFit, FitNow, Progress};
use crate::transport::{BucketSpec, ConsumerSpec, Name, Order, Retention, StreamSpec};
use crate::{Bus, BusError, Subject};

/// One line of the subject table.
#[derive(Clone, Copy, Debug)]
pub struct SubjectEntry {
    /// Below root and tenant.
    pub pattern: &'static str,
    /// Schema of the payload.
    pub schema: &'static str,
    /// Rust type of the payload.
    pub payload: &'static str,
}

impl SubjectEntry {
    const fn of<E: Subject>(payload: &'static str) -> Self {
        Self { pattern: E::PATTERN, schema: E::SCHEMA, payload }
    }
}

/// Every subject. A test checks that no two can match the same message.
pub const SUBJECTS: &[SubjectEntry] = &[
    SubjectEntry::of::<EventEnvelope>("events::EventEnvelope"),
    SubjectEntry::of::<Changes>("changes::Changes"),
    SubjectEntry::of::<DeadLetter>("dead_letters::DeadLetter"),
    SubjectEntry::of::<RefreshJob>("refresh::RefreshJob"),
    SubjectEntry::of::<FitNow>("training::FitNow"),
    SubjectEntry::of::<CancelFit>("training::CancelFit"),
];

const fn name(text: &'static str) -> Name {
    Cow::Borrowed(text)
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const GIB: u64 = 1 << 30;

/// What publishers and the REST gateway asked for.
pub const EVENTS: StreamSpec = StreamSpec {
    name: name("EVENTS"),
    subjects: Cow::Borrowed(&[name("ulex.v1.*.event.*.*")]),
    retention: Retention::Limits,
    dedup: Duration::from_secs(120),
    max_age: Some(Duration::from_secs(7 * 24 * 3600)),
    max_bytes: 8 * GIB,
};

/// What is now in the store. Never refuses: whoever has missed some loads the store again.
pub const CHANGES: StreamSpec = StreamSpec {
    name: name("CHANGES"),
    subjects: Cow::Borrowed(&[name("ulex.v1.*.change.*.*")]),
    retention: Retention::Recent,
    dedup: Duration::from_secs(120),
    max_age: Some(DAY),
    max_bytes: GIB,
};

/// What could never be applied.
pub const DEAD: StreamSpec = StreamSpec {
    name: name("DEAD"),
    subjects: Cow::Borrowed(&[name("ulex.v1.*.dead.*")]),
    retention: Retention::Recent,
    dedup: Duration::from_secs(120),
    max_age: Some(Duration::from_secs(30 * 24 * 3600)),
    max_bytes: GIB,
};

/// Refresh jobs, one a user at most.
pub const JOBS: StreamSpec = StreamSpec {
    name: name("JOBS"),
    subjects: Cow::Borrowed(&[name("ulex.v1.*.job.refresh.*")]),
    retention: Retention::WorkQueue,
    dedup: Duration::ZERO,
    max_age: Some(DAY),
    max_bytes: GIB,
};

/// Every stream.
pub const STREAMS: [StreamSpec; 4] = [EVENTS, CHANGES, DEAD, JOBS];

/// Drains `EVENTS` into the store, strictly in order; one ingester at a time, see [`crate::events`].
pub const INGEST: ConsumerSpec = ConsumerSpec {
    name: name("ingest"),
    stream: name("EVENTS"),
    filter: name("ulex.v1.*.event.*.*"),
    order: Order::Strict,
    max_ack_pending: 16_384,
    ack_wait: Duration::from_secs(30),
};

/// Drains `JOBS`; any number of workers.
pub const REFRESH: ConsumerSpec = ConsumerSpec {
    name: name("refresh"),
    stream: name("JOBS"),
    filter: name("ulex.v1.*.job.refresh.*"),
    order: Order::Any,
    max_ack_pending: 4096,
    ack_wait: Duration::from_secs(30),
};

/// Heartbeats: [`Heartbeat`].
#[must_use]
pub fn members(meta_timeout: Duration) -> BucketSpec {
    BucketSpec { name: name("members"), history: 1, ttl: Some(meta_timeout * 3), durable: false }
}

/// Leases: [`LeaseRecord`].
#[must_use]
pub const fn leases(meta_timeout: Duration) -> BucketSpec {
    BucketSpec { name: name("leases"), history: 1, ttl: Some(meta_timeout), durable: false }
}

/// Which ModelSet is live: [`LivePointer`].
pub const REGISTRY: BucketSpec = BucketSpec { name: name("registry"), history: 64, ttl: None, durable: true };

/// What the gate said: [`GateVerdict`].
pub const VERDICTS: BucketSpec = BucketSpec { name: name("verdicts"), history: 1, ttl: None, durable: true };

/// Settings that were changed at run time: [`Overrides`].
pub const CONFIG: BucketSpec = BucketSpec { name: name("config"), history: 64, ttl: None, durable: true };

/// Events that operators want out of the way of the log: [`crate::dead_letters::BuryRequest`].
pub const BURIALS: BucketSpec =
    BucketSpec { name: name("burials"), history: 1, ttl: Some(DAY), durable: true };

/// Running tasks: [`Progress`].
pub const PROGRESS: BucketSpec =
    BucketSpec { name: name("progress"), history: 1, ttl: Some(DAY), durable: false };

/// Object bucket with the bytes of ModelSets.
pub const MODELS: &str = "models";

/// Every bucket, with the Rust type of its values.
#[must_use]
pub fn buckets(meta_timeout: Duration) -> [(BucketSpec, &'static str); 7] {
    [
        (members(meta_timeout), "membership::Heartbeat"),
        (leases(meta_timeout), "leases::LeaseRecord"),
        (REGISTRY, "models::LivePointer"),
        (VERDICTS, "models::GateVerdict"),
        (CONFIG, "overrides::Overrides"),
        (BURIALS, "dead_letters::BuryRequest"),
        (PROGRESS, "training::Progress"),
    ]
}

/// Brings the bus to this definition; called by every process at start, with the same `meta_timeout` in the whole
/// cluster. Safe to repeat.
///
/// # Errors
///
/// [`BusError::Refused`] if the bus cannot fulfil a definition, [`BusError::Transport`] if it cannot be reached.
pub async fn ensure_topology(bus: &Bus, meta_timeout: Duration) -> Result<(), BusError> {
    for stream in &STREAMS {
        bus.ensure_stream(stream).await?;
    }
    bus.ensure_consumer(&INGEST).await?;
    bus.ensure_consumer(&REFRESH).await?;
    bus.bucket::<Heartbeat>(&members(meta_timeout)).await?;
    bus.bucket::<LeaseRecord>(&leases(meta_timeout)).await?;
    bus.bucket::<LivePointer>(&REGISTRY).await?;
    bus.bucket::<GateVerdict>(&VERDICTS).await?;
    bus.bucket::<Overrides>(&CONFIG).await?;
    bus.bucket::<Progress>(&PROGRESS).await?;
    bus.objects(MODELS).await?;
    Ok(())
}

/// The page as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from("# The bus\n\nMade from `src/topology.rs`; do not edit.\n");
    let _ = write!(page, "\nEvery subject begins with `{ROOT}.<tenant>.`.\n\n");
    page.push_str("| subject | schema | payload |\n|---|---|---|\n");
    for SubjectEntry { pattern, schema, payload } in SUBJECTS {
        let _ = writeln!(page, "| `{pattern}` | `{schema}` | `{payload}` |");
    }
    page.push_str("\n| stream | captures | keeps | at most | oldest | one message per id within |\n");
    page.push_str("|---|---|---|---|---|---|\n");
    for StreamSpec { name, subjects, retention, dedup, max_age, max_bytes } in STREAMS {
        let (subjects, age) = (subjects.join("`, `"), max_age.map_or("no limit".to_owned(), duration));
        let (size, dedup) = (max_bytes >> 20, duration(dedup));
        let _ = writeln!(page, "| `{name}` | `{subjects}` | {retention:?} | {size} MiB | {age} | {dedup} |");
    }
    page.push_str("\n| consumer | of | order | in flight | redelivery |\n");
    page.push_str("|---|---|---|---|---|\n");
    for consumer in [INGEST, REFRESH] {
        let ConsumerSpec { name, filter, order, max_ack_pending, ack_wait, .. } = consumer;
        let wait = duration(ack_wait);
        let _ = writeln!(page, "| `{name}` | `{filter}` | {order:?} | {max_ack_pending} | {wait} |");
    }
    page.push_str("\nTimes below are for a meta timeout of 10 s.\n\n");
    page.push_str("| bucket | values | kept per key | vanish after | durable |\n|---|---|---|---|---|\n");
    for (BucketSpec { name, history, ttl, durable }, values) in buckets(Duration::from_secs(10)) {
        let ttl = ttl.map_or("never".to_owned(), duration);
        let _ = writeln!(page, "| `{name}` | `{values}` | {history} | {ttl} | {durable} |");
    }
    let _ = write!(page, "\nObject bucket: `{MODELS}`.\n");
    page
}

fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "-".to_owned(),
        seconds if seconds % 86_400 == 0 => format!("{} d", seconds / 86_400),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::overlap;

    #[test]
    fn no_two_subjects_can_match_the_same_message() {
        for (position, left) in SUBJECTS.iter().enumerate() {
            for right in &SUBJECTS[position + 1..] {
                assert!(!overlap(left.pattern, right.pattern), "{} / {}", left.payload, right.payload);
            }
        }
    }

    #[test]
    fn no_two_streams_capture_the_same_message() {
        let subjects: Vec<Name> = STREAMS.iter().flat_map(|stream| stream.subjects.iter().cloned()).collect();
        for (position, left) in subjects.iter().enumerate() {
            assert!(left.starts_with(&format!("{ROOT}.*.")), "{left}");
            assert!(subjects[position + 1..].iter().all(|right| !overlap(left, right)), "{left}");
        }
    }

    #[test]
    fn the_page_in_the_repository_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SUBJECTS.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, page(), "run the tests of this crate with UPDATE=1 and commit SUBJECTS.md");
    }
}
