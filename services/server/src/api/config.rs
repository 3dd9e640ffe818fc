//! `/api/dashboard/config`: which settings are in force, and changing the section `recommend` while the service runs.

use serde_json::Value;

use crate::backend::{SettingsChange, SettingsRevision};
use crate::encode;
use crate::error::ApiError;
use crate::http::call::{Call, json};
use crate::http::router::{Access, Answer, Router};

pub(super) fn routes(router: &mut Router) {
    router.add(Access::Settings, &__path_get_config, get_config);
    router.add(Access::Settings, &__path_post_config, post_config);
    router.add(Access::Settings, &__path_patch_config, patch_config);
    router.add(Access::Settings, &__path_delete_config, delete_config);
    router.add(Access::Settings, &__path_get_history, get_history);
    router.add(Access::Settings, &__path_post_rollback, post_rollback);
}

/// Everything that is in force in the process that answers; secrets are masked.
#[utoipa::path(
    get, path = "/api/dashboard/config", tag = "dashboard",
    responses((status = 200, body = Object), (status = 401, body = String), (status = 403, body = String))
)]
async fn get_config(call: Call) -> Answer {
    shown(&call)
}

/// Puts the section `recommend` of the body in force, whatever the files say, in every process. Other sections are ignored,
/// masked secrets stay as they are.
#[utoipa::path(
    post, path = "/api/dashboard/config", tag = "dashboard", request_body = Object,
    responses((status = 200, body = Object), (status = 400, body = String), (status = 401, body = String), (status = 403, body = String))
)]
async fn post_config(mut call: Call) -> Answer {
    let posted = call.decode(object).await?;
    let section = posted.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("recommend"));
    let Some((_, section)) = section else {
        return Err(ApiError::invalid("recommend", "the whole section, as GET shows it"));
    };
    change(&call, SettingsChange::Replace(section)).await
}

/// Changes single settings by their full names, such as `{"recommend.cache_size": 200}`; `null` gives one back to the files.
#[utoipa::path(
    patch, path = "/api/dashboard/config", tag = "dashboard", request_body = Object,
    responses((status = 200, body = Object), (status = 400, body = String), (status = 401, body = String), (status = 403, body = String))
)]
async fn patch_config(mut call: Call) -> Answer {
    let changes = call.decode(object).await?;
    change(&call, SettingsChange::Patch(changes.into_iter().collect())).await
}

/// Takes all changes back: the files are in force.
#[utoipa::path(
    delete, path = "/api/dashboard/config", tag = "dashboard",
    responses((status = 200, description = "`{}`"), (status = 401, body = String), (status = 403, body = String))
)]
async fn delete_config(call: Call) -> Answer {
    call.backend().change_settings(SettingsChange::Clear).await?;
    Ok(json(b"{}".to_vec()))
}

/// The changes that are remembered, the latest first.
#[utoipa::path(
    get, path = "/api/dashboard/config/history", tag = "dashboard",
    responses((status = 200, body = Vec<SettingsRevision>), (status = 401, body = String), (status = 403, body = String))
)]
async fn get_history(call: Call) -> Answer {
    Ok(json(encode::value(&call.backend().settings_history().await?)?))
}

/// Puts in force what was in force at a revision of the history.
#[utoipa::path(
    post, path = "/api/dashboard/config/rollback/{revision}", tag = "dashboard",
    params(("revision" = u64, Path)),
    responses((status = 200, body = Object), (status = 400, body = String), (status = 401, body = String), (status = 403, body = String),
        (status = 404, body = String))
)]
async fn post_rollback(call: Call) -> Answer {
    let revision = call.parameter(0).parse();
    let revision = revision.map_err(|_reason| ApiError::invalid("revision", "a number of the history"))?;
    change(&call, SettingsChange::Restore(revision)).await
}

async fn change(call: &Call, change: SettingsChange) -> Answer {
    call.backend().change_settings(change).await?;
    shown(call)
}

fn shown(call: &Call) -> Answer {
    Ok(json(encode::value(&call.backend().shown_settings())?))
}

fn object(body: &[u8]) -> Result<serde_json::Map<String, Value>, ApiError> {
    serde_json::from_slice(body)
        .map_err(|reason| ApiError::BadRequest(format!("body: expected a JSON object: {reason}")))
}
