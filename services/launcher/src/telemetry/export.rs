//! Traces on their way to a collector: OTLP over gRPC or over HTTP.
//!
//! Spans wait in a queue of bounded length that a thread of its own empties; where the collector does not keep up, or is
//! away, spans are dropped and nobody waits. That it is away is logged once, and once more when it is back.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler as SdkSampler, SdkTracerProvider, SpanData, SpanExporter,
};
use tokio::runtime::Runtime;
use tracing::{Level, Metadata, Subscriber, info, warn};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;
use ulex_nats::membership::Role;
use ulex_settings::{Sampler, Tracing, TracingExporter};

use super::{BoxedLayer, TelemetryError};

/// How long a span waits for others to be sent with.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How long the collector may take for one batch.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// Spans that wait to be sent.
const WAITING: usize = 16_384;
/// How long the end of the process waits for the last ones.
const FINISH_WITHIN: Duration = Duration::from_secs(3);

/// Where a collector listens unless the settings say otherwise.
const GRPC_ADDRESS: &str = "localhost:4317";
const HTTP_ADDRESS: &str = "localhost:4318";
/// Where a collector takes traces over HTTP.
const HTTP_PATH: &str = "/v1/traces";

/// The way to the collector, open.
pub(super) struct Export {
    provider: SdkTracerProvider,
    /// Drives the connection of gRPC; outlives the one of the program, so that the last spans are sent.
    runtime: Option<Runtime>,
}

impl Export {
    /// Prepares it; nothing is sent yet, so a collector that is away is no error.
    pub(super) fn open(settings: &Tracing, role: Role) -> Result<Self, TelemetryError> {
        let endpoint = endpoint(settings)?;
        let (exporter, runtime) = match settings.exporter {
            TracingExporter::Otlp => grpc(&endpoint)?,
            TracingExporter::OtlpHttp => (http(&endpoint)?, None),
            TracingExporter::Zipkin => return Err(no_zipkin()),
        };
        let batches = BatchConfigBuilder::default()
            .with_scheduled_delay(SEND_EVERY)
            .with_max_queue_size(WAITING)
            .build();
        let sent = Watched { exporter, endpoint, away: AtomicBool::new(false) };
        let processor = BatchSpanProcessor::builder(sent).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(sampler(settings))
            .with_resource(resource(role))
            .build();
        Ok(Self { provider, runtime })
    }

    /// Turns spans of ours into spans of OpenTelemetry.
    pub(super) fn layer<S>(&self) -> BoxedLayer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let tracer = self.provider.tracer("ulex");
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        layer.with_filter(filter_fn(is_told)).boxed()
    }

    /// Sends what is left.
    pub(super) fn finish(self) {
        // That the collector is away has been said when it was noticed.
        let _ = self.provider.shutdown_with_timeout(FINISH_WITHIN);
        if let Some(runtime) = self.runtime {
            runtime.shutdown_timeout(FINISH_WITHIN);
        }
    }
}

/// Spans of ours, and what went wrong in them.
fn is_told(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().starts_with("ulex");
    ours && (metadata.is_span() || *metadata.level() <= Level::WARN)
}

/// `host:port` or a URL, as a URL. Gorse's sample writes a URL where its program wants none; both are understood.
pub(super) fn endpoint(settings: &Tracing) -> Result<String, TelemetryError> {
    let given = settings.collector_endpoint.trim();
    let refused = |reason: &str| TelemetryError::Tracing {
        key: "collector_endpoint",
        reason: format!("{reason}, got {given:?}"),
    };
    let (given, default, path) = match settings.exporter {
        TracingExporter::Otlp => (given, GRPC_ADDRESS, ""),
        TracingExporter::OtlpHttp => (given, HTTP_ADDRESS, HTTP_PATH),
        TracingExporter::Zipkin => return Err(no_zipkin()),
    };
    let address = match given.split_once("://") {
        Some(("http", address)) => address.trim_end_matches('/'),
        Some(_) => return Err(refused("expected host:port or http://host:port (TLS is not supported)")),
        None if given.is_empty() => default,
        None => given.trim_end_matches('/'),
    };
    let (host, own_path) = address.split_once('/').map_or((address, None), |(host, path)| (host, Some(path)));
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(refused("expected host:port or http://host:port"));
    }
    Ok(match own_path {
        Some(own_path) => format!("http://{host}/{own_path}"),
        None => format!("http://{host}{path}"),
    })
}

fn no_zipkin() -> TelemetryError {
    TelemetryError::Tracing {
        key: "exporter",
        reason: "zipkin is not supported; expected \"otlp\" or \"otlphttp\" (Zipkin and Jaeger read OTLP)"
            .to_owned(),
    }
}

fn unusable(reason: impl fmt::Display) -> TelemetryError {
    TelemetryError::Tracing { key: "collector_endpoint", reason: reason.to_string() }
}

fn grpc(endpoint: &str) -> Result<(OtlpExporter, Option<Runtime>), TelemetryError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("ulex-traces")
        .enable_all()
        .build()
        .map_err(unusable)?;
    let built = {
        let _inside = runtime.enter();
        OtlpExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(SEND_WITHIN).build()
    };
    Ok((built.map_err(unusable)?, Some(runtime)))
}

