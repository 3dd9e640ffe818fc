use serde_json::{Value, json};

use super::Client;
use crate::backend::Backend as _;
use crate::settings::{ApiSettings, Quota};

#[actix_web::test]
async fn items_come_back_with_their_times_in_one_form() {
    let client = Client::open();
    let item = json!({
        "ItemId": "i", "IsHidden": true, "Categories": ["c1", "c2"], "Timestamp": "2021-03-09 07:05:04",
        "Labels": {"tags": ["a"], "price": 12.50}, "Comment": "first"
    });
    Client::rows(&client.post("/api/item", &item).await, 1);
    assert_eq!(
        client.get("/api/item/i").await.text,
        r#"{"ItemId":"i","IsHidden":true,"Categories":["c1","c2"],"Timestamp":"2021-03-09T07:05:04Z","Labels":{"price":12.5,"tags":["a"]},"Comment":"first"}"#
    );
    Client::rows(
        &client.post("/api/items", json!([{"ItemId": "i", "Timestamp": ""}, {"ItemId": "j"}])).await,
        2,
    );
    assert_eq!(
        client.get("/api/item/i").await.json(),
        json!({"ItemId": "i", "IsHidden": false, "Categories": null, "Timestamp": "0001-01-01T00:00:00Z",
            "Labels": null, "Comment": ""})
    );
}

#[actix_web::test]
async fn each_field_is_patched_alone() {
    let client = Client::open();
    client.post("/api/item", json!({"ItemId": "i", "Categories": ["c"], "Comment": "x"})).await;
    let mut expected = client.get("/api/item/i").await.json();
    for (field, value) in [
        ("IsHidden", json!(true)),
        ("Categories", json!(["d"])),
        ("Timestamp", json!("2020-01-02T03:04:05Z")),
        ("Labels", json!({"k": "v"})),
        ("Comment", json!("y")),
        ("Categories", json!([])),
    ] {
        Client::rows(&client.patch("/api/item/i", json!({ field: value })).await, 1);
        expected[field] = value;
        assert_eq!(client.get("/api/item/i").await.json(), expected);
    }
    Client::rows(&client.patch("/api/item/i", json!({"Categories": null, "IsHidden": null})).await, 1);
    assert_eq!(client.get("/api/item/i").await.json(), expected);
    client
        .patch("/api/item/i", json!({"Timestamp": "2020-01-02"}))
        .await
        .refused(400, &["Timestamp", "RFC 3339"]);
}

#[actix_web::test]
async fn an_array_with_one_bad_row_stores_none() {
    let client = Client::open();
    for bad in [
        json!({"ItemId": "b", "Timestamp": "not a date"}),
        json!({"ItemId": ""}),
        json!({"ItemId": "b\u{7f}"}),
        json!({"ItemId": "b", "IsHidden": "yes"}),
        json!({"ItemId": "b", "Categories": "c"}),
        json!(null),
        json!(5),
    ] {
        let answer = client.post("/api/items", json!([{"ItemId": "a"}, bad])).await;
        answer.refused(400, &["[1]", "expected"]);
    }
    assert!(client.is_empty().await);
}

#[actix_web::test]
async fn categories_are_added_once_and_removed_also_without_a_body() {
    let client = Client::open();
    client.post("/api/item", json!({"ItemId": "i"})).await;
    for _twice in 0..2 {
        Client::rows(&client.send("PUT", "/api/item/i/category/c%20d", None).await, 1);
        assert_eq!(client.get("/api/item/i").await.json()["Categories"], json!(["c d"]));
    }
    Client::rows(&client.delete("/api/item/i/category/never").await, 1);
    Client::rows(&client.delete("/api/item/i/category/c%20d").await, 1);
    assert_eq!(client.get("/api/item/i").await.json()["Categories"], json!([]));
    client.send("PUT", "/api/item/none/category/c", None).await.refused(404, &["item none not found"]);
    client.delete("/api/item/none/category/c").await.refused(404, &["item none not found"]);
}

#[actix_web::test]
async fn search_is_refused_without_columns_and_finds_the_best_first_with_them() {
    let client = Client::open();
    client.get("/api/items?q=toy").await.refused(400, &["[recommend.search].columns is empty"]);
    let client = Client::new(ApiSettings { search: true, ..ApiSettings::default() });
    client.backend.data().set_search_columns(&["item.Comment".to_owned()]).await.unwrap();
    let items = json!([
        {"ItemId": "1", "Comment": "toy story"}, {"ItemId": "2", "Comment": "a story of war"},
        {"ItemId": "3", "Comment": "other"}
    ]);
    client.post("/api/items", items).await;
    let ids = |page: &Value| -> Vec<String> {
        page["Items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["ItemId"].as_str().unwrap().to_owned())
            .collect()
    };
    let found = client.get("/api/items?q=toy+story").await.json();
    assert_eq!((ids(&found), &found["Cursor"]), (vec!["1".to_owned(), "2".to_owned()], &json!("")));
    assert_eq!(ids(&client.get("/api/items?q=toy+story&n=1").await.json()), ["1"]);
    assert_eq!(client.get("/api/items?q=toy&n=0").await.json(), json!({"Cursor": "", "Items": []}));
    assert_eq!(ids(&client.get("/api/items?q=").await.json()).len(), 3);
}

#[actix_web::test]
async fn an_id_with_a_slash_can_be_stored_and_is_only_found_in_lists() {
    let client = Client::open();
    Client::rows(&client.post("/api/item", json!({"ItemId": "i/slash"})).await, 1);
    client.get("/api/item/i%2Fslash").await.refused(404, &["404: Page Not Found"]);
    assert_eq!(client.get("/api/items").await.json()["Items"][0]["ItemId"], "i/slash");
}

#[actix_web::test]
async fn a_deleted_item_is_gone_with_its_feedback() {
    let client = Client::open();
    client.post("/api/feedback", json!([{"FeedbackType": "read", "UserId": "u", "ItemId": "i"}])).await;
    Client::rows(&client.delete("/api/item/i").await, 1);
    client.get("/api/item/i").await.refused(404, &["item i not found"]);
    assert_eq!(client.get("/api/user/u/feedback").await.json(), json!([]));
}

#[actix_web::test]
async fn quotas_bound_categories_and_items() {
    let quota =
        Quota { max_items_count: 1, max_categories_count: 1, max_categories_size: 2, ..Quota::default() };
    let client = Client::new(ApiSettings { quota, ..ApiSettings::default() });
    let two = json!({"ItemId": "i", "Categories": ["a", "b"]});
    assert_eq!(client.post("/api/item", &two).await.text, "item categories count exceeds limit (2 > 1)");
    let long = client.post("/api/item", json!({"ItemId": "i", "Categories": ["abc"]})).await;
    long.refused(429, &["category size exceeds limit (3 > 2 bytes)"]);
    let items = client.post("/api/items", json!([{"ItemId": "a"}, {"ItemId": "b"}])).await;
    items.refused(429, &["items count exceeds limit (2 > 1)"]);
    assert!(client.is_empty().await);
    Client::rows(&client.post("/api/item", json!({"ItemId": "i", "Categories": ["a"]})).await, 1);
    client.send("PUT", "/api/item/i/category/b", None).await.refused(429, &["categories count"]);
    Client::rows(&client.send("PUT", "/api/item/i/category/a", None).await, 1);
    client.patch("/api/item/i", json!({"Categories": ["a", "b"]})).await.refused(429, &["categories count"]);
}
