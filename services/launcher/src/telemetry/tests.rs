use std::io::Write;
use std::sync::Arc;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged while `work` is done.
pub(super) fn logged(filter: &str, style: Style, work: impl FnOnce()) -> String {
    let captured = Captured::default();
    let sink = captured.clone();
    let subscriber = subscriber(filter, style, move || sink.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
}

fn two_lines() {
    tracing::info!(rows = 3, "loaded");
    tracing::debug!("detail");
}

/// What is logged inside a span of a trace.
fn traced(style: Style, sampler: Sampler) -> String {
    let captured = Captured::default();
    let sink = captured.clone();
    let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let lines = lines_layer("info", style, move || sink.clone()).unwrap();
    tracing::subscriber::with_default(Registry::default().with(spans).with(lines), || {
        tracing::info_span!("request").in_scope(|| tracing::info!(rows = 3, "loaded"));
        tracing::info!("outside");
    });
    String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn programs_get_one_json_object_a_line_with_flat_fields() {
    let text = logged("info", Style::Json, two_lines);
    let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((line["message"].as_str(), line["rows"].as_u64()), (Some("loaded"), Some(3)));
    assert_eq!(line["level"], "INFO");
}

#[test]
fn people_get_words_and_the_filter_decides_how_many() {
    let text = |filter| logged(filter, Style::Terminal, two_lines);
    assert!(text("info").contains("loaded"));
    assert!(!text("info").contains("detail"));
    assert!(text("debug").contains("detail"));
    assert_eq!(text("off"), "");
}

#[test]
fn a_filter_that_makes_no_sense_is_named() {
    let error = subscriber("ulex=loud", Style::Json, std::io::sink).err().unwrap();
    assert!(error.to_string().contains("ulex=loud"), "{error}");
}

#[test]
fn a_line_inside_a_recorded_trace_names_it() {
    let text = traced(Style::Json, Sampler::AlwaysOn);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0]["rows"], 3);
    assert_eq!(lines[0]["trace_id"].as_str().map(str::len), Some(32));
    assert_eq!(lines[0]["span_id"].as_str().map(str::len), Some(16));
    assert!(lines[1].get("trace_id").is_none(), "{text}");
    let text = traced(Style::Terminal, Sampler::AlwaysOn);
    assert!(text.lines().next().unwrap().contains(" trace_id="), "{text}");
    assert_eq!(text.matches("trace_id").count(), 1, "{text}");
}

#[test]
fn a_line_inside_a_trace_that_is_not_recorded_names_none() {
    assert!(!traced(Style::Json, Sampler::AlwaysOff).contains("trace_id"));
}

#[test]
fn without_traces_no_span_is_ever_made() {
    let subscriber = subscriber("trace", Style::Json, std::io::sink).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        assert!(tracing::info_span!("request").is_disabled());
    });
}
