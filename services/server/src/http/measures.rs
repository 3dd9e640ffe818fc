//! What is counted about requests, for `/metrics`: how many, how long, with which status.
//!
//! Each thread that serves counts for itself, in a table made at its start, so counting is a few additions to memory that
//! no other thread writes. Whoever asks adds the tables up. Labels are templates of routes, never paths, so there are as
//! many as there are routes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode;
use parking_lot::Mutex;

/// Upper bounds of durations, in microseconds; the last bucket has none. Gorse's are among them.
const BOUNDS: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];
/// Where Gorse's bounds begin among them.
const GORSE_BOUNDS: usize = 6;

/// Statuses that are told apart; any other is the last one.
const STATUSES: [u16; 17] =
    [200, 204, 307, 400, 401, 404, 405, 406, 408, 413, 415, 422, 429, 500, 503, 504, 0];

/// What one route is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteName {
    /// `GET`; empty for what fits no route.
    pub(crate) method: String,
    /// `/api/user/{user_id}`; empty for what fits no route.
    pub(crate) template: String,
}

/// Durations of one route with one kind of outcome.
#[derive(Default)]
struct Durations {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

#[derive(Default)]
struct RouteCounts {
    answered: Durations,
    failed: Durations,
    statuses: [AtomicU64; STATUSES.len()],
}

/// The table of one thread. The last row is for what fits no route.
pub(crate) struct Shard {
    routes: Box<[RouteCounts]>,
}

/// Adds without a locked instruction: only the thread that owns the table writes to it.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Shard {
    /// Counts a request. `route` is its number, `None` if it fits none.
    pub(crate) fn count(&self, route: Option<usize>, status: StatusCode, took: Duration) {
        let last = self.routes.len() - 1;
        let counts = &self.routes[route.unwrap_or(last).min(last)];
        let durations = if status == StatusCode::OK { &counts.answered } else { &counts.failed };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&durations.buckets[BOUNDS.partition_point(|bound| *bound < micros)], 1);
        add(&durations.nanos, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        let status = status.as_u16();
        let place = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        add(&counts.statuses[place], 1);
    }
}

/// The tables of all threads. One for each process.
pub(crate) struct Measures {
    names: Vec<RouteName>,
    shards: Mutex<Vec<Arc<Shard>>>,
}

impl Measures {
    /// For routes with these names, by their numbers.
    pub(crate) fn new(mut names: Vec<RouteName>) -> Self {
        names.push(RouteName { method: String::new(), template: String::new() });
        Self { names, shards: Mutex::default() }
    }

    /// A table for a thread that begins to serve. It is never given back: threads serve as long as the process lives.
    pub(crate) fn shard(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard { routes: self.names.iter().map(|_| RouteCounts::default()).collect() });
        self.shards.lock().push(Arc::clone(&shard));
        shard
    }

    /// Appends everything in the text format of Prometheus.
    pub(crate) fn render(&self, text: &mut String) {
        let shards = self.shards.lock().clone();
        let sums: Vec<Sum> = (0..self.names.len()).map(|route| Sum::of(&shards, route)).collect();
        let known = || self.names.iter().zip(&sums).filter(|(_, sum)| !sum.is_empty());
        heading(text, "ulex_http_requests_total", "counter", "Requests, by route, method and status.");
        for (name, sum) in known() {
            for (status, count) in STATUSES.iter().zip(sum.statuses).filter(|(_, count)| *count > 0) {
                let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
                let labels = format!("{},status=\"{status}\"", labels(name));
                let _ = writeln!(text, "ulex_http_requests_total{{{labels}}} {count}");
            }
        }
        heading(text, "ulex_http_seconds", "histogram", "How long answers took, by route and method.");
        for (name, sum) in known() {
            let mut all = sum.answered.clone();
            all.add(&sum.failed);
            all.render(text, "ulex_http_seconds", &labels(name), 0);
        }
        let gorse = "gorse_server_rest_api_request_seconds";
        heading(text, gorse, "histogram", "How long answers with status 200 took, as Gorse names it.");
        for (name, sum) in known().filter(|(name, _)| is_told_by_gorse(name)) {
            if !sum.answered.is_empty() {
                sum.answered.render(text, gorse, &format!("api=\"{}\"", gorse_name(name)), GORSE_BOUNDS);
            }
        }
    }
}

