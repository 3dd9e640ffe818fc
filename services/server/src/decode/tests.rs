use proptest::prelude::*;
use serde_json::json;
use ulex_domain::Timestamp;

use super::*;

fn message<T: fmt::Debug>(decoded: Result<T, ApiError>) -> String {
    let refused = decoded.unwrap_err();
    assert_eq!(refused.status(), 400);
    refused.to_string()
}

#[test]
fn a_row_comes_out_as_it_was_written() {
    let body = br#"[{"FeedbackType":"watch","UserId":"u\u00fc","ItemId":"i","Value":2.5,
        "Timestamp":"2020-01-01","Labels":{"k":[1,2]},"Comment":"c","Updated":5}]"#;
    let decoded = feedback(body).unwrap();
    let row = &decoded.rows[0];
    assert_eq!(row.feedback_type, "watch");
    assert_eq!(row.user_id.as_str(), "uü");
    assert_eq!(row.item_id.as_str(), "i");
    assert_eq!(row.value, 2.5);
    assert_eq!(row.timestamp, Timestamp::parse_rfc3339("2020-01-01T00:00:00Z").unwrap());
    assert_eq!(row.labels, json!({"k": [1, 2]}));
    assert_eq!(row.comment, "c");
    assert!(decoded.event_ids.is_empty());
}

#[test]
fn keys_match_whatever_their_case_and_unknown_keys_are_skipped() {
    let body =
        br#"{"itemid":"i","TimeStamp":"2026-01-01T00:00:00.0000000Z","ISHIDDEN":true,"Extra":[{"a":[]}]}"#;
    let item = item(body).unwrap();
    assert!(item.is_hidden);
    assert_eq!(item.timestamp.to_string(), "2026-01-01T00:00:00Z");
}

