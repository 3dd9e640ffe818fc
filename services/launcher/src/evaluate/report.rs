//! The outcome of one evaluation: ordered pairs of key and value, as flat JSON or as a table.
//!
//! Keys are lower case and never nested: `model`, `split`, `ndcg@10`, `fit_seconds`, `peak_rss_mb`.

use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// A name.
    Text(String),
    /// A number of things.
    Count(u64),
    /// A score or a duration; printed with a few digits, left out of JSON as `null` if it is not finite.
    Number(f64),
}

impl From<&str> for Measure {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Measure {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Measure {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<f64> for Measure {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<f32> for Measure {
    fn from(number: f32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Number(number) => serializer.serialize_f64(rounded(*number)),
        }
    }
}

/// Six significant digits: more is noise, and keeps the lines short.
fn rounded(number: f64) -> f64 {
    format!("{number:.5e}").parse().unwrap_or(number)
}

/// Pairs in the order in which they were put.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report(Vec<(String, Measure)>);

impl Report {
    /// A report on one model and one split.
    #[must_use]
    pub fn new(model: &str, split: &str) -> Self {
        let mut report = Self::default();
        report.put("model", model);
        report.put("split", split);
        report
    }

    /// Adds a value, or replaces the one with this key.
    pub fn put(&mut self, key: &str, value: impl Into<Measure>) {
        let (key, value) = (key.to_ascii_lowercase(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// Adds a value measured on lists of length `k`: `ndcg@10`.
    pub fn put_at(&mut self, name: &str, k: usize, value: impl Into<Measure>) {
        self.put(&format!("{name}@{k}"), value);
    }

    /// Adds `peak_rss_mb`, where the operating system tells it.
    pub fn put_peak_rss(&mut self) {
        if let Some(megabytes) = peak_rss_mb() {
            self.put("peak_rss_mb", megabytes);
        }
    }

    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Measure> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// One JSON object on one line.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers print")
    }

    /// One pair a line, values aligned.
    #[must_use]
    pub fn table(&self) -> String {
        let width = self.0.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        let mut table = String::new();
        for (key, value) in &self.0 {
            let value = match value {
                Measure::Text(text) => text.clone(),
                Measure::Count(count) => count.to_string(),
                Measure::Number(number) => format!("{number:.4}"),
            };
            let _ = writeln!(table, "{key:<width$}  {value}");
        }
        table
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Most memory the process ever held, in units of 10⁶ bytes; `None` where there is no `/proc`.
#[must_use]
pub fn peak_rss_mb() -> Option<f64> {
    peak_rss_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn peak_rss_of(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_flat_lower_case_and_in_order() {
        let mut report = Report::new("als", "ml100k-80-20");
        report.put_at("NDCG", 10, 0.421_234_567);
        report.put("users", 943_usize);
        report.put("fit_seconds", f64::NAN);
        report.put("users", 944_usize);
        assert_eq!(
            report.json(),
            r#"{"model":"als","split":"ml100k-80-20","ndcg@10":0.421235,"users":944,"fit_seconds":null}"#
        );
    }

    #[test]
    fn tables_align_values() {
        let mut report = Report::new("als", "x");
        report.put_at("ndcg", 10, 0.5);
        assert_eq!(report.table(), "model    als\nsplit    x\nndcg@10  0.5000\n");
    }

    #[test]
    fn peak_memory_is_read_from_the_status_of_the_process() {
        assert_eq!(peak_rss_of("Name:\tx\nVmHWM:\t   12500 kB\n"), Some(12.8));
        assert_eq!(peak_rss_of("VmHWM: ? kB"), None);
    }
}
