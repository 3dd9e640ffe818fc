//! Logs: readable lines on a terminal, one JSON object a line everywhere else.
//!
//! Everything goes to standard error, because standard output belongs to results. The configuration says how much
//! and in which form; `ULEX_LOG` wins over it, in the notation of `tracing-subscriber` (`info,ulex_master=debug`).

use std::io::IsTerminal;

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use ulex_settings::{LogFormat, LogLevel};

/// The variable that chooses what is logged.
pub const FILTER_VARIABLE: &str = "ULEX_LOG";

/// Why logging could not start.
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

/// Starts logging for the whole process. Call it once, before anything logs.
///
/// # Errors
///
/// [`TelemetryError`] if `ULEX_LOG` cannot be read or logging was started before.
pub fn start(level: LogLevel, format: LogFormat) -> Result<(), TelemetryError> {
    let style = match format {
        LogFormat::Auto if std::io::stderr().is_terminal() => Style::Terminal,
        LogFormat::Text => Style::Terminal,
        LogFormat::Auto | LogFormat::Json => Style::Json,
    };
    let given = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let filter = if given.trim().is_empty() { level.as_str() } else { &given };
    let subscriber = subscriber(filter, style, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|source| TelemetryError::AlreadyStarted { source })
}

/// What [`start`] installs, for any writer.
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
    let filter = EnvFilter::builder()
        .parse(text)
        .map_err(|source| TelemetryError::Filter { text: text.to_owned(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match style {
        Style::Terminal => Box::new(lines.compact().finish()),
        Style::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).finish()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

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

    fn logged(filter: &str, style: Style) -> String {
        let captured = Captured::default();
        let sink = captured.clone();
        let subscriber = subscriber(filter, style, move || sink.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(rows = 3, "loaded");
            tracing::debug!("detail");
        });
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn programs_get_one_json_object_a_line_with_flat_fields() {
        let text = logged("info", Style::Json);
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((line["message"].as_str(), line["rows"].as_u64()), (Some("loaded"), Some(3)));
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn people_get_words_and_the_filter_decides_how_many() {
        assert!(logged("info", Style::Terminal).contains("loaded"));
        assert!(!logged("info", Style::Terminal).contains("detail"));
        assert!(logged("debug", Style::Terminal).contains("detail"));
        assert_eq!(logged("off", Style::Terminal), "");
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_named() {
        let error = subscriber("ulex=loud", Style::Json, std::io::sink).err().unwrap();
        assert!(error.to_string().contains("ulex=loud"), "{error}");
    }
}
