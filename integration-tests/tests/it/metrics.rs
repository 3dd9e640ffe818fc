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

/// The names on a page.
fn names(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
}

/// The names on a page that the documentation does not list.
fn undocumented(page: &str) -> Vec<String> {
    let documented = include_str!("../../../docs/observability.md");
    names(page).filter(|name| !documented.contains(&format!("`{name}`"))).map(str::to_owned).collect()
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

    wait_until("a model is live", Duration::from_secs(60), || client.has_models());
    wait_until("it is on the page", Duration::from_secs(20), || {
        let page = page(&mut client);
        value(&page, "ulex_model_epoch") >= 1.0 && value(&page, "gorse_master_feedbacks_total") == 2.0
    });
    assert_eq!(undocumented(&page(&mut client)), Vec::<String>::new());
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

mod on_cluster {
    use std::collections::BTreeSet;

    use ulex_integration_tests::datasets::{TWO_TASTES_CONFIG, two_tastes};
    use ulex_integration_tests::{Cluster, Role};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn every_role_serves_what_is_its_own_under_documented_names() {
        let settings = format!("{TWO_TASTES_CONFIG}\n[training]\nquiet = '1s'\n");
        let mut cluster = Cluster::builder().configured(&settings).start();
        let mut client = cluster.client();
        two_tastes().load(&mut client);
        wait_until("there are models", LIMIT, || client.has_models());
        client.recommend("tea-user-0", 3);

        let of_its_own = [
            (
                Role::Master,
                vec!["ulex_fits_total", "ulex_refresh_jobs_planned_total", "gorse_master_items_total"],
            ),
            (Role::Worker, vec!["ulex_refresh_jobs_total", "ulex_store_seconds", "ulex_model_epoch"]),
            (Role::Server, vec!["ulex_http_requests_total", "ulex_lists_total", "ulex_events_applied_total"]),
        ];
        let everywhere = [
            "ulex_build_info",
            "ulex_stream_messages",
            "ulex_consumer_waiting",
            "process_resident_memory_bytes",
        ];
        for (role, own) in of_its_own {
            let mut client = cluster.member(role, 0).client();
            let wanted: BTreeSet<&str> = own.into_iter().chain(everywhere).collect();
            let missing = |page: &str| -> Vec<&str> {
                let present: BTreeSet<&str> = names(page).collect();
                wanted.iter().copied().filter(|name| !present.contains(name)).collect()
            };
            wait_until(&format!("the {role} serves {wanted:?}"), LIMIT, || {
                missing(&page(&mut client)).is_empty()
            });
            wait_until(&format!("the {role} knows what the bus holds"), LIMIT, || {
                value(&page(&mut client), "ulex_stream_messages{stream=\"CHANGES\"}") > 0.0
            });
            assert_eq!(undocumented(&page(&mut client)), Vec::<String>::new(), "of the {role}");
        }
    }
}
