//! Answers as compact JSON, straight into the buffer that is sent.

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use ulex_storage::StorageError;

use crate::backend::{BackendError, ScoredItem};
use crate::error::ApiError;

/// `["a","b"]`
pub(crate) fn ids(list: &[ScoredItem]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + list.iter().map(|entry| entry.id.len() + 3).sum::<usize>());
    out.push(b'[');
    for (index, entry) in list.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(&entry.id, &mut out);
    }
    out.push(b']');
    out
}

/// `[{"Id":"a","Score":0.5}]`
pub(crate) fn scores(list: &[ScoredItem]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + list.iter().map(|entry| entry.id.len() + 44).sum::<usize>());
    out.push(b'[');
    for (index, entry) in list.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"Id\":" } else { b"{\"Id\":" });
        string(&entry.id, &mut out);
        out.extend_from_slice(b",\"Score\":");
        number(entry.score, &mut out);
        out.push(b'}');
    }
    out.push(b']');
    out
}

fn string(text: &str, out: &mut Vec<u8>) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        serde_json::to_writer(out, text).expect("a string can be written to memory");
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// The shortest form that reads back as the same number; whole numbers without a fraction, as Gorse has it.
fn number(value: f64, out: &mut Vec<u8>) {
    let shortest = Gorse.write_f64(out, if value.is_finite() { value } else { 0.0 });
    shortest.expect("a number can be written to memory");
}

/// Compact, whole numbers without a fraction.
struct Gorse;

impl Formatter for Gorse {
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    fn write_f64<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, value: f64) -> std::io::Result<()> {
        if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
            CompactFormatter.write_i64(writer, value as i64)
        } else {
            CompactFormatter.write_f64(writer, value)
        }
    }
}

/// Any value as compact JSON.
pub(crate) fn value<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, ApiError> {
    let mut out = Vec::with_capacity(256);
    value
        .serialize(&mut Serializer::with_formatter(&mut out, Gorse))
        .map_err(|reason| ApiError::Backend(BackendError::Internal(reason.to_string())))?;
    Ok(out)
}

/// A page of a listing with the cursor of the next one.
pub(crate) fn page<T: Serialize>(name: &str, rows: &[T], cursor: &str) -> Result<Vec<u8>, ApiError> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"{\"Cursor\":");
    string(cursor, &mut out);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(&value(rows)?);
    out.push(b'}');
    Ok(out)
}

/// Reports a failed read.
pub(crate) fn stored<T>(found: Result<T, StorageError>) -> Result<T, ApiError> {
    found.map_err(ApiError::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, score: f64) -> ScoredItem {
        ScoredItem { id: id.into(), score }
    }

    #[test]
    fn lists_read_back_as_json_whatever_the_ids() {
        let list =
            [entry("a\"\\\n", 0.5), entry("ü<>", 909_100_800.0), entry("n", f64::NAN), entry("m", -0.25)];
        let ids: Vec<String> = serde_json::from_slice(&ids(&list)).unwrap();
        assert_eq!(ids, ["a\"\\\n", "ü<>", "n", "m"]);
        let text = String::from_utf8(scores(&list[1..])).unwrap();
        assert_eq!(text, r#"[{"Id":"ü<>","Score":909100800},{"Id":"n","Score":0},{"Id":"m","Score":-0.25}]"#);
        assert_eq!(super::ids(&[]), b"[]");
        assert_eq!(scores(&[]), b"[]");
    }

    #[test]
    fn whole_numbers_have_no_fraction_and_others_their_shortest_form() {
        let json = serde_json::json!({"a": 24.0, "b": 0.1, "c": 1e300, "d": -3.0});
        let text = String::from_utf8(value(&json).unwrap()).unwrap();
        assert_eq!(text, r#"{"a":24,"b":0.1,"c":1e+300,"d":-3}"#);
    }
}
