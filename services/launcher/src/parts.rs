//! Opens stores and bus once and hands each role what it needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tracing::info;
use ulex_actors::ComputePool;
use ulex_domain::TenantId;
use ulex_master::task_board::TaskBoard;
use ulex_nats::topology::ensure_topology;
use ulex_nats::{Bus, BusError, InProcess};
use ulex_recommenders::plan::Plan;
use ulex_recommenders::service::Recommender;
use ulex_settings::Settings;
use ulex_storage::{StorageError, cache, data};

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
    /// What is configured.
    pub settings: Arc<Settings>,
    /// Name of this process in the cluster.
    pub node: String,
    /// The bus.
    pub bus: Bus,
    /// Answers; holds the stores.
    pub recommender: Recommender,
    /// Where fits run.
    pub pool: Arc<ComputePool>,
    /// Where progress is shown.
    pub tasks: TaskBoard,
    /// Keeps the data directory to this process as long as it lives.
    _lock: Arc<DirectoryLock>,
}

impl Parts {
    /// Opens everything for a deployment in one process.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what could not be opened, and why.
    pub async fn open(settings: Settings, data_dir: &Path) -> Result<Self, StartError> {
        let lock = DirectoryLock::take(data_dir)?;
        let bus = open_bus(data_dir)?;
        ensure_topology(&bus, settings.master.meta_timeout).await?;
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
            settings: Arc::new(settings),
            node,
            bus,
            recommender,
            pool: Arc::new(pool),
            tasks,
            _lock: Arc::new(lock),
        })
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
