//! Puts a configuration together: built-in defaults, then the file, then the environment, then the command line.
//!
//! Each layer replaces single keys of the layers before it; a list is one value and is replaced as a whole. Whether the
//! result makes sense is only asked at the end, so a default that refers to something a file has removed does no harm.
//! A file that does not exist, cannot be read or is no TOML or JSON is an error: Gorse starts with its defaults in the
//! first case, and a mistyped name then trains and serves something else than what was asked for.
//! Keys nobody knows are ignored with a warning: Gorse's older files hold some.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::Settings;
use crate::environment;
use crate::overlay::SECTION;
use crate::problem::{Problem, SettingsError};
use crate::resolve;
use crate::written::{External, Neighbors, NonPersonalized, Written};

mod document;

pub(crate) use document::lower_case;

/// The commented sample file with every key and its default.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// A configuration that can be used, and what the user should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Checked and complete.
    pub settings: Settings,
    /// Each a sentence for the log: unknown keys and variables.
    pub warnings: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file does not exist or cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// As it was given.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not what its name promises.
    #[error("{path} is not valid {format}: {message}")]
    Syntax {
        /// As it was given.
        path: String,
        /// TOML or JSON.
        format: &'static str,
        /// Line, column and what is wrong there.
        message: String,
    },
    /// A format that Gorse reads and we do not.
    #[error("{path}: only .toml and .json files are read, not .{extension}; please convert it to TOML")]
    Format {
        /// As it was given.
        path: String,
        /// What stands behind the last dot.
        extension: String,
    },
    /// Values are wrong; all of them are named.
    #[error(transparent)]
    Invalid(#[from] SettingsError),
}

/// Loads a configuration.
///
/// `variables` is usually `std::env::vars()`; `overrides` are pairs of dotted key and value from the command line and
/// win over everything else.
///
/// # Errors
/// See [`LoadError`]. Wrong values are reported together, not one by one.
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<Loaded, LoadError> {
    let mut layers = Layers::with_defaults();
    if let Some(path) = file {
        layers.add_file(path)?;
    }
    layers.add_environment(variables);
    layers.add_overrides(overrides);
    Ok(layers.finish()?)
}

/// The configuration that a TOML text describes, without any environment.
///
/// # Errors
/// As [`load`].
pub fn from_toml(text: &str) -> Result<Loaded, LoadError> {
    let mut layers = Layers::with_defaults();
    layers.add_tree(document::from_toml(text, "the text")?, Some("the text"));
    Ok(layers.finish()?)
}

/// The configuration that JSON describes, such as what [`crate::describe()`] prints.
///
/// # Errors
/// Wrong values, all of them.
pub fn from_json(tree: Value) -> Result<Loaded, SettingsError> {
    let mut layers = Layers::with_defaults();
    layers.add_tree(lower_case(tree), Some("the JSON"));
    layers.finish()
}

/// The configuration that `base` describes, with single keys replaced.
///
/// # Errors
/// Wrong values and keys, all of them.
pub(crate) fn overlaid(base: Value, overrides: &BTreeMap<String, Value>) -> Result<Settings, SettingsError> {
    let mut layers = Layers::with_defaults();
    layers.add_tree(base, None);
    overrides.iter().for_each(|(key, value)| layers.add_override(key, value.clone()));
    Ok(layers.finish()?.settings)
}

/// The configuration with nothing but `tree`, in lower case, in a section: what it leaves out has no default.
///
/// # Errors
/// Wrong and missing values, all of them.
pub(crate) fn only_section(section: &str, tree: &Value) -> Result<Settings, SettingsError> {
    let mut layers = Layers::with_defaults();
    let prefix = format!("{section}.");
    layers.leaves.retain(|key, _| !key.starts_with(&prefix));
    layers.add_tree(json!({ section: tree }), Some("the request"));
    Ok(layers.finish()?.settings)
}

/// The built-in defaults as they are written.
pub(crate) fn default_written() -> Written {
    Layers::with_defaults().written()
}

/// Every key that holds a value, dotted.
pub(crate) fn keys() -> BTreeSet<String> {
    let shape = shape();
    shape.into_iter().filter(|(_, kind)| !matches!(kind, Kind::Table)).map(|(key, _)| key).collect()
}

/// What a key of the file is.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Table,
    Value,
    /// A list of tables with these keys.
    Tables(BTreeSet<String>),
}

/// Every key there is. It follows from the structs of [`crate::written`].
fn shape() -> BTreeMap<String, Kind> {
    fn walk(tree: &Value, path: &str, shape: &mut BTreeMap<String, Kind>) {
        let Some(table) = tree.as_object() else {
            shape.insert(String::from(path), Kind::Value);
            return;
        };
        if !path.is_empty() {
            shape.insert(String::from(path), Kind::Table);
        }
        table.iter().for_each(|(key, below)| walk(below, &join(path, key), shape));
    }
    let mut shape = BTreeMap::new();
    walk(&json!(Written::default()), "", &mut shape);
    let lists = [
        ("recommend.non-personalized", json!(NonPersonalized::default())),
        ("recommend.item-to-item", json!(Neighbors::default())),
        ("recommend.user-to-user", json!(Neighbors::default())),
        ("recommend.external", json!(External::default())),
    ];
    for (key, table) in lists {
        let keys = table.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        shape.insert(String::from(key), Kind::Tables(keys));
    }
    shape
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { String::from(key) } else { format!("{path}.{key}") }
}

/// A value and where it came from; None means the built-in defaults.
struct Leaf {
    value: Value,
    origin: Option<String>,
}

