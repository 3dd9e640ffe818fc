//! The data store as the bus asks it: which messages of a log it has applied.

use std::sync::Arc;

use async_trait::async_trait;
use ulex_nats::BusError;
use ulex_nats::transport::{CheckpointSource, KnownLog};
use ulex_storage::StorageError;
use ulex_storage::data::DataStore;

/// Answers from the store, each time anew: a store that was restored says so.
pub(super) struct StoreCheckpoints {
    store: Arc<dyn DataStore>,
}

impl StoreCheckpoints {
    pub(super) const fn new(store: Arc<dyn DataStore>) -> Self {
        Self { store }
    }

    async fn known_log(&self, log: &str) -> Result<KnownLog, StorageError> {
        let checkpoint = self.store.checkpoint(log).await?;
        let logs = self.store.logs().await?;
        let newest_epoch = logs.iter().map(|position| position.epoch).max().unwrap_or_default();
        let knows_other_logs = logs.iter().any(|position| position.log != log);
        Ok(KnownLog { checkpoint, newest_epoch, knows_other_logs })
    }
}

#[async_trait]
impl CheckpointSource for StoreCheckpoints {
    async fn checkpoint(&self, log: &str) -> Result<KnownLog, BusError> {
        let known = self.known_log(log).await;
        known.map_err(|reason| BusError::transport("the data store's checkpoint", reason))
    }
}
