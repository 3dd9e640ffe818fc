//! `/api/feedback` and the feedback of users and items.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use smol_str::SmolStr;
use ulex_domain::cursor::encode_feedback;
use ulex_domain::feedback_filter::FeedbackFilterError;
use ulex_domain::{Command, EventId, Feedback, FeedbackFilter, FeedbackMode};

use super::{Success, cursor, quota};
use crate::decode::{self, FeedbackRows};
use crate::encode;
use crate::error::ApiError;
use crate::http::call::{Call, affected, json};
use crate::http::query::visible_until;
use crate::http::router::{Access, Answer, Router};

/// Events of one request that are submitted at once, so that a store may group them.
const CONCURRENT_EVENTS: usize = 256;

pub(super) fn routes(router: &mut Router) {
    router.add(Access::Key, &__path_post_feedback, post_feedback);
    router.add(Access::Key, &__path_put_feedback, put_feedback);
    router.add(Access::Key, &__path_get_feedback, get_feedback);
    router.add(Access::Key, &__path_get_typed_feedback, get_typed_feedback);
    router.add(Access::Key, &__path_get_pair, get_pair);
    router.add(Access::Key, &__path_delete_pair, delete_pair);
    router.add(Access::Key, &__path_get_one, get_one);
    router.add(Access::Key, &__path_delete_one, delete_one);
    router.add(Access::Key, &__path_get_user_feedback, get_user_feedback);
    router.add(Access::Key, &__path_get_user_feedback_filtered, get_user_feedback_filtered);
    router.add(Access::Key, &__path_get_item_feedback, get_item_feedback);
    router.add(Access::Key, &__path_get_item_feedback_typed, get_item_feedback_typed);
}

/// Adds feedback, all rows or none: values of rows that exist add up, the earliest time is kept. Unknown users
/// and items are created if the settings say so, else their rows are dropped. With the header
/// `Idempotency-Key`, or a field `EventId` in every row, repeating the request changes nothing.
#[utoipa::path(
    post, path = "/api/feedback", tag = "feedback", request_body = Vec<Feedback>,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Success), (status = 400, body = String), (status = 429, body = String))
)]
async fn post_feedback(mut call: Call) -> Answer {
    let rows = call.decode(decode::feedback).await?;
    insert(&call, rows, FeedbackMode::Accumulate).await
}

/// Inserts feedback, all rows or none; rows that exist are replaced.
#[utoipa::path(
    put, path = "/api/feedback", tag = "feedback", request_body = Vec<Feedback>,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Success), (status = 400, body = String), (status = 429, body = String))
)]
async fn put_feedback(mut call: Call) -> Answer {
    let rows = call.decode(decode::feedback).await?;
    insert(&call, rows, FeedbackMode::Overwrite).await
}

async fn insert(call: &Call, given: FeedbackRows, mode: FeedbackMode) -> Answer {
    let FeedbackRows { rows, event_ids } = given;
    let count = rows.len();
    if count == 0 {
        return Ok(affected(0));
    }
    quota::check_feedback(call, &rows).await?;
    let (insert_users, insert_items) = {
        let settings = call.settings();
        (settings.auto_insert_user, settings.auto_insert_item)
    };
    let event = |rows| Command::PutFeedback { rows, mode, insert_users, insert_items };
    if event_ids.is_empty() {
        return call.submit(event(rows), count).await;
    }
    if call.event_id()?.is_some() {
        let text = "EventId: expected either in the rows or as the header Idempotency-Key, got both";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    let backend = call.backend();
    let wait = call.begin_write(count)?;
    let groups = grouped(rows, event_ids);
    if let [(id, _rows)] = groups.as_slice() {
        call.ticket.write_id(Some(id.clone()));
    }
    let submitted = stream::iter(groups)
        .map(|(id, rows)| backend.submit(event(rows), id, wait))
        .buffered(CONCURRENT_EVENTS)
        .try_for_each(|_receipt| std::future::ready(Ok(())))
        .await;
    match submitted {
        Ok(()) => Ok(affected(count as u64)),
        Err(failure) => call.unknown_or(failure.into()),
    }
}

/// Rows of the same event together, events in the order in which they appear.
fn grouped(rows: Vec<Feedback>, ids: Vec<EventId>) -> Vec<(EventId, Vec<Feedback>)> {
    let mut groups: Vec<(EventId, Vec<Feedback>)> = Vec::new();
    let mut places: HashMap<EventId, usize> = HashMap::new();
    for (row, id) in rows.into_iter().zip(ids) {
        let place = *places.entry(id).or_insert_with_key(|id| {
            groups.push((id.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(row);
    }
    groups
}

async fn page(call: &Call, feedback_type: Option<SmolStr>) -> Answer {
    let query = call.query();
    let (default_n, clock_error) = {
        let settings = call.settings();
        (settings.default_n, settings.clock_error)
    };
    let n = query.n(default_n)?;
    let from = cursor::key(query)?;
    let until = Some(visible_until(clock_error));
    let data = call.backend().data();
    let mut rows =
        encode::stored(data.list_feedback(from.as_ref(), n + 1, feedback_type.as_ref(), until).await)?;
    let next = cursor::cut(&mut rows, n, |row| encode_feedback(&row.key()));
    Ok(json(encode::page("Feedback", &rows, &next)?))
}

/// Lists feedback by type, user and item.
#[utoipa::path(
    get, path = "/api/feedback", tag = "feedback",
    params(
        ("n" = Option<usize>, Query, description = "Length of the page, at most 10000"),
        ("cursor" = Option<String>, Query, description = "Of the page before; empty starts")
    ),
    responses((status = 200, description = "`{\"Cursor\", \"Feedback\"}`; the last page has an empty cursor"),
        (status = 400, body = String))
)]
async fn get_feedback(call: Call) -> Answer {
    page(&call, None).await
}

/// Lists feedback of one type by user and item.
#[utoipa::path(
    get, path = "/api/feedback/{feedback_type}", tag = "feedback",
    params(
        ("feedback_type" = String, Path),
        ("n" = Option<usize>, Query, description = "Length of the page, at most 10000"),
        ("cursor" = Option<String>, Query, description = "Of the page before; empty starts")
    ),
    responses((status = 200, description = "`{\"Cursor\", \"Feedback\"}`; the last page has an empty cursor"),
        (status = 400, body = String))
)]
async fn get_typed_feedback(call: Call) -> Answer {
    let feedback_type = SmolStr::new(call.parameter(0));
    page(&call, Some(feedback_type)).await
}

/// Returns all feedback of a user to an item, whatever its time.
#[utoipa::path(
    get, path = "/api/feedback/{user_id}/{item_id}", tag = "feedback",
    params(("user_id" = String, Path), ("item_id" = String, Path)),
    responses((status = 200, body = Vec<Feedback>))
)]
async fn get_pair(call: Call) -> Answer {
    let data = call.backend().data();
    let rows = encode::stored(data.pair_feedback(&call.user(0), &call.item(1)).await)?;
    Ok(json(encode::value(&rows)?))
}

