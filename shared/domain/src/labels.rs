//! What a label may be, and how models see it.
//!
//! Labels are free-form JSON that callers attach to users, items and feedback. [`check`] decides at the door:
//! a label is null, a text, a number, an array of nothing but texts or nothing but numbers, or an object of
//! labels. [`walk`] turns labels into features for models; it is total, because stores may hold labels that
//! came by another door: whatever it cannot use yields nothing and never hides what stands beside it. Both cost
//! one visit per value.

use serde_json::Value;
use thiserror::Error;

/// How deep labels may be nested, in objects.
pub const MAX_LABEL_DEPTH: usize = 32;

/// Labels that are refused, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LabelError {
    /// A type that no label has.
    #[error("unsupported type in labels: {found}{}", at(path))]
    UnsupportedType {
        /// Name of the type.
        found: &'static str,
        /// Dotted keys from the root; empty at the root.
        path: String,
    },
    /// An array that is neither all texts nor all numbers.
    #[error("unsupported labels: {array}{}", at(path))]
    UnsupportedArray {
        /// The array as JSON, cut off if long.
        array: String,
        /// Dotted keys from the root; empty at the root.
        path: String,
    },
    /// Objects within objects within objects.
    #[error("labels are nested more than {MAX_LABEL_DEPTH} levels deep{}", at(path))]
    TooDeep {
        /// Dotted keys from the root.
        path: String,
    },
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at {path:?}") }
}

/// One thing a model can learn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LabelFeature<'a> {
    /// A text, or one of an array of texts.
    Tag {
        /// Dotted keys from the root; empty at the root.
        path: &'a str,
        /// The text.
        text: &'a str,
    },
    /// A number.
    Number {
        /// Dotted keys from the root; empty at the root.
        path: &'a str,
        /// The number.
        value: f64,
    },
    /// A non-empty array of numbers; see [`numbers`].
    Embedding {
        /// Dotted keys from the root; empty at the root.
        path: &'a str,
        /// JSON numbers and nothing else.
        values: &'a [Value],
    },
}

/// The numbers of an embedding.
pub fn numbers(values: &[Value]) -> impl ExactSizeIterator<Item = f64> + '_ {
    values.iter().map(|value| value.as_f64().unwrap_or(0.0))
}

/// Whether `labels` may be stored.
///
/// # Errors
///
/// [`LabelError`] for the first value that is not allowed.
pub fn check(labels: &Value) -> Result<(), LabelError> {
    check_at(labels, &mut LabelPath::default())
}

/// Shows every feature of `labels` to `visit`, in the order of the JSON.
pub fn walk(labels: &Value, visit: &mut dyn FnMut(LabelFeature<'_>)) {
    walk_at(labels, &mut LabelPath::default(), visit);
}

/// The keys from the root to where we are.
#[derive(Default)]
struct LabelPath {
    text: String,
    depth: usize,
}

impl LabelPath {
    /// Goes down by `key`; the result leads back.
    fn enter(&mut self, key: &str) -> usize {
        let length = self.text.len();
        if self.depth > 0 {
            self.text.push('.');
        }
        self.text.push_str(key);
        self.depth += 1;
        length
    }

    fn leave(&mut self, length: usize) {
        self.text.truncate(length);
        self.depth -= 1;
    }
}

fn check_at(value: &Value, path: &mut LabelPath) -> Result<(), LabelError> {
    match value {
        Value::Null | Value::String(_) | Value::Number(_) => Ok(()),
        Value::Bool(_) => Err(LabelError::UnsupportedType { found: "bool", path: path.text.clone() }),
        Value::Array(values) if all_texts(values) || all_numbers(values) => Ok(()),
        Value::Array(_) => {
            let array = value.to_string().chars().take(200).collect();
            Err(LabelError::UnsupportedArray { array, path: path.text.clone() })
        }
        Value::Object(_) if path.depth >= MAX_LABEL_DEPTH => {
            Err(LabelError::TooDeep { path: path.text.clone() })
        }
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            let back = path.enter(key);
            check_at(value, path)?;
            path.leave(back);
            Ok(())
        }),
    }
}

