//! `/api/recommend`: the list of one user. The hot path: answered at once whenever the backend can.

use actix_web::http::header::{HeaderName, HeaderValue};
use smol_str::SmolStr;
use ulex_domain::{Command, Feedback, FeedbackMode, ItemId, Timestamp, UserId};

use super::Score;
use crate::backend::{ListQuery, Recommended, ScoredItem};
use crate::decode::is_id;
use crate::encode;
use crate::error::ApiError;
use crate::http::call::{Call, json};
use crate::http::router::{Access, Answer, Reply, Router};
use crate::settings::MAX_LIST;

/// Says why a list is not the best there is: `stale`, `unranked` or `leaderboard`.
const X_ULEX_DEGRADED: HeaderName = HeaderName::from_static("x-ulex-degraded");

pub(super) fn routes(router: &mut Router) {
    router.add_ready(Access::Key, &__path_recommend, |call| answer(call, None));
    router.add_ready(Access::Key, &__path_recommend_of_category, |call| answer(call, Some(1)));
}

/// Feedback to be recorded for what is returned.
struct WriteBack {
    feedback_type: SmolStr,
    timestamp: Timestamp,
}

struct Plan {
    user: UserId,
    query: ListQuery,
    with_scores: bool,
    write_back: Option<WriteBack>,
}

fn plan(call: &Call, path_category: Option<usize>) -> Result<Plan, ApiError> {
    let parameters = call.query();
    let default_n = call.settings().default_n;
    let mut query = parameters.list(default_n, path_category.map(|index| call.parameter(index)))?;
    if query.n == 0 && query.offset == 0 {
        query.n = MAX_LIST;
    }
    Ok(Plan {
        user: call.user(0),
        query,
        with_scores: call.header("x-api-version").is_some_and(|version| version.trim() == "2"),
        write_back: write_back(call)?,
    })
}

fn write_back(call: &Call) -> Result<Option<WriteBack>, ApiError> {
    let parameters = call.query();
    let delay = parameters.duration("write-back-delay")?;
    let Some(feedback_type) = parameters.non_empty("write-back-type")? else { return Ok(None) };
    if !is_id(&feedback_type) {
        return Err(ApiError::invalid("write-back-type", "a string without control characters"));
    }
    let timestamp = Timestamp::now().plus_nanos(delay);
    Ok(Some(WriteBack { feedback_type: SmolStr::new(feedback_type), timestamp }))
}

fn answer(call: Call, path_category: Option<usize>) -> Reply {
    let plan = match plan(&call, path_category) {
        Ok(plan) => plan,
        Err(refusal) => return Reply::Now(Err(refusal)),
    };
    if plan.query.n == 0 {
        return Reply::Now(encoded(&[], plan.with_scores));
    }
    if plan.write_back.is_none()
        && let Some(made) = call.backend().recommend_now(&plan.user, &plan.query, call.effort())
    {
        return Reply::Now(answered(&call, &made, plan.with_scores));
    }
    Reply::Later(Box::pin(answer_later(call, plan)))
}

async fn answer_later(call: Call, plan: Plan) -> Answer {
    let made = call.backend().recommend(&plan.user, &plan.query, call.effort()).await?;
    if let Some(write_back) = plan.write_back
        && !made.list.is_empty()
    {
        record(&call, &plan.user, &made.list, write_back).await?;
    }
    answered(&call, &made, plan.with_scores)
}

/// Says so if it is not the best there is.
fn answered(call: &Call, made: &Recommended, with_scores: bool) -> Answer {
    let mut response = encoded(&made.list, with_scores)?;
    if let Some(how) = call.state.overload().told(made.quality) {
        response.headers_mut().insert(X_ULEX_DEGRADED, HeaderValue::from_static(how));
    }
    Ok(response)
}

/// Never creates users or items: the rows of unknown ones are dropped.
async fn record(
    call: &Call,
    user: &UserId,
    list: &[ScoredItem],
    write_back: WriteBack,
) -> Result<(), ApiError> {
    let WriteBack { feedback_type, timestamp } = write_back;
    let row = |entry: &ScoredItem| Feedback {
        feedback_type: feedback_type.clone(),
        user_id: user.clone(),
        item_id: ItemId::new(&entry.id),
        value: 0.0,
        timestamp,
        updated: timestamp,
        labels: serde_json::Value::Null,
        comment: String::new(),
    };
    let rows = list.iter().map(row).collect();
    let mode = FeedbackMode::Accumulate;
    let event = Command::PutFeedback { rows, mode, insert_users: false, insert_items: false };
    call.write(event, list.len()).await?;
    Ok(())
}

fn encoded(list: &[ScoredItem], with_scores: bool) -> Answer {
    Ok(json(if with_scores { encode::scores(list) } else { encode::ids(list) }))
}

/// The items that suit a user best, never any that it has seen. With the header `X-API-Version: 2` the scores
/// are returned too. With `write-back-type` every returned item is recorded as feedback of that type.
#[utoipa::path(
    get, path = "/api/recommend/{user_id}", tag = "recommendation",
    params(
        ("user_id" = String, Path),
        ("category" = Option<Vec<String>>, Query, description = "Items must have all of them"),
        ("n" = Option<usize>, Query, description = "0 is everything there is"), ("offset" = Option<usize>, Query),
        ("write-back-type" = Option<String>, Query), ("write-back-delay" = Option<String>, Query),
        ("X-API-Version" = Option<String>, Header)
    ),
    responses(
        (status = 200, description = "Ids; objects with id and score for version 2", body = Vec<String>),
        (status = 400, body = String)
    )
)]
#[expect(dead_code, reason = "carries the documentation of `answer`")]
fn recommend() {}

/// The items of a category that suit a user best.
#[utoipa::path(
    get, path = "/api/recommend/{user_id}/{category}", tag = "recommendation",
    params(
        ("user_id" = String, Path), ("category" = String, Path),
        ("n" = Option<usize>, Query, description = "0 is everything there is"), ("offset" = Option<usize>, Query),
        ("write-back-type" = Option<String>, Query), ("write-back-delay" = Option<String>, Query),
        ("X-API-Version" = Option<String>, Header)
    ),
    responses((status = 200, body = Vec<Score>), (status = 400, body = String))
)]
#[expect(dead_code, reason = "carries the documentation of `answer`")]
fn recommend_of_category() {}
