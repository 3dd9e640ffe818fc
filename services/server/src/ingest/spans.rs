//! The spans of a batch. A transaction serves many traces: the work itself belongs to the first of them, and each other
//! gets a span of the same time that points there, so that every trace shows what became of its event.

use tracing::Span;
use ulex_nats::trace_context::{continue_trace, is_sampled, link};
use ulex_nats::transport::RawDelivery;

use super::entry::IngestEntry;

/// From when a message is pulled until it is settled; a child of the span it was appended in. None for a message of
/// which nobody records a trace.
pub(super) fn of_message(delivery: &dyn RawDelivery) -> Span {
    let message = delivery.message();
    if !is_sampled(&message.headers) {
        return Span::none();
    }
    let span = tracing::info_span!(
        "ingest",
        otel.kind = "consumer",
        messaging.destination.name = message.subject,
        messaging.message.position = delivery.sequence(),
        messaging.message.attempt = delivery.attempt(),
    );
    continue_trace(&span, &message.headers);
    span
}

/// The span of the message whose trace has the work.
pub(super) fn lead(group: &[IngestEntry]) -> Span {
    traced(group).next().cloned().unwrap_or_else(Span::none)
}

/// One for each other trace; they end when they are dropped.
pub(super) fn shared(group: &[IngestEntry]) -> Vec<Span> {
    let mut traced = traced(group);
    let Some(lead) = traced.next() else { return Vec::new() };
    let beside = |span: &Span| {
        let apply = tracing::info_span!(
            parent: span,
            "shared",
            otel.name = "store.apply (shared)",
            messages = group.len()
        );
        link(&apply, lead);
        apply
    };
    traced.map(beside).collect()
}

fn traced(group: &[IngestEntry]) -> impl Iterator<Item = &Span> {
    group.iter().map(|entry| &entry.span).filter(|span| !span.is_disabled())
}
