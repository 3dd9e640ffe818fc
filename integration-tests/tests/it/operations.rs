//! What operators do while events flow: back up, restore, rotate passwords, add servers, put a pooler between.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use ulex_integration_tests::{Cluster, MemberSetup, Nats, NatsCluster, PgBouncer, Role, wait_until};

use crate::accidents::{
    MINUTE, create_items, dead_letters, has_rows, item, publish_until, row, rows_and_sum, until_acknowledged,
};

/// Events flow while something is done; afterwards each of them has counted once and none is buried.
fn while_events_flow(cluster: &mut Cluster, operate: impl FnOnce(&mut Cluster, &AtomicUsize)) {
    let nats = cluster.nats_client();
    let (stop, published) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| publish_until(&nats, &stop, &published));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| operate(cluster, &published)));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
    let count = published.load(Ordering::Relaxed);
    wait_until("every event is applied", MINUTE, || has_rows(cluster, count));
    assert_eq!(rows_and_sum(cluster), (count as u64, count as u64));
    assert_eq!(dead_letters(&nats), 0);
}

fn wait_for_more(published: &AtomicUsize) {
    let before = published.load(Ordering::Relaxed);
    wait_until("more events are published", MINUTE, || published.load(Ordering::Relaxed) > before + 50);
}

mod on_cluster {
    use super::*;

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn redis_comes_back_with_an_old_dump_and_no_old_list_is_served() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        let mut client = cluster.client();
        for day in 1..=3 {
            until_acknowledged(&mut client, "POST", "/api/item", &item(&format!("i{day}"), day));
        }
        wait_until("the list is kept", MINUTE, || client.recommend("u", 10).contains(&"i3".to_owned()));
        cluster.redis.save();
        until_acknowledged(&mut client, "POST", "/api/feedback", &json!([row("read", "u", "i3")]));
        assert!(!client.recommend("u", 10).contains(&"i3".to_owned()));
        cluster.redis.kill();
        cluster.redis.restart();
        for _ in 0..20 {
            assert!(!client.recommend("u", 10).contains(&"i3".to_owned()), "a list from before the write");
        }
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_password_is_changed_while_events_flow() {
        let mut cluster = Cluster::builder().only_servers(0).start();
        let create =
            "create role app login; grant all on database ulex to app; grant all on schema public to app";
        cluster.postgres.query(create).unwrap();
        cluster.postgres.demand_password("app", "old");
        let setup = |cluster: &Cluster, password: &str| MemberSetup {
            postgres: Some(cluster.postgres.url_of(&format!("app:{password}"))),
            ..MemberSetup::default()
        };
        let old = setup(&cluster, "old");
        cluster.join(Role::Server, old.clone());
        cluster.join(Role::Server, old);
        create_items(&mut cluster.client(), "a", 1);
        while_events_flow(&mut cluster, |cluster, published| {
            wait_for_more(published);
            cluster.postgres.demand_password("app", "new");
            let disconnect = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'";
            cluster.postgres.query(disconnect).unwrap();
            wait_for_more(published);
            for number in 0..2 {
                let new = setup(cluster, "new");
                cluster.reconfigure(Role::Server, number, &new);
                cluster.member(Role::Server, number).restart();
            }
            wait_for_more(published);
        });
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn behind_pgbouncer_in_transaction_mode_nothing_is_buried() {
        let mut cluster = Cluster::builder().only_servers(0).start();
        let Some(pooler) = PgBouncer::before(&cluster.postgres) else {
            eprintln!("skipped: this machine has no pgbouncer");
            return;
        };
        // The streams and the tables are made by a server that needs no pooler.
        cluster.join(Role::Server, MemberSetup::default());
        create_items(&mut cluster.client(), "a", 1);
        cluster.member(Role::Server, 0).stop();
        let pooled = MemberSetup { postgres: Some(pooler.url()), ..MemberSetup::default() };
        let nats = cluster.nats_client();
        let refused = {
            let member = cluster.join_without_waiting(Role::Server, pooled);
            wait_until("it is ready or has ended", MINUTE, || {
                !member.is_running() || member.client().status("/api/health/ready") == Some(200)
            });
            !member.is_running()
        };
        for number in 0..40 {
            nats.publish_feedback(&row("read", &format!("u{number}"), "a0"));
        }
        if refused {
            let said = cluster.member(Role::Server, 1).log().to_lowercase();
            assert!(said.contains("pgbouncer") || said.contains("transaction"), "{said}");
        } else {
            // It may apply them or wait; a second server without the pooler has to find the rest.
            std::thread::sleep(std::time::Duration::from_secs(3));
            cluster.member(Role::Server, 1).stop();
        }
        cluster.member(Role::Server, 0).restart();
        wait_until("every event is applied", MINUTE, || has_rows(&cluster, 40));
        assert_eq!((rows_and_sum(&cluster), dead_letters(&nats)), ((40, 40), 0));
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn streams_are_backed_up_while_events_flow_and_restored_after_nats_was_lost() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        create_items(&mut cluster.client(), "a", 1);
        let mut backups = Vec::new();
        while_events_flow(&mut cluster, |cluster, published| {
            wait_for_more(published);
            let nats = cluster.nats_client();
            backups = nats.stream_names().iter().map(|name| nats.back_up(name)).collect();
            wait_for_more(published);
        });
        let (rows, _) = rows_and_sum(&cluster);
        cluster.member(Role::Server, 0).stop();
        let nats = cluster.one_nats();
        nats.stop();
        nats.lose_store();
        nats.restart();
        let nats = cluster.nats_client();
        for backup in &backups {
            nats.restore(backup);
        }
        cluster.member(Role::Server, 0).restart();
        nats.publish_feedback(&row("read", "after", "a0"));
        wait_until("the next event is applied", MINUTE, || rows_and_sum(&cluster).0 > rows);
        assert_eq!(rows_and_sum(&cluster), (rows + 1, rows + 1));
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_database_is_restored_beside_running_servers_while_events_flow() {
        let mut cluster = Cluster::builder().only_servers(2).start();
        create_items(&mut cluster.client(), "a", 1);
        while_events_flow(&mut cluster, |cluster, published| {
            wait_for_more(published);
            let dump = cluster.postgres.dump();
            wait_for_more(published);
            cluster.postgres.restore(&dump);
            wait_for_more(published);
        });
    }
}

mod open_faults {
    use super::*;

    #[test]
    #[ignore = "known: there is no command that raises the copies of everything"]
    fn one_nats_grows_to_three_and_everything_has_three_copies() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        create_items(&mut cluster.client(), "a", 1);
        let one = cluster.nats_client();
        for number in 0..20 {
            one.publish_feedback(&row("read", &format!("u{number}"), "a0"));
        }
        wait_until("all are applied", MINUTE, || has_rows(&cluster, 20));
        cluster.member(Role::Server, 0).stop();
        let backups: Vec<_> = one.stream_names().iter().map(|name| one.back_up(name)).collect();
        cluster.nats = Nats::Cluster(NatsCluster::start());
        let three = cluster.nats_client();
        for backup in &backups {
            three.restore(backup);
        }
        cluster.reconfigure(Role::Server, 0, &MemberSetup::default());
        let _ = cluster.command(&["cluster", "apply"]);
        cluster.member(Role::Server, 0).restart();
        three.publish_feedback(&row("read", "u20", "a0"));
        wait_until("the next is applied", MINUTE, || has_rows(&cluster, 21));
        assert_eq!(rows_and_sum(&cluster), (21, 21));
        for name in three.stream_names() {
            assert_eq!(three.stream(&name)["config"]["num_replicas"], 3, "{name}");
        }
    }
}
