//! Comparing answers with recorded ones.
//!
//! A case is `{"name", "method", "path", "headers"?, "body"?, "after"?, "answer"}`; `body` is sent as JSON unless it
//! is a string, then byte for byte. Bodies are compared as JSON values: keys in any order, numbers by value, times by
//! instant, cursors by being empty or not, text without blanks around it. What differs from run to run (identifiers,
//! the clock) is replaced on both sides. Cases marked `after` are compared by shape only, because they depend on
//! trained models. The wording of an error that is no JSON is free.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Answer, Client};

/// A request and the answer it got.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Unique in all recordings.
    pub name: String,
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    after: Option<String>,
    answer: Recorded,
}

/// What was answered.
#[derive(Clone, Debug, Deserialize)]
struct Recorded {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Reads a file with one case a line.
///
/// # Panics
///
/// Panics if the file is not there or a line is no case.
#[must_use]
pub fn cases(path: &Path) -> Vec<Case> {
    lines(path).into_iter().map(|value| serde_json::from_value(value).unwrap()).collect()
}

/// Reads the differences that are meant of a service that is set up in this way: a file with one `{"name", "why"}` a
/// line, as name → reason. A line with a `where` is about services set up like that only.
///
/// # Panics
///
/// Panics if the file is not there or a line has no name and reason.
#[must_use]
pub fn known(path: &Path, set_up: &str) -> BTreeMap<String, String> {
    let text = |value: &Value, key: &str| {
        value[key].as_str().unwrap_or_else(|| panic!("no {key}: {value}")).to_owned()
    };
    let is_meant = |value: &&Value| value["where"].as_str().is_none_or(|place| place == set_up);
    lines(path).iter().filter(is_meant).map(|value| (text(value, "name"), text(value, "why"))).collect()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("//"));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

impl Case {
    /// Sends the request and says what is different from the recorded answer.
    ///
    /// # Panics
    ///
    /// Panics if there is no answer.
    pub fn replay(&self, client: &mut Client) -> Vec<String> {
        let body = match &self.body {
            Some(Value::String(raw)) => Some(raw.clone().into_bytes()),
            Some(value) => Some(value.to_string().into_bytes()),
            None => matches!(self.method.as_str(), "POST" | "PUT" | "PATCH").then(Vec::new),
        };
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if self.body.is_some() && !self.headers.contains_key("Content-Type") {
            headers.push(("Content-Type", "application/json"));
        }
        let answer = client.send(&self.method, &self.path, &headers, body.as_deref());
        self.differences(&answer.unwrap_or_else(|error| panic!("{}: {error}", self.name)))
    }

    /// What is different from the recorded answer.
    #[must_use]
    pub fn differences(&self, actual: &Answer) -> Vec<String> {
        let expected = &self.answer;
        let mut found = Vec::new();
        if expected.status != actual.status {
            found.push(format!("status {} != {}", expected.status, actual.status));
        }
        let kind = |text: Option<&str>| text.unwrap_or("").split(';').next().unwrap_or("").to_owned();
        let wanted_kind = kind(expected.headers.get("Content-Type").map(String::as_str));
        let kind = kind(actual.header("content-type"));
        if wanted_kind == "application/json" && kind != wanted_kind {
            found.push(format!("content type {wanted_kind} != {kind}"));
        }
        let location = (expected.headers.get("Location").map(String::as_str), actual.header("location"));
        if location.0 != location.1 {
            found.push(format!("location {:?} != {:?}", location.0, location.1));
        }
        found.extend(self.body_difference(actual));
        found
    }

