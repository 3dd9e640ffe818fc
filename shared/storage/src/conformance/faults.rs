//! A layer that makes the calls of a store fail, as a network, a server or a killed process would.

use std::time::Duration;

use crate::error::kind_of_sqlstate;
use crate::layers::{Call, Layer, Length};
use crate::{ErrorKind, StorageError};

/// Backend named by the errors of this layer.
const BACKEND: &str = "faulty";

/// What happens to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// Nothing.
    None,
    /// The server answers with this SQLSTATE; the call has no effect. The code is classified as PostgreSQL's are.
    SqlState(String),
    /// The server cannot be reached; the call has no effect.
    Away,
    /// The call takes effect, its answer is lost.
    LostAnswer,
    /// The call waits for so long and then takes effect.
    Delayed(Duration),
}

/// Chooses a fault for each call.
pub trait FaultPlan: Send + Sync + 'static {
    /// The fault of this call.
    fn next(&self, call: &Call) -> StoreFault;
}

impl<Choose: Fn(&Call) -> StoreFault + Send + Sync + 'static> FaultPlan for Choose {
    fn next(&self, call: &Call) -> StoreFault {
        self(call)
    }
}

/// The layer: `Layered::new(store, FaultLayer(plan))`.
#[derive(Debug)]
pub struct FaultLayer<Plan>(pub Plan);

impl<Plan: FaultPlan> Layer for FaultLayer<Plan> {
    async fn around<'call, T: Send + 'call>(
        &'call self,
        call: Call,
        work: impl Future<Output = Result<T, StorageError>> + Send + 'call,
    ) -> Result<T, StorageError> {
        let failed = |kind, text: String| Err(StorageError::of_kind(kind, BACKEND, call.name(), text.into()));
        match self.0.next(&call) {
            StoreFault::None => work.await,
            StoreFault::SqlState(code) => failed(kind_of_sqlstate(&code), format!("injected [{code}]")),
            StoreFault::Away => failed(ErrorKind::Unavailable, "injected: away".to_owned()),
            StoreFault::LostAnswer => {
                let _lost = work.await?;
                let kind = match call.length {
                    Length::Write => ErrorKind::Unknown,
                    Length::Read | Length::Open => ErrorKind::Unavailable,
                };
                failed(kind, "injected: the answer was lost".to_owned())
            }
            StoreFault::Delayed(pause) => {
                tokio::time::sleep(pause).await;
                work.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ulex_domain::{Command, User, UserId};

    use super::*;
    use crate::data::{DataStore, MemoryStore, Submission};
    use crate::layers::Layered;

    fn faulty(fault: StoreFault) -> (Arc<MemoryStore>, impl DataStore) {
        let memory = Arc::new(MemoryStore::new());
        let plan = move |call: &Call| if call.name() == "apply" { fault.clone() } else { StoreFault::None };
        let store: Arc<dyn DataStore> = memory.clone();
        (memory, Layered::new(store, FaultLayer(plan)))
    }

    /// The kind of error that a write meets, and the number of users it leaves.
    async fn write(fault: StoreFault) -> (Option<ErrorKind>, u64) {
        let (memory, store) = faulty(fault);
        let user =
            User { user_id: UserId::new("u"), labels: serde_json::Value::Null, comment: String::new() };
        let applied = store.apply(vec![Submission::from(Command::PutUsers { users: vec![user] })]).await;
        (applied.err().map(|error| error.kind()), memory.counts().await.unwrap().users)
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_leaves_what_it_says() {
        assert_eq!(write(StoreFault::None).await, (None, 1));
        assert_eq!(write(StoreFault::Away).await, (Some(ErrorKind::Unavailable), 0));
        assert_eq!(write(StoreFault::LostAnswer).await, (Some(ErrorKind::Unknown), 1));
        assert_eq!(write(StoreFault::Delayed(Duration::from_secs(9))).await, (None, 1));
        assert_eq!(write(StoreFault::SqlState("42P01".to_owned())).await, (Some(ErrorKind::Unavailable), 0));
        assert_eq!(write(StoreFault::SqlState("22003".to_owned())).await, (Some(ErrorKind::Rejected), 0));
    }
}
