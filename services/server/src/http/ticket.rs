//! The place of a request among those in flight, and the time by which it is answered.
//!
//! A body arrives before its request takes a place and before its time begins: a slow upload costs its own connection and
//! nothing else. Uploads have a bound of their own.

use std::cell::{Cell, OnceCell, RefCell};
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use tokio::sync::Notify;
use tokio::time::Instant;
use ulex_domain::EventId;

use crate::api::{ApiState, Permit};
use crate::backend::BackendError;
use crate::error::ApiError;
use crate::gateway::new_event_id;

/// Time that each row of a write adds to the time for its answer: 200,000 rows add 50 seconds.
const ROW_ANSWER_TIME: Duration = Duration::from_micros(250);

/// Time between the end of a write's own wait and the end of its request: the outcome of the write is the better answer.
const OUTCOME_MARGIN: Duration = Duration::from_secs(5);

/// One request.
#[derive(Default)]
pub(crate) struct Ticket {
    permit: RefCell<Option<Permit>>,
    deadline: Cell<Option<Instant>>,
    entered: Notify,
    write: OnceCell<EventId>,
    is_submitted: Cell<bool>,
}

impl Ticket {
    /// Takes a place among the uploads: the body has still to arrive.
    pub(crate) fn upload(&self, state: &ApiState) -> Result<(), ApiError> {
        *self.permit.borrow_mut() = Some(state.enter_uploads().ok_or(OVERLOADED)?);
        Ok(())
    }

    /// Takes a place among the requests in flight; the time for the answer begins. A second call changes nothing.
    pub(crate) fn enter(&self, state: &ApiState) -> Result<(), ApiError> {
        if self.deadline.get().is_some() {
            return Ok(());
        }
        let limits = state.settings().limits;
        let permit = state.enter(limits.in_flight).ok_or(OVERLOADED)?;
        // Whatever was held before is given back here.
        *self.permit.borrow_mut() = Some(permit);
        self.deadline.set(Some(Instant::now() + limits.request_time));
        self.entered.notify_one();
        Ok(())
    }

    /// Gives a write of `rows` rows its time, and returns it: the request ends after the write has an outcome.
    pub(crate) fn begin_write(&self, state: &ApiState, rows: usize) -> Duration {
        self.is_submitted.set(true);
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let wait = state.settings().limits.request_time + ROW_ANSWER_TIME.saturating_mul(rows);
        self.deadline.set(Some(Instant::now() + wait + OUTCOME_MARGIN));
        wait
    }

    /// The id of the write that the request asks for: the caller's, or a new one.
    pub(crate) fn write_id(&self, given: Option<EventId>) -> EventId {
        self.write.get_or_init(|| given.unwrap_or_else(new_event_id)).clone()
    }

    /// The id of the write, for a header.
    pub(crate) fn event_id(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.write.get()?.as_str()).ok()
    }

    /// The failure of a request whose time is over.
    pub(crate) fn failure(&self, request_time: Duration) -> ApiError {
        match self.write.get().filter(|_| self.is_submitted.get()) {
            Some(id) => ApiError::Backend(BackendError::Unknown { event_id: id.clone() }),
            None => ApiError::Timeout(request_time.as_secs()),
        }
    }

    /// Gives the place back.
    pub(crate) fn leave(&self) {
        self.permit.take();
    }

    /// Waits until the time for the answer is over.
    pub(crate) async fn expired(&self) {
        loop {
            match self.deadline.get() {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => self.entered.notified().await,
            }
        }
    }
}

const OVERLOADED: ApiError = ApiError::Backend(BackendError::Overloaded);
