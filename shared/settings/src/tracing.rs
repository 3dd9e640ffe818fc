//! `[tracing]`: traces of requests, sent to a collector.
//!
//! As in Gorse, exporter and sampler are checked only when tracing is on; a wrong word is a warning otherwise.

use serde_json::json;

use crate::given::Given;
use crate::resolve::{Checks, Keyword};
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Whether traces are sent.
    pub enable: bool,
    /// Their protocol.
    pub exporter: TracingExporter,
    /// `host:port` or a URL, as the protocol wants it.
    pub collector_endpoint: String,
    /// Which requests are traced.
    pub sampler: Sampler,
    /// Their share, for [`Sampler::Ratio`].
    pub ratio: f64,
}

/// The protocol of a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracingExporter {
    /// OpenTelemetry over gRPC.
    Otlp,
    /// OpenTelemetry over HTTP.
    OtlpHttp,
    /// Zipkin.
    Zipkin,
}

impl Keyword for TracingExporter {
    const WORDS: &'static [(&'static str, Self)] =
        &[("otlp", Self::Otlp), ("otlphttp", Self::OtlpHttp), ("zipkin", Self::Zipkin)];
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampler {
    /// All.
    Always,
    /// None.
    Never,
    /// A share of them.
    Ratio,
}

impl Keyword for Sampler {
    const WORDS: &'static [(&'static str, Self)] =
        &[("always", Self::Always), ("never", Self::Never), ("ratio", Self::Ratio)];
}

impl Tracing {
    pub(crate) fn resolve(written: &written::Tracing, checks: &mut Checks<'_>) -> Self {
        let enable = checks.flag("tracing.enable_tracing", &written.enable_tracing);
        let sampler = word(checks, "tracing.sampler", &written.sampler, enable);
        let ratio = checks.number("tracing.ratio", &written.ratio);
        if enable && sampler == Sampler::Ratio && !(0.0..=1.0).contains(&ratio) {
            checks.problem("tracing.ratio", &json!(ratio), "a number from 0 to 1");
        }
        Self {
            enable,
            exporter: word(checks, "tracing.exporter", &written.exporter, enable),
            collector_endpoint: checks.text("tracing.collector_endpoint", &written.collector_endpoint),
            sampler,
            ratio,
        }
    }
}

fn word<K: Keyword>(checks: &mut Checks<'_>, key: &str, given: &Given<String>, strict: bool) -> K {
    match given {
        Given::Value(text) if !strict && K::from_word(text).is_none() => {
            let expected = K::expected();
            checks.warn(format!("{key}: got {text:?}, expected {expected}; ignored because tracing is off"));
            K::WORDS[0].1
        }
        Given::Value(_) | Given::Absent | Given::Wrong(_) => checks.keyword(key, given),
    }
}
