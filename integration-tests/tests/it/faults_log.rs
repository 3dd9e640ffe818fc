//! The log and the database do not tell the same story any more: one of them was lost, cut or restored.

use serde_json::json;
use ulex_integration_tests::{Cluster, Nats, NatsClient, Role, wait_until};

use crate::accidents::{
    MINUTE, create_items, has_rows, item, items_in_store, row, rows_and_sum, until_acknowledged,
};

/// NATS comes back with a copy of its folder that lacks the newest messages.
fn lose_the_tail(restarts: bool) {
    let mut cluster = Cluster::builder().only_servers(1).start();
    create_items(&mut cluster.client(), "early", 20);
    cluster.one_nats().stop();
    let copy = cluster.one_nats().copy_store();
    cluster.one_nats().restart();
    create_items(&mut cluster.client(), "lost", 20);
    if restarts {
        cluster.member(Role::Server, 0).stop();
    }
    let nats = cluster.one_nats();
    nats.stop();
    nats.put_back(&copy);
    nats.restart();
    if restarts {
        cluster.member(Role::Server, 0).restart();
    }
    create_items(&mut cluster.client(), "new", 10);
    let stored = ["early", "lost", "new"].map(|prefix| items_in_store(&cluster, prefix));
    assert_eq!(stored, [20, 20, 10]);
    let errors = cluster.member(Role::Server, 0).log().matches("ERROR").count();
    assert!(errors > 0, "a log that was cut is an ERROR");
}

/// Every stream is backed up, deleted and restored while no process runs.
fn restore_every_stream(nats: &NatsClient) {
    let backups: Vec<_> = nats.stream_names().iter().map(|name| nats.back_up(name)).collect();
    for name in nats.stream_names() {
        nats.ask(&format!("STREAM.DELETE.{name}"), &json!({}));
    }
    for backup in &backups {
        nats.restore(backup);
    }
}

fn restore_the_log(mut cluster: Cluster) {
    let nats = cluster.nats_client();
    for number in 0..5 {
        nats.publish_feedback(&row("read", &format!("u{number}"), "a"));
    }
    wait_until("all are applied", MINUTE, || has_rows(&cluster, 5));
    cluster.member(Role::Server, 0).stop();
    restore_every_stream(&nats);
    cluster.member(Role::Server, 0).restart();
    nats.publish_feedback(&row("read", "u5", "a"));
    wait_until("the next is applied", MINUTE, || has_rows(&cluster, 6));
    assert_eq!(rows_and_sum(&cluster), (6, 6));
}

mod on_cluster {
    use super::*;

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_standby_that_takes_over_a_log_begun_anew_loses_nothing() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        create_items(&mut cluster.client(), "before", 30);
        cluster.scale(Role::Server, 2);
        let nats = cluster.one_nats();
        nats.stop();
        nats.lose_store();
        nats.restart();
        // The other one never sees the beginning of the new log.
        cluster.member(Role::Server, 1).pause();
        cluster.member(Role::Server, 0).restart();
        create_items(&mut cluster.client(), "anew", 10);
        cluster.member(Role::Server, 1).resume();
        cluster.member(Role::Server, 0).kill();
        create_items(&mut cluster.member(Role::Server, 1).client(), "later", 10);
        let stored = ["before", "anew", "later"].map(|prefix| items_in_store(&cluster, prefix));
        assert_eq!(stored, [30, 10, 10]);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn what_is_acknowledged_after_the_log_lost_its_end_is_kept_by_a_restarted_server() {
        lose_the_tail(true);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn what_is_acknowledged_after_the_log_lost_its_end_is_kept_by_a_running_server() {
        lose_the_tail(false);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_restored_log_is_not_applied_again() {
        restore_the_log(Cluster::builder().only_servers(1).start());
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_restored_log_of_three_servers_is_not_applied_again() {
        restore_the_log(Cluster::builder().three_nats().only_servers(1).start());
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_restored_database_is_brought_forward_from_the_log() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        let nats = cluster.nats_client();
        let publish = |from: usize, to: usize| {
            for number in from..to {
                nats.publish_feedback(&row("read", &format!("u{number}"), "a"));
            }
        };
        publish(0, 10);
        wait_until("ten are applied", MINUTE, || has_rows(&cluster, 10));
        let dump = cluster.postgres.dump();
        publish(10, 20);
        wait_until("twenty are applied", MINUTE, || has_rows(&cluster, 20));
        cluster.member(Role::Server, 0).stop();
        cluster.postgres.restore(&dump);
        cluster.member(Role::Server, 0).restart();
        wait_until("all twenty are back", MINUTE, || has_rows(&cluster, 20));
        assert_eq!(rows_and_sum(&cluster), (20, 20));
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_database_restored_beside_a_server_is_brought_forward_although_no_event_comes() {
        let cluster = Cluster::builder().only_servers(1).start();
        let nats = cluster.nats_client();
        let publish = |number| nats.publish_feedback(&row("read", &format!("u{number}"), "a"));
        (0..10).for_each(publish);
        wait_until("ten are applied", MINUTE, || has_rows(&cluster, 10));
        let dump = cluster.postgres.dump();
        (10..20).for_each(publish);
        wait_until("twenty are applied", MINUTE, || has_rows(&cluster, 20));
        cluster.postgres.restore(&dump);
        wait_until("all twenty are back", MINUTE, || has_rows(&cluster, 20));
        assert_eq!(rows_and_sum(&cluster), (20, 20));
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_bus_that_comes_back_empty_is_furnished_again_while_everything_runs() {
        let mut cluster = Cluster::builder().only_servers(2).start();
        create_items(&mut cluster.client(), "before", 3);
        let nats = cluster.one_nats();
        nats.stop();
        nats.lose_store();
        nats.restart();
        create_items(&mut cluster.client(), "after", 3);
        assert_eq!(items_in_store(&cluster, "after"), 3);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_server_without_a_bus_says_that_it_is_not_ready_and_is_ready_again_by_itself() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        let mut client = cluster.client();
        until_acknowledged(&mut client, "POST", "/api/item", &item("a", 1));
        cluster.one_nats().stop();
        let mut ready = || client.status("/api/health/ready");
        wait_until("it says that it is not ready", MINUTE, || ready() == Some(503));
        cluster.one_nats().restart();
        wait_until("it is ready again", MINUTE, || ready() == Some(200));
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_cursor_that_cannot_be_read_is_made_anew_from_the_database() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        create_items(&mut cluster.client(), "before", 5);
        let nats = cluster.nats_client();
        cluster.member(Role::Server, 0).stop();
        nats.request("$KV.ulex-cursors.EVENTS.ingest-default", &[], b"this is no cursor").unwrap();
        cluster.member(Role::Server, 0).restart();
        create_items(&mut cluster.client(), "after", 5);
        assert_eq!((items_in_store(&cluster, "before"), items_in_store(&cluster, "after")), (5, 5));
        assert!(matches!(cluster.nats, Nats::Single(_)));
    }
}
