//! One JSON object a line: the `User`, `Item` and `Feedback` lines of Gorse's bulk export, told apart by their fields.
//!
//! A folder is read as `users.jsonl`, `items.jsonl`, `feedback.jsonl`; a file may mix them.

use std::path::Path;

use serde_json::{Map, Value};
use ulex_domain::{Feedback, Item, ItemId, Timestamp, User, UserId};

use super::fields;
use super::records::{Encoding, Lines, Records, Row, Source};
use super::{FeedbackDefaults, ImportError, Part, folder};

const NAMES: [&str; 3] = ["users.jsonl", "items.jsonl", "feedback.jsonl"];

/// Finds the files of a folder, or takes the one file that `path` is.
pub(super) fn parts(path: &Path, defaults: &FeedbackDefaults) -> Result<Vec<Part>, ImportError> {
    let part = |path: &Path| {
        let defaults = defaults.clone();
        Part::new(path, move |source| Ok(records(source, defaults.clone())))
    };
    if path.is_file() {
        return Ok(vec![part(path)]);
    }
    let found: Vec<Part> =
        NAMES.iter().filter_map(|name| folder::find(path, name)).map(|file| part(&file)).collect();
    if found.is_empty() {
        let expected = "a file, or a folder with users.jsonl, items.jsonl or feedback.jsonl";
        return Err(ImportError::Missing { path: path.to_path_buf(), expected });
    }
    Ok(found)
}

/// Reads one file.
pub(super) fn records(source: Source, defaults: FeedbackDefaults) -> Records {
    Lines::new(source, Encoding::Utf8).records(move |text| {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let Value::Object(object) = value else {
            return Err("not a JSON object".to_owned());
        };
        row(object, &defaults)
    })
}

fn row(mut object: Map<String, Value>, defaults: &FeedbackDefaults) -> Result<Row, String> {
    let (user, item) = (object.contains_key("UserId"), object.contains_key("ItemId"));
    match (user, item) {
        (true, true) => feedback(&mut object, defaults).map(Row::Feedback),
        (true, false) => self::user(&mut object).map(Row::User),
        (false, true) => self::item(&mut object).map(Row::Item),
        (false, false) => Err("neither UserId nor ItemId is there".to_owned()),
    }
}

fn user(object: &mut Map<String, Value>) -> Result<User, String> {
    Ok(User {
        user_id: UserId::new(id(object, "UserId")?),
        labels: labels(object)?,
        comment: string(object, "Comment")?,
    })
}

fn item(object: &mut Map<String, Value>) -> Result<Item, String> {
    Ok(Item {
        item_id: ItemId::new(id(object, "ItemId")?),
        is_hidden: match object.get("IsHidden") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(hidden)) => *hidden,
            Some(other) => return Err(format!("IsHidden must be true or false, got {other}")),
        },
        categories: categories(object.remove("Categories"))?,
        timestamp: time(object)?,
        labels: labels(object)?,
        comment: string(object, "Comment")?,
    })
}

fn feedback(object: &mut Map<String, Value>, defaults: &FeedbackDefaults) -> Result<Feedback, String> {
    let feedback_type = match object.get("FeedbackType") {
        None => defaults.feedback_type.clone(),
        Some(_) => fields::feedback_type(&string(object, "FeedbackType")?)?,
    };
    let timestamp = time(object)?;
    Ok(Feedback {
        feedback_type,
        user_id: UserId::new(id(object, "UserId")?),
        item_id: ItemId::new(id(object, "ItemId")?),
        value: match object.get("Value") {
            None | Some(Value::Null) => 0.0,
            Some(value) => value.as_f64().ok_or_else(|| format!("Value must be a number, got {value}"))?,
        },
        timestamp,
        updated: timestamp,
        labels: labels(object)?,
        comment: string(object, "Comment")?,
    })
}

fn id(object: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    let text = string(object, name)?;
    fields::id(&text, name)?;
    Ok(text)
}

fn string(object: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    match object.remove(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{name} must be a string, got {other}")),
    }
}

