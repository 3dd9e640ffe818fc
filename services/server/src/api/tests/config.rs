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

const ROUTES: [(&str, &str); 6] =
    [("GET", ""), ("POST", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/history"), ("POST", "/rollback/1")];

async fn refused_everywhere(client: &Client, status: u16, words: &[&str]) {
    for (method, path) in ROUTES {
        let body = json!({"recommend": {}});
        send(client, method, &format!("{PATH}{path}"), &body).await.refused(status, words);
    }
}

fn from(client: Client, address: [u8; 4]) -> Client {
    Client { peer: Some((address, 1).into()), ..client }
}

#[actix_web::test]
async fn without_keys_settings_answer_only_this_host_and_say_what_to_set() {
    let words = ["master.admin_api_key", "server.api_key"];
    refused_everywhere(&from(Client::open(), [10, 0, 0, 1]), 403, &words).await;
    for (name, value) in [
        ("host", "shop.example:8088"),
        ("host", "10.0.0.1:8088"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "localhost"),
    ] {
        refused_everywhere(&Client::open().with(name, value), 403, &words).await;
    }
    for host in ["127.0.0.1:8088", "localhost", "[::1]:8088"] {
        assert_eq!(Client::open().with("host", host).get(PATH).await.status, 200, "{host}");
    }
    assert_eq!(from(Client::open(), [10, 0, 0, 1]).get("/api/latest").await.status, 200);
}

#[actix_web::test]
async fn settings_ask_for_the_api_key_if_there_is_no_admin_key() {
    let settings = ApiSettings { api_key: "secret".to_owned(), ..ApiSettings::default() };
    refused_everywhere(&Client::new(settings.clone()), 401, &["unauthorized"]).await;
    let client = from(Client::new(settings.clone()).with("x-api-key", "secret"), [10, 0, 0, 1]);
    assert_eq!(client.get(PATH).await.status, 200);
    let both = ApiSettings { admin_api_key: "admin".to_owned(), ..settings };
    refused_everywhere(&Client::new(both.clone()).with("x-api-key", "secret"), 401, &["unauthorized"]).await;
    assert_eq!(Client::new(both).with("x-api-key", "admin").get(PATH).await.status, 200);
}

#[actix_web::test]
async fn pages_of_other_origins_reach_no_settings_unless_their_origin_is_listed() {
    let page = |origin: &str| Client::open().with("origin", origin);
    refused_everywhere(&page("https://evil.example"), 403, &["master.http_cors_domains"]).await;
    let preflight = page("https://evil.example")
        .with("access-control-request-method", "PATCH")
        .with("access-control-request-headers", "content-type")
        .send("OPTIONS", PATH, None)
        .await;
    assert_eq!(preflight.header("access-control-allow-origin"), "");
    assert_eq!(preflight.header("access-control-allow-methods"), "");
    assert_eq!(page("http://localhost:8088").get(PATH).await.status, 200, "the service's own dashboard");
    assert_eq!(Client::open().get(PATH).await.header("access-control-allow-origin"), "");
    let listed =
        ApiSettings { cors_domains: vec!["https://admin.example".to_owned()], ..ApiSettings::default() };
    let client = Client::new(listed).with("origin", "https://admin.example");
    assert_eq!(client.get(PATH).await.header("access-control-allow-origin"), "https://admin.example");
}
