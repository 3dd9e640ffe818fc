//! Connections, all driven by the runtime that opened the store.
//!
//! The driver of a connection is a task of its own. Left to the pool it would run wherever the first call came
//! from, for example on the one thread of an actor that then computes for a second, and every other user of
//! that connection would wait for it.

use std::time::Duration;

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use super::settings::PostgresSettings;

/// How long a read waits for a connection that is in use.
const WAIT: Duration = Duration::from_secs(5);

/// Opens and drives connections where it is told to.
#[derive(Clone)]
pub(crate) struct Connector {
    runtime: Handle,
    tls: MakeRustlsConnect,
    config: Config,
    deadline: Duration,
}

impl Connector {
    /// Connects on the runtime of the caller, whoever asks later.
    pub fn new(settings: &PostgresSettings) -> Result<Self, PostgresError> {
        Ok(Self {
            runtime: Handle::current(),
            tls: MakeRustlsConnect::new(settings.tls.client_config().map_err(PostgresError::Address)?),
            config: settings.config.clone(),
            deadline: settings.connect_timeout,
        })
    }

    /// The runtime on which everything happens.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A connection of its own, with more settings for the session; ends when the client is dropped.
    pub async fn connect(&self, session: &str) -> Result<Client, PostgresError> {
        let mut config = self.config.clone();
        let options = config.get_options().unwrap_or_default().to_owned();
        config.options(format!("{options} {session}"));
        let connected = tokio::time::timeout(self.deadline, self.open(config)).await;
        let (client, _driver) = connected.map_err(|_elapsed| PostgresError::Deadline(self.deadline))??;
        Ok(client)
    }

    async fn open(&self, config: Config) -> Result<(Client, JoinHandle<()>), Error> {
        let (runtime, tls) = (self.runtime.clone(), self.tls.clone());
        let opening = async move {
            let (client, connection) = config.connect(tls).await?;
            let driver = runtime.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to PostgreSQL has ended");
                }
            });
            Ok((client, driver))
        };
        match self.runtime.spawn(opening).await {
            Ok(opened) => opened,
            // Only when the runtime is being shut down; whoever waits has a deadline.
            Err(_cancelled) => std::future::pending().await,
        }
    }

    /// The connections that reads share.
    pub fn pool(&self, size: usize) -> Result<Pool, PostgresError> {
        let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(self.config.clone(), self.clone(), settings);
        let pool = Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(self.deadline))
            .recycle_timeout(Some(self.deadline))
            .build();
        pool.map_err(|error| PostgresError::Address(error.to_string()))
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        config: &Config,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move { self.open(config).await })
    }
}

/// A connection of the pool.
pub(crate) async fn from_pool(pool: &Pool) -> Result<Object, PostgresError> {
    match pool.get().await {
        Ok(client) => Ok(client),
        Err(PoolError::Backend(error)) => Err(error.into()),
        Err(PoolError::Timeout(TimeoutType::Wait)) => Err(PostgresError::Busy(pool.status().max_size)),
        Err(PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle)) => {
            Err(PostgresError::Deadline(WAIT))
        }
        Err(PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
            Err(PostgresError::Closed)
        }
    }
}
