//! Lists that are not made for one user: latest, leaderboards, neighbours, sessions; and the list of a user as
//! `collaborative-filtering` names it.

use crate::backend::{ListQuery, ScoredItem};
use crate::decode;
use crate::encode;
use crate::error::ApiError;
use crate::http::call::{Call, json};
use crate::http::router::{Access, Answer, Router};
use crate::settings::MAX_LIST;

use super::Score;

pub(super) fn routes(router: &mut Router) {
    router.add(Access::Key, &__path_latest, latest);
    router.add(Access::Key, &__path_latest_of_category, latest_of_category);
    router.add(Access::Key, &__path_leaderboard, leaderboard);
    router.add(Access::Key, &__path_collaborative, collaborative);
    router.add(Access::Key, &__path_collaborative_of_category, collaborative_of_category);
    router.add(Access::Key, &__path_item_to_item, item_to_item);
    router.add(Access::Key, &__path_item_neighbors, item_neighbors);
    router.add(Access::Key, &__path_item_neighbors_of_category, item_neighbors_of_category);
    router.add(Access::Key, &__path_user_to_user, user_to_user);
    router.add(Access::Key, &__path_user_neighbors, user_neighbors);
    router.add(Access::Key, &__path_session, session);
    router.add(Access::Key, &__path_session_of_category, session_of_category);
}

fn list_query(call: &Call, path_category: Option<usize>) -> Result<ListQuery, ApiError> {
    let default_n = call.settings().default_n;
    call.query().list(default_n, path_category.map(|index| call.parameter(index)))
}

/// Neighbours with `n=0` are as many as there are candidates.
fn neighbors_query(call: &Call, path_category: Option<usize>) -> Result<ListQuery, ApiError> {
    let mut query = list_query(call, path_category)?;
    if query.n == 0 {
        query.n = call.settings().cache_size.saturating_sub(query.offset).min(MAX_LIST);
    }
    Ok(query)
}

fn scores(list: &[ScoredItem]) -> Answer {
    Ok(json(encode::scores(list)))
}

/// Lists of similar items are `null` when nothing is left, as client libraries have always seen them.
fn scores_or_null(list: &[ScoredItem]) -> Answer {
    if list.is_empty() { Ok(json(b"null".to_vec())) } else { scores(list) }
}

async fn latest_list(call: &Call, path_category: Option<usize>) -> Answer {
    let query = list_query(call, path_category)?;
    let reader = call.query().reader()?;
    if query.n == 0 {
        return scores(&[]);
    }
    scores(&call.backend().latest(reader.as_ref(), &query).await?)
}

/// Newest items; the score is the item's time in Unix seconds.
#[utoipa::path(
    get, path = "/api/latest", tag = "recommendation",
    params(
        ("category" = Option<Vec<String>>, Query, description = "Items must have all of them"),
        ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query),
        ("user-id" = Option<String>, Query, description = "Leaves out what this user has seen")
    ),
    responses((status = 200, body = Vec<Score>), (status = 400, body = String))
)]
async fn latest(call: Call) -> Answer {
    latest_list(&call, None).await
}

/// Newest items of a category.
#[utoipa::path(
    get, path = "/api/latest/{category}", tag = "recommendation",
    params(
        ("category" = String, Path), ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query),
        ("user-id" = Option<String>, Query, description = "Leaves out what this user has seen")
    ),
    responses((status = 200, body = Vec<Score>), (status = 400, body = String))
)]
async fn latest_of_category(call: Call) -> Answer {
    latest_list(&call, Some(0)).await
}

/// A configured leaderboard.
#[utoipa::path(
    get, path = "/api/non-personalized/{name}", tag = "recommendation",
    params(
        ("name" = String, Path),
        ("category" = Option<Vec<String>>, Query, description = "Items must have all of them"),
        ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query),
        ("user-id" = Option<String>, Query, description = "Leaves out what this user has seen")
    ),
    responses((status = 200, body = Vec<Score>), (status = 400, body = String))
)]
async fn leaderboard(call: Call) -> Answer {
    let query = list_query(&call, None)?;
    let reader = call.query().reader()?;
    if query.n == 0 {
        return scores(&[]);
    }
    scores(&call.backend().leaderboard(call.parameter(0), reader.as_ref(), &query).await?)
}

async fn collaborative_list(call: &Call, path_category: Option<usize>) -> Answer {
    let query = list_query(call, path_category)?;
    let reader = call.query().reader()?;
    scores(&call.backend().collaborative(&call.user(0), reader.as_ref(), &query).await?)
}

/// The final list of a user, if collaborative filtering is enabled.
#[utoipa::path(
    get, path = "/api/collaborative-filtering/{user_id}", tag = "recommendation",
    params(
        ("user_id" = String, Path),
        ("category" = Option<Vec<String>>, Query, description = "Items must have all of them"),
        ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query),
        ("user-id" = Option<String>, Query, description = "Leaves out what this user has seen")
    ),
    responses((status = 200, body = Vec<Score>), (status = 400, body = String), (status = 404, body = String))
)]
async fn collaborative(call: Call) -> Answer {
    collaborative_list(&call, None).await
}

