//! What servers believe about items and lists after a process was held still, slept, or died with a debt.

use std::time::Duration;

use serde_json::json;
use ulex_integration_tests::{Client, Cluster, FaultProxy, MemberSetup, Role, wait_until};

use crate::accidents::{
    MINUTE, create_items, item, latest, number, row, status, stays_so, until_acknowledged,
};

fn shows(client: &mut Client, item: &str) -> bool {
    latest(client).contains(&item.to_owned())
}

mod on_cluster {
    use super::*;

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn an_ingester_that_was_held_still_does_not_show_a_hidden_item_again() {
        let mut cluster = Cluster::builder().only_servers(0).start();
        let proxy = FaultProxy::before(&cluster.postgres.address());
        let postgres = Some(cluster.postgres.url().replace(&cluster.postgres.address(), &proxy.address()));
        let mut held =
            cluster.join(Role::Server, MemberSetup { postgres, ..MemberSetup::default() }).client();
        create_items(&mut held, "x", 2);
        let mut other = cluster.join(Role::Server, MemberSetup::default()).client();
        proxy.hold_answers_after("COMMIT");
        let mut changing = cluster.member(Role::Server, 1).client();
        std::thread::scope(|scope| {
            let category = scope
                .spawn(|| status(&mut changing, "PATCH", "/api/item/x0", &json!({"Categories": ["new"]})));
            wait_until("the category is in the database", MINUTE, || {
                number(&cluster, "select count(*) from items where categories::text like '%new%'") == 1
            });
            cluster.member(Role::Server, 0).pause();
            let _ = category.join().unwrap();
        });
        until_acknowledged(&mut other, "PATCH", "/api/item/x0", &json!({"IsHidden": true}));
        assert!(!shows(&mut other, "x0"));
        proxy.heal();
        cluster.member(Role::Server, 0).resume();
        stays_so("it stays hidden", Duration::from_secs(4), || !shows(&mut other, "x0"));
        wait_until("the woken server hides it, too", MINUTE, || !shows(&mut held, "x0"));
        stays_so("it stays hidden for both", Duration::from_secs(1), || {
            !shows(&mut other, "x0") && !shows(&mut held, "x0")
        });
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_server_that_slept_longer_than_changes_are_kept_forgets_what_was_deleted() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        let mut awake = cluster.client();
        let address = cluster.one_nats().address();
        let proxy = FaultProxy::before(&address);
        let nats = Some(format!("nats://{}", proxy.address()));
        let mut asleep = cluster.join(Role::Server, MemberSetup { nats, ..MemberSetup::default() }).client();
        create_items(&mut awake, "x", 3);
        wait_until("both know the item", MINUTE, || shows(&mut asleep, "x0"));
        proxy.cut();
        until_acknowledged(&mut awake, "DELETE", "/api/item/x0", &json!(null));
        cluster.nats_client().ask("STREAM.PURGE.CHANGES", &json!({}));
        proxy.heal();
        wait_until("the deleted item is gone, without another change", MINUTE, || !shows(&mut asleep, "x0"));
        assert!(shows(&mut asleep, "x1"));
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_list_from_before_an_acknowledged_write_is_not_served_when_the_ingester_died_with_its_debt() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        let mut ingester = cluster.client();
        let mut other = cluster.join(Role::Server, MemberSetup::default()).client();
        for day in 1..=5 {
            until_acknowledged(&mut ingester, "POST", "/api/item", &item(&format!("i{day}"), day));
        }
        wait_until("the list is kept", MINUTE, || other.recommend("u", 10).contains(&"i5".to_owned()));
        cluster.redis.pause();
        for reader in 0..8 {
            let _ = status(&mut ingester, "GET", &format!("/api/recommend/w{reader}"), &json!(null));
        }
        until_acknowledged(&mut ingester, "POST", "/api/feedback", &json!([row("read", "u", "i5")]));
        cluster.member(Role::Server, 0).kill();
        cluster.redis.resume();
        wait_until("the list knows the write", MINUTE / 3, || {
            !other.recommend("u", 10).contains(&"i5".to_owned())
        });
    }
}
