use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::Client;

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["Id"].as_str().unwrap()).collect()
}

async fn shop() -> Client {
    let client = Client::open();
    let items = json!([
        {"ItemId": "1", "Timestamp": "2020-01-01", "Categories": ["a"]},
        {"ItemId": "2", "Timestamp": "2020-01-02", "Categories": ["a", "b"]},
        {"ItemId": "3", "Timestamp": "2020-01-03", "Categories": ["b"]},
        {"ItemId": "4", "Timestamp": "2020-01-04", "IsHidden": true}
    ]);
    client.post("/api/items", items).await;
    client.post("/api/user", json!({"UserId": "u"})).await;
    client
}

#[actix_web::test]
async fn latest_goes_from_new_to_old_and_filters() {
    let client = shop().await;
    let all = client.get("/api/latest").await;
    assert_eq!(
        all.text,
        r#"[{"Id":"3","Score":1578009600},{"Id":"2","Score":1577923200},{"Id":"1","Score":1577836800}]"#
    );
    for (path, expected) in [
        ("/api/latest?n=2&offset=1", vec!["2", "1"]),
        ("/api/latest/a", vec!["2", "1"]),
        ("/api/latest/a/", vec!["2", "1"]),
        ("/api/latest?category=a&category=b", vec!["2"]),
        ("/api/latest?category=", vec!["3", "2", "1"]),
        ("/api/latest?offset=10000", vec![]),
        ("/api/latest?offset=9223372036854775807", vec![]),
        ("/api/latest?n=0", vec![]),
    ] {
        assert_eq!(ids(&client.get(path).await.json()), expected, "{path}");
    }
    client.post("/api/feedback", json!([{"FeedbackType": "x", "UserId": "r", "ItemId": "3"}])).await;
    assert_eq!(ids(&client.get("/api/latest?user-id=r").await.json()), ["2", "1"]);
}

#[actix_web::test]
async fn counts_below_zero_and_words_are_refused_by_name() {
    let client = shop().await;
    for path in
        ["/api/latest", "/api/recommend/u", "/api/users", "/api/item/1/neighbors", "/api/non-personalized/p"]
    {
        client.get(&format!("{path}?n=-1")).await.refused(400, &["n: expected"]);
        client.get(&format!("{path}?n=x")).await.refused(400, &["n: expected", "\"x\""]);
    }
    client.get("/api/latest?offset=-1").await.refused(400, &["offset: expected"]);
    client.post("/api/session/recommend?n=-1", "[]").await.refused(400, &["n: expected"]);
}

#[actix_web::test]
async fn leaderboards_are_empty_when_unknown() {
    let client = shop().await;
    client.backend.set_list("board/popular", &["2", "4", "1"]);
    assert_eq!(ids(&client.get("/api/non-personalized/popular").await.json()), ["2", "1"]);
    assert_eq!(ids(&client.get("/api/non-personalized/popular?n=0").await.json()), Vec::<&str>::new());
    assert_eq!(client.get("/api/non-personalized/none").await.json(), json!([]));
}

#[actix_web::test]
async fn collaborative_filtering_is_404_when_disabled() {
    let client = shop().await;
    client.backend.set_list("user/u", &["1", "2"]);
    assert_eq!(ids(&client.get("/api/collaborative-filtering/u").await.json()), ["1", "2"]);
    assert_eq!(ids(&client.get("/api/collaborative-filtering/u/b").await.json()), ["2"]);
    client.backend.disabled.store(true, Ordering::Relaxed);
    let answer = client.get("/api/collaborative-filtering/u").await;
    answer.refused(404, &["collaborative filtering recommendation is disabled"]);
}

#[actix_web::test]
async fn neighbours_are_null_for_items_and_empty_for_users_when_there_are_none() {
    let client = shop().await;
    client.backend.set_list("like/1", &["2", "3"]);
    for path in ["/api/item/1/neighbors", "/api/item/1/neighbors/", "/api/item-to-item/neighbors/1"] {
        assert_eq!(ids(&client.get(path).await.json()), ["2", "3"], "{path}");
    }
    assert_eq!(ids(&client.get("/api/item/1/neighbors?n=0").await.json()), ["2", "3"]);
    assert_eq!(ids(&client.get("/api/item/1/neighbors/a").await.json()), ["2"]);
    assert_eq!(client.get("/api/item-to-item/neighbors/none").await.json(), Value::Null);
    assert_eq!(client.get("/api/user/none/neighbors").await.json(), json!([]));
    assert_eq!(client.get("/api/user-to-user/neighbors/none").await.json(), json!([]));
    client.get("/api/item-to-item/none/1").await.refused(404, &["item-to-item recommender none not found"]);
    client.get("/api/user-to-user/none/1").await.refused(404, &["user-to-user recommender none not found"]);
}

