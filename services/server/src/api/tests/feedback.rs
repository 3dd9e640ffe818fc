use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::Client;
use crate::settings::ApiSettings;

fn row(kind: &str, user: &str, item: &str, value: f64, time: &str) -> Value {
    json!({"FeedbackType": kind, "UserId": user, "ItemId": item, "Value": value, "Timestamp": time})
}

fn items_of(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["ItemId"].as_str().unwrap()).collect()
}

#[actix_web::test]
async fn posted_feedback_is_found_every_way() {
    let client = Client::open();
    let rows = json!([
        row("watch", "u", "b", 2.0, "2020-01-02"),
        row("watch", "u", "a", 1.0, "2020-01-01T00:00:00Z"),
        row("like", "u", "a", 1.0, "")
    ]);
    Client::rows(&client.post("/api/feedback", rows).await, 3);
    assert_eq!(items_of(&client.get("/api/user/u/feedback").await.json()), ["a", "a", "b"]);
    assert_eq!(items_of(&client.get("/api/user/u/feedback/watch").await.json()), ["a", "b"]);
    assert_eq!(items_of(&client.get("/api/user/u/feedback/watch%3E%3D2").await.json()), ["b"]);
    assert_eq!(items_of(&client.get("/api/user/u/feedback/watch%3C2").await.json()), ["a"]);
    client.get("/api/user/u/feedback/a-b").await.refused(400, &["invalid expression format"]);
    assert_eq!(items_of(&client.get("/api/item/a/feedback/").await.json()).len(), 2);
    assert_eq!(items_of(&client.get("/api/item/a/feedback/like").await.json()).len(), 1);
    assert_eq!(items_of(&client.get("/api/feedback/u/a").await.json()).len(), 2);
    assert_eq!(client.get("/api/feedback/u/none").await.json(), json!([]));
    assert_eq!(
        client.get("/api/feedback/like/u/a").await.text,
        r#"{"FeedbackType":"like","UserId":"u","ItemId":"a","Value":1,"Timestamp":"0001-01-01T00:00:00Z","Updated":"0001-01-01T00:00:00Z","Labels":null,"Comment":""}"#
    );
    assert_eq!(client.get("/api/feedback/like/u/b").await.json(), json!({}));
    assert_eq!(client.get("/api/user/u").await.json()["UserId"], "u");
    assert_eq!(client.get("/api/item/a").await.json()["Categories"], Value::Null);
}

#[actix_web::test]
async fn post_adds_and_put_replaces() {
    let client = Client::open();
    client.post("/api/feedback", json!([row("watch", "u", "i", 2.0, "2021-03-09T07:00:00Z")])).await;
    client.post("/api/feedback", json!([row("watch", "u", "i", 3.0, "2021-03-08T07:00:00Z")])).await;
    let found = client.get("/api/feedback/watch/u/i").await.json();
    assert_eq!(found["Value"], json!(5));
    assert_eq!(
        (&found["Timestamp"], &found["Updated"]),
        (&json!("2021-03-08T07:00:00Z"), &json!("2021-03-09T07:00:00Z"))
    );
    Client::rows(&client.put("/api/feedback", json!([row("watch", "u", "i", 1.0, "2021-03-10")])).await, 1);
    let found = client.get("/api/feedback/watch/u/i").await.json();
    assert_eq!((&found["Value"], &found["Updated"]), (&json!(1), &json!("2021-03-10T00:00:00Z")));
    let twice = json!([row("watch", "u", "j", 1.0, ""), row("watch", "u", "j", 10.0, "")]);
    Client::rows(&client.post("/api/feedback", twice).await, 2);
    assert_eq!(client.get("/api/feedback/watch/u/j").await.json()["Value"], json!(1));
}

#[actix_web::test]
async fn deletions_report_how_many_rows_went() {
    let client = Client::open();
    let rows = json!([row("a", "u", "i", 1.0, ""), row("b", "u", "i", 1.0, ""), row("a", "u", "j", 1.0, "")]);
    client.post("/api/feedback", rows).await;
    Client::rows(&client.delete("/api/feedback/u/i").await, 2);
    Client::rows(&client.delete("/api/feedback/a/u/j").await, 1);
    Client::rows(&client.delete("/api/feedback/a/u/j").await, 0);
}

#[actix_web::test]
async fn pages_of_feedback_chain_in_the_order_of_keys() {
    let client = Client::open();
    let rows = json!([row("b", "u", "1", 1.0, ""), row("a", "v", "2", 1.0, ""), row("a", "u", "3", 1.0, "")]);
    client.post("/api/feedback", rows).await;
    let first = client.get("/api/feedback?n=2").await.json();
    assert_eq!(items_of(&first["Feedback"]), ["3", "2"]);
    let cursor = first["Cursor"].as_str().unwrap();
    let second = client.get(&format!("/api/feedback?n=2&cursor={cursor}")).await.json();
    assert_eq!((items_of(&second["Feedback"]), &second["Cursor"]), (vec!["1"], &json!("")));
    let typed = client.get("/api/feedback/a?n=5").await.json();
    assert_eq!(items_of(&typed["Feedback"]), ["3", "2"]);
    assert_eq!(client.get("/api/feedback/none").await.json(), json!({"Cursor": "", "Feedback": []}));
    client.get("/api/feedback?cursor=dTM%3D").await.refused(400, &["cursor"]);
}

