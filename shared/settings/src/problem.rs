//! What is wrong with a configuration: all of it at once, each with the key, what was given and what was expected.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

use crate::secret::is_secret;

/// One wrong value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `master.http_port` or `recommend.item-to-item[similar].column`.
    pub key: String,
    /// What was given, as JSON; `nothing` if the key is missing. Secrets are masked.
    pub value: String,
    /// What would have been right.
    pub expected: String,
    /// The file, variable or option the value came from; None for the built-in defaults.
    pub origin: Option<String>,
}

impl Problem {
    pub(crate) fn new(key: &str, value: &Value, expected: impl Into<String>) -> Self {
        let value = if is_secret(key) { Value::from(crate::secret::MASK) } else { value.clone() };
        Self { key: String::from(key), value: shown(&value), expected: expected.into(), origin: None }
    }

    pub(crate) fn missing(key: &str, expected: impl Into<String>) -> Self {
        Self {
            key: String::from(key),
            value: String::from("nothing"),
            expected: expected.into(),
            origin: None,
        }
    }
}

/// Compact JSON, shortened so that one line stays one line.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, expected, origin } = self;
        write!(f, "{key}: got {value}")?;
        if let Some(origin) = origin {
            write!(f, " from {origin}")?;
        }
        write!(f, ", expected {expected}")
    }
}

/// Every wrong value of a configuration, in the order of the keys in the sample file.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct SettingsError {
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("1 setting is wrong:")?,
            count => write!(f, "{count} settings are wrong:")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_is_one_readable_line() {
        let mut problem = Problem::new("master.http_port", &json!("a\nb"), "a whole number");
        problem.origin = Some(String::from("GORSE_MASTER_HTTP_PORT"));
        let error = SettingsError { problems: vec![problem, Problem::missing("a.b", "a text")] };
        assert_eq!(
            error.to_string(),
            "2 settings are wrong:\n  \
             master.http_port: got \"a\\nb\" from GORSE_MASTER_HTTP_PORT, expected a whole number\n  \
             a.b: got nothing, expected a text"
        );
    }

    #[test]
    fn secrets_and_long_values_are_not_shown_in_full() {
        assert_eq!(Problem::new("server.api_key", &json!(["hush"]), "a text").value, "\"******\"");
        assert!(Problem::new("a.b", &json!("é".repeat(1000)), "a text").value.len() < 300);
    }
}
