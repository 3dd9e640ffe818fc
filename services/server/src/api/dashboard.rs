//! The part of `/api/dashboard` that every process can answer.

use serde::Serialize;

use crate::backend::{Node, Status, TaskProgress};
use crate::encode;
use crate::http::call::{Call, json};
use crate::http::router::{Access, Answer, Router};

pub(super) fn routes(router: &mut Router) {
    router.add(Access::Login, &__path_tasks, tasks);
    router.add(Access::Login, &__path_stats, stats);
    router.add(Access::Login, &__path_cluster, cluster);
}

/// The dashboard expects `null` for "none".
fn list_or_null<T: Serialize>(list: &[T]) -> Answer {
    Ok(json(if list.is_empty() { b"null".to_vec() } else { encode::value(list)? }))
}

/// What runs in the background, and what ran last.
#[utoipa::path(
    get, path = "/api/dashboard/tasks", tag = "dashboard",
    responses((status = 200, body = Option<Vec<TaskProgress>>), (status = 401, body = String))
)]
async fn tasks(call: Call) -> Answer {
    list_or_null(&call.backend().tasks().await?)
}

/// Counts, times and qualities.
#[utoipa::path(
    get, path = "/api/dashboard/stats", tag = "dashboard",
    responses((status = 200, body = Status), (status = 401, body = String))
)]
async fn stats(call: Call) -> Answer {
    Ok(json(encode::value(&call.backend().stats().await?)?))
}

/// Live processes.
#[utoipa::path(
    get, path = "/api/dashboard/cluster", tag = "dashboard",
    responses((status = 200, body = Option<Vec<Node>>), (status = 401, body = String))
)]
async fn cluster(call: Call) -> Answer {
    list_or_null(&call.backend().cluster().await?)
}
