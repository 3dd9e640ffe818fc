//! `/metrics`: what is counted in this process, in the text format of Prometheus.
//!
//! Three sources make a page: what the crates count through the `metrics` crate, the tables of the HTTP service, and what
//! is looked up when somebody asks. What only servers know (lag, backlogs) is asked for in rounds, so that no page ever
//! waits for them. `docs/observability.md` lists every name.

mod lookups;
mod rounds;

use std::sync::OnceLock;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::ServiceConfig;
use actix_web::{HttpResponse, web};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use self::lookups::Lookups;
pub use self::rounds::Rounds;
use ulex_server::Measurements;

/// Upper bounds of durations, in seconds.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Upper bounds of the length of training cycles, in seconds.
const FIT_SECONDS: [f64; 12] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 10_800.0, 43_200.0];
/// Upper bounds of numbers of messages.
const MESSAGES: [f64; 8] = [1.0, 2.0, 8.0, 32.0, 128.0, 512.0, 2048.0, 8192.0];

/// The text format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is counted through the `metrics` crate; `None` if another recorder was there first.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Begins to count. Must come before anything is counted; what comes before is lost. A second call does nothing.
pub fn begin() {
    RECORDER.get_or_init(|| {
        let with_buckets = || {
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
                .set_buckets_for_metric(Matcher::Full("ulex_fit_seconds".to_owned()), &FIT_SECONDS)?
                .set_buckets_for_metric(Matcher::Suffix("_messages".to_owned()), &MESSAGES)
        };
        with_buckets().and_then(PrometheusBuilder::install_recorder).ok()
    });
}

/// Takes what has been observed since the last time into the sums, so that it takes no more memory.
fn settle() {
    if let Some(Some(recorder)) = RECORDER.get() {
        recorder.run_upkeep();
    }
}

/// What a page is made of.
#[derive(Clone)]
pub struct Page {
    lookups: Lookups,
    requests: Option<Measurements>,
}

impl Page {
    /// For a process that answers REST requests if it has `requests`.
    #[must_use]
    pub const fn new(lookups: Lookups, requests: Option<Measurements>) -> Self {
        Self { lookups, requests }
    }

    /// The page as it is now.
    #[must_use]
    pub fn render(&self) -> String {
        self.lookups.look();
        let mut text = match RECORDER.get() {
            Some(Some(recorder)) => recorder.render(),
            Some(None) | None => String::new(),
        };
        if let Some(requests) = &self.requests {
            requests.render(&mut text);
        }
        text
    }

    /// Registers `GET /metrics`. Nobody needs a key for it, as in Gorse: it tells of load, never of users or items.
    pub fn register(&self, config: &mut ServiceConfig) {
        let page = self.clone();
        let answer = move || {
            let text = page.render();
            std::future::ready(HttpResponse::Ok().insert_header((CONTENT_TYPE, TEXT)).body(text))
        };
        config.route("/metrics", web::get().to(answer));
    }
}
