//! `/metrics` tells what happened, under documented names.

use std::time::Duration;

use serde_json::json;
use ulex_integration_tests::datasets::feedback;
use ulex_integration_tests::{Client, Ulex, wait_until};

fn page(client: &mut Client) -> String {
    let answer = client.send("GET", "/metrics", &[], None).unwrap();
    assert_eq!(answer.status, 200);
    answer.text()
}

/// The value of a line, 0 if it is not there.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

fn names(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn the_page_tells_what_happened_under_documented_names() {
    let ulex = Ulex::start();
    let mut client = ulex.client();
    client.post("/api/feedback", &json!([feedback("like", "ann", "tea"), feedback("like", "ann", "cup")]));
    client.recommend("ann", 3);
    assert_eq!(client.send("GET", "/nowhere", &[], None).unwrap().status, 404);

    let now = page(&mut client);
    for (series, least) in [
        ("ulex_http_requests_total{route=\"/api/feedback\",method=\"POST\",status=\"200\"}", 1.0),
        ("ulex_http_requests_total{route=\"/api/recommend/{user_id}\",method=\"GET\",status=\"200\"}", 1.0),
        ("ulex_http_requests_total{route=\"\",method=\"\",status=\"404\"}", 1.0),
        ("ulex_http_seconds_count{route=\"/api/feedback\",method=\"POST\"}", 1.0),
        ("gorse_server_rest_api_request_seconds_count{api=\"GET /api/recommend/{user-id}\"}", 1.0),
        ("ulex_events_applied_total{kind=\"put_feedback\"}", 1.0),
        ("ulex_lists_total{cache=\"miss\"}", 1.0),
        ("ulex_store_seconds_count{store=\"data/sqlite\",call=\"apply\"}", 1.0),
        ("ulex_catalogue_items", 2.0),
        ("process_resident_memory_bytes", 1e6),
    ] {
        assert!(value(&now, series) >= least, "{series} in\n{now}");
    }

    let documented = include_str!("../../../docs/observability.md");
    wait_until("a model is live", Duration::from_secs(60), || client.has_models());
    wait_until("it is on the page", Duration::from_secs(20), || {
        let page = page(&mut client);
        value(&page, "ulex_model_epoch") >= 1.0 && value(&page, "gorse_master_feedbacks_total") == 2.0
    });
    let page = page(&mut client);
    let unknown: Vec<_> =
        names(&page).into_iter().filter(|name| !documented.contains(&format!("`{name}`"))).collect();
    assert_eq!(unknown, Vec::<&str>::new(), "docs/observability.md does not list them");
}

#[test]
fn the_page_needs_no_key_and_its_labels_do_not_grow_with_paths() {
    let ulex = Ulex::configured("[server]\napi_key = \"secret\"\n");
    let mut client = ulex.client();
    for user in 0..50 {
        client.send("GET", &format!("/api/user/ann-{user}"), &[("X-API-Key", "secret")], None).unwrap();
        client.send("GET", &format!("/elsewhere/{user}"), &[], None).unwrap();
    }
    let page = page(&mut client);
    assert!(!page.contains("ann-"), "{page}");
    let requests = page.lines().filter(|line| line.starts_with("ulex_http_requests_total")).count();
    assert!(requests <= 4, "{page}");
    let refused = client.send("GET", "/api/user/ann", &[], None).unwrap();
    assert_eq!(refused.status, 401);
}