/// Removes all feedback of a user to an item.
#[utoipa::path(
    delete, path = "/api/feedback/{user_id}/{item_id}", tag = "feedback",
    params(("user_id" = String, Path), ("item_id" = String, Path)),
    responses((status = 200, body = Success))
)]
async fn delete_pair(call: Call) -> Answer {
    let event = Command::DeleteFeedback { user_id: call.user(0), item_id: call.item(1), feedback_type: None };
    call.submit_deletion(event).await
}

/// Returns one row of feedback, or an empty object.
#[utoipa::path(
    get, path = "/api/feedback/{feedback_type}/{user_id}/{item_id}", tag = "feedback",
    params(("feedback_type" = String, Path), ("user_id" = String, Path), ("item_id" = String, Path)),
    responses((status = 200, body = Feedback))
)]
async fn get_one(call: Call) -> Answer {
    let data = call.backend().data();
    let rows = encode::stored(data.pair_feedback(&call.user(1), &call.item(2)).await)?;
    let wanted = call.parameter(0);
    Ok(json(match rows.iter().find(|row| row.feedback_type == wanted) {
        Some(row) => encode::value(row)?,
        None => b"{}".to_vec(),
    }))
}

/// Removes one row of feedback.
#[utoipa::path(
    delete, path = "/api/feedback/{feedback_type}/{user_id}/{item_id}", tag = "feedback",
    params(("feedback_type" = String, Path), ("user_id" = String, Path), ("item_id" = String, Path)),
    responses((status = 200, body = Success))
)]
async fn delete_one(call: Call) -> Answer {
    let event = Command::DeleteFeedback {
        user_id: call.user(1),
        item_id: call.item(2),
        feedback_type: Some(SmolStr::new(call.parameter(0))),
    };
    call.submit_deletion(event).await
}

async fn of_user(call: &Call, keep: impl Fn(&Feedback) -> bool) -> Answer {
    let until = Some(visible_until(call.settings().clock_error));
    let mut rows = encode::stored(call.backend().data().user_feedback(&call.user(0), until).await)?;
    rows.retain(|row| keep(row));
    Ok(json(encode::value(&rows)?))
}

async fn of_item(call: &Call, keep: impl Fn(&Feedback) -> bool) -> Answer {
    let until = Some(visible_until(call.settings().clock_error));
    let mut rows = encode::stored(call.backend().data().item_feedback(&call.item(0), until, None).await)?;
    rows.retain(|row| keep(row));
    Ok(json(encode::value(&rows)?))
}

/// Returns all visible feedback of a user.
#[utoipa::path(
    get, path = "/api/user/{user_id}/feedback", tag = "feedback", params(("user_id" = String, Path)),
    responses((status = 200, body = Vec<Feedback>))
)]
async fn get_user_feedback(call: Call) -> Answer {
    of_user(&call, |_row| true).await
}

/// Returns the visible feedback of a user that matches an expression such as `read` or `rating>=4`.
#[utoipa::path(
    get, path = "/api/user/{user_id}/feedback/{feedback_type}", tag = "feedback",
    params(("user_id" = String, Path), ("feedback_type" = String, Path)),
    responses((status = 200, body = Vec<Feedback>), (status = 400, body = String))
)]
async fn get_user_feedback_filtered(call: Call) -> Answer {
    let filter: FeedbackFilter = call
        .parameter(1)
        .parse()
        .map_err(|reason: FeedbackFilterError| ApiError::BadRequest(reason.to_string()))?;
    of_user(&call, |row| filter.matches(&row.feedback_type, row.value)).await
}

/// Returns all visible feedback of an item.
#[utoipa::path(
    get, path = "/api/item/{item_id}/feedback", tag = "feedback", params(("item_id" = String, Path)),
    responses((status = 200, body = Vec<Feedback>))
)]
async fn get_item_feedback(call: Call) -> Answer {
    of_item(&call, |_row| true).await
}

/// Returns the visible feedback of an item of one type.
#[utoipa::path(
    get, path = "/api/item/{item_id}/feedback/{feedback_type}", tag = "feedback",
    params(("item_id" = String, Path), ("feedback_type" = String, Path)),
    responses((status = 200, body = Vec<Feedback>))
)]
async fn get_item_feedback_typed(call: Call) -> Answer {
    of_item(&call, |row| row.feedback_type == call.parameter(1)).await
}
