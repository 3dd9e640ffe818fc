//! The section `[recommend]` is changed while processes run, and taken back.

use std::time::Duration;

use serde_json::{Value, json};
use ulex_integration_tests::datasets::{TWO_TASTES_CONFIG, two_tastes};
use ulex_integration_tests::{Client, Ulex, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const PATH: &str = "/api/dashboard/config";

fn changed(client: &mut Client, method: &str, path: &str, body: &Value) -> Value {
    let answer = client.send_json(method, path, body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

fn revision(client: &mut Client) -> u64 {
    let page = client.send("GET", "/metrics", &[], None).unwrap().text();
    let line = page.lines().find_map(|line| line.strip_prefix("ulex_settings_revision "));
    line.unwrap_or_else(|| panic!("no revision in\n{page}")).parse::<f64>().unwrap() as u64
}

/// As a configuration with that leaderboard in it would say.
fn another_leaderboard() -> Value {
    json!({"recommend.non-personalized": [
        {"name": "popular", "score": "len(feedback)"},
        {"name": "newest", "score": "item.Timestamp.Unix()"},
    ]})
}

#[test]
fn what_is_learned_follows_the_settings_and_both_survive_a_restart() {
    let mut ulex = Ulex::configured(&format!("{TWO_TASTES_CONFIG}\n[training]\nquiet = '1s'\n"));
    let mut client = ulex.client();
    two_tastes().load(&mut client);
    wait_until("there are models", LIMIT, || client.has_models());
    assert!(client.scored("/api/non-personalized/newest?n=3").is_empty());
    let refused = client.send_json("PATCH", PATH, &json!({"recommend.cache_size": 0})).unwrap();
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("recommend.cache_size"), "{}", refused.text());
    changed(&mut client, "PATCH", PATH, &another_leaderboard());
    wait_until("it was learned", LIMIT, || client.scored("/api/non-personalized/newest?n=3").len() == 3);
    ulex.stop();
    ulex.restart();
    let mut client = ulex.client();
    assert_eq!(client.get(PATH)["recommend"]["non-personalized"][1]["name"], json!("newest"));
    assert_eq!(client.scored("/api/non-personalized/newest?n=3").len(), 3);
    assert_eq!(client.get(&format!("{PATH}/history"))[0]["Revision"], json!(revision(&mut client)));
    assert_eq!(changed(&mut client, "DELETE", PATH, &json!({})), json!({}));
    wait_until("it was forgotten", LIMIT, || client.scored("/api/non-personalized/newest?n=3").is_empty());
}

mod on_cluster {
    use std::time::Instant;

    use ulex_integration_tests::{Cluster, Role};

    use super::*;

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn every_process_follows_within_a_second_and_back() {
        let settings = format!("{TWO_TASTES_CONFIG}\n[training]\nquiet = '1s'\n");
        let mut cluster = Cluster::builder().servers(2).configured(&settings).start();
        let mut client = cluster.member(Role::Server, 0).client();
        two_tastes().load(&mut client);
        wait_until("there are models", LIMIT, || client.has_models());
        let mut other = cluster.member(Role::Server, 1).client();
        wait_until("the other server has them, too", LIMIT, || other.has_models());
        let before = other.recommend("nobody", 5);
        let unranked = json!({"recommend.ranker.type": "none", "recommend.ranker.recommenders": ["latest"]});
        let shown = changed(&mut client, "PATCH", PATH, &unranked);
        let began = Instant::now();
        assert_eq!(shown["recommend"]["ranker"]["type"], json!("none"));
        let latest = other.scored("/api/latest?n=5");
        assert_ne!(before, latest);
        wait_until("the other server answers by it", LIMIT, || other.recommend("nobody", 5) == latest);
        let first = revision(&mut client);
        let roles = [(Role::Master, 0), (Role::Worker, 0), (Role::Server, 0), (Role::Server, 1)];
        for (role, number) in roles {
            let mut member = cluster.member(role, number).client();
            wait_until("it follows", LIMIT, || revision(&mut member) == first);
        }
        let took = began.elapsed();
        eprintln!("every process followed after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        changed(&mut other, "PATCH", PATH, &json!({"recommend.context_size": 7}));
        assert_eq!(other.get(PATH)["recommend"]["context_size"], json!(7));
        changed(&mut client, "POST", &format!("{PATH}/rollback/{first}"), &json!({}));
        wait_until("that is taken back", LIMIT, || other.get(PATH)["recommend"]["context_size"] != json!(7));
        assert_eq!(other.get(PATH)["recommend"]["ranker"]["type"], json!("none"), "and the first is not");
        changed(&mut client, "DELETE", PATH, &json!({}));
        wait_until("the files are in force", LIMIT, || other.recommend("nobody", 5) == before);
    }
}