fn walk_at(value: &Value, path: &mut LabelPath, visit: &mut dyn FnMut(LabelFeature<'_>)) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) => visit(LabelFeature::Tag { path: &path.text, text }),
        Value::Number(number) => {
            visit(LabelFeature::Number { path: &path.text, value: number.as_f64().unwrap_or(0.0) });
        }
        Value::Array(values) if values.is_empty() => {}
        Value::Array(values) if all_numbers(values) => {
            visit(LabelFeature::Embedding { path: &path.text, values })
        }
        Value::Array(values) if all_texts(values) => {
            for text in values.iter().filter_map(Value::as_str) {
                visit(LabelFeature::Tag { path: &path.text, text });
            }
        }
        Value::Array(_) => {}
        Value::Object(_) if path.depth >= MAX_LABEL_DEPTH => {}
        Value::Object(fields) => {
            for (key, value) in fields {
                let back = path.enter(key);
                walk_at(value, path, visit);
                path.leave(back);
            }
        }
    }
}

fn all_texts(values: &[Value]) -> bool {
    values.iter().all(Value::is_string)
}

fn all_numbers(values: &[Value]) -> bool {
    values.iter().all(Value::is_number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn features(labels: &Value) -> Vec<String> {
        let mut seen = Vec::new();
        walk(labels, &mut |feature| {
            seen.push(match feature {
                LabelFeature::Tag { path, text } => format!("{path}={text}"),
                LabelFeature::Number { path, value } => format!("{path}={value}"),
                LabelFeature::Embedding { path, values } => {
                    format!("{path}={:?}", numbers(values).collect::<Vec<_>>())
                }
            });
        });
        seen
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!("deep"), |inner, _level| json!({ "k": inner }))
    }

    #[test]
    fn allowed_shapes_pass() {
        let allowed = [
            json!(null),
            json!("a"),
            json!(24),
            json!([]),
            json!(["a", "b"]),
            json!([1, 2.5]),
            json!({}),
            json!({"a": null, "b": {"c": ["x"], "d": [0.1], "e": 3}}),
        ];
        for labels in allowed {
            assert_eq!(check(&labels), Ok(()), "{labels}");
        }
    }

    #[test]
    fn refused_shapes_say_what_and_where() {
        for (labels, expected) in [
            (json!(true), "unsupported type in labels: bool"),
            (json!({"a": {"b": false}}), "unsupported type in labels: bool at \"a.b\""),
            (json!(["a", 1]), "unsupported labels: [\"a\",1]"),
            (json!({"x": [[1]]}), "unsupported labels: [[1]] at \"x\""),
            (json!({"x": [{"a": 1}]}), "unsupported labels: [{\"a\":1}] at \"x\""),
            (json!([null]), "unsupported labels: [null]"),
            (json!([true]), "unsupported labels: [true]"),
        ] {
            assert_eq!(check(&labels).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn the_path_leaves_out_the_siblings_before() {
        let labels = json!({"a": {"b": "x"}, "c": {"d": {"e": true}}});
        assert_eq!(check(&labels).unwrap_err().to_string(), "unsupported type in labels: bool at \"c.d.e\"");
    }

    #[test]
    fn nesting_is_limited_in_the_check_and_ignored_in_the_walk() {
        assert_eq!(check(&nested(MAX_LABEL_DEPTH)), Ok(()));
        assert_eq!(features(&nested(MAX_LABEL_DEPTH)).len(), 1);
        assert!(matches!(check(&nested(MAX_LABEL_DEPTH + 1)), Err(LabelError::TooDeep { .. })));
        assert!(features(&nested(MAX_LABEL_DEPTH + 1)).is_empty());
    }

    #[test]
    fn the_walk_yields_tags_numbers_and_embeddings_with_their_paths() {
        let labels = json!({"a": {"b": "v", "c": ["x", "y"]}, "n": 3, "e": [1, 0.5], "": "root"});
        let mut seen = features(&labels);
        seen.sort();
        assert_eq!(seen, ["=root", "a.b=v", "a.c=x", "a.c=y", "e=[1.0, 0.5]", "n=3"]);
        assert_eq!(features(&json!(["p", "q"])), ["=p", "=q"]);
    }

    #[test]
    fn what_cannot_be_used_hides_nothing_beside_it() {
        let labels = json!({"a": "1", "b": null, "c": [], "d": ["x", 1], "e": [null], "f": true, "g": "2"});
        assert_eq!(features(&labels), ["a=1", "g=2"]);
    }

    /// Any JSON, allowed or not.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-c]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[a-c]{0,2}", inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_walk_of_an_object_is_the_walk_of_its_fields(labels in values()) {
            if let Value::Object(fields) = &labels {
                let apart: Vec<String> = fields
                    .iter()
                    .flat_map(|(key, value)| features(&json!({ key.clone(): value.clone() })))
                    .collect();
                prop_assert_eq!(features(&labels), apart);
            }
            let _ = check(&labels);
        }
    }
}
