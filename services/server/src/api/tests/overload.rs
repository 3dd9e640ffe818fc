//! What callers see when more is asked than can be answered.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::Client;

/// Of a thousand requests.
const ALL: u32 = 1000;

fn client() -> Client {
    let client = Client::open();
    client.backend.set_list("user/ann", &["a", "b"]);
    client
}

#[actix_web::test]
async fn an_answer_says_what_it_lacks() {
    let client = client();
    for (level, expected) in [(0, ""), (1, ""), (2, "unranked"), (3, "leaderboard"), (4, "leaderboard")] {
        client.state.overload().force(level, 0);
        let answer = client.get("/api/recommend/ann?n=2").await;
        assert_eq!(answer.json(), json!(["a", "b"]));
        assert_eq!(answer.header("x-ulex-degraded"), expected, "level {level}");
    }
}

#[actix_web::test]
async fn a_kept_list_out_of_date_is_given_from_the_first_level_on() {
    let client = client();
    client.backend.cached.store(true, Ordering::Relaxed);
    client.backend.stale.store(true, Ordering::Relaxed);
    assert_eq!(client.get("/api/recommend/ann").await.header("x-ulex-degraded"), "");
    for level in 1..=4 {
        client.state.overload().force(level, ALL);
        let answer = client.get("/api/recommend/ann").await;
        assert_eq!((answer.status, answer.header("x-ulex-degraded")), (200, "stale"));
    }
}

#[actix_web::test]
async fn reads_that_must_wait_are_refused_at_last_and_say_when_to_come_again() {
    let client = client();
    client.state.overload().force(4, ALL);
    for path in ["/api/recommend/ann", "/api/latest", "/api/user/ann", "/api/items"] {
        let answer = client.get(path).await;
        answer.refused(429, &["too many requests"]);
        assert_eq!(answer.header("retry-after"), "1", "{path}");
    }
    client.post("/api/session/recommend", json!([])).await.refused(429, &[]);
    assert_eq!(client.state.in_flight(), 0);
}

#[actix_web::test]
async fn writes_health_lists_from_memory_and_the_dashboard_are_never_refused() {
    let client = client();
    client.backend.cached.store(true, Ordering::Relaxed);
    client.state.overload().force(4, ALL);
    assert_eq!(client.post("/api/user", json!({"UserId": "bob"})).await.status, 200);
    for path in ["/api/health/live", "/api/health/ready", "/api/recommend/ann", "/api/dashboard/tasks"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
}
