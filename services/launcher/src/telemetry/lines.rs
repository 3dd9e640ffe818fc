//! How a log line looks, with the trace that it belongs to.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::{BoxedLayer, Style};

/// The layer that writes lines.
pub(super) fn layer<S, W>(style: Style, writer: W) -> BoxedLayer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match style {
        Style::Terminal => {
            let colour = std::env::var("NO_COLOR").map_or(true, |value| value.is_empty());
            layer.event_format(Named { lines: Format::default().compact().with_ansi(colour), style }).boxed()
        }
        Style::Json => {
            let lines = Format::default().json().flatten_event(true).with_current_span(false);
            layer.fmt_fields(JsonFields::new()).event_format(Named { lines, style }).boxed()
        }
    }
}

/// Adds `trace_id` and `span_id` to the lines of another format.
struct Named<Lines> {
    lines: Lines,
    style: Style,
}

impl<S, N, Lines> FormatEvent<S, N> for Named<Lines>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'fields> FormatFields<'fields> + 'static,
    Lines: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let present = Context::current();
        let span = present.span();
        let span = span.span_context();
        if !span.is_sampled() {
            return self.lines.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        let (trace, span) = (span.trace_id(), span.span_id());
        match (self.style, line.strip_suffix('}')) {
            (Style::Json, Some(open)) => {
                writeln!(writer, "{open},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}")
            }
            (Style::Json | Style::Terminal, _) => writeln!(writer, "{line} trace_id={trace} span_id={span}"),
        }
    }
}