#[actix_web::test]
async fn feedback_of_the_future_is_only_seen_when_asked_for_by_its_key() {
    let client = Client::open();
    client.post("/api/feedback", json!([row("watch", "u", "i", 1.0, "2099-01-01")])).await;
    for path in ["/api/user/u/feedback", "/api/item/i/feedback", "/api/user/u/feedback/watch"] {
        assert_eq!(client.get(path).await.json(), json!([]), "{path}");
    }
    assert_eq!(client.get("/api/feedback").await.json()["Feedback"], json!([]));
    assert_eq!(items_of(&client.get("/api/feedback/u/i").await.json()), ["i"]);
    assert_eq!(client.get("/api/feedback/watch/u/i").await.json()["ItemId"], "i");
}

#[actix_web::test]
async fn rows_of_unknown_ids_are_dropped_but_counted_without_auto_insert() {
    let closed = ApiSettings { auto_insert_user: false, auto_insert_item: false, ..ApiSettings::default() };
    let client = Client::new(closed);
    Client::rows(&client.post("/api/feedback", json!([row("a", "u", "i", 1.0, "")])).await, 1);
    assert!(client.is_empty().await);
}

#[actix_web::test]
async fn one_bad_row_keeps_all_others_out() {
    let client = Client::open();
    for bad in [
        row("", "u", "i", 1.0, ""),
        row("a", "", "i", 1.0, ""),
        row("a", "u", "\u{0}", 1.0, ""),
        row("a", "u", "i", 1.0, "nonsense"),
        json!({"FeedbackType": "a", "UserId": "u", "ItemId": "i", "Labels": [true]}),
        json!({"FeedbackType": "a", "UserId": "u", "ItemId": "i", "Value": "1"}),
    ] {
        let rows = json!([row("a", "u", "good", 1.0, ""), bad]);
        client.post("/api/feedback", &rows).await.refused(400, &["[1]."]);
        client.put("/api/feedback", &rows).await.refused(400, &["[1]."]);
    }
    client.post("/api/feedback", json!({"FeedbackType": "a"})).await.refused(400, &["expected an array"]);
    assert!(client.is_empty().await);
    Client::rows(&client.post("/api/feedback", "[]").await, 0);
    Client::rows(&client.post("/api/feedback", "null").await, 0);
}

#[actix_web::test]
async fn a_repeated_request_with_an_idempotency_key_changes_nothing() {
    let client = Client::open().with("idempotency-key", "k1");
    for _retry in 0..3 {
        Client::rows(&client.post("/api/feedback", json!([row("a", "u", "i", 2.0, "")])).await, 1);
    }
    assert_eq!(client.get("/api/feedback/a/u/i").await.json()["Value"], json!(2));
    let bad = Client::open().with("idempotency-key", "ü");
    bad.post("/api/feedback", json!([row("a", "u", "i", 2.0, "")])).await.refused(400, &["Idempotency-Key"]);
}

#[actix_web::test]
async fn rows_with_event_ids_count_once_each_however_they_are_batched() {
    let client = Client::open();
    let with = |item: &str, id: &str| json!({"FeedbackType": "a", "UserId": "u", "ItemId": item, "Value": 1, "EventId": id});
    let first = json!([with("i", "e1"), with("j", "e1"), with("i", "e2")]);
    Client::rows(&client.post("/api/feedback", &first).await, 3);
    assert_eq!(client.backend.submitted.load(Ordering::Relaxed), 2);
    client.post("/api/feedback", json!([with("i", "e2"), with("i", "e3")])).await;
    assert_eq!(client.get("/api/feedback/a/u/i").await.json()["Value"], json!(3));
    assert_eq!(client.get("/api/feedback/a/u/j").await.json()["Value"], json!(1));
    let both = Client::open().with("idempotency-key", "k");
    both.post("/api/feedback", &first).await.refused(400, &["EventId", "Idempotency-Key"]);
    assert!(both.is_empty().await);
}

#[actix_web::test]
async fn a_gateway_that_is_away_is_503_with_a_hint_when_to_retry() {
    let client = Client::open();
    client.backend.away.store(true, Ordering::Relaxed);
    let answer = client.post("/api/feedback", json!([row("a", "u", "i", 1.0, "")])).await;
    answer.refused(503, &["away"]);
    assert_eq!(answer.header("retry-after"), "1");
    client.backend.away.store(false, Ordering::Relaxed);
    assert!(client.is_empty().await);
}
