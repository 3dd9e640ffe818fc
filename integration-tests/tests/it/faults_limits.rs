//! Input that is small outside and large inside, ids that are too long, and clocks that differ.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use ulex_integration_tests::{Client, Cluster, MemberSetup, Role};

use crate::accidents::{create_items, dead_letters, item, status, stays_so};

/// More than three requests of 32 kB each may take together.
const MEMORY_LIMIT_MIB: u64 = 400;
const FAKE_TIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// 31 MiB of small numbers as labels, compressed to 32 kB.
fn bomb() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body.json");
    let numbers = "1,".repeat((31 << 20) / 2);
    std::fs::write(&file, format!("{{\"UserId\":\"u\",\"Labels\":[{numbers}1]}}")).unwrap();
    let gzip = Command::new("gzip").args(["-9", "-c"]).arg(&file).stdin(Stdio::null()).output().unwrap();
    assert!(gzip.status.success());
    gzip.stdout
}

fn writes_pass_with_a_clock_off_by(seconds: &str) {
    if !Path::new(FAKE_TIME).exists() {
        eprintln!("skipped: this machine has no libfaketime");
        return;
    }
    let mut cluster = Cluster::builder().only_servers(0).start();
    let environment = [
        ("LD_PRELOAD", FAKE_TIME),
        ("FAKETIME", seconds),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    cluster.join(Role::Server, MemberSetup { environment, ..MemberSetup::default() });
    create_items(&mut cluster.client(), "ingester", 1);
    let mut other = cluster.join(Role::Server, MemberSetup::default()).client();
    for number in 0..3 {
        let written = status(&mut other, "POST", "/api/item", &item(&format!("y{number}"), 1));
        assert_eq!(written, Some(200), "the clock of the ingester is off by {seconds}");
    }
}

mod on_cluster {
    use super::*;

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn writes_pass_through_an_ingester_whose_clock_is_behind() {
        writes_pass_with_a_clock_off_by("-20s");
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_compressed_body_does_not_take_more_memory_than_it_may() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        let before = cluster.member(Role::Server, 0).peak_memory_mib();
        let (bomb, url) = (bomb(), cluster.member(Role::Server, 0).base_url());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
                    // It is refused for what it is, not for the time that it takes; the connection may be closed before.
                    let answer = Client::new(&url).send("POST", "/api/user", &headers, Some(&bomb));
                    assert!(
                        answer.is_err() || answer.is_ok_and(|answer| (400..500).contains(&answer.status))
                    );
                });
            }
        });
        // Work may go on behind the answer.
        stays_so("little memory is taken", Duration::from_secs(4), || {
            let took = cluster.member(Role::Server, 0).peak_memory_mib().saturating_sub(before);
            took < MEMORY_LIMIT_MIB
        });
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn an_id_that_is_too_long_is_a_bad_request_and_no_dead_letter() {
        let mut cluster = Cluster::builder().only_servers(1).start();
        let mut client = cluster.client();
        // Text that no index can compress.
        let id: String =
            (0_u64..400).map(|n| format!("{:016x}", (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
        assert_eq!(status(&mut client, "POST", "/api/item", &item(&id, 1)), Some(400));
        let feedback = json!([{"FeedbackType": "read", "UserId": id, "ItemId": "a", "Value": 1}]);
        assert_eq!(status(&mut client, "POST", "/api/feedback", &feedback), Some(400));
        assert_eq!(dead_letters(&cluster.nats_client()), 0);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn writes_pass_through_an_ingester_whose_clock_is_ahead() {
        writes_pass_with_a_clock_off_by("+20s");
    }
}
