//! The routes. One file per noun; each has a `routes` function and nothing else is public.

mod config;
mod cursor;
mod dashboard;
mod documentation;
mod feedback;
mod health;
mod items;
mod lists;
mod quota;
mod recommend;
mod users;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};

pub use self::health::health_json;
use crate::backend::Backend;
use crate::http::measures::heading;
use crate::http::router::Router;
use crate::http::service::Api;
use crate::overload::Overload;
use crate::settings::ApiSettings;

/// How many rows a write touched.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
struct Success {
    /// Length of the request for writes, removed rows for deletions of feedback.
    row_affected: u64,
}

/// One entry of a list.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
struct Score {
    /// The item or user.
    id: String,
    /// Comparable within this list only.
    score: f64,
}

/// What every handler may use. Cheap to clone; one per process.
#[derive(Clone)]
pub struct ApiState {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    settings: ArcSwap<ApiSettings>,
    in_flight: AtomicUsize,
    uploads: AtomicUsize,
    body_bytes: AtomicUsize,
    overload: Overload,
}

/// A place among the requests in flight, or among those whose bodies are arriving.
pub(crate) struct Permit {
    state: ApiState,
    counter: fn(&Inner) -> &AtomicUsize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        (self.counter)(&self.state.inner).fetch_sub(1, Ordering::Relaxed);
    }
}

impl ApiState {
    /// Answers from `backend` under `settings`.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, settings: ApiSettings) -> Self {
        let inner = Inner {
            backend,
            settings: ArcSwap::from_pointee(settings),
            in_flight: AtomicUsize::new(0),
            uploads: AtomicUsize::new(0),
            body_bytes: AtomicUsize::new(0),
            overload: Overload::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Replaces the settings; requests that are under way may see either.
    pub fn configure(&self, settings: ApiSettings) {
        self.inner.settings.store(Arc::new(settings));
    }

    /// Requests being answered at this moment, without those answered from memory.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn settings(&self) -> Guard<Arc<ApiSettings>> {
        self.inner.settings.load()
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.inner.backend
    }

    /// Takes a place unless all `limit` are taken.
    pub(crate) fn enter(&self, limit: usize) -> Option<Permit> {
        self.take(limit, |inner| &inner.in_flight)
    }

    /// Takes a place among the uploads unless all are taken.
    pub(crate) fn enter_uploads(&self) -> Option<Permit> {
        self.take(self.settings().limits.uploads, |inner| &inner.uploads)
    }

    fn take(&self, limit: usize, counter: fn(&Inner) -> &AtomicUsize) -> Option<Permit> {
        let before = counter(&self.inner).fetch_add(1, Ordering::Relaxed);
        let permit = Permit { state: self.clone(), counter };
        (before < limit).then_some(permit)
    }

    /// Appends what there is of requests at this moment, in the text format of Prometheus.
    pub(crate) fn render(&self, text: &mut String) {
        let in_flight = self.in_flight();
        let bytes = self.inner.body_bytes.load(Ordering::Relaxed);
        heading(text, "ulex_http_in_flight", "gauge", "Requests being answered, without those from memory.");
        let _ = writeln!(text, "ulex_http_in_flight {in_flight}");
        let uploads = self.inner.uploads.load(Ordering::Relaxed);
        heading(text, "ulex_http_uploads", "gauge", "Requests whose bodies are arriving.");
        let _ = writeln!(text, "ulex_http_uploads {uploads}");
        heading(
            text,
            "ulex_http_body_bytes",
            "gauge",
            "Bytes of request bodies in memory, decoded values included.",
        );
        let _ = writeln!(text, "ulex_http_body_bytes {bytes}");
        self.inner.overload.render(text);
    }

    pub(crate) fn overload(&self) -> &Overload {
        &self.inner.overload
    }

    /// Finds out whether too much is asked.
    pub(crate) fn look_at_load(&self) {
        let most = self.settings().limits.in_flight.max(1);
        self.inner.overload.look(self.in_flight() as f64 / most as f64);
    }

    pub(crate) fn body_bytes(&self) -> &AtomicUsize {
        &self.inner.body_bytes
    }
}

/// All REST routes, to be registered with `App::service` or `ServiceConfig::service`. Build it once and clone it
/// into every worker's application. Register more specific services, such as other dashboard routes, before it.
#[must_use]
pub fn routes(state: ApiState) -> Api {
    Api::new(state, Arc::new(router()))
}

/// The OpenAPI document of all routes, as pretty JSON.
#[must_use]
pub fn openapi_json() -> String {
    router().openapi().to_pretty_json().expect("a document of strings can be written as JSON")
}

fn router() -> Router {
    let mut router = Router::new();
    health::routes(&mut router);
    users::routes(&mut router);
    items::routes(&mut router);
    feedback::routes(&mut router);
    lists::routes(&mut router);
    recommend::routes(&mut router);
    dashboard::routes(&mut router);
    config::routes(&mut router);
    documentation::routes(&mut router);
    router
}

#[cfg(test)]
mod tests;
