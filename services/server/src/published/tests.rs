use bytes::Bytes;
use proptest::prelude::*;
use std::time::Duration;
use ulex_domain::{Feedback, ItemId, User, UserId};

use super::*;

const AT: u64 = 1_700_000_000;

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(AT)
}

fn message(kind: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
    Message {
        subject: format!("ulex.v1.default.event.{kind}.x"),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        payload: Bytes::copy_from_slice(body),
        reply: None,
    }
}

const OPEN: Admission = Admission { insert_users: true, insert_items: false };

fn read(kind: &str, headers: &[(&str, &str)], body: &str) -> Result<Vec<EventEnvelope>, String> {
    events_of(&message(kind, headers, body.as_bytes()), at(), OPEN)
}

fn one(kind: &str, body: &str) -> Command {
    let events = read(kind, &[], body).unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    events.into_iter().next().unwrap().event
}

fn rows(event: &Command) -> (&[Feedback], FeedbackMode) {
    let Command::PutFeedback { rows, mode, insert_users: true, insert_items: false } = event else {
        panic!("{event:?}")
    };
    (rows, *mode)
}

#[test]
fn a_row_of_feedback_says_what_a_rest_call_would_say() {
    let event = one(
        "feedback",
        r#"{"FeedbackType":"read","UserId":"u","ItemId":"i","Value":2,"Timestamp":"2024-01-01T00:00:00Z"}"#,
    );
    let (rows, mode) = rows(&event);
    assert_eq!(mode, FeedbackMode::Accumulate);
    assert_eq!((rows[0].feedback_type.as_str(), rows[0].value), ("read", 2.0));
    assert_eq!(rows[0].timestamp, Timestamp::parse_rfc3339("2024-01-01T00:00:00Z").unwrap());
}

