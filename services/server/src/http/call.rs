//! One request on its way to a handler, and the answers handlers give.

use std::rc::Rc;

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
use crate::api::ApiState;
use crate::backend::{Backend, Effort, Receipt};
use crate::error::ApiError;
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
        let limits = self.settings().limits;
        body::decode(&self.request, &mut self.payload, &self.state, (limits, decode)).await
    }

    /// Submits an event and reports `rows` as affected.
    pub(crate) async fn submit(&self, event: Command, rows: usize) -> Answer {
        let id = self.event_id()?;
        self.backend().submit(event, id).await?;
        Ok(affected(rows as u64))
    }

    /// Submits an event of which the number of rows is wanted.
    pub(crate) async fn submit_counted(&self, event: Command) -> Result<Receipt, ApiError> {
        let id = self.event_id()?;
        Ok(self.backend().submit(event, id).await?)
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