/// The lines before the values of a metric.
pub(crate) fn heading(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn labels(name: &RouteName) -> String {
    format!("route=\"{}\",method=\"{}\"", name.template, name.method)
}

fn is_told_by_gorse(name: &RouteName) -> bool {
    !name.template.is_empty()
        && !name.template.starts_with("/api/dashboard")
        && name.template != "/apidocs.json"
}

/// Gorse writes `-` in parameters, and a slash behind three of its routes.
fn gorse_name(name: &RouteName) -> String {
    let template = name.template.replace('_', "-");
    let slash = match name.template.as_str() {
        "/api/item/{item_id}/neighbors"
        | "/api/item/{item_id}/feedback"
        | "/api/user/{user_id}/neighbors" => "/",
        _ => "",
    };
    format!("{} {template}{slash}", name.method)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DurationSum {
    buckets: [u64; BOUNDS.len() + 1],
    nanos: u64,
}

impl DurationSum {
    fn read(&mut self, durations: &Durations) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&durations.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.nanos = self.nanos.wrapping_add(durations.nanos.load(Ordering::Relaxed));
    }

    fn add(&mut self, other: &Self) {
        for (sum, bucket) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += bucket;
        }
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }

    fn is_empty(&self) -> bool {
        self.buckets.iter().all(|count| *count == 0)
    }

    /// With the bounds from `first` on.
    fn render(&self, text: &mut String, name: &str, labels: &str, first: usize) {
        let mut below = 0;
        for (place, count) in self.buckets.iter().enumerate() {
            below += count;
            match BOUNDS.get(place) {
                Some(_) if place < first => {}
                Some(bound) => {
                    let bound = *bound as f64 / 1e6;
                    let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
                }
                None => {
                    let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {below}");
                }
            }
        }
        let seconds = self.nanos as f64 / 1e9;
        let _ = writeln!(text, "{name}_sum{{{labels}}} {seconds}\n{name}_count{{{labels}}} {below}");
    }
}

/// One route of all threads.
#[derive(Default)]
struct Sum {
    answered: DurationSum,
    failed: DurationSum,
    statuses: [u64; STATUSES.len()],
}

impl Sum {
    fn of(shards: &[Arc<Shard>], route: usize) -> Self {
        let mut sum = Self::default();
        for counts in shards.iter().map(|shard| &shard.routes[route]) {
            sum.answered.read(&counts.answered);
            sum.failed.read(&counts.failed);
            for (sum, count) in sum.statuses.iter_mut().zip(&counts.statuses) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        sum
    }

    fn is_empty(&self) -> bool {
        self.statuses.iter().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measures() -> Measures {
        let name = |method: &str, template: &str| RouteName {
            method: method.to_owned(),
            template: template.to_owned(),
        };
        Measures::new(vec![
            name("GET", "/api/item/{item_id}/neighbors"),
            name("GET", "/api/dashboard/tasks"),
            name("POST", "/api/user"),
        ])
    }

    fn rendered(measures: &Measures) -> String {
        let mut text = String::new();
        measures.render(&mut text);
        text
    }

    #[test]
    fn requests_of_all_threads_are_added_up() {
        let measures = measures();
        let shards = [measures.shard(), measures.shard()];
        for shard in &shards {
            shard.count(Some(2), StatusCode::OK, Duration::from_micros(70));
            shard.count(Some(2), StatusCode::TOO_MANY_REQUESTS, Duration::from_millis(70));
        }
        shards[0].count(None, StatusCode::NOT_FOUND, Duration::ZERO);
        shards[0].count(Some(2), StatusCode::IM_A_TEAPOT, Duration::from_secs(60));
        let text = rendered(&measures);
        let route = "route=\"/api/user\",method=\"POST\"";
        for line in [
            format!("ulex_http_requests_total{{{route},status=\"200\"}} 2"),
            format!("ulex_http_requests_total{{{route},status=\"429\"}} 2"),
            format!("ulex_http_requests_total{{{route},status=\"other\"}} 1"),
            "ulex_http_requests_total{route=\"\",method=\"\",status=\"404\"} 1".to_owned(),
            format!("ulex_http_seconds_bucket{{{route},le=\"0.00005\"}} 0"),
            format!("ulex_http_seconds_bucket{{{route},le=\"0.0001\"}} 2"),
            format!("ulex_http_seconds_bucket{{{route},le=\"0.1\"}} 4"),
            format!("ulex_http_seconds_bucket{{{route},le=\"+Inf\"}} 5"),
            format!("ulex_http_seconds_count{{{route}}} 5"),
            "gorse_server_rest_api_request_seconds_count{api=\"POST /api/user\"} 2".to_owned(),
            "gorse_server_rest_api_request_seconds_bucket{api=\"POST /api/user\",le=\"0.005\"} 2".to_owned(),
        ] {
            assert!(text.lines().any(|given| given == line), "{line} is missing in\n{text}");
        }
        assert!(
            !text.contains("api=\"POST /api/user\",le=\"0.0025\""),
            "Gorse's buckets begin later\n{text}"
        );
    }

    #[test]
    fn gorse_is_told_of_its_routes_by_its_names() {
        let measures = measures();
        let shard = measures.shard();
        shard.count(Some(0), StatusCode::OK, Duration::ZERO);
        shard.count(Some(1), StatusCode::OK, Duration::ZERO);
        shard.count(Some(2), StatusCode::BAD_REQUEST, Duration::ZERO);
        let text = rendered(&measures);
        assert!(text.contains("{api=\"GET /api/item/{item-id}/neighbors/\"} 1"), "{text}");
        assert!(!text.contains("api=\"GET /api/dashboard"), "{text}");
        assert!(!text.contains("api=\"POST /api/user\""), "only answers with status 200\n{text}");
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let measures = measures();
        measures.shard().count(Some(2), StatusCode::OK, Duration::from_micros(50));
        assert!(rendered(&measures).contains("le=\"0.00005\"} 1"));
    }
}
