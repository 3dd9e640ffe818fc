//! Stand-ins for parts of the domain crate that are being written.

use serde_json::Value;
use ulex_domain::{Feedback, Timestamp};

pub(crate) fn parse_any(text: &str) -> Result<Timestamp, String> {
    if text.is_empty() {
        return Ok(Timestamp::ZERO);
    }
    Timestamp::parse_rfc3339(text)
        .or_else(|_reason| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")))
        .map_err(|reason| reason.to_string())
}

pub(crate) fn check_labels(labels: &Value) -> Result<(), String> {
    match labels {
        Value::Null | Value::Number(_) | Value::String(_) => Ok(()),
        Value::Bool(_) => Err("unsupported type in labels: bool".to_owned()),
        Value::Array(values) => {
            if values.iter().all(Value::is_string) || values.iter().all(Value::is_number) {
                Ok(())
            } else {
                Err(format!("unsupported labels: {labels}"))
            }
        }
        Value::Object(fields) => fields.values().try_for_each(check_labels),
    }
}

pub(crate) struct FeedbackFilter(String);

impl FeedbackFilter {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_<>=.".contains(&byte)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn matches(&self, row: &Feedback) -> bool {
        let text = self.0.as_str();
        for (operator, holds) in [(">=", row.value), ("<", row.value)] {
            if let Some((kind, bound)) = text.split_once(operator) {
                let bound: f64 = bound.parse().unwrap_or(0.0);
                return row.feedback_type == kind && if operator == "<" { holds < bound } else { holds >= bound };
            }
        }
        row.feedback_type == text
    }
}
