//! SIGTERM: what was accepted is finished; a second one ends the process at once.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use ulex_integration_tests::datasets::feedback;
use ulex_integration_tests::{Ulex, wait_until};

use crate::writers::{Writers, stored};

#[test]
fn an_orderly_stop_ends_well_and_keeps_everything() {
    let mut ulex = Ulex::start();
    ulex.client().post("/api/feedback", &json!([feedback("watch", "u", "i")]));
    assert!(ulex.stop().success());
    ulex.restart();
    assert_eq!(stored(&mut ulex.client(), "u").len(), 1);
}

#[test]
fn a_stop_during_writes_loses_no_acknowledged_row_and_doubles_none() {
    let mut ulex = Ulex::start();
    let mut writers = Writers::default();
    writers.write_until(&mut ulex, |ulex| assert!(ulex.stop().success()));
    ulex.restart();
    writers.check(&mut ulex.client());
}

#[test]
fn a_second_signal_ends_the_process_although_a_request_is_under_way() {
    let mut ulex = Ulex::start();
    let mut stream = TcpStream::connect(ulex.base_url().trim_start_matches("http://")).unwrap();
    let head = "POST /api/feedback HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[";
    stream.write_all(head.as_bytes()).unwrap();
    // Answered after the head above was read: both are accepted in order.
    ulex.client().get("/api/health/live");
    ulex.terminate();
    wait_until("the first signal was heard", Duration::from_secs(20), || {
        ulex.log().contains("shutting down")
    });
    ulex.terminate();
    assert_eq!(ulex.wait().code(), Some(130));
}
