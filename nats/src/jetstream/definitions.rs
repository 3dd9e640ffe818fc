//! Definitions of streams and buckets: opening creates what is not there and changes nothing that is.
//!
//! Whatever this process has opened is remembered, so that a server that came back empty is furnished again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::Config;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::Inner;
use super::stream::{LOG_METADATA, refused};
use crate::BusError;
use crate::transport::{ApplyMode, ConsumerSpec, DefinitionChange};

/// What this process has opened.
#[derive(Default)]
pub(super) struct Definitions {
    streams: Mutex<BTreeMap<String, Config>>,
    consumers: Mutex<BTreeMap<String, ConsumerSpec>>,
    /// Names of which a difference has been reported.
    reported: Mutex<BTreeSet<String>>,
}

impl Definitions {
    pub(super) fn remember_consumer(&self, spec: &ConsumerSpec) {
        self.consumers.lock().insert(format!("{}.{}", spec.stream, spec.name), spec.clone());
    }

    /// Says once for each name that what there is differs from what this process would have created.
    pub(super) fn report(&self, changes: &[DefinitionChange]) {
        for change in changes {
            if self.reported.lock().insert(format!("{} {}", change.name, change.field)) {
                warn!(
                    name = change.name,
                    field = change.field,
                    present = change.present,
                    wanted = change.wanted,
                    "definition differs from the settings of this process: `ulex cluster apply` changes it"
                );
            }
        }
    }
}

impl Inner {
    /// Creates the stream of a stream, bucket or object bucket `name` if there is none.
    pub(super) async fn define(&self, name: &str, config: Config) -> Result<(), BusError> {
        self.check(name)?;
        self.definitions.streams.lock().insert(name.to_owned(), config.clone());
        let stream = config.name.clone();
        if let Some(present) = self.config_of(&stream).await? {
            self.definitions.report(&differences(name, &present, &config));
            return Ok(());
        }
        self.create(name, config).await
    }

    /// The definition of a stream; `None` if there is none.
    async fn config_of(&self, stream: &str) -> Result<Option<Config>, BusError> {
        match self.stream(stream).await {
            Ok(handle) => Ok(Some(handle.cached_info().config.clone())),
            Err(BusError::NoStream { .. }) => Ok(None),
            Err(reason) => Err(reason),
        }
    }

    async fn create(&self, name: &str, mut config: Config) -> Result<(), BusError> {
        // Buckets are streams of the client library's own subjects.
        if !config.name.starts_with("KV_") && !config.name.starts_with("OBJ_") {
            let log = uuid::Uuid::new_v4().to_string();
            config.metadata.insert(LOG_METADATA.to_owned(), log);
        }
        match self.context.create_stream(config).await {
            Ok(_) => Ok(()),
            Err(reason) => {
                // Another process was faster.
                let exists = matches!(reason.kind(), CreateStreamErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_NAME_EXIST);
                if exists { Ok(()) } else { Err(not_defined(name, reason)) }
            }
        }
    }

    /// Creates again whatever this process has opened and the server has no more.
    pub(super) async fn furnish(&self) -> Result<(), BusError> {
        let streams = self.definitions.streams.lock().clone();
        for (name, config) in streams {
            self.check(&name)?;
            if self.config_of(&config.name).await?.is_none() {
                info!(name, "definition is missing on the bus: it is created again");
                self.create(&name, config).await?;
            }
        }
        let consumers = self.definitions.consumers.lock().clone();
        for spec in consumers.values() {
            self.shared_consumer(spec).await?;
        }
        Ok(())
    }

    /// Brings the stream of a stream, bucket or object bucket `name` to this definition; what was or would be changed.
    pub(super) async fn redefine(
        &self,
        name: &str,
        wanted: Config,
        mode: ApplyMode,
    ) -> Result<Vec<DefinitionChange>, BusError> {
        self.definitions.streams.lock().insert(name.to_owned(), wanted.clone());
        let Some(mut present) = self.config_of(&wanted.name).await? else {
            if mode != ApplyMode::DryRun {
                self.create(name, wanted).await?;
            }
            return Ok(vec![DefinitionChange::creation(name)]);
        };
        let mut changes = differences(name, &present, &wanted);
        for change in &mut changes {
            change.is_refused = change.is_lowering && mode != ApplyMode::Force;
            if !change.is_refused {
                set_field(&mut present, &wanted, change.field);
            }
        }
        if mode != ApplyMode::DryRun && changes.iter().any(|change| !change.is_refused) {
            let updated = self.context.update_stream(present).await;
            updated.map_err(|reason| not_defined(name, reason))?;
        }
        Ok(changes)
    }
}

fn not_defined(name: &str, reason: CreateStreamError) -> BusError {
    if let CreateStreamErrorKind::JetStream(error) = reason.kind() {
        return refused(name, &error);
    }
    BusError::transport(name, reason)
}

/// Where a definition differs from what is wanted.
fn differences(name: &str, present: &Config, wanted: &Config) -> Vec<DefinitionChange> {
    let mut changes = Vec::new();
    let mut note = |field: &'static str, values: [&dyn Debug; 2], is_lowering: bool| {
        let [present, wanted] = values.map(|value| format!("{value:?}"));
        if present != wanted {
            let name = name.to_owned();
            changes.push(DefinitionChange { name, field, present, wanted, is_lowering, is_refused: false });
        }
    };
    let unlimited = |limit: i64| if limit <= 0 { i64::MAX } else { limit };
    let bytes = [unlimited(present.max_bytes), unlimited(wanted.max_bytes)];
    let per_subject =
        [unlimited(present.max_messages_per_subject), unlimited(wanted.max_messages_per_subject)];
    let age = [present.max_age, wanted.max_age];
    note(
        "replicas",
        [&present.num_replicas.max(1), &wanted.num_replicas.max(1)],
        wanted.num_replicas.max(1) < present.num_replicas.max(1),
    );
    note("max_bytes", [&bytes[0], &bytes[1]], bytes[1] < bytes[0]);
    // No age is the highest.
    let lower_age = !age[1].is_zero() && (age[0].is_zero() || age[1] < age[0]);
    note("max_age", [&age[0], &age[1]], lower_age);
    note("history", [&per_subject[0], &per_subject[1]], per_subject[1] < per_subject[0]);
    note("subjects", [&present.subjects, &wanted.subjects], false);
    note("discard", [&present.discard, &wanted.discard], false);
    if !wanted.duplicate_window.is_zero() {
        let windows = [present.duplicate_window, wanted.duplicate_window];
        note("dedup", [&windows[0], &windows[1]], windows[1] < windows[0]);
    }
    changes
}

fn set_field(present: &mut Config, wanted: &Config, field: &str) {
    match field {
        "replicas" => present.num_replicas = wanted.num_replicas,
        "max_bytes" => present.max_bytes = wanted.max_bytes,
        "max_age" => present.max_age = wanted.max_age,
        "history" => present.max_messages_per_subject = wanted.max_messages_per_subject,
        "subjects" => present.subjects.clone_from(&wanted.subjects),
        "discard" => present.discard = wanted.discard,
        "dedup" => present.duplicate_window = wanted.duplicate_window,
        _ => {}
    }
}