#[test]
fn null_is_zero_and_what_follows_the_first_value_is_ignored() {
    let item = item(br#"{"ItemId":"i","IsHidden":null,"Categories":null,"Timestamp":null,"Labels":null,"Comment":null} x"#);
    assert_eq!(item.unwrap(), Item::bare(ulex_domain::ItemId::new("i")));
    assert_eq!(users(b"null").unwrap(), []);
    assert_eq!(users(b"[] trailing").unwrap(), []);
    assert!(message(user(b"null")).starts_with("UserId: expected a non-empty string"));
    assert_eq!(item_patch(b"null").unwrap(), ItemPatch::default());
}

#[test]
fn a_refusal_names_row_and_field_and_what_was_expected() {
    for (body, start, expected) in [
        (
            r#"[{"FeedbackType":"a","UserId":"u","ItemId":"i"},{"FeedbackType":"a","UserId":5}]"#,
            "[1].UserId",
            "a string",
        ),
        (r#"[{"FeedbackType":"a","UserId":"","ItemId":"i"}]"#, "[0].UserId", "non-empty"),
        (r#"[{"UserId":"u","ItemId":"i"}]"#, "[0].FeedbackType", "non-empty"),
        (r#"[{"FeedbackType":"a","UserId":"u","ItemId":"i\n"}]"#, "[0].ItemId", "control"),
        (r#"[{"FeedbackType":"a","UserId":"u","ItemId":"i\u0085"}]"#, "[0].ItemId", "control"),
        (r#"[{"FeedbackType":"a","Value":"x"}]"#, "[0].Value", "a finite number"),
        (r#"[{"FeedbackType":"a","Value":1e999}]"#, "[0].Value", "out of range"),
        (r#"[{"FeedbackType":"a","Timestamp":5}]"#, "[0].Timestamp", "a date string"),
        (r#"[{"FeedbackType":"a","Timestamp":"nonsense"}]"#, "[0].Timestamp", "nonsense"),
        (r#"[{"FeedbackType":"a","Labels":{"x":true}}]"#, "[0].Labels", "bool"),
        (r#"{"FeedbackType":"watch"}"#, "invalid type: map", "an array"),
        (r#"[null]"#, "[0].FeedbackType", "non-empty"),
        (r#"[5]"#, "[0]", "an object"),
        ("", "EOF", "JSON"),
        ("  \n", "EOF", "JSON"),
        ("[", "[0]", "EOF"),
        ("[{bad json", "[0]", "key must be a string"),
    ] {
        let text = message(feedback(body.as_bytes()));
        assert!(text.starts_with(start), "{body}: {text}");
        assert!(text.contains(expected), "{body}: {text}");
    }
}

#[test]
fn event_ids_stand_in_every_row_or_in_none() {
    let row = |id: &str| format!(r#"{{"FeedbackType":"a","UserId":"u","ItemId":"i"{id}}}"#);
    let with = row(r#","EventId":"e1""#);
    let decoded = feedback(format!("[{with},{with}]").as_bytes()).unwrap();
    assert_eq!(decoded.event_ids.len(), 2);
    let mixed = format!("[{with},{}]", row(""));
    assert!(message(feedback(mixed.as_bytes())).starts_with("[1].EventId"));
    let long = row(&format!(r#","EventId":"{}""#, "x".repeat(200)));
    assert!(message(feedback(format!("[{long}]").as_bytes())).starts_with("[0].EventId"));
}

#[test]
fn patches_take_rfc_3339_only() {
    assert!(item_patch(br#"{"Timestamp":"2020-01-02T03:04:05Z"}"#).unwrap().timestamp.is_some());
    assert!(message(item_patch(br#"{"Timestamp":"2020-01-02"}"#)).starts_with("Timestamp: "));
}

#[test]
fn a_session_needs_no_user() {
    let rows = session(br#"[{"FeedbackType":"a","ItemId":"i"}]"#).unwrap();
    assert_eq!(rows.len(), 1);
    assert!(message(session(br#"[{"FeedbackType":"a"}]"#)).starts_with("[0].ItemId"));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|truth| json!(truth)),
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
        ".{0,8}".prop_map(|text| json!(text)),
        Just(json!("2020-01-01")),
    ];
    let key = prop_oneof![
        Just("UserId".to_owned()),
        Just("itemid".to_owned()),
        Just("FEEDBACKTYPE".to_owned()),
        Just("Labels".to_owned()),
        Just("Timestamp".to_owned()),
        Just("Value".to_owned()),
        ".{0,4}",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|list| json!(list)),
            prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

fn decode_all(body: &[u8]) {
    let mut refused: Vec<ApiError> = Vec::new();
    refused.extend(feedback(body).err());
    refused.extend(session(body).err());
    refused.extend(user(body).err());
    refused.extend(users(body).err());
    refused.extend(user_patch(body).err());
    refused.extend(item(body).err());
    refused.extend(items(body).err());
    refused.extend(item_patch(body).err());
    assert!(refused.iter().all(|refusal| refusal.status() == 400));
}

proptest! {
    #[test]
    fn any_json_is_decoded_or_refused(value in any_json()) {
        decode_all(value.to_string().as_bytes());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_all(&body);
    }

    #[test]
    fn what_is_accepted_has_valid_ids(value in any_json()) {
        for row in feedback(value.to_string().as_bytes()).unwrap_or_default().rows {
            prop_assert!(is_id(&row.feedback_type) && is_id(row.user_id.as_str()) && is_id(row.item_id.as_str()));
            prop_assert!(row.value.is_finite());
        }
    }
}

#[test]
fn deep_nesting_is_refused_without_exhausting_the_stack() {
    let deep = |open: &str, close: &str| open.repeat(200_000) + &close.repeat(200_000);
    let labels = format!(r#"{{"UserId":"u","Labels":{}}}"#, deep("[", "]"));
    assert!(message(user(labels.as_bytes())).starts_with("Labels"));
    let unknown = format!(r#"{{"UserId":"u","Unknown":{}}}"#, deep("[", "]"));
    assert!(user(unknown.as_bytes()).is_ok());
}
