//! `/api/health`: whether the process lives and whether its parts are ready.

use actix_web::http::StatusCode;
use serde::Serialize;

use crate::backend::Health;
use crate::encode;
use crate::error::plain;
use crate::http::call::{Call, json};
use crate::http::router::{Access, Answer, Router};

pub(super) fn routes(router: &mut Router) {
    router.add(Access::Open, &__path_live, live);
    router.add(Access::Open, &__path_ready, ready);
}

/// What of the service can be reached. Errors are `null` or an empty object; their causes stay in the log.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
struct HealthStatus {
    ready: bool,
    #[schema(value_type = Option<Object>)]
    data_store_error: Option<serde_json::Map<String, serde_json::Value>>,
    #[schema(value_type = Option<Object>)]
    cache_store_error: Option<serde_json::Map<String, serde_json::Value>>,
    data_store_connected: bool,
    cache_store_connected: bool,
    parts: HealthParts,
}

/// Whether each part is ready.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
struct HealthParts {
    /// The bus answers and has its streams.
    bus: bool,
    /// The data store answers.
    store: bool,
    /// The cache store answers.
    cache: bool,
    /// The process answers with a ModelSet, or none is published.
    models: bool,
    /// Events are applied as fast as they come.
    ingest: bool,
    /// Events that wait to be applied; `null` if the bus does not say.
    ingest_lag: Option<u64>,
}

impl From<&Health> for HealthStatus {
    fn from(health: &Health) -> Self {
        let error = |connected: bool| (!connected).then(serde_json::Map::new);
        Self {
            ready: health.is_ready(),
            data_store_error: error(health.data),
            cache_store_error: error(health.cache),
            data_store_connected: health.data,
            cache_store_connected: health.cache,
            parts: HealthParts {
                bus: health.bus,
                store: health.data,
                cache: health.cache,
                models: health.models,
                ingest: health.ingest,
                ingest_lag: health.ingest_lag,
            },
        }
    }
}

/// The JSON of `/api/health`.
#[must_use]
pub fn health_json(health: &Health) -> serde_json::Value {
    serde_json::json!(HealthStatus::from(health))
}

async fn status(call: &Call) -> HealthStatus {
    HealthStatus::from(&call.backend().health().await)
}

/// Whether the process lives.
#[utoipa::path(get, path = "/api/health/live", tag = "health", responses((status = 200, body = HealthStatus)))]
async fn live(call: Call) -> Answer {
    Ok(json(encode::value(&status(&call).await)?))
}

/// Whether the process can serve.
#[utoipa::path(
    get, path = "/api/health/ready", tag = "health",
    responses((status = 200, body = HealthStatus), (status = 503, description = "A part is away", body = HealthStatus))
)]
async fn ready(call: Call) -> Answer {
    let status = status(&call).await;
    let body = encode::value(&status)?;
    if status.ready {
        return Ok(json(body));
    }
    Ok(plain(StatusCode::SERVICE_UNAVAILABLE, String::from_utf8_lossy(&body).into_owned()))
}
