use serde_json::json;

use super::Client;
use crate::settings::{ApiSettings, NotFoundStyle, Quota};

#[actix_web::test]
async fn a_posted_user_comes_back_and_a_second_post_replaces_it() {
    let client = Client::open();
    let user = json!({"UserId": "u", "Labels": {"b": 24.0, "a": ["x"]}, "Comment": "c"});
    Client::rows(&client.post("/api/user", &user).await, 1);
    let found = client.get("/api/user/u").await;
    assert_eq!(found.text, r#"{"UserId":"u","Labels":{"a":["x"],"b":24},"Comment":"c"}"#);
    Client::rows(&client.post("/api/user", json!({"UserId": "u"})).await, 1);
    assert_eq!(client.get("/api/user/u").await.json(), json!({"UserId": "u", "Labels": null, "Comment": ""}));
}

#[actix_web::test]
async fn pages_chain_through_their_cursors_and_the_last_has_none() {
    let client = Client::open();
    let users: Vec<_> = ["b", "a", "ü", "d", "c"].map(|id| json!({ "UserId": id })).to_vec();
    Client::rows(&client.post("/api/users", json!(users)).await, 5);
    let (mut cursor, mut ids, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let page = client.get(&format!("/api/users?n=2&cursor={cursor}")).await.json();
        ids.extend(
            page["Users"].as_array().unwrap().iter().map(|user| user["UserId"].as_str().unwrap().to_owned()),
        );
        cursor = page["Cursor"].as_str().unwrap().to_owned();
        pages += 1;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!((ids, pages), (["a", "b", "c", "d", "ü"].map(str::to_owned).to_vec(), 3));
    let gorse = client.get("/api/users?n=1&cursor=Yw%3D%3D").await.json();
    assert_eq!(gorse["Users"][0]["UserId"], "c");
    let none = client.get("/api/users?n=0").await.json();
    assert_eq!((none["Users"].as_array().unwrap().len(), none["Cursor"] == ""), (0, false));
    client.get("/api/users?cursor=%21%21").await.refused(400, &["cursor"]);
}

#[actix_web::test]
async fn a_patch_changes_what_it_gives_and_nothing_else() {
    let client = Client::open();
    client.post("/api/user", json!({"UserId": "u", "Labels": {"a": "x"}, "Comment": "c"})).await;
    Client::rows(&client.patch("/api/user/u", json!({"Comment": "d", "Labels": null})).await, 1);
    assert_eq!(client.get("/api/user/u").await.json()["Comment"], "d");
    Client::rows(&client.patch("/api/user/u", json!({"labels": {"z": "y"}})).await, 1);
    assert_eq!(
        client.get("/api/user/u").await.json(),
        json!({"UserId": "u", "Labels": {"z": "y"}, "Comment": "d"})
    );
    Client::rows(&client.patch("/api/user/nobody", json!({"Comment": "d"})).await, 1);
    client.get("/api/user/nobody").await.refused(404, &["user nobody not found"]);
}

#[actix_web::test]
async fn a_deleted_user_is_gone_with_its_feedback() {
    let client = Client::open();
    let row = json!([{"FeedbackType": "read", "UserId": "u", "ItemId": "i"}]);
    client.post("/api/feedback", row).await;
    Client::rows(&client.delete("/api/user/u").await, 1);
    client.get("/api/user/u").await.refused(404, &["user u not found"]);
    assert_eq!(client.get("/api/feedback/u/i").await.json(), json!([]));
    Client::rows(&client.delete("/api/user/u").await, 1);
}

#[actix_web::test]
async fn labels_of_forbidden_shape_are_refused_and_nothing_of_the_request_is_stored() {
    let client = Client::open();
    for labels in [json!({"x": true}), json!([1, "mixed"]), json!([["nested"]]), json!([{"a": 1}])] {
        let users = json!([{"UserId": "good"}, {"UserId": "bad", "Labels": labels}]);
        client.post("/api/users", users).await.refused(400, &["[1].Labels"]);
        client.patch("/api/user/good", json!({ "Labels": labels })).await.refused(400, &["Labels"]);
    }
    assert!(client.is_empty().await);
    for labels in [json!(null), json!("a"), json!(1.5), json!([]), json!({"a": {"b": null}})] {
        Client::rows(&client.post("/api/user", json!({"UserId": "u", "Labels": labels})).await, 1);
        assert_eq!(client.get("/api/user/u").await.json()["Labels"], labels);
    }
}

#[actix_web::test]
async fn ids_with_odd_characters_are_addressed_by_their_escaped_form() {
    let client = Client::open();
    for (id, path) in [
        ("ünïcode-用户", "%C3%BCn%C3%AFcode-%E7%94%A8%E6%88%B7"),
        ("with space", "with%20space"),
        ("a:b", "a%3Ab"),
        ("a.b*c>", "a.b%2Ac%3E"),
        ("quote'\"", "quote%27%22"),
        ("percent%41", "percent%2541"),
        ("plus+", "plus+"),
    ] {
        client.post("/api/user", json!({ "UserId": id })).await;
        assert_eq!(client.get(&format!("/api/user/{path}")).await.json()["UserId"], id);
        Client::rows(&client.delete(&format!("/api/user/{path}")).await, 1);
        client.get(&format!("/api/user/{path}")).await.refused(404, &[id]);
    }
}

#[actix_web::test]
async fn the_text_for_unknown_ids_follows_the_configured_style() {
    let tagged = ApiSettings { not_found: NotFoundStyle::Tagged, ..ApiSettings::default() };
    let client = Client::new(tagged);
    assert_eq!(client.get("/api/user/1000").await.text, "1000: user not found");
    assert_eq!(client.get("/api/item/2000").await.text, "2000: item not found");
}

#[actix_web::test]
async fn quotas_refuse_with_429_and_say_how_much_was_too_much() {
    let quota = Quota { max_users_count: 2, max_labels_size: 10, max_comment_size: 3, ..Quota::default() };
    let client = Client::new(ApiSettings { quota, ..ApiSettings::default() });
    let big = json!({"UserId": "u", "Labels": {"key": "value"}});
    assert_eq!(client.post("/api/user", &big).await.text, "labels size exceeds limit (15 > 10 bytes)");
    client.patch("/api/user/u", json!({"Labels": {"key": "value"}})).await.refused(429, &["labels size"]);
    let long = client.post("/api/user", json!({"UserId": "u", "Comment": "üü"})).await;
    long.refused(429, &["comment size exceeds limit (4 > 3 bytes)"]);
    let three = json!([{"UserId": "a"}, {"UserId": "b"}, {"UserId": "c"}]);
    client.post("/api/users", three).await.refused(429, &["users count exceeds limit (3 > 2)"]);
    let rows = json!([
        {"FeedbackType": "t", "UserId": "a", "ItemId": "i"}, {"FeedbackType": "t", "UserId": "b", "ItemId": "i"},
        {"FeedbackType": "t", "UserId": "c", "ItemId": "i"}
    ]);
    client.post("/api/feedback", rows).await.refused(429, &["users count exceeds limit (3 > 2)"]);
    assert!(client.is_empty().await);
    Client::rows(&client.post("/api/users", json!([{"UserId": "a"}, {"UserId": "b"}])).await, 2);
}