fn http(endpoint: &str) -> Result<OtlpExporter, TelemetryError> {
    let exporter =
        OtlpExporter::builder().with_http().with_endpoint(endpoint).with_timeout(SEND_WITHIN).build();
    exporter.map_err(unusable)
}

/// By the trace's id, so that every process decides the same for one trace.
fn sampler(settings: &Tracing) -> SdkSampler {
    match settings.sampler {
        Sampler::Always => SdkSampler::AlwaysOn,
        Sampler::Never => SdkSampler::AlwaysOff,
        Sampler::Ratio => SdkSampler::TraceIdRatioBased(settings.ratio),
    }
}

fn resource(role: Role) -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (host, process) = (host.trim().to_owned(), std::process::id());
    Resource::builder()
        .with_service_name(format!("ulex-{}", role.as_str()))
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", format!("{host}-{process}")),
            KeyValue::new("host.name", host),
            KeyValue::new("process.pid", i64::from(process)),
        ])
        .build()
}

/// An exporter whose failures are told once.
struct Watched<E> {
    exporter: E,
    endpoint: String,
    away: AtomicBool,
}

impl<E> fmt::Debug for Watched<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watched").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        metrics::counter!("ulex_trace_spans_total").increment(spans as u64);
        let sent = self.exporter.export(batch).await;
        let was_away = self.away.swap(sent.is_err(), Ordering::Relaxed);
        // Not part of any trace.
        let _apart = Context::new().attach();
        match &sent {
            Err(reason) => {
                metrics::counter!("ulex_trace_spans_lost_total").increment(spans as u64);
                if !was_away {
                    warn!(%reason, collector = self.endpoint, "traces cannot be sent; they are dropped meanwhile");
                }
            }
            Ok(()) if was_away => info!(collector = self.endpoint, "traces are sent again"),
            Ok(()) => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    fn settings(text: &str) -> Tracing {
        ulex_settings::from_toml(&format!("[tracing]\nenable_tracing = true\n{text}"))
            .unwrap()
            .settings
            .tracing
    }

    fn endpoint_of(exporter: &str, given: &str) -> Result<String, String> {
        let settings = settings(&format!("exporter = '{exporter}'\ncollector_endpoint = '{given}'"));
        endpoint(&settings).map_err(|reason| reason.to_string())
    }

    #[test]
    fn an_address_and_a_url_mean_the_same() {
        for given in ["jaeger:4317", "http://jaeger:4317", "http://jaeger:4317/"] {
            assert_eq!(endpoint_of("otlp", given).unwrap(), "http://jaeger:4317");
        }
        for given in ["jaeger:4318", "http://jaeger:4318", "http://jaeger:4318/v1/traces"] {
            assert_eq!(endpoint_of("otlphttp", given).unwrap(), "http://jaeger:4318/v1/traces");
        }
        assert_eq!(endpoint_of("otlphttp", "").unwrap(), "http://localhost:4318/v1/traces");
        assert_eq!(endpoint_of("otlp", "").unwrap(), "http://localhost:4317");
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_key() {
        for given in ["https://jaeger:4317", "http://", "a b:1"] {
            let reason = endpoint_of("otlp", given).unwrap_err();
            assert!(reason.starts_with("tracing.collector_endpoint: expected host:port"), "{reason}");
        }
        assert!(endpoint_of("zipkin", "http://z").unwrap_err().starts_with("tracing.exporter"));
    }

    #[test]
    fn samplers_are_those_of_the_settings() {
        let of = |text: &str| format!("{:?}", sampler(&settings(text)));
        assert_eq!(of("sampler = 'always'"), "AlwaysOn");
        assert_eq!(of("sampler = 'never'"), "AlwaysOff");
        assert_eq!(of("sampler = 'ratio'\nratio = 0.25"), "TraceIdRatioBased(0.25)");
    }

    #[test]
    fn a_resource_says_who_sends() {
        let resource = resource(Role::Worker);
        let value = |key: &'static str| resource.get(&key.into()).unwrap().to_string();
        assert_eq!(value("service.name"), "ulex-worker");
        assert!(value("service.instance.id").ends_with(&std::process::id().to_string()));
    }

    #[derive(Clone, Debug)]
    struct Failing(Arc<AtomicUsize>);

    impl SpanExporter for Failing {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            // Twice away, then there.
            if self.0.fetch_add(1, Ordering::Relaxed) < 2 {
                return Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure("refused".to_owned()));
            }
            Ok(())
        }
    }

    #[test]
    fn a_collector_that_is_away_is_told_of_once_and_again_when_it_is_back() {
        let lines = super::super::tests::logged("info", super::super::Style::Json, || {
            let exporter = Failing(Arc::default());
            let watched = Watched { exporter, endpoint: "http://c".to_owned(), away: AtomicBool::new(false) };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for _ in 0..4 {
                let _ = runtime.block_on(watched.export(Vec::new()));
            }
        });
        assert_eq!(lines.matches("cannot be sent").count(), 1, "{lines}");
        assert_eq!(lines.matches("sent again").count(), 1, "{lines}");
    }
}
