//! Where rows go: straight into a data store, or over REST into a running server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use thiserror::Error;
use ulex_domain::{Command, FeedbackMode};
use ulex_storage::StorageError;
use ulex_storage::data::{DataStore, Submission};

use crate::http_client::{HttpClient, HttpError};

/// How often a batch is sent before the import gives up.
const ATTEMPTS: u32 = 6;

/// Wait before the second attempt; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Why rows were not taken.
#[derive(Debug, Error)]
pub enum TargetError {
    /// The store failed.
    #[error("{source}: {}", cause(source))]
    Store {
        /// What it said.
        #[from]
        source: StorageError,
    },
    /// The server cannot be reached.
    #[error("{source}")]
    Http {
        /// What went wrong.
        #[from]
        source: HttpError,
    },
    /// The server refused.
    #[error("{request} answered {status}: {body}")]
    Refused {
        /// What was asked.
        request: String,
        /// Status code.
        status: u16,
        /// Beginning of its explanation.
        body: String,
    },
    /// The target takes users, items and feedback only.
    #[error("this event cannot be imported")]
    Unsupported,
}

fn cause(error: &StorageError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

impl TargetError {
    /// Whether sending the same again may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store { source } => source.is_transient(),
            Self::Http { source } => source.is_transient(),
            Self::Refused { status, .. } => matches!(status, 429 | 502..=504),
            Self::Unsupported => false,
        }
    }
}

/// Takes batches. Several calls run at once; a batch that comes twice, told by its event ids, has no effect.
#[async_trait]
pub trait ImportTarget: Send + Sync {
    /// Stores a batch durably; says whether it was there already.
    async fn submit(&self, submissions: &[Submission]) -> Result<bool, TargetError>;
}

/// Sends a batch, again after a pause when the target is busy.
pub(super) async fn submit_patiently(
    target: &dyn ImportTarget,
    submissions: Vec<Submission>,
) -> Result<bool, TargetError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match target.submit(&submissions).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "trying again")
            }
            done => return done,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    target.submit(&submissions).await
}

/// Writes into a data store.
pub struct StoreTarget(Arc<dyn DataStore>);

impl StoreTarget {
    /// Writes into this one.
    #[must_use]
    pub fn new(store: Arc<dyn DataStore>) -> Self {
        Self(store)
    }
}

#[async_trait]
impl ImportTarget for StoreTarget {
    async fn submit(&self, submissions: &[Submission]) -> Result<bool, TargetError> {
        let outcomes = self.0.apply(submissions.to_vec()).await?;
        Ok(!outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.duplicate))
    }
}

/// Sends to a running server, which has to answer for its own durability.
pub struct RestTarget {
    base_url: String,
    api_key: Option<String>,
}

impl RestTarget {
    /// Sends to the server at `base_url`.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if that is no address.
    pub fn new(base_url: &str, api_key: Option<String>) -> Result<Self, HttpError> {
        HttpClient::new(base_url)?;
        Ok(Self { base_url: base_url.to_owned(), api_key })
    }
}

/// The largest body that is sent at once, below what servers usually accept.
const ROWS_PER_REQUEST: usize = 2048;

#[async_trait]
impl ImportTarget for RestTarget {
    async fn submit(&self, submissions: &[Submission]) -> Result<bool, TargetError> {
        let mut requests = Vec::new();
        for submission in submissions {
            requests.extend(requests_of(submission)?);
        }
        let (base_url, api_key) = (self.base_url.clone(), self.api_key.clone());
        let sending = move || -> Result<(), TargetError> {
            let mut client = HttpClient::new(&base_url)?;
            requests.iter().try_for_each(|request| send(&mut client, request, api_key.as_deref()))
        };
        match tokio::task::spawn_blocking(sending).await {
            Ok(done) => done.map(|()| false),
            Err(lost) => std::panic::resume_unwind(lost.into_panic()),
        }
    }
}

/// One request of a batch.
#[derive(Debug, PartialEq)]
struct RestRequest {
    method: &'static str,
    path: &'static str,
    event_id: String,
    body: Vec<u8>,
}

/// A submission as requests of bounded size, each with an event id of its own.
fn requests_of(submission: &Submission) -> Result<Vec<RestRequest>, TargetError> {
    let (method, path, rows) = match &submission.event {
        Command::PutUsers { users } => ("POST", "/api/users", values(users)),
        Command::PutItems { items } => ("POST", "/api/items", values(items)),
        Command::PutFeedback { rows, mode: FeedbackMode::Accumulate, .. } => {
            ("POST", "/api/feedback", values(rows))
        }
        Command::PutFeedback { rows, mode: FeedbackMode::Overwrite, .. } => {
            ("PUT", "/api/feedback", values(rows))
        }
        Command::PatchUser { .. }
        | Command::DeleteUser { .. }
        | Command::PatchItem { .. }
        | Command::SetCategory { .. }
        | Command::DeleteItem { .. }
        | Command::DeleteFeedback { .. } => return Err(TargetError::Unsupported),
    };
    let id = submission.event_id.as_ref().map_or("", |id| id.as_str());
    let requests = rows.chunks(ROWS_PER_REQUEST).enumerate().map(|(chunk, rows)| RestRequest {
        method,
        path,
        event_id: format!("{id}.{chunk}"),
        body: serde_json::to_vec(rows).expect("values print"),
    });
    Ok(requests.collect())
}

fn values<T: serde::Serialize>(rows: &[T]) -> Vec<Value> {
    rows.iter().map(|row| serde_json::to_value(row).expect("domain types print")).collect()
}

fn send(client: &mut HttpClient, request: &RestRequest, api_key: Option<&str>) -> Result<(), TargetError> {
    let mut headers =
        vec![("Content-Type", "application/json"), ("Idempotency-Key", request.event_id.as_str())];
    headers.extend(api_key.map(|key| ("X-API-Key", key)));
    let answer = client.send(request.method, request.path, &headers, Some(&request.body))?;
    if answer.status == 200 {
        return Ok(());
    }
    Err(TargetError::Refused {
        request: format!("{} {}", request.method, request.path),
        status: answer.status,
        body: answer.text().chars().take(300).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulex_domain::{EventId, User, UserId};

    #[test]
    fn large_batches_become_requests_with_ids_of_their_own() {
        let user = |n: usize| User {
            user_id: UserId::new(n.to_string()),
            labels: Value::Null,
            comment: String::new(),
        };
        let users = (0..ROWS_PER_REQUEST + 1).map(user).collect();
        let event_id = EventId::new("import:d:0u").ok();
        let submission = Submission { event_id, ..Command::PutUsers { users }.into() };
        let requests = requests_of(&submission).unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!((requests[1].path, requests[1].event_id.as_str()), ("/api/users", "import:d:0u.1"));
        let body: Value = serde_json::from_slice(&requests[1].body).unwrap();
        assert_eq!(body, serde_json::json!([{"Comment": "", "Labels": null, "UserId": "2048"}]));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let refused = |status| TargetError::Refused { request: String::new(), status, body: String::new() };
        assert!(refused(503).is_transient() && refused(429).is_transient());
        assert!(!refused(400).is_transient() && !TargetError::Unsupported.is_transient());
    }
}
