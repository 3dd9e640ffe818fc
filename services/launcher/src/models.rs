//! `ulex models`: which ModelSets a data directory keeps, what they are, and going back to an earlier one.
//!
//! With the configuration of a cluster it works on the cluster's bus, beside running processes. Else it
//! works on the files of the bus while no server has them open; the lock of the directory sees to that. A rollback
//! moves the live pointer as the registry does, under the lease that moved it last, so a server that starts afterwards
//! serves the chosen ModelSet. It stays live until a training cycle is due and the gate finds its result not worse.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use ulex_algorithms::model_set::{Manifest, ModelSet, ModelSetError};
use ulex_domain::{TenantId, Timestamp};
use ulex_nats::bus::{Bucket, Objects};
use ulex_nats::leases::FencingToken;
use ulex_nats::models::{Advance, Candidate, GateVerdict, LIVE_KEY, LivePointer, advance};
use ulex_nats::topology::{MODELS, REGISTRY, VERDICTS};
use ulex_nats::transport::ObjectInfo;
use ulex_nats::{Bus, BusError, JetStream};
use ulex_settings::Settings;

use crate::command_line::{ModelsAction, ModelsArguments};
use crate::configuration::{self, Voice, start_logging};
use crate::connection::connection_settings;
use crate::exit::{self, print};
use crate::parts::{DirectoryLock, StartError, open_bus};

/// How long a command tries to reach the servers.
const PATIENCE: Duration = Duration::from_secs(10);
/// The metric that a list of ModelSets shows.
const SHOWN_METRIC: &str = "pipeline.ndcg@10";

/// Why a command came to nothing.
#[derive(Debug, Error)]
enum ModelsError {
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("the bus: {0}")]
    Bus(#[from] BusError),
    #[error("{0} holds no models: no such directory")]
    NoDirectory(std::path::PathBuf),
    #[error("there are no models yet")]
    None,
    #[error("no model's id begins with {0:?}; `ulex models list` shows them")]
    Unknown(String),
    #[error("{wanted:?} is the beginning of several ids: {ids}")]
    Ambiguous { wanted: String, ids: String },
    #[error("there is no earlier model than the live one, {0}")]
    NoEarlier(String),
    #[error("{0} is live already")]
    IsLive(String),
    #[error("{id} was refused by the gate: {reasons}")]
    Refused { id: String, reasons: String },
    #[error("{id} cannot be used: {source}")]
    Unusable { id: String, source: ModelSetError },
    #[error("{0} has vanished")]
    Vanished(String),
    #[error("a newer lease has moved the live pointer")]
    Fenced,
}

/// Runs the command.
pub fn run(arguments: &ModelsArguments) -> ExitCode {
    let settings = match &arguments.config {
        Some(file) => configuration::read(Some(file), Voice::Command),
        None => start_logging(&Settings::default(), Voice::Command).map(|()| Settings::default()),
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    match exit::block_on(act(arguments, &settings)) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => exit::failed(&error),
    }
}

async fn act(arguments: &ModelsArguments, settings: &Settings) -> Result<String, ModelsError> {
    let shelf = Shelf::open(&arguments.data_dir, settings).await?;
    match &arguments.action {
        ModelsAction::List { json: false } => Ok(shelf.list()),
        ModelsAction::List { json: true } => Ok(shelf.list_json()),
        ModelsAction::Show { id } => shelf.show(id).await,
        ModelsAction::Rollback { id } => shelf.roll_back(id.as_deref(), Timestamp::now()).await,
    }
}

/// One ModelSet that is kept.
struct Kept {
    object: ObjectInfo,
    /// Unless it was published before verdicts were kept.
    verdict: Option<GateVerdict>,
}

impl Kept {
    fn id(&self) -> &str {
        &self.object.name
    }

    fn is_refused(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| !verdict.passed)
    }
}

/// The ModelSets of a data directory.
struct Shelf {
    objects: Objects,
    registry: Bucket<LivePointer>,
    live: Option<LivePointer>,
    /// Newest first.
    kept: Vec<Kept>,
    bus: Bus,
    _lock: Option<DirectoryLock>,
}

