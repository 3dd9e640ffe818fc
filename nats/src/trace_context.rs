//! W3C trace context in headers, both ways, so that one trace runs through every process that a request touches.
//!
//! Costs one look at the current span where nothing is traced. A header that makes no sense is as good as none: a trace
//! is never worth refusing a message for.

use std::str::FromStr as _;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::transport::{Headers, TRACE_HEADER, TRACE_STATE_HEADER};

/// Writes the current span into the headers, unless they name one already or nothing is traced.
pub fn inject(headers: &mut Headers) {
    let span = Span::current();
    if span.is_disabled() || headers.contains_key(TRACE_HEADER) {
        return;
    }
    let context = span.context();
    let span = context.span();
    let known = span.span_context();
    if !known.is_valid() {
        return;
    }
    headers.insert(TRACE_HEADER.to_owned(), written(known));
    let state = known.trace_state().header();
    if !state.is_empty() {
        headers.insert(TRACE_STATE_HEADER.to_owned(), state);
    }
}

/// Makes `span` a child of the one that the headers name. Must come before the span is entered for the first time.
pub fn continue_trace(span: &Span, headers: &Headers) {
    if span.is_disabled() {
        return;
    }
    let Some(parent) = parent_of(headers) else { return };
    // Whoever traces nothing has no place to put a parent.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

/// Says on `span` that it also serves the one that `other` is.
pub fn link(span: &Span, other: &Span) {
    if span.is_disabled() || other.is_disabled() {
        return;
    }
    span.add_link(other.context().span().span_context().clone());
}

/// Whether the headers name a span that is recorded.
#[must_use]
pub fn is_sampled(headers: &Headers) -> bool {
    parent_of(headers).is_some_and(|parent| parent.is_sampled())
}

/// `00-<trace>-<span>-<flags>`.
fn written(span: &SpanContext) -> String {
    let flags = span.trace_flags() & TraceFlags::SAMPLED;
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), flags.to_u8())
}

fn parent_of(headers: &Headers) -> Option<SpanContext> {
    let text = headers.get(TRACE_HEADER)?.trim();
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let later_version = version != "00";
    let lengths = (version.len(), trace.len(), span.len(), flags.len());
    if lengths != (2, 32, 16, 2) || version == "ff" || (parts.next().is_some() && !later_version) {
        return None;
    }
    // The specification allows lower-case digits only.
    let digits = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if ![version, trace, span, flags].into_iter().all(digits) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let state = headers.get(TRACE_STATE_HEADER).and_then(|text| TraceState::from_str(text).ok());
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let parent = SpanContext::new(trace, span, flags, true, state.unwrap_or_default());
    parent.is_valid().then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(traceparent: &str) -> Headers {
        Headers::from([(TRACE_HEADER.to_owned(), traceparent.to_owned())])
    }

    fn recorded(work: impl FnOnce()) -> Vec<opentelemetry_sdk::trace::SpanData> {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        exporter.get_finished_spans().unwrap()
    }

    #[test]
    fn a_message_carries_the_span_it_was_sent_in_and_its_receiver_continues_that() {
        let spans = recorded(|| {
            let mut sent = Headers::new();
            tracing::info_span!("sender").in_scope(|| inject(&mut sent));
            let receiver = tracing::info_span!("receiver");
            continue_trace(&receiver, &sent);
            receiver.in_scope(|| {});
        });
        let find = |name| spans.iter().find(|span| span.name == name).unwrap();
        let (sender, receiver) = (find("sender"), find("receiver"));
        assert_eq!(receiver.parent_span_id, sender.span_context.span_id());
        assert_eq!(receiver.span_context.trace_id(), sender.span_context.trace_id());
    }

    #[test]
    fn a_parent_from_outside_is_continued_with_its_state() {
        let mut given = headers(&format!("00-{TRACE}-{SPAN}-01"));
        given.insert(TRACE_STATE_HEADER.to_owned(), "vendor=1".to_owned());
        let mut sent = Headers::new();
        let spans = recorded(|| {
            let span = tracing::info_span!("http");
            continue_trace(&span, &given);
            span.in_scope(|| inject(&mut sent));
        });
        assert_eq!(spans[0].span_context.trace_id().to_string(), TRACE);
        assert_eq!(spans[0].parent_span_id.to_string(), SPAN);
        assert_eq!(sent[TRACE_STATE_HEADER], "vendor=1");
        assert_eq!(sent[TRACE_HEADER], format!("00-{TRACE}-{}-01", spans[0].span_context.span_id()));
    }

    #[test]
    fn what_is_no_trace_context_is_passed_over() {
        for text in [
            "",
            "00",
            &format!("00-{TRACE}-{SPAN}"),
            &format!("ff-{TRACE}-{SPAN}-01"),
            &format!("00-{TRACE}-{SPAN}-01-more"),
            &format!("00-{}-{SPAN}-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            &format!("00-{TRACE}-{SPAN}-0é"),
        ] {
            assert_eq!(parent_of(&headers(text)), None, "{text}");
        }
        assert!(parent_of(&headers(&format!("01-{TRACE}-{SPAN}-01-more"))).is_some(), "a later version");
    }

    #[test]
    fn nothing_is_written_where_nothing_is_traced_and_nothing_is_overwritten() {
        let mut sent = Headers::new();
        inject(&mut sent);
        assert_eq!(sent, Headers::new());
        let mut given = headers("00-mine");
        recorded(|| tracing::info_span!("sender").in_scope(|| inject(&mut given)));
        assert_eq!(given, headers("00-mine"));
    }

    #[test]
    fn the_flag_says_whether_a_span_is_recorded() {
        assert!(is_sampled(&headers(&format!("00-{TRACE}-{SPAN}-01"))));
        assert!(!is_sampled(&headers(&format!("00-{TRACE}-{SPAN}-00"))));
        assert!(!is_sampled(&Headers::new()));
    }
}
