//! `--set key=value` on the parameters of a model.
//!
//! A key is the path of a field (`objective.regularization`) or any end of it that only one field has
//! (`regularization`). A value is read as JSON, and as a plain word if it is none. Only what the parameters have by
//! default can be set, so a misspelt key is refused with the list of those that exist.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

/// Why parameters cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParameterError {
    /// There is no such parameter.
    #[error("{model} has no parameter {key:?}; it has {}", known.join(", "))]
    Unknown {
        /// Which model.
        model: String,
        /// What was asked for.
        key: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Several parameters end like this.
    #[error("{model} has several parameters {key:?}: {}", known.join(", "))]
    Ambiguous {
        /// Which model.
        model: String,
        /// What was asked for.
        key: String,
        /// What it may mean.
        known: Vec<String>,
    },
    /// The model has no parameters at all.
    #[error("{model} has no parameters")]
    None {
        /// Which model.
        model: String,
    },
    /// The parameter cannot have this value.
    #[error("{model}: {key}={value}: {reason}")]
    Value {
        /// Which model.
        model: String,
        /// Which parameter.
        key: String,
        /// What was given.
        value: String,
        /// What was expected.
        reason: String,
    },
}

/// The parameters with some of them replaced, in the given order.
///
/// # Errors
///
/// [`ParameterError`] names the key that does not exist or the value that does not fit.
pub fn replace<P>(parameters: &P, model: &str, assignments: &[(String, String)]) -> Result<P, ParameterError>
where
    P: Serialize + DeserializeOwned + Clone,
{
    let mut result = parameters.clone();
    for (key, text) in assignments {
        let wrong = |reason: &dyn std::fmt::Display| ParameterError::Value {
            model: model.to_owned(),
            key: key.clone(),
            value: text.clone(),
            reason: reason.to_string(),
        };
        let mut tree = serde_json::to_value(&result).map_err(|reason| wrong(&reason))?;
        let path = find(&tree, model, key)?;
        let place = path.iter().fold(&mut tree, |table, name| &mut table[name.as_str()]);
        *place = serde_json::from_str(text).unwrap_or_else(|_no_json| Value::String(text.clone()));
        result = serde_json::from_value(tree).map_err(|reason| wrong(&reason))?;
    }
    Ok(result)
}

/// Refuses any assignment.
///
/// # Errors
///
/// [`ParameterError::None`] if there is one.
pub fn none(model: &str, assignments: &[(String, String)]) -> Result<(), ParameterError> {
    if assignments.is_empty() { Ok(()) } else { Err(ParameterError::None { model: model.to_owned() }) }
}

/// The one path that ends with `key`.
fn find(tree: &Value, model: &str, key: &str) -> Result<Vec<String>, ParameterError> {
    let mut paths = Vec::new();
    collect(tree, &[], &mut paths);
    let wanted: Vec<&str> = key.split('.').collect();
    let dotted = |paths: &[Vec<String>]| paths.iter().map(|path| path.join(".")).collect();
    if let Some(exact) = paths.iter().find(|path| **path == wanted) {
        return Ok(exact.clone());
    }
    let ends: Vec<Vec<String>> = paths
        .iter()
        .filter(|path| path.len() > wanted.len() && path[path.len() - wanted.len()..] == wanted[..])
        .cloned()
        .collect();
    match ends.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(ParameterError::Unknown {
            model: model.to_owned(),
            key: key.to_owned(),
            known: dotted(&paths),
        }),
        _ => Err(ParameterError::Ambiguous {
            model: model.to_owned(),
            key: key.to_owned(),
            known: dotted(&ends),
        }),
    }
}

fn collect(tree: &Value, path: &[String], paths: &mut Vec<Vec<String>>) {
    for (name, below) in tree.as_object().into_iter().flatten() {
        let path = [path, std::slice::from_ref(name)].concat();
        paths.push(path.clone());
        collect(below, &path, paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulex_algorithms::matrix_factorization::bpr::{BprParams, Negatives};
    use ulex_algorithms::matrix_factorization::implicit_als::AlsParams;

    fn given(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_field_is_named_by_its_path_or_by_the_end_of_it() {
        let default = AlsParams::default();
        let assignments =
            given(&[("factors", "32"), ("regularization", "0.5"), ("objective.confidence", "2")]);
        let params = replace(&default, "als", &assignments).unwrap();
        assert_eq!((params.factors, params.objective.regularization), (32, 0.5));
        assert_eq!((params.objective.confidence, params.epochs), (2.0, default.epochs));
    }

    #[test]
    fn choices_are_words_or_json() {
        let set = |value| replace(&BprParams::default(), "bpr", &given(&[("negatives", value)]));
        assert_eq!(set("Uniform").unwrap().negatives, Negatives::Uniform);
        let popularity = set(r#"{"Popularity": {"power": 0.5}}"#).unwrap();
        assert_eq!(popularity.negatives, Negatives::Popularity { power: 0.5 });
        assert!(set("Loud").unwrap_err().to_string().contains("Adaptive"));
    }

    #[test]
    fn what_does_not_exist_is_refused_with_what_does() {
        let refused = |key, value| {
            replace(&AlsParams::default(), "als", &given(&[(key, value)])).unwrap_err().to_string()
        };
        let unknown = refused("factor", "3");
        assert!(unknown.contains("als has no parameter \"factor\"; it has"), "{unknown}");
        assert!(unknown.contains("factors") && unknown.contains("objective.regularization"), "{unknown}");
        assert!(refused("factors", "0.5").starts_with("als: factors=0.5: invalid type"));
        assert!(none("popular", &[]).is_ok());
        assert_eq!(
            none("popular", &given(&[("k", "1")])).unwrap_err().to_string(),
            "popular has no parameters"
        );
    }
}
