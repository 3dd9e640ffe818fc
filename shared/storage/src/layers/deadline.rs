//! A bound for how long a call may take. What a call that was given up does to the store may still happen.

use std::time::Duration;

use super::{Call, Layer, Length};
use crate::StorageError;

/// Times within which a store answers. A read that takes longer is `Unavailable`; the outcome of a write that takes
/// longer is `Unknown`, because the writer goes on with it. Calls that go through everything there is have no
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
            let (backend, action) = (self.backend, "answer in time");
            Err(match call.length {
                // The writer goes on with what it was given.
                Length::Write => StorageError::Unknown { backend, action, source },
                Length::Read | Length::Open => StorageError::Unavailable { backend, action, source },
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn deadline(milliseconds: u64) -> Deadline {
        let deadline = Duration::from_millis(milliseconds);
        Deadline { backend: "test", deadlines: Deadlines { reads: deadline, writes: deadline } }
    }

    fn call(length: Length) -> Call {
        Call { span: "store.user", length, rows: 1 }
    }

    #[tokio::test]
    async fn a_read_that_takes_too_long_is_unavailable_and_the_outcome_of_a_write_is_unknown() {
        for (length, kind) in [(Length::Read, ErrorKind::Unavailable), (Length::Write, ErrorKind::Unknown)] {
            let layer = deadline(5);
            let never = std::future::pending::<Result<(), StorageError>>();
            let error = layer.around(call(length), never).await.unwrap_err();
            assert_eq!(error.kind(), kind);
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
