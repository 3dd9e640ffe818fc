//! `[serving]`: how requests are answered.

use std::time::Duration;

use serde_json::json;

use crate::byte_size::ByteSize;
use crate::given::Given;
use crate::resolve::Checks;
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Serving {
    /// False: every list is computed at request time.
    pub cached_lists: bool,
    /// Memory for cached lists.
    pub cache_bytes: ByteSize,
    /// When a request is given up.
    pub request_timeout: Duration,
    /// Larger bodies are refused with status 413.
    pub max_body: ByteSize,
    /// Whether lists are made with less work while more is asked than can be answered.
    pub degrade: bool,
}

impl Serving {
    pub(crate) fn resolve(written: &written::Serving, checks: &mut Checks<'_>) -> Self {
        Self {
            cached_lists: checks.flag("serving.cached_lists", &written.cached_lists),
            cache_bytes: size(checks, "serving.cache_bytes", &written.cache_bytes),
            request_timeout: checks.positive_duration("serving.request_timeout", &written.request_timeout),
            max_body: size(checks, "serving.max_body", &written.max_body),
            degrade: checks.flag("serving.degrade", &written.degrade),
        }
    }
}

fn size(checks: &mut Checks<'_>, key: &str, given: &Given<ByteSize>) -> ByteSize {
    let size = checks.optional(key, given).unwrap_or(ByteSize(1));
    if size.0 == 0 {
        checks.problem(key, &json!(size), "a size greater than 0");
    }
    size
}
