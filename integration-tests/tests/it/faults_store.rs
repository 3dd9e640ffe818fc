//! The database fails in ways that are no event's fault, and answers that are lost.

use std::time::Duration;

use serde_json::{Value, json};
use ulex_integration_tests::{Client, Cluster, FaultProxy, MemberSetup, NatsClient, Role, wait_until};

use crate::accidents::{
    MINUTE, create_items, dead_letters, has_rows, item, latest, number, row, rows_and_sum, stays_so,
    until_acknowledged,
};

const EVENTS: usize = 50;
/// Longer than an ingester waits for a commit and then for the answer whether there was one.
const OUTAGE: Duration = Duration::from_secs(35);

fn publish(nats: &NatsClient) {
    for number in 0..EVENTS {
        nats.publish_feedback(&row("read", &format!("u{number}"), "a"));
    }
}

/// Everything arrives as soon as the database is right again, and nothing is buried meanwhile.
fn outlasts(cluster: &Cluster, spoil: &str, mend: &str) {
    let nats = cluster.nats_client();
    cluster.postgres.query(spoil).unwrap();
    publish(&nats);
    stays_so("nothing is buried", Duration::from_secs(2), || dead_letters(&nats) == 0);
    cluster.postgres.query(mend).unwrap();
    wait_until("everything is applied", MINUTE, || has_rows(cluster, EVENTS));
    assert_eq!((dead_letters(&nats), rows_and_sum(cluster).1), (0, EVENTS as u64));
}

/// A server whose account in PostgreSQL is `app`.
fn with_account() -> (Cluster, Client) {
    let mut cluster = Cluster::builder().only_servers(0).start();
    let grant = "create role app login; grant all on database ulex to app; grant all on schema public to app";
    cluster.postgres.query(grant).unwrap();
    let postgres = Some(cluster.postgres.url_of("app"));
    let mut client = cluster.join(Role::Server, MemberSetup { postgres, ..MemberSetup::default() }).client();
    create_items(&mut client, "a", 1);
    (cluster, client)
}

