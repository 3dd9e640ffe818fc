//! What callers may store at most; a refusal is a 429 that says how much was too much.

use std::collections::BTreeSet;

use serde_json::Value;
use tracing::warn;
use ulex_domain::{Feedback, Item, User};
use ulex_storage::data::Counts;

use crate::error::ApiError;
use crate::http::call::Call;
use crate::settings::Quota;

fn within(what: &str, size: u64, limit: u64, unit: &str) -> Result<(), ApiError> {
    if limit == 0 || size <= limit {
        return Ok(());
    }
    Err(ApiError::QuotaExceeded(format!("{what} exceeds limit ({size} > {limit}{unit})")))
}

/// Labels and comment of one user, item or feedback row.
pub(super) fn check_sizes(
    quota: &Quota,
    labels: Option<&Value>,
    comment: Option<&str>,
) -> Result<(), ApiError> {
    if let (Some(labels), 1..) = (labels, quota.max_labels_size) {
        within("labels size", labels.to_string().len() as u64, quota.max_labels_size, " bytes")?;
    }
    within("comment size", comment.map_or(0, str::len) as u64, quota.max_comment_size, " bytes")
}

/// Categories of one item.
pub(super) fn check_categories(quota: &Quota, categories: Option<&[String]>) -> Result<(), ApiError> {
    let categories = categories.unwrap_or_default();
    within("item categories count", categories.len() as u64, quota.max_categories_count, "")?;
    let largest = categories.iter().map(String::len).max().unwrap_or(0);
    within("category size", largest as u64, quota.max_categories_size, " bytes")
}

/// Users about to be stored.
pub(super) async fn check_users(call: &Call, users: &[User]) -> Result<(), ApiError> {
    let quota = call.settings().quota;
    for user in users {
        check_sizes(&quota, Some(&user.labels), Some(&user.comment))?;
    }
    check_counts(call, users.len(), 0).await
}

/// Items about to be stored.
pub(super) async fn check_items(call: &Call, items: &[Item]) -> Result<(), ApiError> {
    let quota = call.settings().quota;
    for item in items {
        check_sizes(&quota, Some(&item.labels), Some(&item.comment))?;
        check_categories(&quota, item.categories.as_deref())?;
    }
    check_counts(call, 0, items.len()).await
}

/// Feedback about to be stored, with the users and items it may create.
pub(super) async fn check_feedback(call: &Call, rows: &[Feedback]) -> Result<(), ApiError> {
    let (quota, new_users, new_items) = {
        let settings = call.settings();
        (settings.quota, settings.auto_insert_user, settings.auto_insert_item)
    };
    if quota.max_labels_size > 0 || quota.max_comment_size > 0 {
        for row in rows {
            check_sizes(&quota, Some(&row.labels), Some(&row.comment))?;
        }
    }
    let mut users = BTreeSet::new();
    let mut items = BTreeSet::new();
    if new_users && quota.max_users_count > 0 {
        users.extend(rows.iter().map(|row| &row.user_id));
    }
    if new_items && quota.max_items_count > 0 {
        items.extend(rows.iter().map(|row| &row.item_id));
    }
    check_counts(call, users.len(), items.len()).await
}

/// Ids that exist are counted again, as Gorse does: the check is an estimate that errs on the safe side.
async fn check_counts(call: &Call, users: usize, items: usize) -> Result<(), ApiError> {
    let quota = call.settings().quota;
    let users_matter = users > 0 && quota.max_users_count > 0;
    let items_matter = items > 0 && quota.max_items_count > 0;
    if !users_matter && !items_matter {
        return Ok(());
    }
    let counts: Counts = match call.backend().data().counts().await {
        Ok(counts) => counts,
        Err(reason) => {
            warn!(%reason, "counting failed, the quota is not checked");
            return Ok(());
        }
    };
    if users_matter {
        within("users count", counts.users.saturating_add(users as u64), quota.max_users_count, "")?;
    }
    if items_matter {
        within("items count", counts.items.saturating_add(items as u64), quota.max_items_count, "")?;
    }
    Ok(())
}