impl Shelf {
    /// Of the cluster that the settings name, else of the directory.
    async fn open(data_dir: &Path, settings: &Settings) -> Result<Self, ModelsError> {
        if !settings.nats.urls.is_empty() {
            let connection =
                connection_settings(&settings.nats, format!("ulex-models-{}", std::process::id()));
            let transport = JetStream::connect(&connection, PATIENCE).await?;
            return Self::on(Bus::new(Arc::new(transport), TenantId::default()), None).await;
        }
        if !data_dir.is_dir() {
            return Err(ModelsError::NoDirectory(data_dir.to_owned()));
        }
        let lock = DirectoryLock::take(data_dir)?;
        Self::on(open_bus(data_dir)?, Some(lock)).await
    }

    async fn on(bus: Bus, lock: Option<DirectoryLock>) -> Result<Self, ModelsError> {
        let objects = bus.objects(MODELS).await?;
        let registry: Bucket<LivePointer> = bus.bucket(&REGISTRY).await?;
        let verdicts: Bucket<GateVerdict> = bus.bucket(&VERDICTS).await?;
        let live = registry.get(LIVE_KEY).await?.map(|stored| stored.value);
        let entries = verdicts.entries().await?.into_iter();
        let mut verdicts: BTreeMap<String, GateVerdict> =
            entries.map(|entry| (entry.value.model_set.clone(), entry.value)).collect();
        let keep = |object: ObjectInfo| Kept { verdict: verdicts.remove(&object.name), object };
        let mut kept: Vec<Kept> = objects.list().await?.into_iter().map(keep).collect();
        kept.sort_by(|a, b| b.id().cmp(a.id()));
        Ok(Self { objects, registry, live, kept, bus, _lock: lock })
    }

    fn is_live(&self, kept: &Kept) -> bool {
        self.live.as_ref().is_some_and(|live| live.object == kept.object.name)
    }

    fn list(&self) -> String {
        if self.kept.is_empty() {
            return "there are no models yet\n".to_owned();
        }
        let mut text =
            format!("{:<5}{:<38}{:<22}{:>10}{:>9}  gate\n", "live", "id", "judged", "NDCG@10", "MiB");
        for kept in &self.kept {
            let mark = if self.is_live(kept) { "*" } else { "" };
            let (at, metric, gate) = kept.verdict.as_ref().map_or_else(Default::default, columns);
            let mib = kept.object.size as f64 / f64::from(1 << 20);
            writeln!(text, "{mark:<5}{:<38}{at:<22}{metric:>10}{mib:>9.1}  {gate}", kept.id())
                .expect("a string can grow");
        }
        text
    }

    /// The same for programs, with all that the gate said.
    fn list_json(&self) -> String {
        let entry = |kept: &Kept| {
            json!({
                "id": kept.id(),
                "live": self.is_live(kept),
                "bytes": kept.object.size,
                "verdict": kept.verdict,
            })
        };
        let mut text = Value::from_iter(self.kept.iter().map(entry)).to_string();
        text.push('\n');
        text
    }

