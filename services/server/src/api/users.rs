//! `/api/user` and `/api/users`.

use ulex_domain::cursor::encode_id;
use ulex_domain::{Command, User, UserId, UserPatch};

use super::{Success, cursor, quota};
use crate::error::ApiError;
use crate::http::call::{Call, json};
use crate::http::router::{Access, Answer, Router};
use crate::settings::NotFoundStyle;
use crate::{decode, encode};

pub(super) fn routes(router: &mut Router) {
    router.add(Access::Key, &__path_post_user, post_user);
    router.add(Access::Key, &__path_patch_user, patch_user);
    router.add(Access::Key, &__path_get_user, get_user);
    router.add(Access::Key, &__path_delete_user, delete_user);
    router.add(Access::Key, &__path_post_users, post_users);
    router.add(Access::Key, &__path_get_users, get_users);
}

/// Says that a user or item does not exist, in the words that were configured.
pub(super) fn not_found(style: NotFoundStyle, noun: &str, id: &str) -> ApiError {
    ApiError::NotFound(match style {
        NotFoundStyle::Sentence => format!("{noun} {id} not found"),
        NotFoundStyle::Tagged => format!("{id}: {noun} not found"),
    })
}

async fn put(call: &Call, users: Vec<User>) -> Answer {
    let rows = users.len();
    if rows == 0 {
        return Ok(crate::http::call::affected(0));
    }
    quota::check_users(call, &users).await?;
    call.submit(Command::PutUsers { users }, rows).await
}

/// Inserts a user, or replaces its labels and comment.
#[utoipa::path(
    post, path = "/api/user", tag = "users", request_body = User,
    responses((status = 200, body = Success), (status = 400, body = String), (status = 429, body = String))
)]
async fn post_user(mut call: Call) -> Answer {
    let user = call.decode(decode::user).await?;
    put(&call, vec![user]).await
}

/// Inserts or replaces users, all or none of them. Of duplicates the first counts.
#[utoipa::path(
    post, path = "/api/users", tag = "users", request_body = Vec<User>,
    responses((status = 200, body = Success), (status = 400, body = String), (status = 429, body = String))
)]
async fn post_users(mut call: Call) -> Answer {
    let users = call.decode(decode::users).await?;
    put(&call, users).await
}

/// Changes the given fields of a user; an unknown user is left alone.
#[utoipa::path(
    patch, path = "/api/user/{user_id}", tag = "users", request_body = UserPatch,
    params(("user_id" = String, Path)),
    responses((status = 200, body = Success), (status = 400, body = String), (status = 429, body = String))
)]
async fn patch_user(mut call: Call) -> Answer {
    let patch = call.decode(decode::user_patch).await?;
    quota::check_sizes(&call.settings().quota, patch.labels.as_ref(), patch.comment.as_deref())?;
    let user_id = call.user(0);
    call.submit(Command::PatchUser { user_id, patch }, 1).await
}

/// Returns a user.
#[utoipa::path(
    get, path = "/api/user/{user_id}", tag = "users", params(("user_id" = String, Path)),
    responses((status = 200, body = User), (status = 404, body = String))
)]
async fn get_user(call: Call) -> Answer {
    let id = call.user(0);
    let found = encode::stored(call.backend().data().user(&id).await)?;
    let user = found.ok_or_else(|| not_found(call.settings().not_found, "user", id.as_str()))?;
    Ok(json(encode::value(&user)?))
}

/// Lists users by ascending bytes of their ids.
#[utoipa::path(
    get, path = "/api/users", tag = "users",
    params(
        ("n" = Option<usize>, Query, description = "Length of the page, at most 10000"),
        ("cursor" = Option<String>, Query, description = "Of the page before; empty starts")
    ),
    responses((status = 200, description = "`{\"Cursor\", \"Users\"}`; the last page has an empty cursor"),
        (status = 400, body = String))
)]
async fn get_users(call: Call) -> Answer {
    let query = call.query();
    let n = query.n(call.settings().default_n)?;
    let from = cursor::id(query)?.map(UserId::new);
    let mut users = encode::stored(call.backend().data().list_users(from.as_ref(), n + 1).await)?;
    let next = cursor::cut(&mut users, n, |user| encode_id(user.user_id.as_str()));
    Ok(json(encode::page("Users", &users, &next)?))
}

/// Removes a user and all its feedback.
#[utoipa::path(
    delete, path = "/api/user/{user_id}", tag = "users", params(("user_id" = String, Path)),
    responses((status = 200, body = Success))
)]
async fn delete_user(call: Call) -> Answer {
    let user_id = call.user(0);
    call.submit(Command::DeleteUser { user_id }, 1).await
}
