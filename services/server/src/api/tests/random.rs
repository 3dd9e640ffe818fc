//! Whatever comes in: no answer is a server error, and a refused request has stored nothing.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::Client;

fn body() -> impl Strategy<Value = String> {
    let id = prop_oneof![
        Just("\"a\"".to_owned()),
        Just("\"\"".to_owned()),
        Just("\"\\u0000\"".to_owned()),
        any_json()
    ];
    let row = prop::collection::vec((key(), id), 0..8)
        .prop_map(|fields| {
            let fields: Vec<String> =
                fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", fields.join(","))
        })
        .boxed();
    let rows = prop::collection::vec(row.clone(), 0..4).prop_map(|rows| format!("[{}]", rows.join(",")));
    prop_oneof![row, rows, any_json(), ".{0,20}"]
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UserId",
        "ItemId",
        "FeedbackType",
        "Value",
        "Timestamp",
        "Labels",
        "Comment",
        "Categories",
        "IsHidden",
        "EventId",
        "userid",
        "Other",
    ])
}

fn any_json() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "null",
        "true",
        "1",
        "-1.5e300",
        "1e999",
        "\"2020-01-01\"",
        "\"x\"",
        "[1,2]",
        "[\"a\"]",
        "[true]",
        "{}",
        "{\"a\":{\"b\":[1]}}",
        "[[1]]",
        "\"\\ud800\"",
        "99999999999999999999",
        "[",
        "\"",
    ])
    .prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        Just("user".to_owned()),
        Just("users".to_owned()),
        Just("item".to_owned()),
        Just("items".to_owned()),
        Just("feedback".to_owned()),
        Just("recommend".to_owned()),
        Just("session".to_owned()),
        Just("latest".to_owned()),
        Just("neighbors".to_owned()),
        Just("category".to_owned()),
        "(%[0-9a-fA-F]{2}|[a-z]){1,4}",
        Just(String::new()),
        Just("..".to_owned()),
    ];
    let query = prop::sample::select(vec![
        "",
        "?n=0",
        "?n=-1",
        "?n=x",
        "?offset=99999999999",
        "?cursor=%00",
        "?cursor=YQ",
        "?q=a",
        "?category=a&category=",
        "?write-back-type=a&write-back-delay=1h",
        "?user-id=%ff",
        "?&&=&n",
        "?n=5;offset=2",
    ]);
    (prop::collection::vec(segment, 0..5), query)
        .prop_map(|(segments, query)| format!("/api/{}{query}", segments.join("/")))
}

fn runs(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

fn is_server_error(status: u16) -> bool {
    status >= 500
}

#[test]
fn no_body_is_a_server_error_and_refused_ones_store_nothing() {
    let system = actix_rt::System::new();
    let routes = prop::sample::select(vec![
        ("POST", "/api/user"),
        ("POST", "/api/users"),
        ("PATCH", "/api/user/u"),
        ("POST", "/api/item"),
        ("POST", "/api/items"),
        ("PATCH", "/api/item/i"),
        ("POST", "/api/feedback"),
        ("PUT", "/api/feedback"),
        ("POST", "/api/session/recommend"),
    ]);
    runs(400)
        .run(&(routes, body()), |((method, path), body)| {
            let (status, is_empty) = system.block_on(async {
                let client = Client::open();
                let answer = client.send(method, path, Some(body.clone().into_bytes())).await;
                (answer.status, client.is_empty().await)
            });
            prop_assert!(!is_server_error(status), "{method} {path} {body}: {status}");
            prop_assert!(
                status == 200 || is_empty,
                "{method} {path} {body}: {status} but something was stored"
            );
            Ok(())
        })
        .unwrap();
}

#[test]
fn no_path_and_no_query_is_a_server_error() {
    let system = actix_rt::System::new();
    let methods = prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]);
    runs(400)
        .run(&(methods, path()), |(method, path)| {
            let status = system.block_on(async { Client::open().send(method, &path, None).await.status });
            prop_assert!(!is_server_error(status), "{method} {path}: {status}");
            Ok(())
        })
        .unwrap();
}