#[test]
fn feedback_without_a_time_has_that_of_its_appending() {
    let event = one("feedback", r#"{"FeedbackType":"read","UserId":"u","ItemId":"i"}"#);
    assert_eq!(rows(&event).0[0].timestamp, Timestamp::from_unix_seconds(AT as i64));
}

#[test]
fn operations_are_said_in_the_record() {
    let put = one("feedback", r#"{"Op":"put","FeedbackType":"a","UserId":"u","ItemId":"i"}"#);
    assert_eq!(rows(&put).1, FeedbackMode::Overwrite);
    let (user_id, item_id) = (UserId::new("u"), ItemId::new("i"));
    let delete = |feedback_type| Command::DeleteFeedback {
        user_id: user_id.clone(),
        item_id: item_id.clone(),
        feedback_type,
    };
    assert_eq!(one("feedback", r#"{"Op":"DELETE","UserId":"u","ItemId":"i"}"#), delete(None));
    let typed = r#"{"op":"delete","FeedbackType":"a","UserId":"u","ItemId":"i"}"#;
    assert_eq!(one("feedback", typed), delete(Some("a".into())));
    assert_eq!(
        one("user", r#"{"Op":"delete","UserId":"u"}"#),
        Command::DeleteUser { user_id: user_id.clone() }
    );
    assert_eq!(
        one("item", r#"{"Op":"delete","ItemId":"i"}"#),
        Command::DeleteItem { item_id: item_id.clone() }
    );
    let Command::PatchItem { patch, .. } = one("item", r#"{"Op":"patch","ItemId":"i","IsHidden":true}"#)
    else {
        panic!("no patch")
    };
    assert_eq!((patch.is_hidden, patch.categories, patch.timestamp), (Some(true), None, None));
    let Command::PatchUser { patch, .. } = one("user", r#"{"Op":"patch","UserId":"u","Comment":"c"}"#) else {
        panic!("no patch")
    };
    assert_eq!((patch.labels, patch.comment.as_deref()), (None, Some("c")));
    let user = User { user_id, labels: serde_json::json!({"a": ["b"]}), comment: String::new() };
    assert_eq!(
        one("user", r#"{"UserId":"u","Labels":{"a":["b"]}}"#),
        Command::PutUsers { users: vec![user] }
    );
}

#[test]
fn an_array_takes_effect_in_its_order() {
    let body = r#"[{"UserId":"a"},{"UserId":"b"},{"Op":"delete","UserId":"a"},{"UserId":"a"},{"UserId":"a","Comment":"x"}]"#;
    let events: Vec<Command> =
        read("user", &[], body).unwrap().into_iter().map(|envelope| envelope.event).collect();
    let count = |event: &Command| if let Command::PutUsers { users } = event { users.len() } else { 0 };
    let counts: Vec<usize> = events.iter().map(count).collect();
    assert_eq!(events[1], Command::DeleteUser { user_id: UserId::new("a") });
    assert_eq!(counts, [2, 0, 1, 1], "the last record replaces the one before it");
    assert_eq!(read("user", &[], "[]").unwrap(), []);
}

#[test]
fn two_rows_of_one_array_with_the_same_key_both_count() {
    let row = r#"{"FeedbackType":"a","UserId":"u","ItemId":"i","Value":1}"#;
    assert_eq!(read("feedback", &[], &format!("[{row},{row}]")).unwrap().len(), 2);
}

fn ids(events: &[EventEnvelope]) -> Vec<Option<&str>> {
    events.iter().map(|envelope| envelope.event_id.as_ref().map(EventId::as_str)).collect()
}

#[test]
fn the_id_is_that_of_the_record_else_that_of_the_message() {
    let header = [("Nats-Msg-Id", "m")];
    let events = read(
        "user",
        &header,
        r#"[{"UserId":"a","EventId":"e"},{"UserId":"b"},{"Op":"delete","UserId":"c"}]"#,
    )
    .unwrap();
    assert_eq!(ids(&events), [Some("e"), Some("m"), Some("m#1")]);
    assert_eq!(ids(&read("user", &[], r#"{"UserId":"a"}"#).unwrap()), [None]);
    let sent_again = [("Nats-Msg-Id", "again"), ("ulex-event-id", "m")];
    assert_eq!(ids(&read("user", &sent_again, r#"{"UserId":"a"}"#).unwrap()), [Some("m")]);
    let text = read("user", &[("Nats-Msg-Id", &"x".repeat(200))], r#"{"UserId":"a"}"#).unwrap_err();
    assert!(text.starts_with("Nats-Msg-Id: an event id must be"), "{text}");
}

#[test]
fn records_with_one_id_are_one_event_or_a_mistake() {
    let body = r#"[{"UserId":"a","EventId":"e"},{"UserId":"b","EventId":"f"},{"UserId":"c","EventId":"e"}]"#;
    let events = read("user", &[], body).unwrap();
    assert_eq!(ids(&events), [Some("e"), Some("f")]);
    let body = r#"[{"UserId":"a","EventId":"e"},{"Op":"delete","UserId":"a","EventId":"e"}]"#;
    let text = read("user", &[], body).unwrap_err();
    assert!(text.starts_with("[1].EventId: expected one id for one event"), "{text}");
}

#[test]
fn the_header_says_the_schema_and_its_version() {
    let row = r#"{"FeedbackType":"a","UserId":"u","ItemId":"i"}"#;
    assert_eq!(read("feedback", &[("ulex-schema", "feedback/1")], row).unwrap().len(), 1);
    assert_eq!(read("other", &[("ulex-schema", "feedback/1")], row).unwrap().len(), 1);
    for (kind, headers, expected) in [
        (
            "feedback",
            &[("ulex-schema", "feedback/2")][..],
            "reads feedback/1, users/1, items/1 and event/1, got \"feedback/2\"",
        ),
        ("item", &[("ulex-schema", "feedback/1")], "expected items/1 on ulex.v1.default.event.item.x"),
        ("other", &[], "subject: expected event.feedback.*, event.user.* or event.item.*"),
    ] {
        let text = read(kind, headers, row).unwrap_err();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn an_envelope_of_the_gateway_is_read_as_it_is() {
    let envelope = EventEnvelope { event_id: None, event: Command::DeleteUser { user_id: UserId::new("u") } };
    let body = serde_json::to_string(&envelope).unwrap();
    assert_eq!(read("user", &[("ulex-schema", "event/1")], &body).unwrap(), vec![envelope]);
    assert!(read("user", &[("ulex-schema", "event/1")], "{}").unwrap_err().contains("event"));
}

#[test]
fn a_right_to_publish_feedback_is_no_right_to_delete_users() {
    let (user_id, item_id) = (UserId::new("u"), ItemId::new("i"));
    let commands = [
        (Command::DeleteUser { user_id: user_id.clone() }, "user"),
        (Command::PutItems { items: Vec::new() }, "item"),
        (Command::DeleteItem { item_id: item_id.clone() }, "item"),
        (Command::DeleteFeedback { user_id, item_id, feedback_type: None }, "feedback"),
    ];
    for (event, own) in commands {
        let body = serde_json::to_string(&EventEnvelope { event_id: None, event }).unwrap();
        for kind in ["user", "item", "feedback"] {
            let read = read(kind, &[("ulex-schema", "event/1")], &body);
            assert_eq!(read.is_ok(), kind == own, "{body} on {kind}: {read:?}");
        }
    }
}

#[test]
fn a_refusal_names_row_and_field_and_what_was_expected() {
    for (kind, body, start, expected) in [
        ("feedback", r#"{"FeedbackType":"a","ItemId":"i"}"#, "UserId: ", "non-empty"),
        (
            "feedback",
            r#"[{"FeedbackType":"a","UserId":"u","ItemId":"i"},{"UserId":5}]"#,
            "[1].UserId: ",
            "a string",
        ),
        (
            "feedback",
            r#"{"FeedbackType":"a","UserId":"u","ItemId":"i","Value":"1"}"#,
            "Value: ",
            "a finite number",
        ),
        ("feedback", r#"{"Op":"patch","FeedbackType":"a","UserId":"u","ItemId":"i"}"#, "Op: ", "\"delete\""),
        ("feedback", r#"{"Op":"delete","FeedbackType":"a","UserId":"u"}"#, "ItemId: ", "non-empty"),
        ("feedback", r#"{"Op":"remove","UserId":"u"}"#, "Op: ", "got \"remove\""),
        ("user", r#"{"Op":"post","UserId":"u"}"#, "Op: ", "\"patch\""),
        ("user", r#"{"UserId":"u","EventId":"a\u0001"}"#, "EventId: ", "control"),
        ("item", r#"{"ItemId":"i","Timestamp":5}"#, "Timestamp: ", "a date string"),
        ("item", r#"{"ItemId":"i"} {"ItemId":"j"}"#, "expected nothing behind", "one array"),
        ("item", "", "EOF", "JSON"),
        ("item", "5", "invalid type", "or an array of such objects"),
        ("item", "null", "invalid type", "an object with ItemId"),
    ] {
        let text = read(kind, &[], body).unwrap_err();
        assert!(text.starts_with(start), "{body}: {text}");
        assert!(text.contains(expected), "{body}: {text}");
    }
}

fn field() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("Op"),
        Just("UserId"),
        Just("itemId"),
        Just("FeedbackType"),
        Just("EventId"),
        Just("Value"),
        Just("Timestamp"),
        Just("Labels"),
        Just("IsHidden"),
        Just("Categories"),
        Just("x"),
    ];
    let value = prop_oneof![
        Just(r#""put""#.to_owned()),
        Just(r#""delete""#.to_owned()),
        Just(r#""patch""#.to_owned()),
        Just("null".to_owned()),
        Just("1.5".to_owned()),
        Just("true".to_owned()),
        Just(r#"["a"]"#.to_owned()),
        Just(r#"{"a":[1]}"#.to_owned()),
        Just(r#""2024-01-01""#.to_owned()),
        "\"[a-z]{0,3}\"",
    ];
    (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let record =
        prop::collection::vec(field(), 0..8).prop_map(|fields| format!("{{{}}}", fields.join(","))).boxed();
    let array =
        prop::collection::vec(record.clone(), 0..6).prop_map(|records| format!("[{}]", records.join(",")));
    prop_oneof![
        record.prop_map(String::into_bytes),
        array.prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_message_is_read_or_refused_with_a_reason(
        subject in "[a-z.*> ]{0,40}|ulex\\.v1\\.default\\.event\\.(feedback|user|item)\\.x",
        schema in prop::option::of("feedback/1|users/1|items/1|event/1|[a-z0-9/]{0,12}"),
        id in prop::option::of(".{0,140}"),
        body in body(),
    ) {
        let mut message = message("x", &[], &body);
        message.subject = subject;
        message.headers.extend(schema.map(|schema| (SCHEMA_HEADER.to_owned(), schema)));
        message.headers.extend(id.map(|id| (MESSAGE_ID_HEADER.to_owned(), id)));
        match events_of(&message, at(), OPEN) {
            Err(reason) => prop_assert!(!reason.is_empty()),
            Ok(events) => {
                let again = events_of(&message, at(), OPEN);
                prop_assert_eq!(Ok(&events), again.as_ref(), "the same message asks for the same");
                let ids: Vec<_> = events.iter().filter_map(|envelope| envelope.event_id.as_ref()).collect();
                let distinct: HashSet<_> = ids.iter().collect();
                prop_assert_eq!(ids.len(), distinct.len());
            }
        }
    }
}