    fn body_difference(&self, actual: &Answer) -> Option<String> {
        let (mut wanted, mut got) = (comparable(&self.answer.body), comparable(&actual.text()));
        if self.after.as_ref().is_some_and(|after| !after.is_empty()) {
            (wanted, got) = (shape(&wanted), shape(&got));
        }
        let wording_is_free =
            self.answer.status >= 400 && self.answer.status == actual.status && wanted.is_string();
        if wanted == got || wording_is_free {
            return None;
        }
        let short = |value: &Value| value.to_string().chars().take(300).collect::<String>();
        Some(format!("body: expected {} got {}", short(&wanted), short(&got)))
    }
}

/// A body in the form in which bodies are compared.
fn comparable(body: &str) -> Value {
    let text = settled(body);
    match serde_json::from_str(&text) {
        Ok(value) => normal(value),
        Err(_) => Value::from(text.trim()),
    }
}

/// Text in which what differs from run to run is replaced.
fn settled(text: &str) -> String {
    let (mut settled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        let (name, length) = match (uuid_length(rest), clock_length(rest)) {
            (Some(length), _) => ("<uuid>", length),
            (None, Some(length)) => ("<now>", length),
            (None, None) => ("", first.len_utf8()),
        };
        settled.push_str(if name.is_empty() { &rest[..length] } else { name });
        rest = &rest[length..];
    }
    settled
}

/// Length of the pattern at the beginning of `text`: `x` is a hexadecimal digit in lower case, `9` a decimal one,
/// everything else itself.
fn pattern_length(text: &str, pattern: &str) -> Option<usize> {
    let mut bytes = text.bytes();
    let fits = pattern.bytes().all(|expected| match (expected, bytes.next()) {
        (b'x', Some(byte)) => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        (b'9', Some(byte)) => byte.is_ascii_digit(),
        (_, byte) => byte == Some(expected),
    });
    fits.then_some(pattern.len())
}

fn uuid_length(text: &str) -> Option<usize> {
    pattern_length(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

/// Length of a time of 2024 to 2039, which can only come from the clock, at the beginning of `text`.
fn clock_length(text: &str) -> Option<usize> {
    let (seconds, rest) = seconds_and_fraction(text)?;
    if !text.starts_with("203") && !("2024".."2030").contains(&&text[..4]) {
        return None;
    }
    let zone = if rest.starts_with('Z') { 1 } else { offset_length(rest)? };
    Some(text.len() - rest.len() + zone).filter(|_| seconds > 0)
}

fn offset_length(text: &str) -> Option<usize> {
    pattern_length(text, "+99:99").or_else(|| pattern_length(text, "-99:99"))
}

/// Splits `YYYY-MM-DDTHH:MM:SS[.f]` off; its length without the fraction, and what comes behind it.
fn seconds_and_fraction(text: &str) -> Option<(usize, &str)> {
    let length = pattern_length(text, "9999-99-99T99:99:99")?;
    let rest = &text[length..];
    let Some(fraction) = rest.strip_prefix('.') else { return Some((length, rest)) };
    let behind = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
    if behind.len() == fraction.len() { Some((length, rest)) } else { Some((length, behind)) }
}

/// A value in which equal things look equal.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(fields.into_iter().map(normal_field).collect()),
        Value::Array(values) => Value::Array(values.into_iter().map(normal).collect()),
        Value::Number(number) => Value::from(number.as_f64()),
        Value::String(text) => Value::from(normal_time(&text).unwrap_or(text)),
        Value::Null | Value::Bool(_) => value,
    }
}

fn normal_field((key, value): (String, Value)) -> (String, Value) {
    if key == "Cursor" {
        let there = value.as_str().is_some_and(|cursor| !cursor.is_empty());
        return (key, Value::from(there));
    }
    (key, normal(value))
}

/// A time in UTC without zeros at the end of its fraction.
fn normal_time(text: &str) -> Option<String> {
    let (length, zone) = seconds_and_fraction(text)?;
    if zone != "Z" && zone != "+00:00" {
        return None;
    }
    let fraction = text[length..text.len() - zone.len()].trim_end_matches('0').trim_end_matches('.');
    Some(format!("{}{fraction}Z", &text[..length]))
}

/// Only what kind of value it is; of a list only the first.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(key, value)| (key.clone(), shape(value))).collect::<Map<_, _>>(),
        ),
        Value::Array(values) => Value::Array(values.first().map(shape).into_iter().collect()),
        Value::Null => Value::from("null"),
        Value::Bool(_) => Value::from("bool"),
        Value::Number(_) => Value::from("number"),
        Value::String(_) => Value::from("string"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn case(status: u16, body: &str, after: Option<&str>) -> Case {
        let answer = json!({"status": status, "headers": {"Content-Type": "application/json"}, "body": body});
        serde_json::from_value(json!({
            "name": "x", "method": "GET", "path": "/", "after": after, "answer": answer,
        }))
        .unwrap()
    }

    fn answer(status: u16, kind: &str, body: &str) -> Answer {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Answer { status, headers, body: body.as_bytes().to_vec() }
    }

    fn differ(expected: &str, actual: &str) -> bool {
        !case(200, expected, None)
            .differences(&answer(200, "application/json; charset=utf-8", actual))
            .is_empty()
    }

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        assert!(!differ(r#"{"a": 1, "b": [2.50]}"#, r#"{"b":[2.5],"a":1.0}"#));
        assert!(!differ(r#"{"Cursor":"MTA="}"#, r#"{"Cursor":"other"}"#));
        assert!(differ(r#"{"Cursor":"MTA="}"#, r#"{"Cursor":""}"#));
        assert!(!differ(r#""2009-08-13T05:15:09.500Z""#, r#""2009-08-13T05:15:09.5+00:00""#));
        assert!(differ(r#""2009-08-13T05:15:09Z""#, r#""2009-08-13T05:15:10Z""#));
        assert!(differ("[1,2]", "[2,1]"));
        assert!(differ("1", "true"));
    }

    #[test]
    fn identifiers_and_the_clock_are_replaced() {
        let uuid = "a 0b5cf9e2-8a36-4c1e-9d2c-6a1a5d7c2f10 b";
        assert_eq!(settled(uuid), "a <uuid> b");
        assert_eq!(settled("é2026-08-22T10:00:00.123456789Z!"), "é<now>!");
        assert_eq!(settled("2031-01-01T00:00:00-07:00"), "<now>");
        assert_eq!(settled("2019-01-01T00:00:00Z"), "2019-01-01T00:00:00Z");
        assert_eq!(settled("2026-08-22T10:00:00"), "2026-08-22T10:00:00");
    }

    #[test]
    fn what_depends_on_models_is_compared_by_shape() {
        let case = case(200, r#"[{"Id":"1","Score":2}]"#, Some("model"));
        assert!(
            case.differences(&answer(200, "application/json", r#"[{"Id":"9","Score":0.5},{"x":1}]"#))
                .is_empty()
        );
        assert!(!case.differences(&answer(200, "application/json", "[]")).is_empty());
    }

    #[test]
    fn errors_may_be_worded_freely_but_keep_their_status() {
        let case = case(400, "strconv.Atoi: invalid syntax", None);
        let kind_differs = case.differences(&answer(400, "text/plain", "n: expected a number"));
        assert_eq!(kind_differs, ["content type application/json != text/plain"]);
        let status_differs = case.differences(&answer(500, "application/json", "n: expected a number"));
        assert_eq!(status_differs.len(), 2, "{status_differs:?}");
    }

    #[test]
    #[ignore = "needs ULEX_CONFORMANCE_DIR"]
    fn a_recording_does_not_differ_from_itself() {
        let folder = crate::datasets::conformance_dir();
        for name in ["http", "users", "items", "timestamps", "feedback", "lists", "dashboard"] {
            for case in cases(&folder.join(format!("{name}.jsonl"))) {
                let headers =
                    case.answer.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
                let body = case.answer.body.clone().into_bytes();
                let itself = Answer { status: case.answer.status, headers: headers.collect(), body };
                assert_eq!(case.differences(&itself), Vec::<String>::new(), "{}", case.name);
            }
        }
    }
}
