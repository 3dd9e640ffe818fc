//! From what is written to what the program runs on: every range and cross-check, all failures at once.
//!
//! Each section resolves itself with a [`Checks`], which hands out a harmless stand-in for every wrong value and
//! remembers the problem. The settings are thrown away if there was any, so no stand-in is ever used.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Settings;
use crate::blob::Blob;
use crate::compat::Compat;
use crate::database::Database;
use crate::duration::GoDuration;
use crate::given::{Given, Scalar, Tables};
use crate::ingest::Ingest;
use crate::log::Log;
use crate::login::Oidc;
use crate::master::Master;
use crate::nats::Nats;
use crate::openai::OpenAi;
use crate::problem::Problem;
use crate::quota::Quota;
use crate::recommend::Recommend;
use crate::secret::Secret;
use crate::server::Server;
use crate::serving::Serving;
use crate::tracing::Tracing;
use crate::training::Training;
use crate::written::Written;

/// Settings to be used only if there are no problems.
pub(crate) fn resolve(written: &Written, warnings: &mut Vec<String>) -> (Settings, Vec<Problem>) {
    let mut checks = Checks { problems: Vec::new(), warnings };
    let mut settings = Settings {
        database: Database::resolve(&written.database, &mut checks),
        master: Master::resolve(&written.master, &mut checks),
        server: Server::resolve(&written.server, &mut checks),
        recommend: Recommend::resolve(&written.recommend, &mut checks),
        training: Training::resolve(&written.training, &mut checks),
        serving: Serving::resolve(&written.serving, &mut checks),
        ingest: Ingest::resolve(&written.ingest, &mut checks),
        nats: Nats::resolve(&written.nats, &mut checks),
        compat: Compat::resolve(&written.compat, &mut checks),
        log: Log::resolve(&written.log, &mut checks),
        tracing: Tracing::resolve(&written.tracing, &mut checks),
        oidc: Oidc::resolve(&written.oidc, &mut checks),
        openai: OpenAi::resolve(&written.openai, &mut checks),
        blob: Blob::resolve(&written.blob, &mut checks),
        quota: Quota::resolve(&written.quota, &mut checks),
        not_yet: Vec::new(),
    };
    settings.not_yet = crate::not_yet::list(written);
    (settings, checks.problems)
}

/// One of a fixed set of words.
pub(crate) trait Keyword: Copy + PartialEq + 'static {
    /// Every word and what it stands for. The first one is the stand-in for a wrong word, so choose one that needs
    /// nothing else to be valid.
    const WORDS: &'static [(&'static str, Self)];

    /// The word, as it is written in the file.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, meaning)| *meaning == self).map_or("", |(word, _)| word)
    }

    /// None if there is no such word.
    fn from_word(text: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
    }

    /// For messages: `one of "a", "b"`.
    fn expected() -> String {
        let words: Vec<String> = Self::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("one of {}", words.join(", "))
    }
}

/// Takes values out of what is written and collects what is wrong with them.
pub(crate) struct Checks<'a> {
    problems: Vec<Problem>,
    warnings: &'a mut Vec<String>,
}

