//! Opens stores and bus once and hands each role what it needs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};
use ulex_actors::{ComputePool, InForce};
use ulex_domain::TenantId;
use ulex_master::leadership::Throne;
use ulex_master::task_board::TaskBoard;
use ulex_nats::membership::Role;
use ulex_nats::topology::{CHANGES, ensure_topology};
use ulex_nats::{Bus, BusError, InProcess, JetStream, StreamPosition};
use ulex_recommenders::plan::Plan;
use ulex_recommenders::service::Recommender;
use ulex_server::ApiState;
use ulex_server::gateway::Followed;
use ulex_settings::Settings;
use ulex_storage::{StorageError, cache, data};

use crate::connection::connection_settings;
use crate::measurements;
use crate::vitals::Figures;

/// Why a process cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The directory for data cannot be used.
    #[error("cannot use {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process, probably a running server; stop that first")]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// A store cannot be opened.
    #[error("{source}{}", cause(source))]
    Storage {
        /// Why.
        #[from]
        source: StorageError,
    },
    /// The bus cannot be opened.
    #[error("the bus: {0}")]
    Bus(#[from] BusError),
    /// The listener cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The settings are not those of a process with others beside it.
    #[error("{0}")]
    Unfit(String),
    /// Threads cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(String),
}

/// The first cause of an error, for people.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(String::new, |source| format!(": {source}"))
}

/// What roles share.
#[derive(Clone)]
pub struct Parts {
    /// What was configured when the process started; of `[recommend]` see [`Parts::in_force`].
    pub settings: Arc<Settings>,
    /// What is in force now: the section `[recommend]` may be changed while the process runs.
    pub in_force: Arc<watch::Sender<InForce>>,
    /// The REST surface of this process, once it is there.
    pub api: Arc<OnceLock<ApiState>>,
    /// What heartbeats report.
    pub figures: Arc<Figures>,
    /// Where stores are that no setting places elsewhere.
    pub data_dir: PathBuf,
    /// Name of this process in the cluster.
    pub node: String,
    /// What it does.
    pub role: Role,
    /// The bus.
    pub bus: Bus,
    /// Answers; holds the stores.
    pub recommender: Recommender,
    /// Where fits run.
    pub pool: Arc<ComputePool>,
    /// Where progress is shown.
    pub tasks: TaskBoard,
    /// How far it has followed the changes of other processes; `None` for a process that is alone.
    pub position: Option<Arc<watch::Sender<u64>>>,
    /// Which stream that is a position of.
    pub changes_log: smol_str::SmolStr,
    /// Where the right to train is announced.
    pub throne: Arc<Throne>,
    /// Keeps the data directory to this process as long as it lives.
    _lock: Option<Arc<DirectoryLock>>,
}

impl Parts {
    /// Opens everything for a deployment in one process.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what could not be opened, and why.
    pub async fn open(settings: Settings, data_dir: &Path) -> Result<Self, StartError> {
        measurements::begin();
        let lock = DirectoryLock::take(data_dir)?;
        let bus = open_bus(data_dir)?;
        ensure_topology(&bus, settings.master.meta_timeout).await?;
        let base = Arc::new(settings);
        let in_force = InForce::read(&bus, &base).await?;
        let settings = Arc::clone(&in_force.settings);
        let store = open_data(&settings, data_dir).await?;
        store.set_search_columns(&settings.recommend.search_columns).await?;
        let cache = open_cache(&settings).await?;
        let recommender = Recommender::new(store, cache, Plan::new(&settings), settings.server.clock_error);
        let items = recommender.catalogue().load(recommender.data().as_ref()).await?;
        info!(items, "catalogue loaded");
        let node = format!("one-{}", std::process::id());
        let tasks = TaskBoard::open(&bus, &node).await?;
        let pool = ComputePool::new(settings.master.n_jobs)
            .map_err(|error| StartError::Threads(error.to_string()))?;
        Ok(Self {
            settings: base,
            in_force: Arc::new(watch::Sender::new(in_force)),
            api: Arc::default(),
            figures: Arc::default(),
            data_dir: data_dir.to_owned(),
            node,
            bus,
            recommender,
            role: Role::One,
            pool: Arc::new(pool),
            tasks,
            position: None,
            changes_log: smol_str::SmolStr::default(),
            throne: Arc::new(Throne::new(None)),
            _lock: Some(Arc::new(lock)),
        })
    }

