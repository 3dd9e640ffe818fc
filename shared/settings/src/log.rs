//! `[log]`: what the program tells about itself.

use crate::resolve::{Checks, Keyword};
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Less important lines are left out.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// How important a line must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// And what may go wrong.
    Warn,
    /// And what happened.
    Info,
    /// And why.
    Debug,
    /// And how.
    Trace,
}

impl LogLevel {
    /// The word, as a log filter understands it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.word()
    }
}

impl Keyword for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Keyword for LogFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json)];
}

impl Log {
    pub(crate) fn resolve(written: &written::Log, checks: &mut Checks<'_>) -> Self {
        Self {
            level: checks.keyword("log.level", &written.level),
            format: checks.keyword("log.format", &written.format),
        }
    }
}
