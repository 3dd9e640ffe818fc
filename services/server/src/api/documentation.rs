//! `/apidocs.json`: the OpenAPI document of all routes.

use std::sync::LazyLock;

use crate::http::call::{Call, json};
use crate::http::router::{Access, Reply, Router};

static DOCUMENT: LazyLock<String> = LazyLock::new(super::openapi_json);

pub(super) fn routes(router: &mut Router) {
    router.add_ready(Access::Open, &__path_document, document);
}

/// This document.
#[utoipa::path(get, path = "/apidocs.json", tag = "documentation", responses((status = 200)))]
fn document(_call: Call) -> Reply {
    Reply::Now(Ok(json(DOCUMENT.clone().into_bytes())))
}