mod on_cluster {
    use super::*;

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_change_whose_commit_was_not_answered_is_announced_to_every_server() {
        let mut cluster = Cluster::builder().only_servers(0).start();
        let proxy = FaultProxy::before(&cluster.postgres.address());
        let postgres = Some(cluster.postgres.url().replace(&cluster.postgres.address(), &proxy.address()));
        let mut ingester =
            cluster.join(Role::Server, MemberSetup { postgres, ..MemberSetup::default() }).client();
        create_items(&mut ingester, "x", 2);
        let mut other = cluster.join(Role::Server, MemberSetup::default()).client();
        proxy.hold_answers_after("COMMIT");
        std::thread::scope(|scope| {
            let hide = scope.spawn(|| other.send_json("PATCH", "/api/item/x0", &json!({"IsHidden": true})));
            wait_until("the database has it", MINUTE, || {
                number(&cluster, "select count(*) from items where is_hidden") == 1
            });
            let _ = hide.join().unwrap();
            // The database cannot be asked either, for longer than the ingester waits; then the connections are lost.
            std::thread::sleep(OUTAGE);
            proxy.disconnect();
            proxy.heal();
        });
        until_acknowledged(&mut other, "POST", "/api/item", &item("marker", 9));
        for client in [&mut ingester, &mut other] {
            wait_until("it is hidden everywhere", MINUTE, || !latest(client).contains(&"x0".to_owned()));
        }
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_table_that_is_away_for_a_moment_makes_no_dead_letters() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        create_items(&mut cluster.client(), "a", 1);
        let (away, back) = ("alter table feedback rename to away", "alter table away rename to feedback");
        outlasts(&cluster, away, back);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn an_account_that_may_not_log_in_for_a_moment_makes_no_dead_letters() {
        let (cluster, _) = with_account();
        let away = "alter role app nologin; select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'";
        outlasts(&cluster, away, "alter role app login");
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_right_that_is_taken_away_for_a_moment_makes_no_dead_letters() {
        let (cluster, _) = with_account();
        let away = "alter table feedback owner to ulex; revoke all on feedback from app";
        outlasts(&cluster, away, "alter table feedback owner to app; grant all on feedback to app");
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_short_failure_of_the_database_does_not_change_the_order_of_writes() {
        let cluster = Cluster::builder().only_servers(1).start();
        let nats = cluster.nats_client();
        let put = |value: u32| {
            nats.publish_feedback(
                &json!({"Op": "put", "FeedbackType": "price", "UserId": "u", "ItemId": "a", "Value": value}),
            );
        };
        let value = || cluster.postgres.query("select value from feedback").unwrap();
        put(1);
        wait_until("the first is applied", MINUTE, || value() == "1");
        cluster.postgres.query("alter table feedback rename to away").unwrap();
        put(2);
        stays_so("nothing is buried", Duration::from_secs(2), || dead_letters(&nats) == 0);
        cluster.postgres.query("alter table away rename to feedback").unwrap();
        put(3);
        wait_until("the last is applied", MINUTE, || value() == "3");
        let _ = cluster.command(&["events", "dead", "replay", "--all"]);
        stays_so("the last write stays the last", Duration::from_secs(1), || value() == "3");
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_write_that_takes_too_long_is_never_refused_and_applied_all_the_same() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        let mut client = cluster.client();
        let body = Value::Array(vec![row("buy", "u", "i")]);
        client.post("/api/feedback", &body);
        let value = || number(&cluster, "select value from feedback");
        let locks = "begin; lock table feedback in access exclusive mode; select pg_sleep(5); commit";
        let lock_is_held = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted \
                            and relation = 'feedback'::regclass";
        let answer = std::thread::scope(|scope| {
            let lock = scope.spawn(|| cluster.postgres.query(locks).unwrap());
            wait_until("the table is locked", MINUTE, || number(&cluster, lock_is_held) == 1);
            let answer = client.send_json("POST", "/api/feedback", &body).unwrap();
            lock.join().unwrap();
            answer
        });
        // Behind everything that was sent before.
        until_acknowledged(&mut client, "POST", "/api/item", &item("marker", 1));
        match answer.status {
            200 => assert_eq!(value(), 2),
            503 => assert_eq!(value(), 1, "it was refused"),
            504 => {
                let event = answer.header("x-ulex-event-id").expect("the id to repeat with").to_owned();
                let headers = [("Idempotency-Key", event.as_str()), ("Content-Type", "application/json")];
                let text = body.to_string();
                let again = client.send("POST", "/api/feedback", &headers, Some(text.as_bytes())).unwrap();
                assert_eq!((again.status, value()), (200, 2), "repeated with its id it counts once");
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn what_is_written_after_a_dump_was_restored_is_found_and_can_be_deleted() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        let mut client = cluster.client();
        create_items(&mut client, "a", 1);
        until_acknowledged(&mut client, "POST", "/api/feedback", &json!([row("old", "u", "a0")]));
        let dump = cluster.postgres.dump();
        // The type and the user are created after the dump, and the writer knows it.
        until_acknowledged(&mut client, "POST", "/api/feedback", &json!([row("novel", "v", "a0")]));
        cluster.postgres.restore(&dump);
        until_acknowledged(&mut client, "POST", "/api/feedback", &json!([row("novel", "v", "a0")]));
        let path = "/api/user/v/feedback/novel";
        wait_until("the list of the user shows it", MINUTE, || {
            client.get(path).as_array().is_some_and(|rows| rows.len() == 1)
        });
        until_acknowledged(&mut client, "DELETE", "/api/user/v", &Value::Null);
        assert_eq!(number(&cluster, "select count(*) from feedback where user_id = 'v'"), 0);
    }
}
