//! What makes no sense is refused with a status and a message that name it, and nothing of it is stored.

use serde_json::json;
use ulex_integration_tests::{Answer, Client, Ulex};

/// Method, path, body, status, and words the message must hold.
type Case<'a> = (&'a str, &'a str, &'a str, u16, &'a [&'a str]);

const REFUSED: &[Case<'_>] = &[
    // No JSON, or other JSON than expected.
    ("POST", "/api/user", "", 400, &["JSON"]),
    ("POST", "/api/user", "{\"UserId\":", 400, &["UserId"]),
    ("POST", "/api/user", "[]", 400, &["object"]),
    ("POST", "/api/users", "{\"UserId\":\"a\"}", 400, &["array"]),
    ("POST", "/api/feedback", "[5]", 400, &["[0]", "object"]),
    // Wrong types.
    ("POST", "/api/user", "{\"UserId\":5}", 400, &["UserId", "string"]),
    ("POST", "/api/item", "{\"ItemId\":\"a\",\"IsHidden\":\"yes\"}", 400, &["IsHidden"]),
    ("POST", "/api/item", "{\"ItemId\":\"a\",\"Categories\":\"x\"}", 400, &["Categories"]),
    (
        "POST",
        "/api/feedback",
        "[{\"FeedbackType\":\"t\",\"UserId\":\"u\",\"ItemId\":\"i\",\"Value\":\"5\"}]",
        400,
        &["[0].Value", "number"],
    ),
    // Ids.
    ("POST", "/api/user", "{\"UserId\":\"\"}", 400, &["UserId", "non-empty"]),
    ("POST", "/api/user", "{}", 400, &["UserId"]),
    ("POST", "/api/item", "{\"ItemId\":\"a\\u0000b\"}", 400, &["ItemId", "control"]),
    ("POST", "/api/item", "{\"ItemId\":\"a\\nb\"}", 400, &["ItemId", "control"]),
    (
        "POST",
        "/api/feedback",
        "[{\"FeedbackType\":\"t\",\"UserId\":\"u\\u007f\",\"ItemId\":\"i\"}]",
        400,
        &["[0].UserId", "control"],
    ),
    ("POST", "/api/feedback", "[{\"UserId\":\"u\",\"ItemId\":\"i\"}]", 400, &["[0].FeedbackType"]),
    // Of several rows one is wrong: none is stored.
    ("POST", "/api/users", "[{\"UserId\":\"good\"},{\"UserId\":\"\"}]", 400, &["[1].UserId"]),
    (
        "POST",
        "/api/items",
        "[{\"ItemId\":\"good\"},{\"ItemId\":\"bad\",\"Timestamp\":\"soon\"}]",
        400,
        &["[1].Timestamp", "soon"],
    ),
    (
        "PUT",
        "/api/feedback",
        "[{\"FeedbackType\":\"t\",\"UserId\":\"u\",\"ItemId\":\"i\"},{\"FeedbackType\":\"t\",\"UserId\":\"u\"}]",
        400,
        &["[1].ItemId"],
    ),
    // Times.
    ("POST", "/api/item", "{\"ItemId\":\"a\",\"Timestamp\":\"2024-13-01\"}", 400, &["Timestamp"]),
    ("POST", "/api/item", "{\"ItemId\":\"a\",\"Timestamp\":17}", 400, &["Timestamp", "date"]),
    // Labels.
    ("POST", "/api/user", "{\"UserId\":\"a\",\"Labels\":{\"x\":true}}", 400, &["Labels", "bool"]),
    ("POST", "/api/user", "{\"UserId\":\"a\",\"Labels\":{\"x\":[1,\"a\"]}}", 400, &["Labels"]),
    ("POST", "/api/item", "{\"ItemId\":\"a\",\"Labels\":[{\"x\":1}]}", 400, &["Labels"]),
    // Numbers in the query.
    ("GET", "/api/recommend/u?n=many", "", 400, &["n"]),
    ("GET", "/api/recommend/u?n=-1", "", 400, &["n"]),
    ("GET", "/api/users?n=-1", "", 400, &["n"]),
    ("GET", "/api/latest?offset=-2", "", 400, &["offset"]),
    ("GET", "/api/users?cursor=!!", "", 400, &["cursor"]),
    // What is not there.
    ("GET", "/api/user/nobody", "", 404, &["nobody"]),
    ("GET", "/api/item/nothing", "", 404, &["nothing"]),
    ("PUT", "/api/item/nothing/category/x", "", 404, &["nothing"]),
    ("GET", "/api/nothing", "", 404, &[]),
    ("DELETE", "/api/users", "", 405, &[]),
];

fn send(client: &mut Client, method: &str, path: &str, body: &[u8]) -> Answer {
    let headers = [("Content-Type", "application/json")];
    let body = (method != "GET").then_some(body);
    client.send(method, path, &headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

fn assert_empty(client: &mut Client) {
    for (path, list) in [("/api/users", "Users"), ("/api/items", "Items"), ("/api/feedback", "Feedback")] {
        let page = client.get(path);
        assert!(page[list].as_array().is_none_or(Vec::is_empty), "{path}: {page}");
    }
}

#[test]
fn every_refusal_names_what_is_wrong_and_stores_nothing() {
    let ulex = Ulex::start();
    let mut client = ulex.client();
    for &(method, path, body, status, words) in REFUSED {
        let answer = send(&mut client, method, path, body.as_bytes());
        let text = answer.text();
        assert_eq!(answer.status, status, "{method} {path} {body}: {text}");
        for word in words {
            assert!(text.contains(word), "{method} {path} {body}: {word:?} is missing in {text:?}");
        }
    }
    assert_empty(&mut client);
}

#[test]
fn bodies_that_are_no_text_or_of_another_kind_are_refused() {
    let ulex = Ulex::start();
    let mut client = ulex.client();
    let answer = send(&mut client, "POST", "/api/user", b"{\"UserId\":\"\xff\"}");
    assert_eq!(answer.status, 400, "{}", answer.text());
    let deep = format!(
        "{{\"UserId\":\"a\",\"Labels\":{}{}}}",
        "{\"a\":".repeat(5000),
        "1".to_owned() + &"}".repeat(5000)
    );
    assert_eq!(send(&mut client, "POST", "/api/user", deep.as_bytes()).status, 400);
    let headers = [("Content-Type", "text/html")];
    let answer = client.send("POST", "/api/user", &headers, Some(b"{\"UserId\":\"a\"}")).unwrap();
    assert_eq!(answer.status, 415, "{}", answer.text());
    assert_empty(&mut client);
}

#[test]
fn a_body_of_fifty_megabytes_is_refused_and_the_service_goes_on() {
    let ulex = Ulex::start();
    let mut client = ulex.client();
    let comment = "x".repeat(50 << 20);
    let body = json!({"UserId": "large", "Comment": comment}).to_string();
    let answer = send(&mut client, "POST", "/api/user", body.as_bytes());
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.text().contains("bytes"), "{}", answer.text());
    let mut client = ulex.client();
    assert_empty(&mut client);
    client.post("/api/user", &json!({"UserId": "small"}));
}
