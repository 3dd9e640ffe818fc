//! The span of a request: named by its route, a child of the one that its caller names.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use tracing::Span;
use tracing::field::Empty;
use ulex_nats::trace_context::continue_trace;
use ulex_nats::transport::{Headers, TRACE_HEADER, TRACE_STATE_HEADER};

use super::measures::RouteName;

/// Begins it. Costs one load while nothing is traced.
pub(crate) fn of(request: &HttpRequest, route: &RouteName) -> Span {
    let span = tracing::info_span!(
        "http",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = route.method,
        http.route = route.template,
        http.response.status_code = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    let name = if route.template.is_empty() {
        request.method().as_str().to_owned()
    } else {
        format!("{} {}", route.method, route.template)
    };
    span.record("otel.name", name);
    let given = [TRACE_HEADER, TRACE_STATE_HEADER].into_iter().filter_map(|name| {
        let value = request.headers().get(name)?.to_str().ok()?;
        Some((name.to_owned(), value.to_owned()))
    });
    continue_trace(&span, &given.collect::<Headers>());
    span
}

/// Says how it went.
pub(crate) fn end(span: &Span, status: StatusCode) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