/// The final list of a user in a category, if collaborative filtering is enabled.
#[utoipa::path(
    get, path = "/api/collaborative-filtering/{user_id}/{category}", tag = "recommendation",
    params(
        ("user_id" = String, Path), ("category" = String, Path),
        ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query),
        ("user-id" = Option<String>, Query, description = "Leaves out what this user has seen")
    ),
    responses((status = 200, body = Vec<Score>), (status = 400, body = String), (status = 404, body = String))
)]
async fn collaborative_of_category(call: Call) -> Answer {
    collaborative_list(&call, Some(1)).await
}

async fn similar_items(
    call: &Call,
    item: usize,
    name: Option<usize>,
    path_category: Option<usize>,
) -> Answer {
    let query = neighbors_query(call, path_category)?;
    let reader = call.query().reader()?;
    let name = name.map(|index| call.parameter(index));
    let list = call.backend().item_neighbors(name, &call.item(item), reader.as_ref(), &query).await?;
    scores_or_null(&list)
}

/// Items like an item, by a configured recommender.
#[utoipa::path(
    get, path = "/api/item-to-item/{name}/{item_id}", tag = "recommendation",
    params(
        ("name" = String, Path), ("item_id" = String, Path),
        ("category" = Option<Vec<String>>, Query, description = "Items must have all of them"),
        ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query),
        ("user-id" = Option<String>, Query, description = "Leaves out what this user has seen")
    ),
    responses((status = 200, body = Option<Vec<Score>>), (status = 400, body = String), (status = 404, body = String))
)]
async fn item_to_item(call: Call) -> Answer {
    similar_items(&call, 1, Some(0), None).await
}

/// Items like an item, by the first configured recommender.
#[utoipa::path(
    get, path = "/api/item/{item_id}/neighbors", tag = "recommendation",
    params(
        ("item_id" = String, Path),
        ("category" = Option<Vec<String>>, Query, description = "Items must have all of them"),
        ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query),
        ("user-id" = Option<String>, Query, description = "Leaves out what this user has seen")
    ),
    responses((status = 200, body = Option<Vec<Score>>), (status = 400, body = String), (status = 404, body = String))
)]
async fn item_neighbors(call: Call) -> Answer {
    similar_items(&call, 0, None, None).await
}

/// Items of a category like an item, by the first configured recommender.
#[utoipa::path(
    get, path = "/api/item/{item_id}/neighbors/{category}", tag = "recommendation",
    params(
        ("item_id" = String, Path), ("category" = String, Path),
        ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query),
        ("user-id" = Option<String>, Query, description = "Leaves out what this user has seen")
    ),
    responses((status = 200, body = Option<Vec<Score>>), (status = 400, body = String), (status = 404, body = String))
)]
async fn item_neighbors_of_category(call: Call) -> Answer {
    similar_items(&call, 0, None, Some(1)).await
}

async fn similar_users(call: &Call, user: usize, name: Option<usize>) -> Answer {
    let query = neighbors_query(call, None)?;
    let name = name.map(|index| call.parameter(index));
    scores(&call.backend().user_neighbors(name, &call.user(user), &query).await?)
}

/// Users like a user, by a configured recommender.
#[utoipa::path(
    get, path = "/api/user-to-user/{name}/{user_id}", tag = "recommendation",
    params(
        ("name" = String, Path), ("user_id" = String, Path),
        ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query)
    ),
    responses((status = 200, body = Vec<Score>), (status = 400, body = String), (status = 404, body = String))
)]
async fn user_to_user(call: Call) -> Answer {
    similar_users(&call, 1, Some(0)).await
}

/// Users like a user, by the first configured recommender.
#[utoipa::path(
    get, path = "/api/user/{user_id}/neighbors", tag = "recommendation",
    params(("user_id" = String, Path), ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query)),
    responses((status = 200, body = Vec<Score>), (status = 400, body = String), (status = 404, body = String))
)]
async fn user_neighbors(call: Call) -> Answer {
    similar_users(&call, 0, None).await
}

async fn session_list(call: &mut Call, path_category: Option<usize>) -> Answer {
    let mut query = list_query(call, path_category)?;
    if path_category.is_none() {
        query.categories = None;
    }
    let feedback = call.decode(decode::session).await?;
    if feedback.is_empty() || query.n == 0 {
        return scores_or_null(&[]);
    }
    scores_or_null(&call.backend().session(feedback, &query).await?)
}

/// A list for somebody of whom only the given feedback is known. Nothing is stored.
#[utoipa::path(
    post, path = "/api/session/recommend", tag = "recommendation", request_body = Vec<ulex_domain::Feedback>,
    params(("n" = Option<usize>, Query), ("offset" = Option<usize>, Query)),
    responses((status = 200, body = Option<Vec<Score>>), (status = 400, body = String), (status = 404, body = String))
)]
async fn session(mut call: Call) -> Answer {
    session_list(&mut call, None).await
}

/// A list of items of a category for somebody of whom only the given feedback is known. Nothing is stored.
#[utoipa::path(
    post, path = "/api/session/recommend/{category}", tag = "recommendation",
    request_body = Vec<ulex_domain::Feedback>,
    params(("category" = String, Path), ("n" = Option<usize>, Query), ("offset" = Option<usize>, Query)),
    responses((status = 200, body = Option<Vec<Score>>), (status = 400, body = String), (status = 404, body = String))
)]
async fn session_of_category(mut call: Call) -> Answer {
    session_list(&mut call, Some(0)).await
}
