//! What was acknowledged is stored, once, whatever happens to the process.

use serde_json::json;
use ulex_integration_tests::Ulex;
use ulex_integration_tests::datasets::feedback;

use crate::writers::{Writers, stored};

#[test]
fn a_kill_during_writes_loses_no_acknowledged_row_and_doubles_none() {
    let mut ulex = Ulex::start();
    let mut writers = Writers::default();
    for _ in 0..3 {
        writers.write_until(&mut ulex, Ulex::kill);
        ulex.restart();
        writers.check(&mut ulex.client());
    }
}

#[test]
fn a_post_with_an_idempotency_key_may_be_repeated() {
    let ulex = Ulex::start();
    let mut client = ulex.client();
    let body = json!([feedback("watch", "u", "i")]).to_string();
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "order-4711")];
    for _ in 0..3 {
        let answer = client.send("POST", "/api/feedback", &headers, Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(stored(&mut client, "u").get("i"), Some(&1.0));
    client.post("/api/feedback", &json!([feedback("watch", "u", "i")]));
    assert_eq!(stored(&mut client, "u").get("i"), Some(&2.0), "without a key values add up");
}
