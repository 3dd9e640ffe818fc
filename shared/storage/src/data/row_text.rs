//! How fields stand in the columns of SQL tables: what is most often empty is `NULL`.

use serde_json::Value;

/// JSON as it is stored: `None` is null.
pub(super) fn json_text(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// Text as it is stored: `None` is empty.
pub(super) fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