#[actix_web::test]
async fn recommend_has_ids_or_scores_by_version() {
    let client = shop().await;
    client.backend.set_list("user/u", &["1", "2", "3"]);
    for cached in [false, true] {
        client.backend.cached.store(cached, Ordering::Relaxed);
        assert_eq!(client.get("/api/recommend/u?n=2").await.text, r#"["1","2"]"#);
        assert_eq!(client.get("/api/recommend/u/?n=2&offset=1").await.text, r#"["2","3"]"#);
        assert_eq!(client.get("/api/recommend/nobody").await.text, "[]");
        assert_eq!(client.get("/api/recommend/u?n=0").await.text, r#"["1","2","3"]"#);
        assert_eq!(client.get("/api/recommend/u?n=0&offset=1").await.text, "[]");
    }
    client.backend.cached.store(false, Ordering::Relaxed);
    assert_eq!(client.get("/api/recommend/u/b").await.text, r#"["2","3"]"#);
    assert_eq!(client.get("/api/recommend/u?category=a&category=b").await.text, r#"["2"]"#);
    for (version, scored) in [("2", true), (" 2 ", true), ("1", false), ("3", false), ("", false)] {
        let list = shop().await.with("x-api-version", version);
        list.backend.set_list("user/u", &["1"]);
        let expected = if scored { r#"[{"Id":"1","Score":49.5}]"# } else { r#"["1"]"# };
        assert_eq!(list.get("/api/recommend/u").await.text, expected, "{version:?}");
    }
}

#[actix_web::test]
async fn write_back_records_what_was_returned_at_its_time() {
    let client = Client::open();
    let names = ["1", "2", "3", "4", "5", "6", "7", "8"];
    client.post("/api/items", json!(names.map(|id| json!({ "ItemId": id })).to_vec())).await;
    let read = |item: &str| json!({"FeedbackType": "read", "UserId": "u", "ItemId": item});
    client.post("/api/feedback", json!([read("2"), read("4")])).await;
    client.backend.set_list("user/u", &names);
    for (query, expected) in [
        ("n=3", json!(["1", "3", "5"])),
        ("n=3&offset=3", json!(["6", "7", "8"])),
        ("offset=10000", json!([])),
        ("n=3&write-back-type=read", json!(["1", "3", "5"])),
        ("n=3&write-back-type=read&write-back-delay=10m", json!(["6", "7", "8"])),
        ("n=3", json!(["6", "7", "8"])),
        ("n=3&write-back-type=", json!(["6", "7", "8"])),
    ] {
        assert_eq!(client.get(&format!("/api/recommend/u?{query}")).await.json(), expected, "{query}");
    }
    assert_eq!(client.get("/api/user/u/feedback/read").await.json().as_array().unwrap().len(), 5);
    client
        .get("/api/recommend/u?write-back-type=read&write-back-delay=nonsense")
        .await
        .refused(400, &["write-back-delay"]);
    client.get("/api/recommend/u?write-back-type=a%0A").await.refused(400, &["write-back-type"]);
}

#[actix_web::test]
async fn write_back_creates_nobody() {
    let client = Client::open();
    client.backend.set_list("user/nobody", &["1"]);
    assert_eq!(client.get("/api/recommend/nobody?write-back-type=read").await.text, r#"["1"]"#);
    assert!(client.is_empty().await);
}

#[actix_web::test]
async fn sessions_store_nothing_and_are_null_when_empty() {
    let client = shop().await;
    client.backend.set_list("like/1", &["2", "3"]);
    let rows = json!([{"FeedbackType": "rating", "ItemId": "1", "Value": 5, "Timestamp": "2020-01-01"}]);
    assert_eq!(ids(&client.post("/api/session/recommend", &rows).await.json()), ["2", "3"]);
    assert_eq!(ids(&client.post("/api/session/recommend/a", &rows).await.json()), ["2"]);
    assert_eq!(ids(&client.post("/api/session/recommend?category=a", &rows).await.json()), ["2", "3"]);
    assert_eq!(client.post("/api/session/recommend?n=0", &rows).await.json(), Value::Null);
    assert_eq!(client.post("/api/session/recommend?offset=5", &rows).await.json(), Value::Null);
    assert_eq!(client.post("/api/session/recommend", "[]").await.json(), Value::Null);
    assert_eq!(client.get("/api/feedback").await.json()["Feedback"], json!([]));
    let bad = json!([{"FeedbackType": "rating", "ItemId": "1", "Timestamp": "x"}]);
    client.post("/api/session/recommend", bad).await.refused(400, &["[0].Timestamp"]);
}
