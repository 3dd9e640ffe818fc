//! One trace runs through everything that a request touches, and comes back from the collector as one.

use std::time::Duration;

use serde_json::json;
use ulex_integration_tests::datasets::feedback;
use ulex_integration_tests::{OtlpReceiver, Ulex, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
/// The span that the caller of a request is in.
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{CALLER}-01")
}

fn write_and_read_are_traced_over(exporter: &str) {
    let collector = OtlpReceiver::start();
    let ulex = Ulex::configured(&collector.configuration(exporter));
    let mut client = ulex.client();

    let write = "4bf92f3577b34da6a3ce929d0e0e4736";
    let body = serde_json::to_vec(&json!([feedback("like", "ann", "tea")])).unwrap();
    let parent = traceparent(write);
    let headers = [("traceparent", parent.as_str()), ("Content-Type", "application/json")];
    let answer = client.send("POST", "/api/feedback", &headers, Some(&body)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let http = "POST /api/feedback";
    let trace = collector.complete_trace(write, &[http, "append", "ingest", "store.apply"], LIMIT);
    assert_eq!(trace.path("store.apply"), ["store.apply", "ingest", "append", http]);
    let request = trace.find(http).unwrap();
    assert_eq!((request.parent_id.as_str(), request.service.as_str()), (CALLER, "ulex-one"));
    assert_eq!(request.attributes["http.route"], "/api/feedback");
    assert_eq!(request.attributes["http.response.status_code"], "200");

    let read = "0af7651916cd43dd8448eb211c80319c";
    let parent = traceparent(read);
    let answer = client.send("GET", "/api/recommend/bob?n=3", &[("traceparent", &parent)], None).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let http = "GET /api/recommend/{user_id}";
    let trace = collector.complete_trace(read, &[http, "store.user_feedback", "store.put_user"], LIMIT);
    assert_eq!(trace.path("store.user_feedback"), ["store.user_feedback", http]);
    assert_eq!(trace.path("store.put_user"), ["store.put_user", http]);
    assert_eq!(trace.find(http).unwrap().parent_id, CALLER);
}

#[test]
fn a_write_and_a_read_are_one_trace_each_over_http() {
    write_and_read_are_traced_over("otlphttp");
}

#[test]
fn a_write_and_a_read_are_one_trace_each_over_grpc() {
    write_and_read_are_traced_over("otlp");
}

#[test]
fn the_last_spans_are_sent_before_the_process_ends() {
    let collector = OtlpReceiver::start();
    let mut ulex = Ulex::configured(&collector.configuration("otlp"));
    let read = "0af7651916cd43dd8448eb211c80319d";
    let parent = traceparent(read);
    let answer = ulex.client().send("GET", "/api/recommend/bob", &[("traceparent", &parent)], None).unwrap();
    assert_eq!(answer.status, 200);
    assert!(ulex.stop().success());
    assert!(collector.trace(read).find("GET /api/recommend/{user_id}").is_some());
}

#[test]
fn a_collector_that_is_away_is_told_of_once_and_harms_nobody() {
    for exporter in ["otlp", "otlphttp"] {
        // Nobody listens on a port of which the listener is gone.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut ulex = Ulex::configured(&format!(
            "[tracing]\nenable_tracing = true\nexporter = \"{exporter}\"\ncollector_endpoint = \"{address}\"\n"
        ));
        let mut client = ulex.client();
        let sent = |client: &mut ulex_integration_tests::Client| {
            let answer = client.send("GET", "/api/recommend/bob", &[], None).unwrap();
            assert_eq!(answer.status, 200);
        };
        let told = |ulex: &Ulex| ulex.log().matches("traces cannot be sent").count();
        sent(&mut client);
        wait_until("it is told", LIMIT, || told(&ulex) > 0);
        let lost = |client: &mut ulex_integration_tests::Client| lost_spans(client);
        let before = lost(&mut client);
        wait_until("more is lost", LIMIT, || {
            sent(&mut client);
            lost(&mut client) > before
        });
        assert_eq!(told(&ulex), 1, "{}", ulex.log());
        assert!(ulex.stop().success());
    }
}

fn lost_spans(client: &mut ulex_integration_tests::Client) -> u64 {
    let page = client.send("GET", "/metrics", &[], None).unwrap().text();
    let line = page.lines().find(|line| line.starts_with("ulex_trace_spans_lost_total"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn spans_that_were_exported_are_counted_on_the_page_of_metrics() {
    let collector = OtlpReceiver::start();
    let ulex = Ulex::configured(&collector.configuration("otlphttp"));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4737";
    let parent = traceparent(trace);
    let headers = [("traceparent", parent.as_str()), ("Content-Type", "application/json")];
    let body = br#"[{"FeedbackType":"like","UserId":"ann","ItemId":"tea","Timestamp":"2024-01-01"}]"#;
    ulex.client().send("POST", "/api/feedback", &headers, Some(body)).unwrap();
    let _whole = collector.complete_trace(trace, &["ingest"], LIMIT);
    let page = ulex.client().send("GET", "/metrics", &[], None).unwrap();
    assert!(page.text().contains("ulex_trace_spans_total"));
}

mod on_cluster {
    use std::collections::BTreeSet;

    use serde_json::json;
    use ulex_integration_tests::datasets::{TWO_TASTES_CONFIG, feedback, two_tastes};
    use ulex_integration_tests::{Cluster, OtlpReceiver, wait_until};

    use super::{LIMIT, traceparent};

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn one_trace_leads_from_a_write_through_every_process_to_the_new_list() {
        let collector = OtlpReceiver::start();
        let tracing = collector.configuration("otlp");
        // Long enough for a changed user's list to be made before the next ModelSet has all of them made anew.
        let settings = format!("{TWO_TASTES_CONFIG}\n[training]\nquiet = '8s'\n{tracing}");
        let mut cluster = Cluster::builder().configured(&settings).start();
        let mut client = cluster.client();
        two_tastes().load(&mut client);
        wait_until("there are models", LIMIT, || client.has_models());
        let id = "4bf92f3577b34da6a3ce929d0e0e4738";
        let body = serde_json::to_vec(&json!([feedback("like", "somebody new", "tea-3")])).unwrap();
        let parent = traceparent(id);
        let headers = [("traceparent", parent.as_str()), ("Content-Type", "application/json")];
        let answer = client.send("POST", "/api/feedback", &headers, Some(&body)).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let http = "POST /api/feedback";
        let names = [http, "append", "ingest", "store.apply", "plan refresh", "refresh", "store.put_user"];
        let trace = collector.complete_trace(id, &names, LIMIT);
        assert_eq!(trace.path("store.apply"), ["store.apply", "ingest", "append", http]);
        let to_the_list = trace.path("store.put_user");
        for name in ["refresh", "plan refresh", "ingest", http] {
            assert!(to_the_list.iter().any(|step| step == name), "{name} is not in {to_the_list:?}");
        }
        let services: BTreeSet<&str> =
            names.iter().map(|name| trace.find(name).unwrap().service.as_str()).collect();
        assert_eq!(services, BTreeSet::from(["ulex-master", "ulex-server", "ulex-worker"]));
    }
}