impl Checks<'_> {
    pub(crate) fn problem(&mut self, key: &str, value: &Value, expected: impl Into<String>) {
        self.problems.push(Problem::new(key, value, expected));
    }

    pub(crate) fn missing(&mut self, key: &str, expected: &str) {
        self.problems.push(Problem::missing(key, expected));
    }

    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// The value if the key is there and has its type.
    pub(crate) fn optional<T: Scalar + Clone>(&mut self, key: &str, given: &Given<T>) -> Option<T> {
        match given {
            Given::Absent => None,
            Given::Value(value) => Some(value.clone()),
            Given::Wrong(value) => {
                self.problem(key, value, T::EXPECTED);
                None
            }
        }
    }

    /// The value; the key must be there, which the defaults take care of for all keys outside lists.
    fn required<T: Scalar + Clone>(&mut self, key: &str, given: &Given<T>) -> Option<T> {
        if matches!(given, Given::Absent) {
            self.missing(key, T::EXPECTED);
        }
        self.optional(key, given)
    }

    pub(crate) fn text(&mut self, key: &str, given: &Given<String>) -> String {
        if matches!(given, Given::Absent) {
            self.missing(key, String::EXPECTED);
        }
        self.optional_text(key, given).unwrap_or_default()
    }

    /// As [`Self::text`], for a key that may be absent.
    pub(crate) fn optional_text(&mut self, key: &str, given: &Given<String>) -> Option<String> {
        let text = self.optional(key, given)?;
        if text.len() > MAX_TEXT_BYTES {
            self.problem(key, &json!(text), format!("a text of at most {MAX_TEXT_BYTES} bytes"));
        }
        Some(text)
    }

    pub(crate) fn secret(&mut self, key: &str, given: &Given<String>) -> Secret {
        Secret::new(self.text(key, given))
    }

    pub(crate) fn flag(&mut self, key: &str, given: &Given<bool>) -> bool {
        self.required(key, given).unwrap_or_default()
    }

    pub(crate) fn texts(&mut self, key: &str, given: &Given<Vec<String>>) -> Vec<String> {
        let texts = self.required(key, given).unwrap_or_default();
        if texts.len() > MAX_LIST_ELEMENTS || texts.iter().any(|text| text.len() > MAX_ELEMENT_BYTES) {
            let expected =
                format!("at most {MAX_LIST_ELEMENTS} texts of at most {MAX_ELEMENT_BYTES} bytes each");
            self.problem(key, &json!(texts), expected);
            return Vec::new();
        }
        texts
    }

    /// The tables of a list; a list with more than [`MAX_TABLES`] is a problem.
    pub(crate) fn tables<T>(&mut self, key: &str, given: &Given<Tables<T>>) -> Vec<T>
    where
        Tables<T>: Scalar + Clone,
    {
        let tables = self.optional(key, given).map(|tables| tables.0).unwrap_or_default();
        if tables.len() > MAX_TABLES {
            let got = json!(format!("{} tables", tables.len()));
            self.problem(key, &got, format!("at most {MAX_TABLES} tables"));
            return Vec::new();
        }
        tables
    }

    pub(crate) fn keyword<K: Keyword>(&mut self, key: &str, given: &Given<String>) -> K {
        let stand_in = K::WORDS[0].1;
        if matches!(given, Given::Absent) {
            self.missing(key, &K::expected());
        }
        let Some(text) = self.optional(key, given) else { return stand_in };
        K::from_word(&text).unwrap_or_else(|| {
            self.problem(key, &json!(text), K::expected());
            stand_in
        })
    }

    /// A whole number within a range, as any integer type that holds the range.
    pub(crate) fn integer<N: TryFrom<i64> + Default>(
        &mut self,
        key: &str,
        given: &Given<i64>,
        range: RangeInclusive<i64>,
    ) -> N {
        if matches!(given, Given::Absent) {
            self.missing(key, &expected_range(&range));
        }
        self.optional_integer(key, given, range).unwrap_or_default()
    }

    /// As [`Self::integer`], for a key that may be absent.
    pub(crate) fn optional_integer<N: TryFrom<i64>>(
        &mut self,
        key: &str,
        given: &Given<i64>,
        range: RangeInclusive<i64>,
    ) -> Option<N> {
        let converted = match given {
            Given::Absent => return None,
            Given::Value(number) => N::try_from(*number).ok().filter(|_| range.contains(number)),
            Given::Wrong(_) => None,
        };
        if converted.is_none() {
            self.problem(key, &json!(given), expected_range(&range));
        }
        converted
    }

    /// A number of days, 0 for "off".
    pub(crate) fn days(&mut self, key: &str, given: &Given<i64>) -> Option<Duration> {
        let days: u64 = self.integer(key, given, 0..=MOST_DAYS);
        (days > 0).then(|| Duration::from_secs(days * SECONDS_PER_DAY))
    }

    /// A limit, 0 for "no limit".
    pub(crate) fn limit(&mut self, key: &str, given: &Given<i64>) -> Option<u64> {
        let limit: u64 = self.integer(key, given, 0..=i64::MAX);
        (limit > 0).then_some(limit)
    }

    pub(crate) fn positive_number(&mut self, key: &str, given: &Given<f64>) -> f64 {
        let number = self.number(key, given);
        if number <= 0.0 || number > MAX_NUMBER {
            self.problem(key, &json!(number), format!("a number greater than 0, at most {MAX_NUMBER}"));
        }
        number
    }

    pub(crate) fn number(&mut self, key: &str, given: &Given<f64>) -> f64 {
        self.required(key, given).unwrap_or(1.0)
    }

    /// At least 0.
    pub(crate) fn duration(&mut self, key: &str, given: &Given<GoDuration>) -> Duration {
        let duration = self.required(key, given).unwrap_or_default();
        duration.to_std().unwrap_or_else(|| {
            self.problem(key, &json!(duration), "a duration of at least 0");
            Duration::ZERO
        })
    }

    /// More than 0; the stand-in for a wrong one is 0.
    pub(crate) fn positive_duration(&mut self, key: &str, given: &Given<GoDuration>) -> Duration {
        let Some(duration) = self.required(key, given) else { return Duration::ZERO };
        if duration.0 <= 0 {
            self.problem(key, &json!(duration), "a duration greater than 0");
        }
        duration.to_std().unwrap_or_default()
    }

    /// The time between two runs of heavy work: at least a second.
    pub(crate) fn period(&mut self, key: &str, given: &Given<GoDuration>) -> Duration {
        let Some(duration) = self.required(key, given) else { return Duration::ZERO };
        let period = duration.to_std().unwrap_or_default();
        if period < MIN_PERIOD {
            self.problem(key, &json!(duration), "a duration of at least 1s");
        }
        period
    }
}

/// Shortest time between two runs of heavy work.
const MIN_PERIOD: Duration = Duration::from_secs(1);

/// Bytes of one text, such as an expression, a script or a template.
const MAX_TEXT_BYTES: usize = 256 << 10;

/// Factors beyond it make scores that cannot be compared.
const MAX_NUMBER: f64 = 1e9;

/// Elements of a list of texts, and bytes of each.
const MAX_LIST_ELEMENTS: usize = 1_000;
const MAX_ELEMENT_BYTES: usize = 16 << 10;

/// Tables of a list such as `[[recommend.item-to-item]]`: each costs work in every fit and for every list.
const MAX_TABLES: usize = 100;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// Far from any overflow in nanoseconds.
const MOST_DAYS: i64 = 100_000;

/// Whole days of a duration made by [`Checks::days`].
pub(crate) fn as_days(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |duration| duration.as_secs() / SECONDS_PER_DAY)
}

fn expected_range(range: &RangeInclusive<i64>) -> String {
    match (*range.start(), *range.end()) {
        (1, i64::MAX) => String::from("a whole number greater than 0"),
        (start, i64::MAX) => format!("a whole number of at least {start}"),
        (start, end) => format!("a whole number from {start} to {end}"),
    }
}

#[cfg(test)]
mod tests;
