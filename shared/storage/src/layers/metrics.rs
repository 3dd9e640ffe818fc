//! Figures and a span for every call: `ulex_store_seconds{store,call}` and `ulex_store_errors_total{store,call,kind}`.

use std::time::Instant;

use tracing::Instrument as _;

use super::{Call, Layer};
use crate::StorageError;

/// The layer of one store.
pub(crate) struct Metrics {
    /// Which store, as the label says it.
    pub store: &'static str,
}

fn kind(error: &StorageError) -> &'static str {
    match error {
        StorageError::Unavailable { .. } => "unavailable",
        StorageError::Rejected { .. } => "rejected",
        StorageError::Unknown { .. } => "unknown",
        StorageError::UnknownScheme { .. } => "unknown_scheme",
    }
}

impl Layer for Metrics {
    async fn around<'call, T: Send + 'call>(
        &'call self,
        call: Call,
        work: impl Future<Output = Result<T, StorageError>> + Send + 'call,
    ) -> Result<T, StorageError> {
        let span = tracing::debug_span!(
            "store",
            otel.name = call.span,
            otel.kind = "client",
            store = self.store,
            rows = call.rows,
            error = tracing::field::Empty,
        );
        let started = Instant::now();
        let done = work.instrument(span.clone()).await;
        let seconds = started.elapsed().as_secs_f64();
        metrics::histogram!("ulex_store_seconds", "store" => self.store, "call" => call.name())
            .record(seconds);
        if let Err(error) = &done {
            let kind = kind(error);
            span.record("error", kind);
            metrics::counter!("ulex_store_errors_total", "store" => self.store, "call" => call.name(), "kind" => kind)
                .increment(1);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics::{
        Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString,
        Unit,
    };
    use parking_lot::Mutex;

    use super::super::Length;
    use super::*;

    /// Remembers what was counted.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    struct Named(Heard, String);

    impl CounterFn for Named {
        fn increment(&self, _value: u64) {
            self.0.0.lock().push(self.1.clone());
        }
        fn absolute(&self, _value: u64) {}
    }

    impl HistogramFn for Named {
        fn record(&self, _value: f64) {
            self.0.0.lock().push(self.1.clone());
        }
    }

    impl Heard {
        fn named(&self, key: &Key) -> Arc<Named> {
            let labels: Vec<_> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            Arc::new(Named(self.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
        }
    }

    impl Recorder for Heard {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.named(key))
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.named(key))
        }
    }

    #[test]
    fn every_call_is_timed_and_every_failure_is_counted() {
        let heard = Heard::default();
        let layer = Metrics { store: "data/test" };
        let call = Call { span: "store.apply", length: Length::Write, rows: 3 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        metrics::with_local_recorder(&heard, || {
            runtime.block_on(layer.around(call, async { Ok(()) })).unwrap();
            let away = StorageError::Unavailable { backend: "test", action: "apply", source: "away".into() };
            runtime.block_on(layer.around(call, async { Err::<(), _>(away) })).unwrap_err();
        });
        let timed = "ulex_store_seconds{store=data/test,call=apply}";
        let failed = "ulex_store_errors_total{store=data/test,call=apply,kind=unavailable}";
        assert_eq!(*heard.0.lock(), [timed, timed, failed]);
    }
}
