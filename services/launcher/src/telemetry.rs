//! What a process says about itself: log lines, and traces if they are wanted.
//!
//! Log lines are readable on a terminal and one JSON object each everywhere else. They go to standard error, because
//! standard output belongs to results. The configuration says how much and in which form; `ULEX_LOG` wins over it, in the
//! notation of `tracing-subscriber` (`info,ulex_master=debug`). A line that was written inside a recorded trace names it.
//!
//! Traces go to a collector as `[tracing]` says, from a thread of their own; see `telemetry/export.rs`. Without them no span is
//! ever made: a call site that is disabled costs one load.

mod export;
mod lines;

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry};
use ulex_nats::membership::Role;
use ulex_settings::{LogFormat, LogLevel, Tracing, TracingExporter};

use self::export::Export;

/// The variable that chooses what is logged.
pub const FILTER_VARIABLE: &str = "ULEX_LOG";

/// Why logging or tracing could not start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter makes no sense.
    #[error(
        "{FILTER_VARIABLE}={text:?} is no filter: {source}; expected for example `info,ulex_master=debug`"
    )]
    Filter {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Traces cannot be sent as `[tracing]` says.
    #[error("tracing.{key}: {reason}")]
    Tracing {
        /// Which key of the section.
        key: &'static str,
        /// What is wrong with it, and what was expected.
        reason: String,
    },
    /// Somebody else has set it up before.
    #[error("logging was started twice")]
    AlreadyStarted {
        /// The library's own error.
        source: tracing::subscriber::SetGlobalDefaultError,
    },
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For people, in colour.
    Terminal,
    /// For programs.
    Json,
}

/// Where traces of this process go, once there are any.
static EXPORT: Mutex<Option<Export>> = Mutex::new(None);

/// Starts logging for the whole process, and tracing if `traces` says so and for which role. Call it once, before
/// anything logs.
///
/// # Errors
///
/// [`TelemetryError`] if `ULEX_LOG` or the settings cannot be used or logging was started before.
pub fn start(
    level: LogLevel,
    format: LogFormat,
    traces: Option<(&Tracing, Role)>,
) -> Result<(), TelemetryError> {
    let style = match format {
        LogFormat::Auto if std::io::stderr().is_terminal() => Style::Terminal,
        LogFormat::Text => Style::Terminal,
        LogFormat::Auto | LogFormat::Json => Style::Json,
    };
    let given = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let filter = if given.trim().is_empty() { level.as_str() } else { &given };
    let export = match traces {
        // A configuration of Gorse with Zipkin still runs; what is not in effect is named by whoever read it.
        Some((settings, role)) if settings.enable && settings.exporter != TracingExporter::Zipkin => {
            Some(Export::open(settings, role)?)
        }
        Some(_) | None => None,
    };
    let spans = export.as_ref().map(Export::layer);
    let subscriber = Registry::default().with(spans).with(lines_layer(filter, style, std::io::stderr)?);
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|source| TelemetryError::AlreadyStarted { source })?;
    *EXPORT.lock().unwrap_or_else(PoisonError::into_inner) = export;
    Ok(())
}

/// Sends what is still to be sent, for a few seconds at most. Call it last.
pub fn finish() {
    let export = EXPORT.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(export) = export {
        export.finish();
    }
}

/// Where `settings` send traces to, as a URL.
///
/// # Errors
///
/// [`TelemetryError::Tracing`] if they cannot be sent there.
pub fn collector(settings: &Tracing) -> Result<String, TelemetryError> {
    export::endpoint(settings)
}

/// The lines that [`start`] writes, for any writer.
///
/// # Errors
///
/// [`TelemetryError::Filter`] if `filter` makes no sense.
pub fn subscriber<W>(
    text: &str,
    style: Style,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    Ok(Box::new(Registry::default().with(lines_layer(text, style, writer)?)))
}

/// The target of events about single connections.
const ACTIX_DISPATCHER: &str = "actix_http::h1::dispatcher";

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn lines_layer<S, W>(text: &str, style: Style, writer: W) -> Result<BoxedLayer<S>, TelemetryError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(text)
        .map_err(|source| TelemetryError::Filter { text: text.to_owned(), source })?;
    // actix reports bytes that are no HTTP as errors. They are the peer's, so they are shown with DEBUG only.
    let shows_peer_errors = filter.max_level_hint().is_none_or(|level| level >= LevelFilter::DEBUG);
    // Lines show no spans.
    let filter = filter.and(filter_fn(move |metadata| {
        metadata.is_event() && (shows_peer_errors || metadata.target() != ACTIX_DISPATCHER)
    }));
    Ok(lines::layer(style, writer).with_filter(filter).boxed())
}

#[cfg(test)]
mod tests;
