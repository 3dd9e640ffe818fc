//! A file as a tree of JSON values with keys in lower case, whatever format it has.

use std::path::Path;

use serde_json::{Map, Number, Value};

use super::LoadError;

/// The document in the file at `path`; its format follows from the extension.
pub(super) fn read(path: &Path) -> Result<Value, LoadError> {
    let name = path.display().to_string();
    let extension =
        path.extension().map_or(String::new(), |text| text.to_string_lossy().to_ascii_lowercase());
    let parse = match extension.as_str() {
        "toml" | "" => from_toml,
        "json" => from_json,
        _ => return Err(LoadError::Format { path: name, extension }),
    };
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, &name),
        Err(source) => Err(LoadError::Unreadable { path: name, source }),
    }
}

pub(super) fn from_toml(text: &str, name: &str) -> Result<Value, LoadError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| LoadError::Syntax {
        path: String::from(name),
        format: "TOML",
        message: error.to_string(),
    })?;
    Ok(lower_case(from_toml_value(toml::Value::Table(table))))
}

fn from_json(text: &str, name: &str) -> Result<Value, LoadError> {
    let tree = serde_json::from_str(text).map_err(|error| LoadError::Syntax {
        path: String::from(name),
        format: "JSON",
        message: error.to_string(),
    })?;
    Ok(lower_case(tree))
}

/// Dates, and numbers that JSON cannot hold, become texts.
fn from_toml_value(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => {
            Number::from_f64(number).map_or_else(|| Value::String(number.to_string()), Value::Number)
        }
        toml::Value::Boolean(yes) => Value::Bool(yes),
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Array(elements) => elements.into_iter().map(from_toml_value).collect(),
        toml::Value::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| (key, from_toml_value(value)));
            Value::Object(entries.collect::<Map<String, Value>>())
        }
    }
}

/// Keys of all tables in lower case. No table of the configuration has keys chosen by the user.
pub(crate) fn lower_case(tree: Value) -> Value {
    match tree {
        Value::Object(table) => {
            let entries = table.into_iter().map(|(key, value)| (key.to_lowercase(), lower_case(value)));
            Value::Object(entries.collect::<Map<String, Value>>())
        }
        Value::Array(elements) => elements.into_iter().map(lower_case).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}
