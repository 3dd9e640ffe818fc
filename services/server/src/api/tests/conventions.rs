use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};

use super::Client;
use crate::settings::{ApiSettings, Limits};

#[actix_web::test]
async fn unknown_paths_are_404_and_unknown_methods_405_with_the_known_ones() {
    let client = Client::open();
    for path in ["/api", "/api/", "/api/nothing", "/api/user/a/b/c", "/api/popular", "/nothing", "/", "/apix"]
    {
        client.get(path).await.refused(404, &["404: Page Not Found"]);
    }
    for (method, path, allow) in [
        ("GET", "/api/user/", "POST"),
        ("DELETE", "/api/users", "POST, GET"),
        ("HEAD", "/api/users", "POST, GET"),
        ("OPTIONS", "/api/user/1", "PATCH, GET, DELETE"),
        ("POST", "/api/latest", "GET"),
        ("TRACE", "/api/latest", "GET"),
    ] {
        let answer = client.send(method, path, None).await;
        assert_eq!((answer.status, answer.header("allow")), (405, allow), "{method} {path}");
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[actix_web::test]
async fn unclean_paths_are_redirected_with_their_query() {
    let client = Client::open();
    let answer = client.get("/api/recommend/new-user//?n=3&x='").await;
    assert_eq!(answer.status, 307);
    assert_eq!(answer.header("location"), "/api/recommend/new-user/?n=3&x='");
    assert_eq!(
        answer.text,
        "<a href=\"/api/recommend/new-user/?n=3&amp;x=&#39;\">Temporary Redirect</a>.\n\n"
    );
    assert_eq!(client.get("/api/./latest").await.header("location"), "/api/latest");
    assert_eq!(client.get("//api/latest").await.header("location"), "/api/latest");
    client.get("/api/user/%ff").await.refused(400, &["path: expected"]);
}

#[actix_web::test]
async fn every_answer_has_an_id_and_lets_browsers_read_it() {
    let client = Client::open();
    let (one, other) = (client.get("/api/health/live").await, client.get("/api/user/none").await);
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
    assert_eq!(
        (one.header("access-control-allow-origin"), other.header("access-control-allow-origin")),
        ("*", "*")
    );
    let browser = Client::open().with("origin", "https://shop.example");
    let answer = browser.get("/api/latest").await;
    let origins: Vec<_> = answer.headers.get_all("access-control-allow-origin").collect();
    assert_eq!(origins, ["https://shop.example"]);
}

#[actix_web::test]
async fn only_listed_origins_may_read() {
    let settings =
        || ApiSettings { cors_domains: vec!["https://a.example".to_owned()], ..ApiSettings::default() };
    let friend = Client::new(settings()).with("origin", "https://A.example");
    assert_eq!(friend.get("/api/latest").await.header("access-control-allow-origin"), "https://A.example");
    let stranger = Client::new(settings()).with("origin", "https://b.example");
    assert_eq!(stranger.get("/api/latest").await.header("access-control-allow-origin"), "");
    let asking = stranger.with("access-control-request-method", "GET");
    assert_eq!(asking.send("OPTIONS", "/api/latest", None).await.status, 405);
}

#[actix_web::test]
async fn preflight_answers_which_methods_and_headers_may_be_sent() {
    let ask = |method: &str, headers: &str| {
        Client::open()
            .with("origin", "https://a.example")
            .with("access-control-request-method", method)
            .with("access-control-request-headers", headers)
    };
    let answer = ask("PUT", "Content-Type, X-API-KEY").send("OPTIONS", "/api/feedback", None).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    assert_eq!(answer.header("access-control-allow-methods"), "GET,POST,PUT,DELETE,PATCH");
    assert_eq!(answer.header("access-control-allow-headers"), "Content-Type, X-API-KEY");
    assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
    for (method, headers) in [("TRACE", "Accept"), ("PUT", "X-Other")] {
        let answer = ask(method, headers).send("OPTIONS", "/api/feedback", None).await;
        assert_eq!((answer.status, answer.header("access-control-allow-methods")), (200, ""));
    }
    let by_route = Client::new(ApiSettings { cors_methods: Vec::new(), ..ApiSettings::default() })
        .with("origin", "https://a.example")
        .with("access-control-request-method", "PUT");
    let answer = by_route.send("OPTIONS", "/api/feedback", None).await;
    assert_eq!(answer.header("access-control-allow-methods"), "POST,PUT,GET");
}

#[actix_web::test]
async fn media_types_are_checked_where_they_matter() {
    let user = json!({"UserId": "u"});
    let refused = Client::open().with("content-type", "text/plain");
    refused.post("/api/user", &user).await.refused(415, &["415: Unsupported Media Type"]);
    assert!(refused.is_empty().await);
    let charset = Client::open().with("content-type", "application/json; charset=utf-8");
    Client::rows(&charset.post("/api/user", &user).await, 1);
    let html = Client::open().with("accept", "text/html");
    html.get("/api/users").await.refused(406, &["406: Not Acceptable", "application/json"]);
    for accept in ["*/*", "text/html, application/json;q=0.1", "text/html;q=1,*/*;q=0.8", "application/*", ""]
    {
        assert_eq!(Client::open().with("accept", accept).get("/api/users").await.status, 200, "{accept:?}");
    }
    let client = Client::open();
    client.send("POST", "/api/user", None).await.refused(400, &["EOF"]);
    let with_body = client.send("GET", "/api/users", Some(b"null".to_vec())).await;
    assert_eq!(with_body.status, 200);
    assert_eq!(client.send("DELETE", "/api/user/u", Some(b"null".to_vec())).await.status, 200);
}

fn locked() -> ApiSettings {
    ApiSettings {
        api_key: "key".to_owned(),
        admin_api_key: "admin".to_owned(),
        dashboard_login: true,
        ..ApiSettings::default()
    }
}

#[actix_web::test]
async fn a_configured_key_is_needed_everywhere_but_for_health() {
    for given in [None, Some("wrong"), Some("ke"), Some("keykey"), Some("")] {
        let mut client = Client::new(locked());
        if let Some(given) = given {
            client = client.with("x-api-key", given);
        }
        for path in ["/api/user/u", "/api/items", "/api/feedback", "/api/recommend/u", "/api/dashboard/stats"]
        {
            let answer = client.get(path).await;
            assert_eq!((answer.status, answer.text.as_str()), (401, "unauthorized"), "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), "");
            assert!(!answer.header("x-request-id").is_empty());
        }
        assert_eq!(client.post("/api/user", "broken").await.status, 401);
        assert_eq!(client.get("/api/health/live").await.status, 200);
    }
    for key in ["key", "admin"] {
        let client = Client::new(locked()).with("x-api-key", key);
        assert_eq!(client.get("/api/recommend/u").await.status, 200);
        assert_eq!(client.get("/api/dashboard/stats").await.status, if key == "admin" { 200 } else { 401 });
    }
    assert_eq!(Client::open().with("x-api-key", "anything").get("/api/users").await.status, 200);
}

#[actix_web::test]
async fn new_settings_hold_from_the_next_request() {
    let client = Client::open();
    assert_eq!(client.get("/api/users").await.status, 200);
    client.state.configure(locked());
    assert_eq!(client.get("/api/users").await.status, 401);
}

#[actix_web::test]
async fn health_tells_which_store_is_away() {
    let client = Client::open();
    let up = json!({"Ready": true, "DataStoreError": null, "CacheStoreError": null, "DataStoreConnected": true,
        "CacheStoreConnected": true,
        "Parts": {"Bus": true, "Store": true, "Cache": true, "Models": true, "Ingest": true, "IngestLag": 0}});
    assert_eq!(client.get("/api/health/live/").await.json(), up);
    assert_eq!(client.get("/api/health/ready").await.json(), up);
    client.backend.away.store(true, Ordering::Relaxed);
    assert_eq!(client.get("/api/health/live").await.json()["DataStoreError"], json!({}));
    let ready = client.get("/api/health/ready").await;
    ready.refused(503, &["\"Ready\":false"]);
    assert!(serde_json::from_str::<Value>(&ready.text).is_ok());
}

#[actix_web::test]
async fn each_part_that_fails_alone_is_named_and_makes_the_process_unready() {
    let client = Client::open();
    for (number, part) in ["Bus", "Cache", "Models", "Ingest"].into_iter().enumerate() {
        client.backend.failed_part.store(number + 1, Ordering::Relaxed);
        let ready = client.get("/api/health/ready").await;
        assert_eq!(ready.status, 503, "{part}");
        let parts = &serde_json::from_str::<Value>(&ready.text).unwrap()["Parts"];
        for other in ["Bus", "Store", "Cache", "Models", "Ingest"] {
            assert_eq!(parts[other], json!(other != part), "{part}: {parts}");
        }
    }
}

#[actix_web::test]
async fn the_dashboard_gets_null_for_none() {
    let client = Client::open();
    assert_eq!(client.get("/api/dashboard/tasks").await.json(), Value::Null);
    assert_eq!(client.get("/api/dashboard/cluster").await.json(), Value::Null);
    let status = client.get("/api/dashboard/stats").await.json();
    assert_eq!((&status["NumUsers"], &status["RankingModelScore"]["AUC"]), (&json!(0), &json!(0)));
}

#[actix_web::test]
async fn requests_beyond_the_bound_are_429_while_answers_from_memory_go_on() {
    let limits = Limits { in_flight: 1, ..Limits::default() };
    let client = Client::new(ApiSettings { limits, ..ApiSettings::default() });
    client.backend.set_list("user/u", &["1"]);
    let held = client.backend.hold();
    let mut first = std::pin::pin!(client.get("/api/recommend/u"));
    assert!(first.as_mut().now_or_never().is_none());
    let second = client.get("/api/recommend/u").await;
    second.refused(429, &["too many requests"]);
    assert_eq!(second.header("retry-after"), "1");
    client.backend.cached.store(true, Ordering::Relaxed);
    assert_eq!(client.get("/api/recommend/u").await.status, 200);
    drop(held);
    assert_eq!(first.await.status, 200);
    assert_eq!(client.state.in_flight(), 0);
    assert_eq!(client.get("/api/users").await.status, 200);
}

#[actix_web::test]
async fn a_request_that_takes_too_long_is_503() {
    let limits = Limits { request_time: Duration::from_millis(1), ..Limits::default() };
    let client = Client::new(ApiSettings { limits, ..ApiSettings::default() });
    let _held = client.backend.hold();
    let answer = client.get("/api/recommend/u").await;
    answer.refused(503, &["longer than"]);
    assert_eq!(answer.header("retry-after"), "1");
}

#[actix_web::test]
async fn the_documentation_names_every_route_and_is_the_reviewed_one() {
    let served = Client::open().get("/apidocs.json").await.json();
    let golden: Value = serde_json::from_str(include_str!("../../../openapi.json")).unwrap();
    assert_eq!(
        served, golden,
        "run `cargo run -p ulex-server --example openapi > services/server/openapi.json`"
    );
    let paths = served["paths"].as_object().unwrap();
    for path in [
        "/api/recommend/{user_id}/{category}",
        "/api/item/{item_id}/category/{category}",
        "/api/session/recommend",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    let operations = |path: &Value| path.as_object().unwrap().len();
    assert_eq!(paths.values().map(operations).sum::<usize>(), 52);
}
