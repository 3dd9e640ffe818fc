//! Settings that are changed while the service runs.

use serde_json::json;

use super::*;

const PATH: &str = "/api/dashboard/config";

async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Answer {
    client.send(method, path, Some(body.to_string().into_bytes())).await
}

#[actix_web::test]
async fn each_route_asks_for_its_change_and_shows_what_is_in_force() {
    let client = Client::open().with("content-type", "application/json");
    assert_eq!(client.send("GET", PATH, None).await.json(), json!({"recommend": {"cache_size": 100}}));
    let posted = send(&client, "POST", PATH, &json!({"Recommend": {"cache_size": 5}, "master": 1})).await;
    assert_eq!(posted.json(), json!({"recommend": {"cache_size": 5}}), "only one section counts");
    let patched = send(&client, "PATCH", PATH, &json!({"recommend.cache_size": null})).await.json();
    assert_eq!(patched["patched"], json!({"recommend.cache_size": null}));
    let restored = send(&client, "POST", &format!("{PATH}/rollback/17"), &json!({})).await.json();
    assert_eq!(restored["restored"], json!(17));
    assert_eq!(client.send("DELETE", PATH, None).await.json(), json!({}));
    let history = client.send("GET", &format!("{PATH}/history"), None).await.json();
    assert_eq!(history[0]["Revision"], json!(3));
    assert_eq!(history[0]["Values"]["recommend"], Value::Null);
}

#[actix_web::test]
async fn what_cannot_be_is_refused_by_name() {
    let client = Client::open().with("content-type", "application/json");
    send(&client, "POST", PATH, &json!({"master": {}})).await.refused(400, &["recommend: expected"]);
    send(&client, "POST", PATH, &json!({"recommend": 3})).await.refused(400, &["recommend: expected"]);
    send(&client, "PATCH", PATH, &json!([1])).await.refused(400, &["body: expected a JSON object"]);
    send(&client, "POST", &format!("{PATH}/rollback/first"), &json!({})).await.refused(400, &["revision"]);
}

#[actix_web::test]
async fn strangers_see_and_change_nothing() {
    let settings =
        ApiSettings { dashboard_login: true, admin_api_key: "key".to_owned(), ..ApiSettings::default() };
    let client = Client::new(settings).with("content-type", "application/json");
    for (method, path) in [
        ("GET", ""),
        ("POST", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/history"),
        ("POST", "/rollback/1"),
    ] {
        let body = json!({"recommend": {}});
        send(&client, method, &format!("{PATH}{path}"), &body).await.refused(401, &["unauthorized"]);
    }
    assert_eq!(client.backend.shown_settings(), json!({"recommend": {"cache_size": 100}}));
    let admin = client.with("x-api-key", "key");
    assert_eq!(admin.send("GET", PATH, None).await.status, 200);
}