    /// The one whose id begins with `wanted`.
    fn find(&self, wanted: &str) -> Result<&Kept, ModelsError> {
        let found: Vec<&Kept> = self.kept.iter().filter(|kept| kept.id().starts_with(wanted)).collect();
        match found.as_slice() {
            [] => Err(ModelsError::Unknown(wanted.to_owned())),
            [one] => Ok(one),
            several => {
                // An id that is itself the beginning of others is meant.
                let exact = several.iter().find(|kept| kept.id() == wanted);
                exact.copied().ok_or_else(|| ModelsError::Ambiguous {
                    wanted: wanted.to_owned(),
                    ids: several.iter().map(|kept| kept.id()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    }

    /// The newest that is older than the live one and was not refused.
    fn earlier(&self) -> Result<&Kept, ModelsError> {
        let live = self.live.as_ref().ok_or(ModelsError::None)?;
        let mut older = self.kept.iter().filter(|kept| kept.id() < live.model_set.as_str());
        older.find(|kept| !kept.is_refused()).ok_or_else(|| ModelsError::NoEarlier(live.model_set.clone()))
    }

    async fn load(&self, kept: &Kept) -> Result<ModelSet, ModelsError> {
        let bytes = self.objects.get(kept.id()).await?;
        let bytes = bytes.ok_or_else(|| ModelsError::Vanished(kept.id().to_owned()))?;
        let unusable = |source| ModelsError::Unusable { id: kept.id().to_owned(), source };
        ModelSet::from_bytes(&bytes).map_err(unusable)
    }

    async fn show(&self, wanted: &str) -> Result<String, ModelsError> {
        let kept = self.find(wanted)?;
        let set = self.load(kept).await?;
        Ok(described(&set.manifest, kept, self.is_live(kept)))
    }

    async fn roll_back(&self, wanted: Option<&str>, now: Timestamp) -> Result<String, ModelsError> {
        let kept = match wanted {
            Some(wanted) => self.find(wanted)?,
            None => self.earlier()?,
        };
        if self.is_live(kept) {
            return Err(ModelsError::IsLive(kept.id().to_owned()));
        }
        if let Some(verdict) = kept.verdict.as_ref().filter(|verdict| !verdict.passed) {
            let reasons = verdict.reasons.join("; ");
            return Err(ModelsError::Refused { id: kept.id().to_owned(), reasons });
        }
        // What cannot be served must not become live.
        self.load(kept).await?;
        let object = kept.object.name.clone();
        let candidate = Candidate { model_set: object.clone(), object, digest: kept.object.digest.clone() };
        let token = self.live.as_ref().map_or(FencingToken(0), |live| live.token);
        let before = self.live.as_ref().map_or("nothing", |live| live.model_set.as_str());
        match advance(&self.registry, candidate, token, now).await? {
            Advance::Moved(pointer) => {
                self.bus.close().await;
                Ok(format!(
                    "{} is live from the next start on (epoch {}), instead of {before}\n",
                    pointer.model_set, pointer.epoch
                ))
            }
            Advance::Fenced { .. } => Err(ModelsError::Fenced),
        }
    }
}

/// Time, figure and word of a verdict.
fn columns(verdict: &GateVerdict) -> (String, String, &'static str) {
    let metric = verdict.metrics.get(SHOWN_METRIC).map_or_else(String::new, |value| format!("{value:.4}"));
    (at_second(verdict.at), metric, if verdict.passed { "passed" } else { "refused" })
}

/// Without fractions of a second.
fn at_second(at: Timestamp) -> String {
    const SECOND: i64 = 1_000_000_000;
    Timestamp::from_unix_seconds(at.as_nanos().div_euclid(SECOND)).to_string()
}

/// Everything about one ModelSet but its numbers.
fn described(manifest: &Manifest, kept: &Kept, live: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{name:<20} {value}").expect("a string can grow");
    };
    line("id", &manifest.id);
    line("live", &if live { "yes" } else { "no" });
    line("created", &at_second(Timestamp::from_nanos(manifest.created_ms.saturating_mul(1_000_000))));
    line(
        "made from",
        &format!(
            "{} users, {} items, {} rows of feedback, {} liked pairs",
            manifest.users, manifest.items, manifest.rows, manifest.liked
        ),
    );
    line("bytes", &kept.object.size);
    line("sha-256", &kept.object.digest);
    line("content", &manifest.content);
    line("seed", &manifest.seed);
    if let Some(verdict) = &kept.verdict {
        line("gate", &if verdict.passed { "passed" } else { "refused" });
        for reason in &verdict.reasons {
            line("", reason);
        }
    }
    for (name, value) in &manifest.recipe {
        line(&format!("recipe {name}"), value);
    }
    for (name, value) in &manifest.metrics {
        line(name, &format!("{value:.4}"));
    }
    text
}
