//! `/api/item` and `/api/items`.

use ulex_domain::cursor::encode_id;
use ulex_domain::{Command, Item, ItemId, ItemPatch};

use super::users::not_found;
use super::{Success, cursor, quota};
use crate::error::ApiError;
use crate::http::call::{Call, affected, json};
use crate::http::router::{Access, Answer, Router};
use crate::{decode, encode};

pub(super) fn routes(router: &mut Router) {
    router.add(Access::Key, &__path_post_item, post_item);
    router.add(Access::Key, &__path_patch_item, patch_item);
    router.add(Access::Key, &__path_get_item, get_item);
    router.add(Access::Key, &__path_delete_item, delete_item);
    router.add(Access::Key, &__path_post_items, post_items);
    router.add(Access::Key, &__path_get_items, get_items);
    router.add(Access::Key, &__path_put_category, put_category);
    router.add(Access::Key, &__path_delete_category, delete_category);
}

async fn put(call: &Call, items: Vec<Item>) -> Answer {
    let rows = items.len();
    if rows == 0 {
        return Ok(affected(0));
    }
    quota::check_items(call, &items).await?;
    call.submit(Command::PutItems { items }, rows).await
}

/// Inserts an item, or replaces all its fields. The timestamp may have any common form.
#[utoipa::path(
    post, path = "/api/item", tag = "items", request_body = Item,
    responses((status = 200, body = Success), (status = 400, body = String), (status = 429, body = String))
)]
async fn post_item(mut call: Call) -> Answer {
    let item = call.decode(decode::item).await?;
    put(&call, vec![item]).await
}

/// Inserts or replaces items, all or none of them. Of duplicates the first counts.
#[utoipa::path(
    post, path = "/api/items", tag = "items", request_body = Vec<Item>,
    responses((status = 200, body = Success), (status = 400, body = String), (status = 429, body = String))
)]
async fn post_items(mut call: Call) -> Answer {
    let items = call.decode(decode::items).await?;
    put(&call, items).await
}

/// Changes the given fields of an item; an unknown item is left alone. The timestamp is RFC 3339.
#[utoipa::path(
    patch, path = "/api/item/{item_id}", tag = "items", request_body = ItemPatch,
    params(("item_id" = String, Path)),
    responses((status = 200, body = Success), (status = 400, body = String), (status = 429, body = String))
)]
async fn patch_item(mut call: Call) -> Answer {
    let patch = call.decode(decode::item_patch).await?;
    let limits = call.settings().quota;
    quota::check_sizes(&limits, patch.labels.as_ref(), patch.comment.as_deref())?;
    quota::check_categories(&limits, patch.categories.as_deref())?;
    let item_id = call.item(0);
    call.submit(Command::PatchItem { item_id, patch }, 1).await
}

async fn find(call: &Call, id: &ItemId) -> Result<Item, ApiError> {
    let found = encode::stored(call.backend().data().item(id).await)?;
    found.ok_or_else(|| not_found(call.settings().not_found, "item", id.as_str()))
}

/// Returns an item, hidden or not.
#[utoipa::path(
    get, path = "/api/item/{item_id}", tag = "items", params(("item_id" = String, Path)),
    responses((status = 200, body = Item), (status = 404, body = String))
)]
async fn get_item(call: Call) -> Answer {
    let item = find(&call, &call.item(0)).await?;
    Ok(json(encode::value(&item)?))
}

/// Lists items by ascending bytes of their ids, or with `q` those whose text holds any of its words, best first.
#[utoipa::path(
    get, path = "/api/items", tag = "items",
    params(
        ("n" = Option<usize>, Query, description = "Length of the page, at most 10000"),
        ("cursor" = Option<String>, Query, description = "Of the page before; empty starts"),
        ("q" = Option<String>, Query, description = "Words to look for; there is no second page")
    ),
    responses((status = 200, description = "`{\"Cursor\", \"Items\"}`; the last page has an empty cursor"),
        (status = 400, body = String))
)]
async fn get_items(call: Call) -> Answer {
    let query = call.query();
    let n = query.n(call.settings().default_n)?;
    if let Some(words) = query.non_empty("q")? {
        return search(&call, &words, n).await;
    }
    let from = cursor::id(query)?.map(ItemId::new);
    let mut items = encode::stored(call.backend().data().list_items(from.as_ref(), n + 1).await)?;
    let next = cursor::cut(&mut items, n, |item| encode_id(item.item_id.as_str()));
    Ok(json(encode::page("Items", &items, &next)?))
}

async fn search(call: &Call, words: &str, n: usize) -> Answer {
    if !call.settings().search {
        let text = "item search is not supported because [recommend.search].columns is empty";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    let found =
        if n == 0 { Vec::new() } else { encode::stored(call.backend().data().search_items(words, n).await)? };
    let items: Vec<Item> = found.into_iter().map(|(item, _score)| item).collect();
    Ok(json(encode::page("Items", &items, "")?))
}

/// Removes an item and all its feedback.
#[utoipa::path(
    delete, path = "/api/item/{item_id}", tag = "items", params(("item_id" = String, Path)),
    responses((status = 200, body = Success))
)]
async fn delete_item(call: Call) -> Answer {
    let item_id = call.item(0);
    call.submit(Command::DeleteItem { item_id }, 1).await
}

async fn set_category(call: &Call, present: bool) -> Answer {
    let (item_id, category) = (call.item(0), call.parameter(1).to_owned());
    let item = find(call, &item_id).await?;
    if present && !item.categories.iter().flatten().any(|known| *known == category) {
        let mut categories = item.categories.unwrap_or_default();
        categories.push(category.clone());
        quota::check_categories(&call.settings().quota, Some(&categories))?;
    }
    call.submit(Command::SetCategory { item_id, category, present }, 1).await
}

/// Adds a category to an item unless it has it.
#[utoipa::path(
    put, path = "/api/item/{item_id}/category/{category}", tag = "items",
    params(("item_id" = String, Path), ("category" = String, Path)),
    responses((status = 200, body = Success), (status = 404, body = String))
)]
async fn put_category(call: Call) -> Answer {
    set_category(&call, true).await
}

/// Removes a category from an item if it has it.
#[utoipa::path(
    delete, path = "/api/item/{item_id}/category/{category}", tag = "items",
    params(("item_id" = String, Path), ("category" = String, Path)),
    responses((status = 200, body = Success), (status = 404, body = String))
)]
async fn delete_category(call: Call) -> Answer {
    set_category(&call, false).await
}
