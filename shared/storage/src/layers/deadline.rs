//! A bound for how long a call may take. What a call that was given up does to the store may still happen.

use std::time::Duration;

use super::{Call, Layer, Length};
use crate::StorageError;

/// How long calls of a store may take; then they are `Unavailable`. Calls that go through everything there is have no
/// deadline: their backends watch whether they get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For look-ups and lists.
    pub reads: Duration,
    /// For whatever changes something.
    pub writes: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { reads: Duration::from_secs(10), writes: Duration::from_secs(60) }
    }
}

/// The layer of one store.
pub(crate) struct Deadline {
    /// Which store, in errors.
    pub backend: &'static str,
    pub deadlines: Deadlines,
}

impl Layer for Deadline {
    async fn around<'call, T: Send + 'call>(
        &'call self,
        call: Call,
        work: impl Future<Output = Result<T, StorageError>> + Send + 'call,
    ) -> Result<T, StorageError> {
        let deadline = match call.length {
            Length::Read => self.deadlines.reads,
            Length::Write => self.deadlines.writes,
            Length::Open => return work.await,
        };
        let done = tokio::time::timeout(deadline, work).await;
        done.unwrap_or_else(|_elapsed| {
            let source = format!("no answer to {} within {deadline:?}", call.name()).into();
            Err(StorageError::Unavailable { backend: self.backend, action: "answer in time", source })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(milliseconds: u64) -> Deadline {
        let deadline = Duration::from_millis(milliseconds);
        Deadline { backend: "test", deadlines: Deadlines { reads: deadline, writes: deadline } }
    }

    fn call(length: Length) -> Call {
        Call { span: "store.user", length, rows: 1 }
    }

    #[tokio::test]
    async fn a_call_that_takes_too_long_is_unavailable() {
        for length in [Length::Read, Length::Write] {
            let layer = deadline(5);
            let never = std::future::pending::<Result<(), StorageError>>();
            let error = layer.around(call(length), never).await.unwrap_err();
            assert!(error.is_transient());
            assert!(std::error::Error::source(&error).unwrap().to_string().contains("user within 5ms"));
        }
    }

    #[tokio::test]
    async fn what_is_in_time_and_what_goes_through_everything_is_let_through() {
        let layer = deadline(60_000);
        assert_eq!(layer.around(call(Length::Read), async { Ok(1) }).await.unwrap(), 1);
        let layer = deadline(0);
        let slow = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(2)
        };
        assert_eq!(layer.around(call(Length::Open), slow).await.unwrap(), 2);
    }
}
