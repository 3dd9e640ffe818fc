//! A store that cannot grow any more: writes are refused with 503, reads go on, and it recovers.

use serde_json::{Value, json};
use ulex_integration_tests::datasets::feedback;
use ulex_integration_tests::{Client, Ulex};

/// Pages of 8 KiB.
const PAGES: usize = 64;

fn rows(user: &str) -> Value {
    json!((0..200).map(|item| feedback("watch", user, &format!("item-{item}"))).collect::<Vec<_>>())
}

fn write(client: &mut Client, user: &str) -> (u16, String, bool) {
    let answer = client.send_json("POST", "/api/feedback", &rows(user)).unwrap();
    (answer.status, answer.text(), answer.header("retry-after").is_some())
}

fn stored(client: &mut Client, user: &str) -> usize {
    client.get(&format!("/api/user/{user}/feedback/watch")).as_array().unwrap().len()
}

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/small.sqlite", folder.path().display());
    let mut ulex = Ulex::configured(&format!("[database]\ndata_store = \"{url}?max_page_count={PAGES}\"\n"));
    let mut client = ulex.client();

    let mut users = Vec::new();
    let refusal = loop {
        assert!(users.len() < 1000, "the disk never fills");
        let user = format!("user-{}", users.len());
        match write(&mut client, &user) {
            (200, _, _) => users.push(user),
            refusal => break refusal,
        }
    };
    assert_eq!((refusal.0, refusal.2), (503, true), "{}", refusal.1);
    assert!(users.len() > 2, "{users:?}");
    for user in &users {
        assert_eq!(stored(&mut client, user), 200, "{user}: everything acknowledged is there");
    }
    assert_eq!(stored(&mut client, &format!("user-{}", users.len())), 0, "nothing refused is there");
    assert_eq!(client.recommend("user-0", 3).len(), 0, "all 200 items were seen");
    assert_eq!(client.recommend("somebody", 3).len(), 3);
    assert_eq!(client.get("/api/health/live")["Ready"], true);

    // Room is made.
    let last = users.pop().unwrap();
    assert_eq!(client.send("DELETE", &format!("/api/user/{last}"), &[], None).unwrap().status, 200);
    assert_eq!(write(&mut client, "user-after").0, 200);
    assert_eq!(stored(&mut client, "user-after"), 200);

    // A larger disk.
    assert!(ulex.stop().success());
    ulex.set_environment("ULEX_DATABASE_DATA_STORE", &url);
    ulex.restart();
    let mut client = ulex.client();
    for user in users {
        assert_eq!(stored(&mut client, &user), 200);
    }
    for user in 0..5 {
        assert_eq!(write(&mut client, &format!("later-{user}")).0, 200);
    }
}