/// The layers seen so far, flattened to one value per key.
struct Layers {
    shape: BTreeMap<String, Kind>,
    leaves: BTreeMap<String, Leaf>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Layers {
    fn with_defaults() -> Self {
        let mut layers =
            Self { shape: shape(), leaves: BTreeMap::new(), problems: Vec::new(), warnings: Vec::new() };
        let defaults =
            document::from_toml(DEFAULTS, "defaults.toml").expect("the compiled-in defaults are TOML");
        layers.add_tree(defaults, None);
        layers
    }

    fn add_file(&mut self, path: &Path) -> Result<(), LoadError> {
        let name = path.display().to_string();
        self.add_tree(document::read(path)?, Some(&name));
        Ok(())
    }

    /// Adds a document whose keys are in lower case.
    fn add_tree(&mut self, tree: Value, origin: Option<&str>) {
        match tree {
            Value::Object(table) => self.add_table(table, "", origin),
            Value::Null => {}
            other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                let mut problem = Problem::new("(document)", &other, "a table of sections");
                problem.origin = origin.map(String::from);
                self.problems.push(problem);
            }
        }
    }

    fn add_table(&mut self, table: Map<String, Value>, path: &str, origin: Option<&str>) {
        for (key, value) in table {
            let key = join(path, &key);
            match (self.shape.get(&key), value) {
                (_, Value::Null) => {}
                (None, _) => self.warn_unknown(&key, origin),
                (Some(Kind::Table), Value::Object(below)) => self.add_table(below, &key, origin),
                (Some(Kind::Table), value) => {
                    let mut problem = Problem::new(&key, &value, "a table");
                    problem.origin = origin.map(String::from);
                    self.problems.push(problem);
                }
                (Some(Kind::Value | Kind::Tables(_)), value) => self.set(key, value, origin),
            }
        }
    }

    fn set(&mut self, key: String, value: Value, origin: Option<&str>) {
        if let (Some(Kind::Tables(known)), Value::Array(tables)) = (self.shape.get(&key), &value) {
            let names = tables.iter().filter_map(Value::as_object).flatten().map(|(name, _)| name);
            let unknown: BTreeSet<String> = names.filter(|name| !known.contains(*name)).cloned().collect();
            unknown.iter().for_each(|name| self.warn_unknown(&join(&key, name), origin));
        }
        self.leaves.insert(key, Leaf { value, origin: origin.map(String::from) });
    }

    fn warn_unknown(&mut self, key: &str, origin: Option<&str>) {
        let origin = origin.unwrap_or("the defaults");
        self.warnings.push(format!("{origin}: there is no setting {key}; it is ignored"));
    }

    fn add_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let keys: Vec<&str> = self
            .shape
            .iter()
            .filter(|(_, kind)| **kind != Kind::Table)
            .map(|(key, _)| key.as_str())
            .collect();
        let environment = environment::read(variables, &keys);
        for name in environment.unknown {
            self.warnings.push(format!("environment: there is no setting {name}; it is ignored"));
        }
        for setting in environment.settings {
            self.set(setting.key, Value::String(setting.value), Some(&setting.variable));
        }
    }

    fn add_overrides(&mut self, overrides: &[(String, String)]) {
        const ORIGIN: &str = "the command line";
        for (key, value) in overrides {
            let key = key.to_ascii_lowercase();
            let value = Value::String(value.clone());
            match self.shape.get(&key) {
                Some(Kind::Value | Kind::Tables(_)) => self.set(key, value, Some(ORIGIN)),
                Some(Kind::Table) | None => {
                    let mut problem = Problem::new(&key, &value, "the name of a setting before the value");
                    problem.origin = Some(String::from(ORIGIN));
                    self.problems.push(problem);
                }
            }
        }
    }

    /// A key of [`SECTION`] that was set while the program ran. Unlike in a file, a key that does not exist is an error.
    fn add_override(&mut self, key: &str, value: Value) {
        const ORIGIN: &str = "the override";
        let of_section = key.strip_prefix(SECTION).is_some_and(|rest| rest.starts_with('.'));
        let unknown = match (self.shape.get(key), &value) {
            (Some(Kind::Tables(known)), Value::Array(tables)) if of_section => {
                let names = tables.iter().filter_map(Value::as_object).flatten().map(|(name, _)| name);
                names.filter(|name| !known.contains(*name)).map(|name| join(key, name)).collect()
            }
            (Some(Kind::Value | Kind::Tables(_)), _) if of_section => Vec::new(),
            (Some(_) | None, _) => vec![String::from(key)],
        };
        if unknown.is_empty() {
            return self.set(String::from(key), value, Some(ORIGIN));
        }
        for key in unknown {
            let mut problem = Problem::new(&key, &value, "the full name of a setting of [recommend]");
            problem.origin = Some(String::from(ORIGIN));
            self.problems.push(problem);
        }
    }

    fn written(&self) -> Written {
        let mut tree = Value::Object(Map::new());
        for (key, leaf) in &self.leaves {
            let slot = key.split('.').fold(&mut tree, |table, name| &mut table[name]);
            *slot = leaf.value.clone();
        }
        serde_json::from_value(tree).expect("any leaf is accepted, and tables are tables")
    }

    fn finish(self) -> Result<Loaded, SettingsError> {
        let written = self.written();
        let Self { leaves, problems: mut all, mut warnings, .. } = self;
        let (settings, problems) = resolve::resolve(&written, &mut warnings);
        all.extend(problems);
        if all.is_empty() {
            return Ok(Loaded { settings, warnings });
        }
        for problem in all.iter_mut().filter(|problem| problem.origin.is_none()) {
            let key = problem.key.split('[').next().unwrap_or_default();
            problem.origin = leaves.get(key).and_then(|leaf| leaf.origin.clone());
        }
        Err(SettingsError { problems: all })
    }
}

#[cfg(test)]
mod tests;