fn time(object: &mut Map<String, Value>) -> Result<Timestamp, String> {
    match object.remove("Timestamp") {
        Some(Value::Number(number)) => fields::time(&number.to_string()),
        Some(Value::String(text)) => fields::time(&text),
        None | Some(Value::Null) => Ok(Timestamp::ZERO),
        Some(other) => Err(format!("Timestamp must be a string, got {other}")),
    }
}

fn categories(value: Option<Value>) -> Result<Option<Vec<String>>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(values)) => values.into_iter().map(category).collect::<Result<_, _>>().map(Some),
        Some(other) => Err(format!("Categories must be a list of strings, got {other}")),
    }
}

fn category(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => fields::id(&text, "category").map(str::to_owned),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("a category must be a string, got {value}"))
        }
    }
}

fn labels(object: &mut Map<String, Value>) -> Result<Value, String> {
    let labels = object.remove("Labels").unwrap_or_default();
    check_labels(&labels)?;
    Ok(labels)
}

/// The rule of the REST API: strings, numbers, lists of only one of the two, and objects of these.
fn check_labels(labels: &Value) -> Result<(), String> {
    match labels {
        Value::Null | Value::String(_) | Value::Number(_) => Ok(()),
        Value::Array(values)
            if values.iter().all(Value::is_string) || values.iter().all(Value::is_number) =>
        {
            Ok(())
        }
        Value::Object(fields) => fields.values().try_for_each(check_labels),
        Value::Bool(_) | Value::Array(_) => {
            Err(format!("Labels hold {labels}, which is no string, number or list of one of them"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::testing::{all, text};
    use super::*;
    use serde_json::json;

    fn read(lines: &str) -> (Vec<Row>, Vec<String>) {
        all(records(text(lines), FeedbackDefaults::new("rating")))
    }

    #[test]
    fn the_three_kinds_of_lines_are_told_apart() {
        let (rows, rejects) = read(concat!(
            r#"{"UserId":"u","Labels":{"age":24},"Comment":"c"}"#,
            "\n",
            r#"{"ItemId":"i","IsHidden":true,"Categories":["a"],"Timestamp":"2020-01-01","Labels":null,"Comment":""}"#,
            "\n",
            r#"{"FeedbackType":"read","UserId":"u","ItemId":"i","Value":2,"Timestamp":"2020-01-01T00:00:00Z","Comment":""}"#,
            "\n",
            r#"{"UserId":"u","ItemId":"i"}"#,
        ));
        assert_eq!(rejects, Vec::<String>::new());
        assert!(matches!(&rows[0], Row::User(user) if user.labels == json!({"age": 24})));
        assert!(
            matches!(&rows[1], Row::Item(item) if item.is_hidden && item.categories == Some(vec!["a".to_owned()]))
        );
        assert!(matches!(&rows[2], Row::Feedback(row) if row.value == 2.0 && row.feedback_type == "read"));
        assert!(
            matches!(&rows[3], Row::Feedback(row) if row.timestamp.is_zero() && row.feedback_type == "rating")
        );
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_line() {
        let (rows, rejects) = read(concat!(
            "{\n[1]\n{}\n",
            r#"{"UserId":7}"#,
            "\n",
            r#"{"ItemId":"i","Labels":{"a":true}}"#,
            "\n",
            r#"{"ItemId":"i","Categories":"a"}"#,
            "\n",
            r#"{"UserId":"u","ItemId":"i","Timestamp":"soon"}"#,
        ));
        assert_eq!(rows, []);
        let expected = [
            "not JSON",
            "not a JSON object",
            "neither UserId nor",
            "UserId must be",
            "Labels hold true",
            "Categories must",
            "soon",
        ];
        assert_eq!(rejects.len(), expected.len());
        for ((line, reject), part) in (1..).zip(&rejects).zip(expected) {
            assert!(reject.starts_with(&format!("{line}: ")) && reject.contains(part), "{reject}");
        }
    }
}
