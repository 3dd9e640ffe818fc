//! How a failure looks to an HTTP client: a status and a plain text that says what to do.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use thiserror::Error;
use tracing::{error, warn};
use ulex_domain::EventId;
use ulex_storage::StorageError;

use crate::backend::BackendError;
use crate::http::request_id::X_ULEX_EVENT_ID;

/// Seconds that callers are asked to wait before they try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// A failed request.
#[derive(Debug, Error)]
pub enum ApiError {
    /// 400: the text names the field and what was expected.
    #[error("{0}")]
    BadRequest(String),
    /// 401.
    #[error("unauthorized")]
    Unauthorized,
    /// 403: the text names the setting that opens the route.
    #[error("{0}")]
    Forbidden(&'static str),
    /// 404: the text says what is missing.
    #[error("{0}")]
    NotFound(String),
    /// 405 with the methods that would do.
    #[error("405: Method Not Allowed")]
    MethodNotAllowed,
    /// 406.
    #[error("406: Not Acceptable\n\nAvailable representations: application/json")]
    NotAcceptable,
    /// 408: the body did not arrive in time.
    #[error("the request body did not arrive within {0} seconds")]
    BodyTimeout(u64),
    /// 413.
    #[error("the request body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// 413: small in JSON, large in memory.
    #[error("the decoded request body would take more than {0} bytes: expected fewer rows or fewer labels")]
    DecodedTooLarge(usize),
    /// 413: a compressed body that consists of almost nothing but repetitions.
    #[error("the request body inflates to more than {0} times its size")]
    InflatesTooMuch(usize),
    /// 415.
    #[error("415: Unsupported Media Type")]
    UnsupportedMediaType,
    /// 429 of a quota: trying again does not help.
    #[error("{0}")]
    QuotaExceeded(String),
    /// What the service behind the routes says.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// 503 with `Retry-After`: the request took too long.
    #[error("the request took longer than {0} seconds")]
    Timeout(u64),
}

impl From<StorageError> for ApiError {
    fn from(source: StorageError) -> Self {
        Self::Backend(BackendError::from(source))
    }
}

impl ApiError {
    /// A 400 that names a field and what was expected.
    pub(crate) fn invalid(field: &str, expected: &str) -> Self {
        Self::BadRequest(format!("{field}: expected {expected}"))
    }

    /// The status that the client sees.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::Backend(BackendError::Invalid { .. } | BackendError::Unfit(_)) => {
                StatusCode::BAD_REQUEST
            }
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::Backend(BackendError::NotFound(_) | BackendError::Disabled(_)) => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge(_) | Self::DecodedTooLarge(_) | Self::InflatesTooMuch(_) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::QuotaExceeded(_) | Self::Backend(BackendError::Overloaded) => StatusCode::TOO_MANY_REQUESTS,
            Self::Backend(BackendError::Unavailable(_)) | Self::Timeout(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Backend(BackendError::Unknown { .. }) => StatusCode::GATEWAY_TIMEOUT,
            Self::Backend(BackendError::Internal(_)) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request may succeed a moment later.
    fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Timeout(_) | Self::Backend(BackendError::Unavailable(_) | BackendError::Overloaded)
        )
    }

    /// The answer; causes stay in the log.
    pub(crate) fn response(&self) -> HttpResponse {
        let status = self.status();
        if let Self::Backend(BackendError::Unknown { event_id }) = self {
            warn!(%event_id, "write has no known outcome");
            return unknown_outcome(status, event_id);
        }
        let text = if let Self::Backend(BackendError::Internal(cause)) = self {
            error!(%cause, "request failed");
            "internal error".to_owned()
        } else {
            self.to_string()
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            warn!(reason = %text, "request refused");
        }
        let mut response = plain(status, text);
        if self.is_transient() {
            response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
        }
        response
    }
}

/// The answer to a write without a known outcome.
pub(crate) fn unknown_outcome(status: StatusCode, event_id: &EventId) -> HttpResponse {
    let body = serde_json::json!({
        "EventId": event_id.as_str(),
        "Outcome": "unknown",
        "Message": "the write may still take effect: repeat it with this id as Idempotency-Key, it then has its effect once",
    });
    let mut response = HttpResponse::with_body(status, actix_web::body::BoxBody::new(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(event_id.as_str()) {
        response.headers_mut().insert(X_ULEX_EVENT_ID, id);
    }
    response
}

/// An answer of plain text.
pub(crate) fn plain(status: StatusCode, text: String) -> HttpResponse {
    let mut response = HttpResponse::with_body(status, actix_web::body::BoxBody::new(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