    /// Joins the cluster that the settings name. Waits for its servers as long as it takes.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is wrong with the settings, or with a server that answers.
    pub async fn join(settings: Settings, role: Role) -> Result<Self, StartError> {
        measurements::begin();
        check_shared(&settings, role)?;
        let node = node_name(role);
        let transport =
            JetStream::connect(&connection_settings(&settings.nats, node.clone()), Duration::MAX).await?;
        let bus = Bus::new(Arc::new(transport), TenantId::default());
        patiently("the bus", || ensure_topology(&bus, settings.master.meta_timeout)).await?;
        let base = Arc::new(settings);
        let in_force = patiently("the bus", || InForce::read(&bus, &base)).await?;
        let settings = Arc::clone(&in_force.settings);
        let store = patiently("the data store", || open_data(&settings, Path::new(""))).await?;
        store.set_search_columns(&settings.recommend.search_columns).await?;
        let cache = open_cache(&settings).await?;
        let recommender = Recommender::new(store, cache, Plan::new(&settings), settings.server.clock_error);
        // In this order: what changes while the catalogue is loaded is followed afterwards.
        let position = StreamPosition::end_of(&bus, &CHANGES).await?;
        let items = recommender.catalogue().load(recommender.data().as_ref()).await?;
        info!(items, "catalogue loaded");
        let tasks = TaskBoard::open(&bus, &node).await?;
        let pool = ComputePool::new(settings.master.n_jobs)
            .map_err(|error| StartError::Threads(error.to_string()))?;
        Ok(Self {
            settings: base,
            in_force: Arc::new(watch::Sender::new(in_force)),
            api: Arc::default(),
            figures: Arc::default(),
            data_dir: PathBuf::new(),
            node,
            role,
            bus,
            recommender,
            pool: Arc::new(pool),
            tasks,
            position: Some(Arc::new(watch::Sender::new(position.sequence))),
            changes_log: position.log,
            throne: Arc::new(Throne::new(None)),
            _lock: None,
        })
    }

    /// How far this process has followed the others, for whoever waits for that.
    #[must_use]
    pub fn followed(&self) -> Option<Followed> {
        let position = self.position.as_ref()?.subscribe();
        Some(Followed { node: self.node.clone(), position })
    }
}

/// Refuses stores that other processes cannot share.
fn check_shared(settings: &Settings, role: Role) -> Result<(), StartError> {
    let role = role.as_str();
    let unfit = |what: String| Err(StartError::Unfit(what));
    if settings.nats.urls.is_empty() {
        return unfit(format!(
            "ulex {role} meets the other processes on NATS: set urls in [nats], or use ulex one"
        ));
    }
    let data = settings.data_store_url(Path::new(""));
    if data.starts_with("sqlite://") || data.starts_with("memory://") {
        return unfit(format!(
            "ulex {role} shares its data store with other processes: set data_store in [database] to postgres://..., \
             or use ulex one"
        ));
    }
    let cache = settings.database.cache_store.expose();
    if cache.starts_with("sqlite://") || cache.starts_with("memory://") {
        return unfit(format!(
            "ulex {role} shares its cache with other processes: set cache_store in [database] to redis://..., or use \
             ulex one"
        ));
    }
    Ok(())
}

/// Unique among the processes of all machines.
fn node_name(role: Role) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}-{}-{}", role.as_str(), host.trim(), std::process::id(), &random[..6])
}

/// Tries again, for ever, what a server that is not ready yet could not do.
async fn patiently<T, E, F>(what: &str, attempt: impl Fn() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: Passing + std::fmt::Display,
{
    let mut wait = Duration::from_millis(100);
    loop {
        match attempt().await {
            Err(reason) if reason.passes() => warn!(%reason, "{what} is not ready, trying again"),
            outcome => return outcome,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

/// Errors that may pass by themselves.
trait Passing {
    fn passes(&self) -> bool;
}

impl Passing for BusError {
    fn passes(&self) -> bool {
        self.is_transient()
    }
}

impl Passing for StartError {
    fn passes(&self) -> bool {
        matches!(self, Self::Storage { source } if source.is_transient())
    }
}

/// Opens the bus of a data directory.
///
/// # Errors
///
/// [`StartError::Bus`] if its files cannot be read.
pub fn open_bus(data_dir: &Path) -> Result<Bus, StartError> {
    let transport = InProcess::open(Some(data_dir.join("bus")))?;
    Ok(Bus::new(Arc::new(transport), TenantId::default()))
}

/// Opens the data store that the settings name, by default `data.sqlite` in the data directory.
///
/// # Errors
///
/// [`StartError::Storage`] if it cannot be opened.
pub async fn open_data(settings: &Settings, data_dir: &Path) -> Result<Arc<dyn data::DataStore>, StartError> {
    let url = settings.data_store_url(data_dir);
    Ok(data::open(&url, &settings.database.data_table_prefix).await?)
}

/// Opens the cache that the settings name.
///
/// # Errors
///
/// [`StartError::Storage`] if it cannot be opened.
pub async fn open_cache(settings: &Settings) -> Result<Arc<dyn cache::CacheStore>, StartError> {
    let how = cache::CacheSettings {
        max_bytes: usize::try_from(settings.serving.cache_bytes.0).unwrap_or(usize::MAX),
        prefix: settings.database.cache_table_prefix.clone(),
        expire: settings.recommend.cache_expire,
    };
    Ok(cache::open(settings.database.cache_store.expose(), &how).await?)
}

/// Only one process may have a data directory open: two would overwrite each other's models.
pub struct DirectoryLock {
    _file: std::fs::File,
}

impl DirectoryLock {
    /// Creates the directory if need be and locks it; the lock ends with the process.
    ///
    /// # Errors
    ///
    /// [`StartError::InUse`] if another process has it, [`StartError::Directory`] if it cannot be used.
    pub fn take(data_dir: &Path) -> Result<Self, StartError> {
        let failed = |source| StartError::Directory { path: data_dir.to_owned(), source };
        std::fs::create_dir_all(data_dir).map_err(failed)?;
        let path = data_dir.join("lock");
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(StartError::InUse { path: data_dir.to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}
