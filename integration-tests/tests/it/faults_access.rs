//! What may be done by publishers with narrow rights, callers without a key, and processes with another file.

use serde_json::{Value, json};
use ulex_integration_tests::{Cluster, MemberSetup, NatsClient, Role, ulex, wait_until};

use crate::accidents::{MINUTE, create_items, item, number, row, until_acknowledged};

const ACCOUNTS: &str = r#"authorization { users = [
    {user: ulex, password: u},
    {user: shop, password: s, permissions: {publish: ["ulex.v1.default.event.feedback.shop"], subscribe: ["_INBOX.>"]}}
] }"#;
const SUBJECT: &str = "ulex.v1.default.event.feedback.shop";

/// A cluster in which the shop may only publish feedback, with a client of the shop.
fn with_shop() -> (Cluster, NatsClient) {
    let mut cluster = Cluster::builder().only_servers(0).accounts(ACCOUNTS).start();
    let nats_lines = "user = \"ulex\"\npassword = \"u\"".to_owned();
    cluster.join(Role::Server, MemberSetup { nats_lines, ..MemberSetup::default() });
    create_items(&mut cluster.client(), "a", 1);
    let shop = NatsClient::log_in(&cluster.nats_urls(), "shop", "s");
    (cluster, shop)
}

/// Everything that was published before is through when this is.
fn wait_for_marker(cluster: &Cluster, shop: &NatsClient) {
    shop.publish_feedback(&row("read", "marker", "a0"));
    wait_until("the marker is applied", MINUTE, || {
        number(cluster, "select count(*) from feedback where user_id = 'marker'") == 1
    });
}

fn copies(nats: &NatsClient) -> Vec<(String, u64)> {
    let mut names = nats.stream_names();
    names.sort();
    names
        .into_iter()
        .map(|name| (name.clone(), nats.stream(&name)["config"]["num_replicas"].as_u64().unwrap()))
        .collect()
}

mod on_cluster {
    use super::*;

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_right_to_publish_feedback_is_no_right_to_delete_users() {
        let (mut cluster, shop) = with_shop();
        let mut client = cluster.client();
        until_acknowledged(&mut client, "POST", "/api/user", &json!({"UserId": "victim"}));
        let command = br#"{"event": {"delete_user": {"user_id": "victim"}}}"#;
        shop.request(SUBJECT, &[("ulex-schema", "event/1")], command).unwrap();
        wait_for_marker(&cluster, &shop);
        assert_eq!(client.status("/api/user/victim"), Some(200));
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_receipt_goes_to_no_subject_that_the_publisher_may_not_write() {
        let (mut cluster, shop) = with_shop();
        let body = row("read", "u", "a0").to_string();
        for target in ["$KV.ulex-cursors.EVENTS.ingest-default", "$JS.API.STREAM.PURGE.EVENTS"] {
            shop.request(SUBJECT, &[("ulex-receipt-to", target)], body.as_bytes()).unwrap();
        }
        wait_for_marker(&cluster, &shop);
        let operator = NatsClient::log_in(&cluster.nats_urls(), "ulex", "u");
        assert!(operator.messages("EVENTS") > 0, "nothing was purged");
        until_acknowledged(&mut cluster.client(), "POST", "/api/item", &item("after", 1));
        cluster.member(Role::Server, 0).restart();
        until_acknowledged(&mut cluster.client(), "POST", "/api/item", &item("later", 1));
        assert_eq!(number(&cluster, "select count(*) from items where item_id in ('after', 'later')"), 2);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn settings_are_for_those_with_a_key() {
        let mut cluster =
            Cluster::builder().only_servers(1).configured("[server]\napi_key = \"secret\"\n").start();
        let mut client = cluster.client();
        let mut ask = |method: &str, headers: &[(&str, &str)], body: Option<&Value>| {
            let text = body.map(Value::to_string);
            let headers = [headers, &[("Content-Type", "application/json")]].concat();
            client
                .send(method, "/api/dashboard/config", &headers, text.as_deref().map(str::as_bytes))
                .unwrap()
        };
        let change = json!({"recommend.cache_size": 11});
        for (method, body) in [("GET", None), ("PATCH", Some(&change))] {
            let status = ask(method, &[], body).status;
            assert!([401, 403].contains(&status), "{method} without a key: {status}");
        }
        let key = ("X-API-Key", "secret");
        assert_eq!(ask("GET", &[key], None).status, 200);
        assert_eq!(ask("PATCH", &[key], Some(&change)).status, 200);
        let huge = json!({"recommend.cache_size": 2_000_000_000_u64});
        assert_eq!(ask("PATCH", &[key], Some(&huge)).status, 400);
        let origin = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "PATCH")];
        assert_eq!(ask("OPTIONS", &origin, None).header("access-control-allow-origin"), None);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_process_whose_file_says_nothing_of_copies_takes_none_away() {
        let mut cluster = Cluster::builder().three_nats().only_servers(1).start();
        let nats = cluster.nats_client();
        let before = copies(&nats);
        assert!(before.iter().all(|(_, copies)| *copies == 3), "{before:?}");
        let setup = MemberSetup { replicas: Some(1), ..MemberSetup::default() };
        let file = cluster.join(Role::Worker, setup).configuration();
        assert!(ulex(&["models", "list", "-c", &file]).status.success());
        let after = copies(&nats);
        assert!(before.iter().all(|stream| after.contains(stream)), "{before:?} became {after:?}");
    }
}
