//! One request on its way to a handler, and the answers handlers give.

use std::rc::Rc;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use arc_swap::Guard;
use std::sync::Arc;
use ulex_domain::{Command, EventId, ItemId, UserId};

use super::body;
use super::path::Segments;
use super::query::Query;
use super::router::{Answer, Parameters};
use super::ticket::Ticket;
use crate::api::ApiState;
use crate::backend::{Backend, BackendError, Effort, Receipt};
use crate::decode::Account;
use crate::error::{ApiError, unknown_outcome};
use crate::settings::ApiSettings;

/// A request that was routed and let in.
pub(crate) struct Call {
    /// Its head.
    pub(crate) request: HttpRequest,
    /// Its body, unread.
    pub(crate) payload: Payload,
    /// Its path.
    pub(crate) segments: Segments,
    /// Which segments are parameters.
    pub(crate) parameters: Parameters,
    /// What all handlers share.
    pub(crate) state: Rc<ApiState>,
    /// Its place and its time.
    pub(crate) ticket: Rc<Ticket>,
    /// Bytes of its decoded body.
    pub(crate) reserved: Option<Box<dyn Account>>,
}

impl Call {
    /// The parameter at `index`, decoded; never empty.
    pub(crate) fn parameter(&self, index: usize) -> &str {
        self.segments.get(self.request.uri().path(), usize::from(self.parameters[index]))
    }

    /// The parameter at `index` as a user.
    pub(crate) fn user(&self, index: usize) -> UserId {
        UserId::new(self.parameter(index))
    }

    /// The parameter at `index` as an item.
    pub(crate) fn item(&self, index: usize) -> ItemId {
        ItemId::new(self.parameter(index))
    }

    /// The query string.
    pub(crate) fn query(&self) -> Query<'_> {
        Query::new(self.request.uri().query().unwrap_or(""))
    }

    /// The settings of this moment.
    pub(crate) fn settings(&self) -> Guard<Arc<ApiSettings>> {
        self.state.settings()
    }

    /// The service behind the routes.
    pub(crate) fn backend(&self) -> &dyn Backend {
        self.state.backend()
    }

    /// How much may be done for a list now.
    pub(crate) fn effort(&self) -> Effort {
        self.state.overload().effort()
    }

    /// A header as text; `None` if absent.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The id that makes a retry of this request free.
    pub(crate) fn event_id(&self) -> Result<Option<EventId>, ApiError> {
        let Some(value) = self.request.headers().get("idempotency-key") else { return Ok(None) };
        let text = value
            .to_str()
            .map_err(|_reason| ApiError::invalid("Idempotency-Key", "printable ASCII characters"))?;
        EventId::new(text)
            .map(Some)
            .map_err(|reason| ApiError::BadRequest(format!("Idempotency-Key: {reason}")))
    }

    /// Reads the body and decodes it, off this thread if it is large.
    pub(crate) async fn decode<T, D>(&mut self, decode: D) -> Result<T, ApiError>
    where
        T: Send + 'static,
        D: FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
    {
        let body = body::receive(&self.request, &mut self.payload, &self.state).await?;
        self.ticket.enter(&self.state)?;
        let (decoded, reserved) = body.decode(decode).await?;
        self.reserved = Some(reserved);
        Ok(decoded)
    }

    /// Submits an event and reports `rows` as affected.
    pub(crate) async fn submit(&self, event: Command, rows: usize) -> Answer {
        match self.write(event, rows).await {
            Ok(_receipt) => Ok(affected(rows as u64)),
            Err(failure) => self.unknown_or(failure),
        }
    }

    /// Submits a deletion and reports the rows that it removed.
    pub(crate) async fn submit_deletion(&self, event: Command) -> Answer {
        match self.write(event, 1).await {
            Ok(receipt) => Ok(affected(receipt.rows_deleted)),
            Err(failure) => self.unknown_or(failure),
        }
    }

    /// Submits an event of `rows` rows.
    pub(crate) async fn write(&self, event: Command, rows: usize) -> Result<Receipt, ApiError> {
        let id = self.ticket.write_id(self.event_id()?);
        Ok(self.backend().submit(event, id, self.begin_write(rows)?).await?)
    }

    /// Time for the outcome of a write of `rows` rows, which begins now.
    pub(crate) fn begin_write(&self, rows: usize) -> Result<Duration, ApiError> {
        self.ticket.enter(&self.state)?;
        Ok(self.ticket.begin_write(&self.state, rows))
    }

    /// 202 for a write without a known outcome if the caller takes that for an answer, else the failure.
    pub(crate) fn unknown_or(&self, failure: ApiError) -> Answer {
        let ApiError::Backend(BackendError::Unknown { event_id }) = &failure else { return Err(failure) };
        let preferences = self.header("prefer").unwrap_or("");
        let is_async = preferences.split(',').any(|one| one.trim().eq_ignore_ascii_case("respond-async"));
        if is_async { Ok(unknown_outcome(StatusCode::ACCEPTED, event_id)) } else { Err(failure) }
    }
}

/// 200 with a finished JSON body.
pub(crate) fn json(body: Vec<u8>) -> HttpResponse {
    let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with how many rows a write touched.
pub(crate) fn affected(rows: u64) -> HttpResponse {
    json(format!("{{\"RowAffected\":{rows}}}").into_bytes())
}
